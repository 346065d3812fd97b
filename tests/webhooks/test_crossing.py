"""One message a crossing, whatever crosses, however many do at once, and however the receiver behaves meanwhile."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.gateway import Customer, Gateway
from tests.relay.calls import Client
from tests.webhooks.desk import Desk
from tests.webhooks.receiver import Receiver


def quotas(desk: Desk, customer: Customer) -> list[float]:
    """What the account was told, oldest first."""
    return [json.loads(delivery["body"])["data"]["quota"] for delivery in desk.deliveries(customer)]


async def call_together(gateway: Gateway, customer: Customer, model: str, count: int) -> None:
    client = Client(gateway)
    try:
        answers = await asyncio.gather(*(client.chat(customer, model) for _ in range(count)))
    finally:
        await client.close()
    assert {answer.status for answer in answers} == {200}


@pytest.fixture(scope="module")
def model(desk: Desk) -> str:
    """A model of which each call costs a tenth of a cent."""
    return desk.operator.model("demo", price={"per_call": "0.001"})


async def test_200_requests_that_cross_together_send_one_message_and_wait_for_none(
    hook_gateway: Gateway, desk: Desk, model: str, receiver: Receiver
) -> None:
    receiver.answers.put(receiver.hang)
    customer = await asyncio.to_thread(desk.customer, receiver.url(), "0.9")
    await call_together(hook_gateway, customer, model, 200)
    entries = await asyncio.to_thread(desk.operator.entries, customer, count=200)
    assert {entry["status"] for entry in entries} == {"settled"}
    account = await asyncio.to_thread(desk.operator.account, customer)
    assert account["balance"] == "0.8"
    call = await asyncio.to_thread(receiver.next)
    # The receiver still hasn't answered: everything above was done without it.
    (delivery,) = await asyncio.to_thread(desk.deliveries, customer)
    assert (delivery["state"], delivery["tried"], delivery["webhook_id"]) == ("pending", [], call.id)
    assert 0.8 <= json.loads(call.body)["data"]["quota"] < 0.9
    assert receiver.calls.empty()


async def test_a_top_up_arms_it_again(hook_gateway: Gateway, desk: Desk, model: str, receiver: Receiver) -> None:
    def set_up() -> Customer:
        return desk.customer(receiver.url(), "0.999")

    customer = await asyncio.to_thread(set_up)
    await call_together(hook_gateway, customer, model, 2)
    first = await asyncio.to_thread(receiver.next)
    await call_together(hook_gateway, customer, model, 3)

    def top_up() -> list[float]:
        desk.operator.entries(customer, count=5)
        told = quotas(desk, customer)
        desk.grant(customer, "0.003")  # 0.998: not above the threshold
        desk.grant(customer, "-0.001")
        assert quotas(desk, customer) == told
        desk.grant(customer, "0.002")  # 0.999: not below it
        return told

    assert len(await asyncio.to_thread(top_up)) == 1
    await call_together(hook_gateway, customer, model, 1)
    second = await asyncio.to_thread(receiver.next)
    assert second.id != first.id
    assert json.loads(second.body)["data"] == {"quota": 0.998}


def test_each_threshold_is_told_once_and_several_at_once_in_one(desk: Desk, receiver: Receiver) -> None:
    customer = desk.customer(receiver.url(), "0.25", "0.75", "0.5")
    steps: list[tuple[str, list[float]]] = [
        ("-0.25", []),  # 0.75 is not below 0.75
        ("-0.000000001", [0.749999999]),
        ("-0.1", []),
        ("-0.5", [0.149999999]),  # past two of them
        ("0.2", []),  # 0.349999999: above the lowest only
        ("-0.2", [0.149999999]),
        ("1", []),
        ("-1.149999999", [0]),  # past all, to nothing
    ]
    told: list[float] = []
    for amount, new in steps:
        desk.grant(customer, amount)
        told += new
        assert quotas(desk, customer) == told, amount


@pytest.mark.parametrize(
    ("changes", "grants", "told"),
    [
        pytest.param({"threshold": "2"}, ["-0.1"], [], id="above what remains, it waits for a top-up"),
        pytest.param({"threshold": "2"}, ["1.5", "-0.6"], [1.9], id="armed by a top-up above it"),
        pytest.param({"threshold": "1"}, ["-0.1"], [0.9], id="at what remains, it is armed"),
        pytest.param({"thresholds": ["2", "0.5"]}, ["-0.6"], [0.4], id="the next one below counts"),
    ],
)
def test_a_threshold_set_anew(
    desk: Desk, receiver: Receiver, changes: dict[str, Any], grants: list[str], told: list[float]
) -> None:
    customer = desk.customer(receiver.url(), "0.1")
    desk.notify(customer, **changes)
    assert quotas(desk, customer) == []
    for amount in grants:
        desk.grant(customer, amount)
    assert quotas(desk, customer) == told


def test_without_a_webhook_nothing_is_told(desk: Desk, receiver: Receiver) -> None:
    customer = desk.customer(receiver.url(), "0.75")
    desk.operator.call("PATCH", f"/accounts/{customer.account_id}", json={"notify": None})
    desk.grant(customer, "-0.5")
    assert desk.deliveries(customer) == []


async def test_setting_it_while_money_moves_neither_deadlocks_nor_tells_twice(
    hook_gateway: Gateway, desk: Desk, model: str, receiver: Receiver
) -> None:
    customer = await asyncio.to_thread(desk.customer, receiver.url(), "0.95")

    def set_again() -> None:
        for _ in range(20):
            desk.notify(customer, threshold="0.95")

    await asyncio.gather(call_together(hook_gateway, customer, model, 100), asyncio.to_thread(set_again))
    await asyncio.to_thread(desk.operator.entries, customer, count=100)
    assert len(await asyncio.to_thread(quotas, desk, customer)) == 1
    audit = await asyncio.to_thread(desk.operator.audit)
    assert audit["ok"] is True
