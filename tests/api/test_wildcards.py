"""Models, aliases and allow-lists with a star, end to end; options of models; several keys of a channel."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Customer, Gateway, Operator
from tests.relay.calls import wait_until_served

PRICE = {"input_mtok": "1", "output_mtok": "2"}


def _chat(gateway: Gateway, customer: Customer, model: str) -> httpx2.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    return httpx2.post(f"{gateway.base_url}/chat/completions", json=body, headers=customer.headers)


def _family(operator: Operator, upstream_model: str | None = None) -> str:
    """A prefix whose names are all served by one wildcard model."""
    prefix = f"w-{uuid4().hex[:10]}-"
    operator.call("PUT", f"/models/{prefix}*", json={"kind": "chat", "price": PRICE, "max_output_tokens": 100})
    operator.channel(f"{prefix}*", upstream_model or f"{prefix}*")
    return prefix


def _received(demo: DemoProcess, part: str) -> list[str]:
    return [item["body"]["model"] for item in demo.received(part)]


def test_a_name_that_matches_is_served_under_that_name(operator: Operator, gateway: Gateway, demo: DemoProcess) -> None:
    prefix = _family(operator)
    customer = operator.customer()
    assert _chat(gateway, customer, f"{prefix}large").status_code == 200
    assert _received(demo, prefix) == [f"{prefix}large"]
    assert operator.entries(customer, count=1)[0]["model"] == f"{prefix}large"


def test_the_star_goes_into_the_upstreams_name(operator: Operator, gateway: Gateway, demo: DemoProcess) -> None:
    mark = uuid4().hex[:10]
    prefix = _family(operator, f"vendor-{mark}/*")
    assert _chat(gateway, operator.customer(), f"{prefix}a/b").status_code == 200
    assert _received(demo, mark) == [f"vendor-{mark}/a/b"]


def test_exact_names_and_longer_patterns_go_first(operator: Operator, gateway: Gateway, demo: DemoProcess) -> None:
    prefix = _family(operator)
    for name, upstream in ((f"{prefix}a*", "longer"), (f"{prefix}ab", "exact")):
        operator.call("PUT", f"/models/{name}", json={"kind": "chat", "price": PRICE})
        operator.channel(name, f"{prefix}{upstream}")
    wait_until_served(operator, operator.model("demo"))
    customer = operator.customer()
    for name in ("ab", "ac", "b"):
        assert _chat(gateway, customer, prefix + name).status_code == 200
    assert _received(demo, prefix) == [f"{prefix}exact", f"{prefix}longer", f"{prefix}b"]


def test_patterns_arent_listed_and_their_names_are_found(operator: Operator, gateway: Gateway) -> None:
    prefix = _family(operator)
    customer = operator.customer()
    assert _chat(gateway, customer, f"{prefix}x").status_code == 200
    with httpx2.Client(base_url=gateway.base_url, headers=customer.headers) as http:
        listed = [model["id"] for model in http.get("/models").json()["data"]]
        assert not [name for name in listed if name.startswith(prefix)]
        assert http.get(f"/models/{prefix}x").json()["id"] == f"{prefix}x"
        assert http.get(f"/account/models/{prefix}x").json()["name"] == f"{prefix}x"


def test_an_alias_may_hold_a_star(operator: Operator, gateway: Gateway) -> None:
    model, mark = operator.model("demo"), uuid4().hex[:10]
    operator.call("PATCH", f"/models/{model}", json={"aliases": [f"{mark}-*"]})
    customer = operator.customer()
    assert _chat(gateway, customer, f"{mark}-anything").status_code == 200
    assert operator.entries(customer, count=1)[0]["model"] == model


def test_an_allow_list_may_hold_a_star(operator: Operator, gateway: Gateway) -> None:
    prefix, other = _family(operator), operator.model("demo")
    customer = operator.customer(models=[f"{prefix}s*"])
    assert _chat(gateway, customer, f"{prefix}small").status_code == 200
    assert _chat(gateway, customer, f"{prefix}large").status_code == 403
    assert _chat(gateway, customer, other).status_code == 403


@pytest.mark.parametrize("name", ["*" * 2, "x" * 201, "line\nbreak"])
def test_what_no_star_stands_for(operator: Operator, gateway: Gateway, name: str) -> None:
    prefix = _family(operator)
    assert _chat(gateway, operator.customer(), prefix + name).status_code == 404


CHANNEL = {"name": "never-made", "provider": "openai", "api_key": "k"}


@pytest.mark.parametrize(
    ("method", "path", "body", "named"),
    [
        ("PUT", "/models/a*b*", {"kind": "chat"}, "path.name"),
        ("PUT", "/models/w-*", {"kind": "chat", "aliases": ["a*b*"]}, "aliases.0"),
        ("PUT", "/models/w-*", {"kind": "chat", "aliases": ["starless"]}, "aliases"),
        ("POST", "/keys", {"account_id": 1, "name": "k", "models": ["**"]}, "models.0"),
        ("POST", "/channels", {**CHANNEL, "models": [{"model": "**"}]}, "models.0.model"),
        (
            "POST",
            "/channels",
            {**CHANNEL, "models": [{"model": "m", "upstream_model": "*"}]},
            "models.0.upstream_model",
        ),
        (
            "POST",
            "/channels",
            {**CHANNEL, "models": [{"model": "m*", "upstream_model": "*/*"}]},
            "models.0.upstream_model",
        ),
    ],
)
def test_a_star_that_says_nothing_is_refused(
    operator: Operator, method: str, path: str, body: dict[str, Any], named: str
) -> None:
    with operator.gateway.admin() as admin:
        answer = admin.request(method, path, json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, named)


def test_the_star_leads_nowhere_else(operator: Operator, gateway: Gateway) -> None:
    """Some upstreams take the model's name as a path."""
    prefix = _family(operator, "org/*")
    customer = operator.customer()
    assert _chat(gateway, customer, f"{prefix}/../other").status_code == 404


