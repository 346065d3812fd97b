"""How a hold ends: charged, given back, once only, and never for more than there is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.core.ids import new_id
from app.core.usage import Usage
from app.ledger.records import Hold, Settlement, Status
from tests.ledger.bank import Bank, counters, hold, hold_together, make_ask, released, settle, settled


async def test_a_hold_moves_money_aside_and_its_settlement_charges_what_was_used(bank: Bank) -> None:
    customer = await bank.customer(1000, quota=500)
    writer = bank.writer()
    ask = make_ask(customer, 300, model="gpt", stream=True, price_id=7, ratio_ppm=1_500_000, group_ppm=800_000)
    held = await writer.hold(ask)
    assert held == Hold(ask.id, customer.account_id, 300)
    assert await bank.holds(customer) == {ask.id: 300}
    assert counters(await bank.account(customer)) == (1000, 700, 300, 0)
    assert counters(await bank.key_wallet(customer)) == (500, 200, 300, 0)
    assert writer.open == {ask.id}

    usage = Usage(input_tokens=3, output_tokens=4, cache_read_tokens=2)
    ended = Settlement(
        held, Status.SETTLED, 120, 80, 8, 9, usage, True, latency_ms=50, first_byte_ms=20, attempts=2, error="cut"
    )
    await settle(writer, ended)
    assert await bank.holds(customer) == {}
    assert counters(await bank.account(customer)) == (1000, 880, 0, 120)
    assert counters(await bank.key_wallet(customer)) == (500, 380, 0, 120)
    assert writer.open == set()
    assert writer.pending == 0
    (entry,) = await bank.entries(customer)
    assert entry["created_at"] is not None
    assert {name: value for name, value in entry.items() if name != "created_at"} == {
        "account_id": customer.account_id,
        "id": ask.id,
        "key_id": customer.key_id,
        "request_id": ask.request_id,
        "model": "gpt",
        "channel_id": 9,
        "format": "openai_chat",
        "status": "settled",
        "held": 300,
        "charged": 120,
        "uncollected": 0,
        "usage": '{"input_tokens": 3, "output_tokens": 4, "cache_read_tokens": 2}',
        "price_id": 8,
        "ratio_ppm": 1_500_000,
        "group_ppm": 800_000,
        "cost": 80,
        "estimated": True,
        "stream": True,
        "latency_ms": 50,
        "first_byte_ms": 20,
        "attempts": 2,
        "error": "cut",
    }


async def test_a_released_hold_gives_everything_back(bank: Bank) -> None:
    customer = await bank.customer(1000)
    writer = bank.writer()
    await settle(writer, released(await hold(writer, customer, 1000)))
    assert counters(await bank.account(customer)) == (1000, 1000, 0, 0)
    assert counters(await bank.key_wallet(customer)) == (None, None, 0, 0)
    (entry,) = await bank.entries(customer)
    assert (entry["status"], entry["held"], entry["charged"], entry["usage"]) == ("released", 1000, 0, "{}")


async def test_a_free_request_passes_without_money(bank: Bank) -> None:
    customer = await bank.customer(0, quota=0)
    writer = bank.writer()
    await settle(writer, settled(await hold(writer, customer, 0), 0))
    (entry,) = await bank.entries(customer)
    assert (entry["status"], entry["held"], entry["charged"]) == ("settled", 0, 0)


async def test_settling_a_hundred_times_from_several_writers_is_settling_once(bank: Bank) -> None:
    customer = await bank.customer(1000, quota=1000)
    writers = [bank.writer() for _ in range(4)]
    held = await hold(writers[0], customer, 300)
    other = await hold(writers[0], customer, 100)
    for _ in range(25):
        for writer in writers:
            writer.settle(settled(held, 120))
        await asyncio.sleep(0)
    for writer in writers:
        assert await writer.flush(10)
    assert [(entry["id"], entry["charged"]) for entry in await bank.entries(customer)] == [(held.id, 120)]
    assert await bank.holds(customer) == {other.id: 100}
    assert counters(await bank.account(customer)) == (1000, 780, 100, 120)
    assert counters(await bank.key_wallet(customer)) == (1000, 780, 100, 120)


async def test_the_first_settlement_counts(bank: Bank) -> None:
    customer = await bank.customer(1000)
    writer = bank.writer()
    held = await hold(writer, customer, 100)
    await settle(writer, settled(held, 60))
    await settle(writer, settled(held, 90), released(held))
    assert [entry["charged"] for entry in await bank.entries(customer)] == [60]


async def test_another_model_than_the_one_asked_for_may_have_answered(bank: Bank) -> None:
    """Its name and its group's ratio stand on the entry; both or one, beside others in the batch that know of none."""
    customer = await bank.customer(1000)
    writer = bank.writer(lanes=1)
    holds = [await hold(writer, customer, 100, model="asked", group_ppm=800_000) for _ in range(5)]
    others: list[dict[str, Any]] = [
        {},
        {"model": "other", "group_ppm": 2_000_000},
        {"model": "other"},
        {"group_ppm": 0},
    ]
    await settle(writer, *(settled(held, 40, **fields) for held, fields in zip(holds, others, strict=False)))
    await settle(writer, settled(holds[1], 90, model="later"), settled(holds[4], 100))
    assert [(e["model"], e["group_ppm"], e["ratio_ppm"], e["charged"]) for e in await bank.entries(customer)] == [
        ("asked", 800_000, 1_000_000, 40),
        ("other", 2_000_000, 1_000_000, 40),
        ("other", 800_000, 1_000_000, 40),
        ("asked", 0, 1_000_000, 40),
        ("asked", 800_000, 1_000_000, 100),
    ]
    assert counters(await bank.account(customer)) == (1000, 740, 0, 260)


