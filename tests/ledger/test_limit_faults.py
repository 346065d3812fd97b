"""What limits once got wrong: each of these let too much through, refused too much, or told somebody else's limits."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from app.ledger.records import Hold, Refusal
from tests.ledger.bank import Bank, amounts, hold, hold_together, make_ask, settle, settled
from tests.ledger.test_limits import BUSY, LIMITED, ask_limited, limit, used


async def test_standings_go_to_those_whose_they_are(bank: Bank) -> None:
    """An array that begins where it was first written to comes out of the driver shifted to the front."""
    free, tight = await bank.customer(10**6), await bank.customer(10**6)
    await limit(bank, tight, rpm=1)
    asks = [make_ask(free, 1), make_ask(free, 1), make_ask(tight, 1, tokens=0), make_ask(tight, 1, tokens=0)]
    assert amounts(await hold_together(bank.writer(lanes=1), asks)) == [1, 1, 1, LIMITED]
    assert [ask.standing for ask in asks[:2]] == [None, None]
    standings = [orjson.loads(ask.standing or "{}") for ask in asks[2:]]
    assert [standing.get("limit") for standing in standings] == [None, "rpm"]


async def test_a_request_longer_than_the_minute_takes_nothing_from_others(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, tpm=1000)
    writer = bank.writer()
    old, _ = await ask_limited(writer, customer, tokens=900)
    assert isinstance(old, Hold)
    await bank.fetch("UPDATE holds SET created_at = created_at - interval '90 s' WHERE id = $1", old.id)
    await bank.fetch(
        "UPDATE limits SET second = second - 90, since = since - interval '90 s' WHERE key_id = $1", customer.key_id
    )
    assert isinstance((await ask_limited(writer, customer, tokens=900))[0], Hold)
    await used(old, writer, 50, 50)
    assert (await ask_limited(writer, customer, tokens=900))[0] is LIMITED


async def test_a_keys_limit_doesnt_shorten_what_its_account_counts(bank: Bank) -> None:
    first = await bank.customer(10**6)
    second = await bank.key(first.account_id)
    for customer in (first, second):
        await limit(bank, customer, tpm=100)
    await limit(bank, first, own=True, tpm=1000)
    writer = bank.writer()
    assert isinstance((await ask_limited(writer, first, tokens=1000))[0], Hold)
    assert (await ask_limited(writer, second, tokens=1000))[0] is LIMITED


async def test_a_limit_gives_nothing_back_that_it_never_counted(bank: Bank) -> None:
    """Set on the account while a request is open that is counted for its key alone."""
    first = await bank.customer(10**6)
    second = await bank.key(first.account_id)
    await limit(bank, first, tpm=10**6)
    writer = bank.writer()
    before, _ = await ask_limited(writer, first, tokens=900)
    await limit(bank, first, own=True, tpm=1000)
    assert isinstance((await ask_limited(writer, second, tokens=900))[0], Hold)
    assert isinstance(before, Hold)
    await used(before, writer, 50, 50)
    reply, standing = await ask_limited(writer, second, tokens=800)
    assert reply is LIMITED
    assert standing["account"]["tokens_left"] == 100
    reply, standing = await ask_limited(writer, first, tokens=0)
    assert standing["key"]["tokens_left"] == 10**6 - 100  # the key's own count is corrected


async def test_what_is_free_passes_an_overspent_budget(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    writer = bank.writer()
    await settle(writer, settled(await hold(writer, customer, 400), 400))
    await limit(bank, customer, budget=300, budget_period="day")
    assert amounts([(await ask_limited(writer, customer, want=0))[0]]) == [0]
    assert (await ask_limited(writer, customer, want=1))[0] is LIMITED


@pytest.mark.parametrize("own", [False, True], ids=["key", "account"])
async def test_a_charge_above_its_hold_stays_within_the_budget(bank: Bank, own: bool) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, own=own, budget=1500, budget_period="day")
    writer = bank.writer()
    await settle(writer, settled(await hold(writer, customer, 1000, tokens=0), 5000))
    assert (await bank.account(customer)).charged == 1500
    (entry,) = await bank.entries(customer)
    assert (entry["charged"], entry["uncollected"]) == (1500, 3500)


async def test_requests_from_before_the_limit_count_as_open_within_their_batch(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, concurrency=2)
    asks = [make_ask(customer, 1, tokens=tokens) for tokens in (None, None, 0, 0)]
    assert amounts(await hold_together(bank.writer(lanes=1), asks)) == [1, 1, BUSY, BUSY]


async def test_a_clock_that_was_fast_blocks_nobody(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, rpm=1, rpd=1, budget=5, budget_period="day")
    writer = bank.writer()
    await settle(writer, settled(await hold(writer, customer, 5, tokens=0), 5))
    ahead = "second = second + 3600, day = day + 30, period_start = period_start + interval '30 days'"
    await bank.fetch(f"UPDATE limits SET {ahead} WHERE key_id = $1", customer.key_id)
    assert isinstance((await ask_limited(writer, customer, want=5))[0], Hold)


async def test_a_clock_that_steps_back_over_midnight_begins_nothing_twice(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, rpd=1, budget=5, budget_period="day")
    writer = bank.writer()
    await settle(writer, settled(await hold(writer, customer, 5, tokens=0), 5))
    tomorrow = "day = day + 1, period_start = period_start + interval '1 day'"
    await bank.fetch(f"UPDATE limits SET {tomorrow} WHERE key_id = $1", customer.key_id)
    assert (await ask_limited(writer, customer, want=1))[0] is LIMITED


async def test_a_cancelled_ask_that_cannot_be_written_is_forgotten(
    bank: Bank, caplog: pytest.LogCaptureFixture
) -> None:
    customer = await bank.customer(100)
    writer = bank.writer(lanes=1)
    async with bank.lock(customer):
        task = asyncio.create_task(writer.hold(make_ask(customer, 10, orphan_charge=50)))  # above its hold: refused
        await bank.waiting(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await writer.flush(5)
    assert writer.open == set()
    assert [record.getMessage() for record in caplog.records] == ["ledger_row_refused"]
    caplog.clear()


async def test_one_who_only_looks_is_told_what_stands_in_the_way(bank: Bank) -> None:
    """As do those who come while others wait; what costs nothing is granted nevertheless."""
    customer = await bank.customer(100)
    writer = bank.writer(lanes=1)
    await hold(writer, customer, 60)
    asks = [make_ask(customer, want, 0, patient=None) for want in (40, 10, 0, 1000)]
    assert amounts(await hold_together(writer, asks)) == [Refusal.HELD, Refusal.HELD, 0, Refusal.HELD]
    assert amounts(await hold_together(writer, [make_ask(customer, 200, 150, patient=None)])) == [Refusal.ACCOUNT_SHORT]
