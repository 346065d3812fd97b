"""Review: faults in limits, alerts and standings."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from app.core.usage import Usage
from app.ledger.records import Hold, Refusal, Settlement, Status
from tests.ledger.bank import Bank, amounts, hold, hold_together, make_ask, settle, settled
from tests.ledger.test_limits import LIMITED, ask_limited, limit, used


async def test_standing_of_a_limited_ask_behind_an_unlimited_one(bank: Bank) -> None:
    free = await bank.customer(10**6)
    tight = await bank.customer(10**6)
    await limit(bank, tight, rpm=1)
    writer = bank.writer(lanes=1)
    asks = [make_ask(free, 1), make_ask(free, 1), make_ask(tight, 1, tokens=0), make_ask(tight, 1, tokens=0)]
    assert amounts(await hold_together(writer, asks)) == [1, 1, 1, LIMITED]
    print([a.standing for a in asks])
    assert asks[0].standing is None
    assert asks[3].standing is not None
    assert orjson.loads(asks[3].standing)["limit"] == "rpm"


async def test_long_request_does_not_give_back_others_tokens(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, tpm=1000)
    writer = bank.writer()
    old, _ = await ask_limited(writer, customer, tokens=900)
    assert isinstance(old, Hold)
    # 90 seconds pass
    await bank.fetch("UPDATE holds SET created_at = created_at - interval '90 s' WHERE id = $1", old.id)
    await bank.fetch("UPDATE limits SET second = second - 90 WHERE key_id = $1", customer.key_id)
    new, standing = await ask_limited(writer, customer, tokens=900)
    assert isinstance(new, Hold)
    assert standing["key"]["tokens_left"] == 100
    await used(old, writer, 50, 50)
    reply, standing = await ask_limited(writer, customer, tokens=900)
    assert reply is LIMITED, standing


async def test_unlimited_in_the_batch_then_limited_concurrency(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, concurrency=2)
    writer = bank.writer(lanes=1)
    asks = [
        make_ask(customer, 1),
        make_ask(customer, 1),
        make_ask(customer, 1, tokens=0),
        make_ask(customer, 1, tokens=0),
    ]
    got = amounts(await hold_together(writer, asks))
    assert got == [1, 1, LIMITED, LIMITED]


async def test_account_tpm_counts_what_the_key_clamps(bank: Bank) -> None:
    first = await bank.customer(10**6)
    second = await bank.key(first.account_id)
    for c in (first, second):
        await limit(bank, c, tpm=100)
    await limit(bank, first, own=True, tpm=1000)
    writer = bank.writer()
    a, _ = await ask_limited(writer, first, tokens=1000)
    b, standing = await ask_limited(writer, second, tokens=1000)
    assert isinstance(a, Hold)
    assert b is LIMITED, standing


async def test_budget_with_overage(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, budget=1000, budget_period="day")
    writer = bank.writer()
    held = await hold(writer, customer, 1000, tokens=0)
    await settle(writer, settled(held, 5000))
    assert (await bank.account(customer)).charged == 1000


async def test_one_charge_one_alert(bank: Bank) -> None:
    customer = await bank.customer(120)
    await bank.fetch(
        "INSERT INTO webhooks (account_id, url, secret, thresholds) VALUES ($1, 'https://x', 'x', '{100,50}')",
        customer.account_id,
    )
    await bank.fetch("UPDATE account_balances SET alert_below = 100 WHERE account_id = $1", customer.account_id)
    writer = bank.writer()
    held = await hold(writer, customer, 40)
    await settle(writer, settled(held, 80))
    rows = await bank.fetch("SELECT body FROM deliveries WHERE account_id = $1", customer.account_id)
    assert len(rows) == 1, rows


async def test_int4(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, tpm=10**12)
    writer = bank.writer()
    ask = make_ask(customer, 1, tokens=2**31 + 5)
    print(await asyncio.gather(writer.hold(ask), return_exceptions=True))


async def test_clock_back_refuses_long(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, rpm=1)
    writer = bank.writer()
    await hold(writer, customer, 1, tokens=0)
    await bank.fetch("UPDATE limits SET second = second + 3600 WHERE key_id = $1", customer.key_id)
    reply, standing = await ask_limited(writer, customer)
    print(reply, standing)
    assert standing["wait"] <= 61


async def test_retried_settlement_counts_once(bank: Bank) -> None:
    """The same settlement twice in one batch."""
    customer = await bank.customer(10**6)
    await limit(bank, customer, tpm=1000)
    writer = bank.writer()
    held, _ = await ask_limited(writer, customer, tokens=100)
    other, _ = await ask_limited(writer, customer, tokens=500)
    assert isinstance(held, Hold)
    s = Settlement(held, Status.SETTLED, 1, usage=Usage(10, 0))
    await settle(writer, s, s)
    _, standing = await ask_limited(writer, customer, tokens=0)
    assert standing["key"]["tokens_left"] == 1000 - 510
