"""What is charged for what an upstream reports, or fails to report; and what a nearly empty key can still have."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from app.core.tokens import bound_of_request
from tests.demo.process import DemoProcess
from tests.gateway import Customer, Operator
from tests.relay.calls import (
    Client,
    assert_charged,
    assert_released,
    chat,
    demo_model,
    dollars,
    entries,
    received,
    serve_model,
    tokens,
    upstream_name,
)

TEXT = "the demo upstream writes plain words"


async def charge(operator: Operator, client: Client, model: str, **fields: Any) -> list[dict[str, Any]]:
    """The entries of the same request whole and streamed."""
    customer = operator.customer()
    for stream in (False, True):
        answer = await client.chat(customer, model, stream=stream, **fields)
        assert answer.status == 200
    found = await entries(operator, customer, 2)
    assert Decimal(operator.account(customer)["charged"]) == sum(Decimal(entry["charged"]) for entry in found)
    return found


async def test_reported_usage_is_charged_to_the_nano_dollar(operator: Operator, client: Client) -> None:
    for entry in await charge(operator, client, demo_model(operator, "tokens=17")):
        assert_charged(entry, 8, 17)


async def test_zero_is_believed(operator: Operator, client: Client) -> None:
    for entry in await charge(operator, client, demo_model(operator, "tokens=17&usage=zero")):
        assert_charged(entry, 0, 0)


@pytest.mark.parametrize("usage", ["missing", "huge", "negative", "string"])
async def test_usage_that_is_missing_or_cannot_be_is_estimated(operator: Operator, client: Client, usage: str) -> None:
    model = demo_model(operator, f"tokens=6&usage={usage}")
    for entry in await charge(operator, client, model):
        assert_charged(entry, tokens("hi"), tokens(TEXT), estimated=True)


async def test_an_estimate_counts_tools_images_and_calls(operator: Operator, client: Client) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"properties": {"x": {"type": "integer"}}}}}
    parts = [{"type": "text", "text": "what is it"}, {"type": "image_url", "image_url": {"url": "https://e.com/i.png"}}]
    model = demo_model(operator, "usage=missing&tool=1")
    for entry in await charge(operator, client, model, messages=[{"role": "user", "content": parts}], tools=[tool]):
        assert_charged(entry, tokens("what is it\n" + json.dumps([tool])) + 1445, tokens('look{"x":1}'), estimated=True)


async def test_xai_counts_reasoning_beside_the_completion(operator: Operator, client: Client) -> None:
    channel = {"provider": "xai", "upstream_model": upstream_name("tokens=6&dialect=xai&reasoning=20")}
    for entry in await charge(operator, client, serve_model(operator, channel)):
        assert_charged(entry, 8, 26)
        assert entry["usage"]["reasoning_tokens"] == 20


async def test_others_count_reasoning_inside(operator: Operator, client: Client) -> None:
    for entry in await charge(operator, client, demo_model(operator, "tokens=6&reasoning=20")):
        assert_charged(entry, 8, 26)
        assert entry["usage"]["reasoning_tokens"] == 20


async def test_cached_input_has_a_price_of_its_own(operator: Operator, client: Client) -> None:
    model = serve_model(
        operator,
        {"provider": "deepseek", "upstream_model": upstream_name("tokens=6&dialect=deepseek&cached=5")},
        price={"input_mtok": "1", "cache_read_mtok": "0.1", "output_mtok": "2"},
    )
    for entry in await charge(operator, client, model):
        # DeepSeek thinks before it speaks: eight tokens of reasoning that are part of the completion.
        assert (entry["usage"]["cache_read_tokens"], entry["usage"]["output_tokens"]) == (5, 14)
        assert Decimal(entry["charged"]) == Decimal("0.0000035") + dollars(0, 14)


async def test_more_cached_than_prompted_is_not_believed_beyond_the_prompt(operator: Operator, client: Client) -> None:
    model = demo_model(
        operator, "tokens=6&cached=5000", price={"input_mtok": "1", "cache_read_mtok": "0", "output_mtok": "2"}
    )
    for entry in await charge(operator, client, model):
        assert entry["usage"]["cache_read_tokens"] == 8
        assert Decimal(entry["charged"]) == dollars(0, 6)


async def test_several_choices_are_all_charged(operator: Operator, client: Client) -> None:
    for entry in await charge(operator, client, demo_model(operator, "tokens=6"), n=3):
        assert_charged(entry, 8, 18)
    for entry in await charge(operator, client, demo_model(operator, "tokens=6&usage=missing"), n=3):
        assert entry["estimated"]
        assert 18 <= entry["usage"]["output_tokens"] <= 20


async def test_a_price_by_the_call(operator: Operator, client: Client) -> None:
    model = demo_model(operator, "tokens=6", price={"per_call": "0.25"})
    for entry in await charge(operator, client, model):
        assert entry["charged"] == "0.25"


async def test_a_free_model_costs_nothing_and_needs_no_money(operator: Operator, client: Client) -> None:
    customer = operator.customer(grant=None)
    answer = await client.chat(customer, demo_model(operator, "tokens=6", free=True))
    (entry,) = await entries(operator, customer, 1)

    assert answer.status == 200
    assert (entry["status"], entry["charged"], entry["held"]) == ("settled", "0", "0")
    assert entry["usage"] == {"input_tokens": 8, "output_tokens": 6}


async def test_an_accounts_price_ratio(operator: Operator, client: Client) -> None:
    customer, model = operator.customer(), demo_model(operator, "tokens=6")
    operator.call("PATCH", f"/accounts/{customer.account_id}", json={"price_ratio": "1.5"})
    fresh = operator.call("POST", "/keys", json={"account_id": customer.account_id, "name": "k", "quota": None})
    answer = await client.chat(Customer(customer.account_id, fresh["id"], fresh["key"]), model)
    (entry,) = await entries(operator, customer, 1)

    assert answer.status == 200
    assert Decimal(entry["charged"]) == dollars(8, 6) * Decimal("1.5")


# -- the last cent -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["the account's", "the key's"])
async def test_near_exhaustion_the_cap_sent_upstream_is_what_the_rest_pays_for(
    operator: Operator, client: Client, demo: DemoProcess, whose: str
) -> None:
    upstream = upstream_name("tokens=900")
    model = serve_model(operator, {"upstream_model": upstream})
    customer = operator.customer("0.001") if whose == "the account's" else operator.customer("5", quota="0.001")
    bound = bound_of_request(json.dumps(chat(model)).encode())
    first = await client.chat(customer, model)
    await entries(operator, customer, 1)

    cap = int(first.headers["x-relaygate-output-cap"])
    assert cap == (1_000 - bound) // 2
    assert received(demo, upstream)[0]["body"]["max_completion_tokens"] == cap
    assert first.json["choices"][0]["finish_reason"] == "length"
    assert first.json["usage"]["completion_tokens"] == cap

    answers = 1
    while (answer := await client.chat(customer, model)).status == 200:
        answers += 1
        await entries(operator, customer, answers)
    rest = await left(operator, customer)

    assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    assert ("API key" in answer.error["message"]) is (whose == "the key's")
    assert 0 <= rest < Decimal("0.0002")
    assert len(received(demo, upstream)) == answers


async def left(operator: Operator, customer: Customer) -> Decimal:
    key = operator.call("GET", f"/keys/{customer.key_id}")
    return Decimal(operator.account(customer)["balance"] if key["balance"] is None else key["balance"])


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        pytest.param({"max_tokens": 900}, {"max_tokens"}, id="in the field that the client used"),
        pytest.param({"max_completion_tokens": 900}, {"max_completion_tokens"}, id="in the newer field"),
        pytest.param({"n": 4}, {"max_completion_tokens"}, id="shared by several choices"),
    ],
)
async def test_where_the_cap_is_lowered(
    operator: Operator, client: Client, demo: DemoProcess, fields: dict[str, Any], sent: set[str]
) -> None:
    upstream = upstream_name("tokens=900")
    customer = operator.customer("0.0008")
    answer = await client.chat(customer, serve_model(operator, {"upstream_model": upstream}), stream=True, **fields)
    (entry,) = await entries(operator, customer, 1)
    (request,) = received(demo, upstream)

    cap = int(answer.headers["x-relaygate-output-cap"])
    assert {name: value for name, value in request["body"].items() if name.startswith("max_")} == dict.fromkeys(
        sent, cap
    )
    assert entry["usage"]["output_tokens"] == cap * fields.get("n", 1)
    assert Decimal(operator.account(customer)["balance"]) == Decimal("0.0008") - Decimal(entry["charged"]) >= 0


async def test_a_cap_that_is_paid_for_is_left_alone(operator: Operator, client: Client, demo: DemoProcess) -> None:
    upstream = upstream_name("tokens=20")
    answer = await client.chat(
        operator.customer(), serve_model(operator, {"upstream_model": upstream}), max_tokens=7, temperature=0.5
    )
    (request,) = received(demo, upstream)

    assert "x-relaygate-output-cap" not in answer.headers
    assert answer.json["usage"]["completion_tokens"] == 7
    assert request["body"] == {**chat(upstream), "max_tokens": 7, "temperature": 0.5}


async def test_a_rush_on_an_almost_empty_key_spends_no_more_than_there_is(operator: Operator, client: Client) -> None:
    customer, model = operator.customer("0.003"), demo_model(operator, "tokens=300&delay_ms=20")
    answers = await asyncio.gather(*(client.chat(customer, model) for _ in range(40)))
    await asyncio.to_thread(operator.entries, customer)
    account = operator.account(customer)

    assert {answer.status for answer in answers} == {200, 429}
    assert {answer.error["code"] for answer in answers if answer.status == 429} == {"insufficient_quota"}
    assert Decimal(account["charged"]) <= Decimal("0.003")
    assert Decimal(account["balance"]) + Decimal(account["charged"]) == Decimal("0.003")


async def test_without_money_nothing_is_asked_of_an_upstream(
    operator: Operator, client: Client, demo: DemoProcess
) -> None:
    upstream = upstream_name()
    customer = operator.customer(grant=None)
    answer = await client.chat(customer, serve_model(operator, {"upstream_model": upstream}))

    assert (answer.status, answer.error["code"], answer.error["type"]) == (
        429,
        "insufficient_quota",
        "insufficient_quota",
    )
    assert received(demo, upstream) == []
    assert operator.entries(customer) == []


async def test_a_use_beyond_its_hold_is_taken_from_what_is_left_and_no_further(
    operator: Operator, client: Client
) -> None:
    customer = operator.customer("0.0005")
    answer = await client.chat(customer, demo_model(operator, "big=8000"))  # heeds no cap
    (entry,) = await entries(operator, customer, 1)
    account = operator.account(customer)

    assert answer.status == 200
    assert entry["usage"]["output_tokens"] > 1000
    assert (account["balance"], account["charged"]) == ("0", "0.0005")
    used = dollars(entry["usage"]["input_tokens"], entry["usage"]["output_tokens"])
    assert Decimal(entry["uncollected"]) == used - Decimal("0.0005")


# -- what can't be served ----------------------------------------------------------------------------------------------


async def test_models_that_can_not_be_served(operator: Operator, client: Client) -> None:
    customer = operator.customer()
    unpriced = demo_model(operator, "", price=None)
    lonely = serve_model(operator)
    for model, status, code in (
        (unpriced, 503, "model_not_priced"),
        (lonely, 503, "no_channel"),
        ("no-such-model", 404, "model_not_found"),
        ("x" * 100_000, 404, "model_not_found"),
        ("nul\0", 404, "model_not_found"),
    ):
        answer = await client.chat(customer, model)

        assert (answer.status, answer.error["code"], answer.error["param"]) == (status, code, "model")
        assert len(answer.body) < 1_000
    assert operator.entries(customer) == []


async def test_an_alias_is_its_model(operator: Operator, client: Client, demo: DemoProcess) -> None:
    upstream, alias = upstream_name("tokens=6"), upstream_name().removesuffix("?")
    model = serve_model(operator, {"upstream_model": upstream}, aliases=[alias])
    customer = operator.customer()
    answer = await client.chat(customer, alias)
    (entry,) = await entries(operator, customer, 1)

    assert answer.status == 200
    assert received(demo, upstream)[0]["body"]["model"] == upstream
    assert entry["model"] == model
    assert_charged(entry, 8, 6)


async def test_the_books_balance(operator: Operator, client: Client) -> None:
    customer, model = operator.customer(), demo_model(operator, "tokens=6&chunk_ms=5", "status=500")
    broken = demo_model(operator, "drop=1")
    await asyncio.gather(*(client.chat(customer, m, stream=s) for m in (model, broken) for s in (False, True) * 5))
    found = await entries(operator, customer, 20)
    audit = operator.audit()

    assert (audit["ok"], audit["drift_nano"], audit["doubled"]) == (True, 0, 0)
    assert sum(Decimal(entry["charged"]) for entry in found) == 10 * dollars(8, 6)
    for entry in found:
        if entry["model"] == broken:
            assert_released(entry, "upstream_disconnected")
