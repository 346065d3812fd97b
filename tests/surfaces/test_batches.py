"""Batches: read and held before their upstream hears of them, charged once by what it reports, whatever dies between."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from tests.gateway import Customer, Gateway, Operator
from tests.relay.calls import UPSTREAM_SECRET, wait_until_served
from tests.surfaces.keeper import Keeper, run_keeper
from tests.surfaces.test_objects import Client

UPSTREAM_MODEL = "vendor-model"
PRICE = {
    "input_mtok": "2",
    "output_mtok": "8",
    "variants": [{"when": {"service_tier": "batch"}, "input_mtok": "1", "output_mtok": "4"}],
}
USED = {"input_tokens": 1000, "output_tokens": 200, "total_tokens": 1200}


@pytest.fixture(scope="module")
def keeper() -> Iterator[Keeper]:
    with run_keeper() as running:
        yield running


@pytest.fixture
def upstream(keeper: Keeper) -> Keeper:
    keeper.calls.clear()
    keeper.refuses.clear()
    keeper.ending = None
    return keeper


def make_model(operator: Operator, keeper: Keeper, kind: str = "chat", price: Any = None) -> str:
    name = f"m-{uuid4().hex[:12]}"
    body = {"kind": kind, "price": price or PRICE, "max_output_tokens": 1000}
    operator.call("PUT", f"/models/{name}", json=body)
    operator.channel(name, UPSTREAM_MODEL, base_url=keeper.url, api_key=UPSTREAM_SECRET, priority=-100)
    wait_until_served(operator, name)
    return name


@pytest.fixture(scope="module")
def model(operator: Operator, keeper: Keeper) -> str:
    return make_model(operator, keeper)


@pytest.fixture
def ann(gateway: Gateway, operator: Operator, model: str) -> Iterator[Client]:
    client = Client(gateway, operator.customer(), model)
    yield client
    client.close()


def line(model: str, number: int = 1, url: str = "/v1/chat/completions", **fields: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100, **fields}
    return {"custom_id": f"r{number}", "method": "POST", "url": url, "body": body}


def upload(client: Client, *lines: Any, status: int = 200) -> Any:
    raw = b"\n".join(item if isinstance(item, bytes) else json.dumps(item).encode() for item in lines)
    files = {"file": ("batch.jsonl", raw, "application/jsonl")}
    return client.call("POST", "/v1/files", status, data={"purpose": "batch"}, files=files)


def start(client: Client, file: str, status: int = 200, **fields: Any) -> Any:
    body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h", **fields}
    return client.call("POST", "/v1/batches", status, json=body)


def held(operator: Operator, customer: Customer) -> Decimal:
    return Decimal(operator.account(customer)["held"])


def settled(operator: Operator, customer: Customer) -> dict[str, Any]:
    """The one entry of a batch; files and what else is free have theirs."""
    deadline = time.monotonic() + 20
    while True:
        found = [
            entry
            for entry in operator._all_entries(account_id=customer.account_id)
            if entry["format"] == "openai_batches" and entry["model"] != "batches"
        ]
        if found:
            (entry,) = found
            assert operator.audit()["ok"]
            return entry
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_batch_is_held_run_and_charged_at_the_batch_price(
    ann: Client, operator: Operator, upstream: Keeper, model: str
) -> None:
    file = upload(ann, line(model, 1), line(model, 2))
    sent = [json.loads(item) for item in upstream.contents[file["id"]].splitlines()]
    assert sent == [line(UPSTREAM_MODEL, 1), line(UPSTREAM_MODEL, 2)]
    batch = start(ann, file["id"], metadata={"a": "b"})
    assert upstream.objects[batch["id"]]["metadata"] == {"a": "b"}
    assert held(operator, ann.customer) >= 2 * 100 * Decimal(8) / 1_000_000
    assert ann.call("GET", f"/v1/batches/{batch['id']}")["status"] == "in_progress"
    assert [item["id"] for item in ann.call("GET", "/v1/batches")["data"]] == [batch["id"]]
    upstream.ending = {
        "status": "completed",
        "usage": USED,
        "request_counts": {"total": 2, "completed": 2, "failed": 0},
    }
    entry = settled(operator, ann.customer)
    assert (Decimal(entry["charged"]), entry["estimated"]) == (Decimal(1000 + 4 * 200) / 1_000_000, False)
    assert entry["usage"]["service_tier"] == "batch"
    assert held(operator, ann.customer) == 0


def test_a_batch_that_reports_no_usage_is_counted_by_its_results(
    ann: Client, operator: Operator, upstream: Keeper, model: str
) -> None:
    batch = start(ann, upload(ann, line(model, 1), line(model, 2))["id"])
    results = b"".join(
        json.dumps({"response": {"body": {"usage": {"prompt_tokens": 10, "completion_tokens": n}}}}).encode() + b"\n"
        for n in (3, 4)
    )
    output = upstream.make("files", {})["id"]
    upstream.contents[output] = results
    upstream.ending = {"status": "completed", "output_file_id": output, "request_counts": {"completed": 2}}
    entry = settled(operator, ann.customer)
    assert (Decimal(entry["charged"]), entry["estimated"]) == (Decimal(20 + 4 * 7) / 1_000_000, False)
    assert batch["id"]


def test_a_batch_of_which_nothing_is_told_is_charged_by_what_went_in(
    ann: Client, operator: Operator, upstream: Keeper, model: str
) -> None:
    start(ann, upload(ann, line(model))["id"])
    upstream.ending = {"status": "completed"}
    entry = settled(operator, ann.customer)
    assert (entry["estimated"], Decimal(entry["charged"]) > 0) == (True, True)


@pytest.mark.parametrize(
    "status", ["failed", *(pytest.param(word, marks=pytest.mark.long) for word in ("expired", "cancelled"))]
)
def test_a_batch_that_did_nothing_costs_nothing(
    ann: Client, operator: Operator, upstream: Keeper, model: str, status: str
) -> None:
    start(ann, upload(ann, line(model))["id"])
    upstream.ending = {"status": status, "request_counts": {"completed": 0}}
    entry = settled(operator, ann.customer)
    assert (entry["status"], entry["charged"], entry["error"]) == ("released", "0", status)


def test_a_cancelled_batch_is_charged_for_what_it_did(
    ann: Client, operator: Operator, upstream: Keeper, model: str
) -> None:
    batch = start(ann, upload(ann, line(model), line(model, 2))["id"])
    ann.call("POST", f"/v1/batches/{batch['id']}/cancel")
    upstream.ending = {"status": "cancelled", "usage": USED, "request_counts": {"completed": 1}}
    entry = settled(operator, ann.customer)
    assert (Decimal(entry["charged"]), entry["error"]) == (Decimal(1000 + 4 * 200) / 1_000_000, "cancelled")


def test_calls_are_counted_one_by_one(gateway: Gateway, operator: Operator, upstream: Keeper) -> None:
    model = make_model(operator, upstream, "embedding", {"per_call": "0.01"})
    client = Client(gateway, operator.customer(), model)
    lines = [{**line(model, n, "/v1/embeddings"), "body": {"model": model, "input": "a"}} for n in range(3)]
    start(client, upload(client, *lines)["id"], endpoint="/v1/embeddings")
    assert held(operator, client.customer) == Decimal("0.03")
    upstream.ending = {"status": "completed", "usage": USED, "request_counts": {"completed": 3}}
    assert settled(operator, client.customer)["charged"] == "0.03"
    client.close()


def test_a_refused_batch_gives_its_money_back(ann: Client, operator: Operator, upstream: Keeper, model: str) -> None:
    file = upload(ann, line(model))
    upstream.refuses = [400]
    assert start(ann, file["id"], 400)["error"]["message"] == "No."
    entry = settled(operator, ann.customer)
    assert (entry["status"], entry["charged"]) == ("released", "0")
    assert held(operator, ann.customer) == 0


def test_a_batch_whose_making_was_not_heard_of_is_found_and_charged(
    ann: Client, operator: Operator, upstream: Keeper, model: str
) -> None:
    file = upload(ann, line(model))
    upstream.refuses = [0]
    upstream.ending = {"status": "completed", "usage": USED, "request_counts": {"completed": 1}}
    for batch in upstream.objects.values():
        if batch["object"] == "batches":
            batch |= upstream.ending
    assert start(ann, file["id"], 502)["error"]["code"] == "upstream_disconnected"
    (made,) = [item for item in upstream.objects.values() if item.get("input_file_id") == file["id"]]
    made |= upstream.ending
    assert Decimal(settled(operator, ann.customer)["charged"]) == Decimal(1000 + 4 * 200) / 1_000_000


def test_a_batch_that_never_was_made_gives_its_money_back(
    ann: Client, operator: Operator, upstream: Keeper, model: str
) -> None:
    file = upload(ann, line(model))
    upstream.refuses = [-1]
    assert start(ann, file["id"], 502)["error"]["code"] == "upstream_disconnected"
    entry = settled(operator, ann.customer)
    assert (entry["status"], entry["charged"], entry["error"]) == ("released", "0", "process_died")


def test_without_money_no_batch_is_made(gateway: Gateway, operator: Operator, upstream: Keeper, model: str) -> None:
    client = Client(gateway, operator.customer("0.0001"), model)
    file = upload(client, line(model))
    upstream.calls.clear()
    assert start(client, file["id"], 429)["error"]["code"] == "insufficient_quota"
    assert upstream.calls == []
    assert held(operator, client.customer) == 0
    client.close()


BAD = {
    "no JSON": (b"{", "line 1"),
    "no request": (b"\n\n", "no request"),
    "no custom_id": ({"method": "POST", "url": "/v1/chat/completions", "body": {}}, "custom_id"),
    "another method": ({"custom_id": "a", "method": "GET", "url": "/v1/chat/completions", "body": {}}, "method"),
    "another url": ({"custom_id": "a", "method": "POST", "url": "/v1/files", "body": {}}, "url"),
    "no model": ({"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"input": "a"}}, "model"),
}


@pytest.mark.parametrize(("bad", "word"), [pytest.param(*case, id=name) for name, case in BAD.items()])
def test_a_file_that_is_no_batch_is_refused_by_the_line(ann: Client, upstream: Keeper, bad: Any, word: str) -> None:
    error = upload(ann, bad, status=400)["error"]
    assert (error["param"], word in error["message"]) == ("file", True), error
    assert upstream.calls == []


def test_lines_of_two_models_and_streams_are_refused(
    ann: Client, operator: Operator, upstream: Keeper, model: str
) -> None:
    other = make_model(operator, upstream)
    assert "line 2" in upload(ann, line(model), line(other), status=400)["error"]["message"]
    assert "line 2" in upload(ann, line(model), line(model, stream=True), status=400)["error"]["message"]
    upload(ann, line("no-such-model"), status=404)
    assert upstream.calls == []


def test_a_batch_needs_a_file_that_was_read(ann: Client, operator: Operator, upstream: Keeper, model: str) -> None:
    file = ann.call("POST", "/v1/files", data={"purpose": "assistants"}, files={"file": ("a", b"x", "text/plain")})
    assert start(ann, file["id"], 400)["error"]["param"] == "input_file_id"
    read = upload(ann, line(model))
    assert start(ann, read["id"], 400, endpoint="/v1/responses")["error"]["param"] == "endpoint"
    start(ann, "file-0000000000", 404)
    ann.call("POST", "/v1/batches", 400, json={"endpoint": "/v1/chat/completions"})


def test_another_accounts_file_and_batch_do_not_exist(
    gateway: Gateway, operator: Operator, ann: Client, upstream: Keeper, model: str
) -> None:
    bob = Client(gateway, operator.customer(), model)
    file = upload(ann, line(model))
    batch = start(ann, file["id"])
    upstream.calls.clear()
    start(bob, file["id"], 404)
    bob.call("GET", f"/v1/batches/{batch['id']}", 404)
    bob.call("POST", f"/v1/batches/{batch['id']}/cancel", 404)
    assert bob.call("GET", "/v1/batches")["data"] == []
    assert [path for _, path in upstream.calls if batch["id"] not in path] == []
    upstream.ending = {"status": "failed"}
    settled(operator, ann.customer)
    bob.close()


def test_another_accounts_file_cannot_be_named_in_a_line(
    gateway: Gateway, operator: Operator, ann: Client, upstream: Keeper, model: str
) -> None:
    bob = Client(gateway, operator.customer(), model)
    file = ann.call("POST", "/v1/files", data={"purpose": "vision"}, files={"file": ("a", b"x", "image/png")})
    upstream.calls.clear()
    part = {"type": "file", "file": {"file_id": file["id"]}}
    upload(bob, line(model, messages=[{"role": "user", "content": [part]}]), status=404)
    assert upstream.calls == []
    bob.close()


def test_a_key_without_the_model_cannot_run_it_in_a_batch(
    gateway: Gateway, operator: Operator, upstream: Keeper, model: str
) -> None:
    client = Client(gateway, operator.customer(models=["other"]), model)
    upload(client, line(model), status=403)
    client.close()