async def test_settling_an_unknown_hold_changes_nothing(bank: Bank) -> None:
    customer, stranger = await bank.customer(1000), await bank.customer(1000)
    writer = bank.writer()
    held = await hold(writer, customer, 300)
    unknown = Hold(new_id(), customer.account_id, 300)
    elsewhere = Hold(held.id, stranger.account_id, 300)
    nowhere = Hold(held.id, 2**40, 300)
    await settle(writer, settled(unknown, 5000), settled(elsewhere, 5000), settled(nowhere, 5000))
    assert await bank.entries(customer) == await bank.entries(stranger) == []
    assert await bank.holds(customer) == {held.id: 300}
    assert counters(await bank.account(customer)) == (1000, 700, 300, 0)
    assert counters(await bank.account(stranger)) == (1000, 1000, 0, 0)


@pytest.mark.parametrize(
    ("granted", "quota", "cost", "charged"),
    [
        (1000, None, 250, 250),  # both have enough
        (1000, 1000, 1000, 1000),  # to the last
        (1000, 1000, 1001, 1000),  # and not one more
        (1000, 180, 250, 180),  # the key's quota is the shorter
        (180, 1000, 250, 180),  # the account's balance is
        (100, None, 250, 100),  # nothing beside the hold
        (2**62, None, 2**63 - 1, 2**62),
    ],
)
async def test_what_a_hold_does_not_cover_is_taken_from_what_is_left(
    bank: Bank, granted: int, quota: int | None, cost: int, charged: int
) -> None:
    customer = await bank.customer(granted, quota)
    writer = bank.writer()
    held = await hold(writer, customer, 100)
    await settle(writer, settled(held, cost))
    (entry,) = await bank.entries(customer)
    assert (entry["charged"], entry["uncollected"], entry["held"]) == (charged, cost - charged, 100)
    assert counters(await bank.account(customer)) == (granted, granted - charged, 0, charged)
    key = await bank.key_wallet(customer)
    assert counters(key) == (quota, None if quota is None else quota - charged, 0, charged)