def test_a_channel_is_tested_by_a_name_that_its_star_stands_for(operator: Operator) -> None:
    mark = uuid4().hex[:10]
    made = operator.channel(f"{mark}-*", "demo*")
    with operator.gateway.admin() as admin:
        path = f"/channels/{made['id']}/test"
        for body in ({}, {"model": f"{mark}-*"}, {"model": "other"}):
            answer = admin.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["param"]) == (422, "model")
        answer = admin.post(path, json={"model": f"{mark}-?status=400"}).json()
        assert (answer["ok"], answer["status"], answer["model"]) == (False, 400, f"{mark}-?status=400")
        assert admin.post(path, json={"model": f"{mark}-"}).json()["ok"]


class TestOptions:
    """Of models."""

    def test_are_kept_and_replaced_whole(self, operator: Operator) -> None:
        stand_in = operator.model("demo")
        options = {"fallbacks": [stand_in], "first_byte_timeout": 2.5, "max_attempts": 2, "lacks": ["vision"]}
        model = operator.model("demo", price=PRICE, options=options)
        shown = operator.call("PATCH", f"/models/{model}", json={})["options"]
        assert shown == {**options, "idle_timeout": None}
        shown = operator.call("PATCH", f"/models/{model}", json={"options": {}})["options"]
        assert shown["fallbacks"] == []

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"fallbacks": ["nothing-of-this-name"]}, "options.fallbacks"),
            ({"fallbacks": ["x", "x"]}, "options.fallbacks"),
            ({"fallbacks": ["x-*"]}, "options.fallbacks.0"),
            ({"lacks": ["sight"]}, "options.lacks.0"),
            ({"max_attempts": 0}, "options.max_attempts"),
            ({"first_byte_timeout": "5"}, "options.first_byte_timeout"),
            ({"other": 1}, "options.other"),
        ],
    )
    def test_a_bad_one_is_named(self, operator: Operator, options: dict[str, Any], named: str) -> None:
        with operator.gateway.admin() as admin:
            answer = admin.put(
                f"/models/m-{uuid4().hex[:8]}", json={"kind": "chat", "price": PRICE, "options": options}
            )
        assert answer.status_code == 422
        assert answer.json()["error"]["param"] == named


class TestKeys:
    """Several, of one channel."""

    def test_are_used_in_turn(self, operator: Operator, gateway: Gateway, demo: DemoProcess) -> None:
        model, mark = operator.model(), uuid4().hex[:10]
        made = operator.channel(model, f"demo-{mark}", api_key=None, api_keys=[f"key-{mark}-1", f"key-{mark}-2"])
        assert (made["has_api_key"], made["api_key_count"]) == (True, 2)
        customer = operator.customer()
        for _ in range(4):
            assert _chat(gateway, customer, model).status_code == 200
        found = httpx2.get(f"{demo.url}/_demo/requests").json()["requests"]
        keys = [dict(item["headers"])["authorization"][-1] for item in found if mark in item["raw_body"]]
        assert sorted(keys) == ["1", "1", "2", "2"]

    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"api_key": "a", "api_keys": ["b"]}, "api_keys"),
            ({"api_key": None, "api_keys": ["b", "b"]}, "api_keys"),
            ({"api_key": None, "api_keys": []}, "api_keys"),
            ({"api_key": None}, "api_key"),
        ],
    )
    def test_a_bad_list_is_named(self, operator: Operator, fields: dict[str, Any], named: str) -> None:
        with operator.gateway.admin() as admin:
            body = {"name": uuid4().hex, "provider": "openai", "models": [{"model": "m"}], **fields}
            answer = admin.post("/channels", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, named)


class TestOutages:
    """Of a channel that an operator has changed."""

    @pytest.mark.parametrize(
        ("change", "left"),
        [
            ({"api_key": "another"}, 0),
            ({"options": {"rpm": 5}}, 0),
            ({"enabled": True}, 0),
            ({"weight": 7}, 1),
            ({"name": "renamed"}, 1),
        ],
    )
    def test_end_with_what_may_have_mended_it(
        self, operator: Operator, gateway: Gateway, change: dict[str, Any], left: int
    ) -> None:
        model = operator.model()
        made = operator.channel(model, "demo?status=401")
        path = f"/channels/{made['id']}"
        assert _chat(gateway, operator.customer(), model).status_code >= 400
        _await_outages(operator, made["id"])
        if "name" in change:
            change = {"name": f"c-{uuid4().hex[:12]}"}
        operator.call("PATCH", path, json=change)
        assert len(operator.call("GET", f"/outages?channel_id={made['id']}")["data"]) == left


def _await_outages(operator: Operator, channel_id: int) -> None:
    """Written behind the request: a moment after its answer."""
    deadline = time.monotonic() + 10
    while not operator.call("GET", f"/outages?channel_id={channel_id}")["data"]:
        assert time.monotonic() < deadline, "the outage isn't written"
        time.sleep(0.02)
