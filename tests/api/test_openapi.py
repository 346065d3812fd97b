"""The description of the admin API: whole, and with examples that work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from app.api.admin import routes
from app.api.admin.shapes import Shape
from tests.gateway import Gateway


@pytest.fixture(scope="module")
def document(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = httpx2.get(f"{gateway.url}/openapi.json").json()
    return found


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        if path.startswith("/admin/v1/"):
            for method, operation in item.items():
                yield f"{method.upper()} {path.removeprefix('/admin/v1')}", operation


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    options = [schema, *schema.get("anyOf", [])]
    reference = next((option["$ref"] for option in options if "$ref" in option), None)
    return schema if reference is None else document["components"]["schemas"][reference.rpartition("/")[2]]


def test_every_call_of_the_contract_is_there(document: dict[str, Any]) -> None:
    assert {call for call, _ in _operations(document)} >= {
        "POST /accounts",
        "GET /accounts",
        "GET /accounts/{account_id}",
        "PATCH /accounts/{account_id}",
        "DELETE /accounts/{account_id}",
        "POST /accounts/{account_id}/grants",
        "GET /accounts/{account_id}/grants",
        "POST /keys",
        "GET /keys",
        "GET /keys/{key_id}",
        "PATCH /keys/{key_id}",
        "DELETE /keys/{key_id}",
        "POST /keys/{key_id}/rotate",
        "POST /channels",
        "GET /channels",
        "GET /channels/{channel_id}",
        "PATCH /channels/{channel_id}",
        "DELETE /channels/{channel_id}",
        "POST /channels/{channel_id}/test",
        "GET /models",
        "PUT /models/{name}",
        "PATCH /models/{name}",
        "DELETE /models/{name}",
        "GET /usage",
        "GET /usage/summary",
        "GET /usage.csv",
        "GET /audit",
    }


def test_every_call_is_described(document: dict[str, Any]) -> None:
    for call, operation in _operations(document):
        assert operation["summary"], call
        assert operation["description"], call
        assert operation["security"] == [{"admin": []}], call
        assert {"401", "422"} <= operation["responses"].keys(), call
        for status, response in operation["responses"].items():
            if status in ("200", "201") and "text/csv" not in response["content"]:
                schema = _resolve(document, response["content"]["application/json"]["schema"])
                items = schema.get("properties", {}).get("data", {}).get("items")
                assert (schema if items is None else _resolve(document, items)).get("examples"), (call, status)
            if "requestBody" in operation:
                body = operation["requestBody"]["content"]["application/json"]["schema"]
                assert _resolve(document, body).get("examples"), call


def _shapes(kind: type[Shape] = Shape) -> Iterator[type[Shape]]:
    for shape in kind.__subclasses__():
        yield shape
        yield from _shapes(shape)


def test_every_example_is_valid() -> None:
    assert routes.router.routes  # which has imported every module that has shapes
    tried = 0
    for shape in _shapes():
        extra = shape.model_config.get("json_schema_extra")
        if shape.__module__.startswith("app.api.") and isinstance(extra, dict):
            examples = extra["examples"]
            assert isinstance(examples, list)
            for example in examples:
                shape.model_validate(example)
                tried += 1
    assert tried >= 30


def test_published_examples_are_whole(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    faults = {
        name: sorted(set(schema.get("required", ())) - set(example))
        for name, schema in schemas.items()
        for example in schema.get("examples", ())
        if isinstance(example, dict) and not set(schema.get("required", ())) <= set(example)
    }
    assert faults == {}
    published = {schema["title"]: schema["examples"] for schema in schemas.values() if "examples" in schema}
    examples = {shape.__name__: (shape.model_config.get("json_schema_extra") or {}) for shape in _shapes()}
    assert "Holding" in published
    for name, found in published.items():
        extra = examples.get(name, {"examples": found})
        assert isinstance(extra, dict)
        assert found == extra["examples"], name
    assert [name for name in schemas if "__" in name] == [], "two shapes share a name"


@pytest.mark.parametrize(
    ("call", "statuses"),
    [
        ("get /admin/v1/usage", {"400", "503"}),
        ("get /admin/v1/usage/summary", {"400", "503"}),
        ("get /admin/v1/usage.csv", {"400", "503"}),
        ("get /v1/account/usage", {"400", "401", "403", "422", "429", "503"}),
        ("get /v1/account/entries", {"400", "401", "403", "422", "429", "503"}),
        ("get /v1/dashboard/billing/usage", {"400", "401", "403", "422", "429", "503"}),
        ("post /v1/account/redemptions", {"400", "401", "403", "408", "413", "422", "429"}),
    ],
)
def test_refusals_are_listed(document: dict[str, Any], call: str, statuses: set[str]) -> None:
    method, path = call.split()
    assert statuses <= document["paths"][path][method]["responses"].keys()


def test_the_examples_of_requests_work(document: dict[str, Any], admin: httpx2.Client) -> None:
    def example(call: str) -> dict[str, Any]:
        body = dict(_operations(document))[call]["requestBody"]["content"]["application/json"]["schema"]
        found: dict[str, Any] = _resolve(document, body)["examples"][0]
        return found

    made = admin.post("/accounts", json=example("POST /accounts"))
    assert made.status_code == 201
    account = made.json()["id"]
    assert admin.patch(f"/accounts/{account}", json=example("PATCH /accounts/{account_id}")).status_code == 200
    grant = example("POST /accounts/{account_id}/grants")
    assert admin.post(f"/accounts/{account}/grants", json=grant).status_code == 201
    key = admin.post("/keys", json={**example("POST /keys"), "account_id": account})
    assert key.status_code == 201
    assert admin.patch(f"/keys/{key.json()['id']}", json=example("PATCH /keys/{key_id}")).status_code == 200
    channel = admin.post("/channels", json={**example("POST /channels"), "name": uuid4().hex})
    assert channel.status_code == 201
    path = f"/channels/{channel.json()['id']}"
    assert admin.patch(path, json=example("PATCH /channels/{channel_id}")).status_code == 200
    model = f"example-{uuid4().hex}"
    definition = {**example("PUT /models/{name}"), "aliases": [f"{model}-alias"]}
    assert admin.put(f"/models/{model}", json=definition).status_code == 201
    assert admin.patch(f"/models/{model}", json=example("PATCH /models/{name}")).status_code == 200


def test_empty_lists_are_documented(document: dict[str, Any]) -> None:
    fields = document["components"]["schemas"]["NewKey"]["properties"]
    assert "Absent, null or []: all" in fields["models"]["description"]
    assert "Absent, null or []: all" in fields["ips"]["description"]