async def test_what_could_not_be_collected_is_not_collected_later(bank: Bank) -> None:
    """The entry is made; a settlement that arrives a second time finds no hold, however much money there is by now."""
    customer = await bank.customer(100)
    writer = bank.writer()
    held = await hold(writer, customer, 100)
    await settle(writer, settled(held, 150))
    await bank.grant(customer, 1000)
    another = await hold(writer, customer, 100)
    await settle(writer, settled(held, 150), settled(another, 200))
    entries = await bank.entries(customer)
    assert [(entry["charged"], entry["uncollected"]) for entry in entries] == [(100, 50), (200, 0)]
    assert counters(await bank.account(customer)) == (1100, 800, 0, 300)


async def test_overages_of_one_batch_share_what_is_left(bank: Bank) -> None:
    customer = await bank.customer(1000, quota=350)
    sibling = await bank.key(customer.account_id)
    writer = bank.writer()
    holds = [await hold(writer, customer, 100) for _ in range(3)]  # leaves the key 50
    held = await hold(writer, sibling, 100)
    await settle(writer, *(settled(item, 130) for item in holds), settled(held, 700))
    entries = await bank.entries(customer)
    assert [(e["charged"], e["uncollected"]) for e in entries] == [(130, 0), (120, 10), (100, 30), (650, 50)]
    assert counters(await bank.account(customer)) == (1000, 0, 0, 1000)
    assert counters(await bank.key_wallet(customer)) == (350, 0, 0, 350)
    assert counters(await bank.key_wallet(sibling)) == (None, None, 0, 650)


async def test_an_overage_settled_twice_in_a_batch_leaves_the_others_theirs(bank: Bank) -> None:
    customer = await bank.customer(260)
    writer = bank.writer()
    first, second = await hold(writer, customer, 100), await hold(writer, customer, 100)  # leaves 60
    await settle(writer, settled(first, 130), settled(first, 130), settled(second, 130))
    entries = await bank.entries(customer)
    assert [(entry["charged"], entry["uncollected"]) for entry in entries] == [(130, 0), (130, 0)]
    assert counters(await bank.account(customer)) == (260, 0, 0, 260)


async def test_money_given_back_in_a_batch_pays_for_its_overages(bank: Bank) -> None:
    """A batch is no reason to lose money that would have been collected a millisecond later."""
    customer = await bank.customer(200)
    writer = bank.writer()
    short, spare = await hold(writer, customer, 100), await hold(writer, customer, 100)
    await settle(writer, settled(short, 150), settled(spare, 20))
    entries = await bank.entries(customer)
    assert [(entry["charged"], entry["uncollected"]) for entry in entries] == [(150, 0), (20, 0)]


async def test_an_overage_takes_nothing_from_a_key_below_zero(bank: Bank) -> None:
    customer = await bank.customer(1000, quota=500)
    writer = bank.writer()
    held = await hold(writer, customer, 300)
    await bank.set_quota(customer, 100)
    assert counters(await bank.key_wallet(customer)) == (100, -200, 300, 0)
    await settle(writer, settled(held, 400))
    (entry,) = await bank.entries(customer)
    assert (entry["charged"], entry["uncollected"]) == (300, 100)
    assert counters(await bank.key_wallet(customer)) == (100, -200, 0, 300)
    assert counters(await bank.account(customer)) == (1000, 700, 0, 300)


async def test_settlements_and_asks_share_a_batch_and_the_money_is_free_for_the_asks(bank: Bank) -> None:
    customer = await bank.customer(100)
    writer = bank.writer(lanes=1)
    held = await hold(writer, customer, 100)
    writer.settle(settled(held, 40))
    replies = await hold_together(writer, [make_ask(customer, 60)])
    assert isinstance(replies[0], Hold)
    assert counters(await bank.account(customer)) == (100, 0, 60, 40)
