"""Objects that upstreams keep: they are their account's alone, lie where they were made, and cost what the operator says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.gateway import Customer, Gateway, Operator
from tests.relay.calls import UPSTREAM_SECRET, wait_until_served
from tests.surfaces.keeper import Keeper, run_keeper


@pytest.fixture(scope="module")
def keeper() -> Iterator[Keeper]:
    with run_keeper() as running:
        yield running


@pytest.fixture(scope="module")
def served(operator: Operator, keeper: Keeper) -> str:
    """A chat model whose channel keeps objects; `x-relaygate-model` with its name makes them there."""
    return channel(operator, keeper, {"evals": "0.25"})


def channel(operator: Operator, keeper: Keeper, passes: Mapping[str, str | None]) -> str:
    name = f"m-{uuid4().hex[:12]}"
    operator.call("PUT", f"/models/{name}", json={"kind": "chat", "free": True})
    operator.channel(
        name, "any", base_url=keeper.url, api_key=UPSTREAM_SECRET, options={"passes": passes}, priority=-100
    )
    wait_until_served(operator, name)
    return name


class Client:
    """Calls the gateway as one account."""

    def __init__(self, gateway: Gateway, customer: Customer, model: str) -> None:
        self.customer = customer
        self.model = model
        self._http = httpx2.Client(
            base_url=gateway.url, headers={**customer.headers, "x-relaygate-model": model}, timeout=15.0
        )

    def call(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        answer = self._http.request(method, path, **options)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        return answer.json() if "json" in answer.headers["content-type"] else answer.content

    def close(self) -> None:
        self._http.close()


@pytest.fixture
def ann(gateway: Gateway, operator: Operator, served: str) -> Iterator[Client]:
    client = Client(gateway, operator.customer(), served)
    yield client
    client.close()


@pytest.fixture
def bob(gateway: Gateway, operator: Operator, served: str) -> Iterator[Client]:
    client = Client(gateway, operator.customer(), served)
    yield client
    client.close()


FILE = {"file": ("a.txt", b"hello", "text/plain")}


def test_a_file_is_kept_read_listed_and_deleted(ann: Client, keeper: Keeper) -> None:
    made = ann.call("POST", "/v1/files", data={"purpose": "assistants"}, files=FILE)
    assert keeper.objects[made["id"]]["purpose"] == "assistants"
    assert ann.call("GET", f"/v1/files/{made['id']}") == made
    assert ann.call("GET", f"/files/{made['id']}") == made
    assert ann.call("GET", f"/v1/files/{made['id']}/content") == b"hello"
    assert ann.call("GET", "/v1/files")["data"] == [made]
    assert ann.call("GET", "/v1/files?purpose=batch")["data"] == []
    assert ann.call("DELETE", f"/v1/files/{made['id']}")["deleted"] is True
    assert ann.call("GET", "/v1/files")["data"] == []
    ann.call("GET", f"/v1/files/{made['id']}", 404)


@pytest.mark.parametrize("family", ["files", "vector_stores", "conversations", "uploads", "evals"])
def test_another_accounts_object_does_not_exist(ann: Client, bob: Client, keeper: Keeper, family: str) -> None:
    made = _make(ann, family)
    keeper.calls.clear()
    for method, path in (
        ("GET", f"/v1/{family}/{made['id']}"),
        ("DELETE", f"/v1/{family}/{made['id']}"),
        ("POST", f"/v1/{family}/{made['id']}"),
        ("GET", f"/v1/{family}/{made['id']}/content"),
        ("POST", f"/v1/{family}/{made['id']}/search"),
    ):
        refused = bob.call(method, path, 404)
        never = bob.call(method, path.replace(made["id"], made["id"][:-4] + "0000"), 404)
        assert refused["error"]["code"] == never["error"]["code"] == "object_not_found"
    assert bob.call("GET", f"/v1/{family}")["data"] == []
    bob.call("GET", f"/v1/{family}?after={made['id']}", 404)
    assert keeper.calls == []


def _make(client: Client, family: str) -> dict[str, Any]:
    if family == "files":
        made: dict[str, Any] = client.call("POST", "/v1/files", data={"purpose": "assistants"}, files=FILE)
    else:
        made = client.call("POST", f"/v1/{family}", json={"name": "x"})
    return made


def test_another_accounts_object_cannot_be_named(ann: Client, bob: Client, keeper: Keeper) -> None:
    file, store = _make(ann, "files"), _make(bob, "vector_stores")
    keeper.calls.clear()
    bob.call("POST", "/v1/vector_stores", 404, json={"file_ids": [file["id"]]})
    bob.call("POST", f"/v1/vector_stores/{store['id']}/files", 404, json={"file_id": file["id"]})
    bob.call("POST", "/v1/evals", 404, json={"deep": [{"in": {"any": file["id"]}}]})
    hidden = f'{{"file_ids": ["{file["id"].replace("f", chr(92) + "u0066", 1)}"]}}'
    bob.call("POST", "/v1/vector_stores", 404, content=hidden.encode(), headers={"content-type": "application/json"})
    assert keeper.calls == []
    own = _make(bob, "files")
    assert bob.call("POST", f"/v1/vector_stores/{store['id']}/files", json={"file_id": own["id"]})["fields"]


def test_a_file_in_a_store_still_is_a_file(ann: Client, keeper: Keeper) -> None:
    file, store = _make(ann, "files"), _make(ann, "vector_stores")
    keeper.below = {"id": file["id"], "object": "vector_store.file"}
    ann.call("POST", f"/v1/vector_stores/{store['id']}/files", json={"file_id": file["id"]})
    keeper.below = {}
    assert ann.call("GET", "/v1/files")["data"] == [file]


def test_what_hangs_on_an_object_is_passed_on(ann: Client) -> None:
    store = _make(ann, "vector_stores")
    path = f"/v1/vector_stores/{store['id']}/file_batches/vsfb_1/files?limit=2&key=x&order=asc"
    below = ann.call("GET", path)
    assert below["path"] == f"/v1/vector_stores/{store['id']}/file_batches/vsfb_1/files?limit=2&order=asc"
    assert ann.call("POST", f"/v1/vector_stores/{store['id']}", json={"name": "y"})["name"] == "y"
    assert ann.call("GET", "/v1/vector_stores")["data"][0]["name"] == "y"


def test_a_whole_upload_becomes_a_file_of_the_account(ann: Client, bob: Client) -> None:
    upload = _make(ann, "uploads")
    ann.call("POST", f"/v1/uploads/{upload['id']}/parts", files={"data": ("p", b"x", "text/plain")})
    file = ann.call("POST", f"/v1/uploads/{upload['id']}/complete", json={"part_ids": ["part_1"]})["file"]
    assert ann.call("GET", f"/v1/files/{file['id']}")["filename"] == "whole"
    bob.call("GET", f"/v1/files/{file['id']}", 404)


def test_lists_come_in_pages(ann: Client) -> None:
    made = [_make(ann, "conversations")["id"] for _ in range(5)]
    first = ann.call("GET", "/v1/conversations?limit=2")
    assert ([item["id"] for item in first["data"]], first["has_more"]) == (made[:2:-1], True)
    assert (first["first_id"], first["last_id"]) == (made[4], made[3])
    rest = ann.call("GET", f"/v1/conversations?limit=100&after={first['last_id']}")
    assert ([item["id"] for item in rest["data"]], rest["has_more"]) == (made[2::-1], False)
    assert [item["id"] for item in ann.call("GET", "/v1/conversations?order=asc")["data"]] == made
    for query in ("limit=0", "limit=x", "order=up"):
        assert ann.call("GET", f"/v1/conversations?{query}", 400)["error"]["param"] == query.partition("=")[0]


def test_making_is_charged_by_the_call_and_looking_is_free(ann: Client, operator: Operator) -> None:
    made = _make(ann, "evals")
    ann.call("GET", f"/v1/evals/{made['id']}")
    ann.call("GET", "/v1/evals")
    ann.call("POST", f"/v1/evals/{made['id']}/runs", json={})
    ann.call("DELETE", f"/v1/evals/{made['id']}")
    entries = operator.entries(ann.customer, count=2)
    assert [(entry["charged"], entry["model"], entry["format"]) for entry in entries] == [
        ("0.25", "evals", "openai_evals")
    ] * 2
    assert operator.audit()["ok"]


def test_without_money_nothing_is_made(gateway: Gateway, operator: Operator, served: str, keeper: Keeper) -> None:
    client = Client(gateway, operator.customer("0.1"), served)
    keeper.calls.clear()
    refused = client.call("POST", "/v1/evals", 429, json={})
    assert refused["error"]["code"] == "insufficient_quota"
    assert keeper.calls == []
    client.close()


@pytest.mark.parametrize(
    "path",
    ["/v1/assistants", "/v1/fine_tuning/jobs", "/v1/organization/users", "/v1/evals/%2e%2e/files"],
)
def test_what_no_channel_passes_on_is_not_there(ann: Client, keeper: Keeper, path: str) -> None:
    keeper.calls.clear()
    for method in ("GET", "POST", "DELETE"):
        assert ann.call(method, path, 404)["error"]["code"] == "not_found"
    assert keeper.calls == []


def test_strangers_hear_nothing(gateway: Gateway, ann: Client, keeper: Keeper) -> None:
    made = _make(ann, "files")
    keeper.calls.clear()
    for method, path in (("GET", "/v1/files"), ("GET", f"/v1/files/{made['id']}"), ("POST", "/v1/files")):
        assert httpx2.request(method, gateway.url + path).status_code == 401
    assert keeper.calls == []


def test_an_object_at_an_upstream_that_has_lost_it(ann: Client, keeper: Keeper) -> None:
    made = _make(ann, "files")
    del keeper.objects[made["id"]]
    assert ann.call("GET", f"/v1/files/{made['id']}", 404)["error"]["code"] == "object_not_found"


def test_a_channel_that_is_gone(gateway: Gateway, operator: Operator, keeper: Keeper) -> None:
    model = channel(operator, keeper, {})
    client = Client(gateway, operator.customer(), model)
    made = _make(client, "files")
    (listed,) = operator.call("GET", "/channels", params={"model": model})["data"]
    operator.call("PATCH", f"/channels/{listed['id']}", json={"enabled": False})
    assert client.call("GET", f"/v1/files/{made['id']}") == made
    operator.call("DELETE", f"/channels/{listed['id']}")
    wait_until_gone(client, made["id"])
    client.close()


def wait_until_gone(client: Client, id: str) -> None:
    for _ in range(500):
        answer = client._http.get(f"/v1/files/{id}")
        if answer.status_code != 200:
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_channel")
            return
    raise AssertionError("it is still there")


# -- objects in chats --------------------------------------------------------------------------------------------------


def ask(model: str, file: str) -> dict[str, Any]:
    part = {"type": "file", "file": {"file_id": file}}
    return {"model": model, "messages": [{"role": "user", "content": [part]}]}


def test_a_chat_goes_where_its_file_lies(ann: Client, operator: Operator, keeper: Keeper) -> None:
    """Of two channels that serve the model alike, only one has the file."""
    made = _make(ann, "files")
    model = f"m-{uuid4().hex[:12]}"
    shown = f"{model}-shown"
    for name in (model, shown):
        operator.call("PUT", f"/models/{name}", json={"kind": "chat", "free": True})
    operator.channel(model, "any", priority=5)
    (home,) = operator.call("GET", "/channels", params={"model": ann.model})["data"]
    served = [{"model": name, "upstream_model": "any"} for name in (ann.model, model, shown)]
    operator.call("PATCH", f"/channels/{home['id']}", json={"models": served})
    wait_until_served(operator, shown)
    keeper.calls.clear()
    answer = ann._http.post("/v1/chat/completions", json=ask(model, made["id"]))
    assert keeper.calls == [("POST", "/v1/chat/completions")], answer.text


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
def test_another_accounts_file_cannot_be_asked_about(ann: Client, bob: Client, keeper: Keeper, path: str) -> None:
    made = _make(ann, "files")
    keeper.calls.clear()
    inputs = {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": made["id"]}]}]}
    body = {**ask(bob.model, made["id"]), **(inputs if path.endswith("responses") else {}), "max_tokens": 9}
    for raw in (body, {**body, "messages": [], "tools": [{"type": "file_search", "vector_store_ids": [made["id"]]}]}):
        bob.call("POST", path, 404, json=raw)
    disguised = json.dumps(body).replace("file_id", "fil\\u0065_id")
    bob.call("POST", path, 404, content=disguised.encode(), headers={"content-type": "application/json"})
    assert keeper.calls == []


def test_another_accounts_file_is_not_painted_over(
    ann: Client, bob: Client, operator: Operator, keeper: Keeper
) -> None:
    made = _make(ann, "files")
    model = f"i-{uuid4().hex[:12]}"
    operator.call("PUT", f"/models/{model}", json={"kind": "image", "free": True})
    operator.channel(model, "any", base_url=keeper.url, api_key=UPSTREAM_SECRET)
    wait_until_served(operator, model)
    keeper.calls.clear()
    body = {"model": model, "prompt": "a", "images": [{"file_id": made["id"]}]}
    bob.call("POST", "/v1/images/edits", 404, json=body)
    assert keeper.calls == []


def test_a_word_that_only_looks_like_an_object_is_the_clients_own(ann: Client, keeper: Keeper) -> None:
    keeper.calls.clear()
    ann._http.post("/v1/chat/completions", json=ask(ann.model, "file-nobody123"))
    assert keeper.calls == [("POST", "/v1/chat/completions")]


def test_a_conversation_that_was_made_here_can_be_gone_on_with(ann: Client, bob: Client, keeper: Keeper) -> None:
    made = _make(ann, "conversations")
    keeper.calls.clear()
    body = {"model": ann.model, "input": "hi", "conversation": made["id"]}
    bob.call("POST", "/v1/responses", 404, json=body)
    assert keeper.calls == []
    ann._http.post("/v1/responses", json=body)
    assert keeper.calls == [("POST", "/v1/responses")]
