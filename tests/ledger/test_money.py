"""What somebody would try to get more out of an account than was put in, or to be charged for more than was used."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import pytest

from app.accounts.store import update_account
from app.catalog.prices import read_price
from app.core.usage import Usage, read_count, read_milliseconds
from app.ledger.limits import set_limits
from app.ledger.records import Hold, Refusal, Settlement, Status
from app.ledger.sweep import _resolve, resolve_orphans
from app.ledger.writer import LedgerWriter
from tests.ledger.bank import (
    PATIENCE,
    Bank,
    Customer,
    counters,
    hold,
    hold_together,
    make_ask,
    released,
    settle,
    settled,
)

GRANTED = 1000
Attack = Callable[[Bank, Customer], Awaitable[Sequence[int]]]
"""What is tried with a customer of so much money, and a key with a quota of as much; what its entries must be charged."""


async def replay_from_four_processes(bank: Bank, customer: Customer) -> Sequence[int]:
    writers = [bank.writer() for _ in range(4)]
    held, other = await hold(writers[0], customer, 300), await hold(writers[0], customer, 100)
    for _ in range(25):
        for writer in writers:
            writer.settle(settled(held, 120))
        await asyncio.sleep(0)
    for writer in writers:
        assert await writer.flush(PATIENCE)
    await settle(writers[0], settled(other, 50))
    return [120, 50]


async def replay_at_other_prices(bank: Bank, customer: Customer) -> Sequence[int]:
    writer = bank.writer(lanes=1)
    held = await hold(writer, customer, 300)
    await settle(writer, settled(held, 120, model="m"))
    await settle(writer, *(settled(held, charge, model="dear", group_ppm=10**9) for charge in range(100)))
    await settle(writer, released(held), settled(held, 2**63 - 1))
    return [120]


async def replay_of_an_orphan(bank: Bank, customer: Customer) -> Sequence[int]:
    """By the process that was taken for dead."""
    writer = bank.writer()
    held = await hold(writer, customer, 300, orphan_charge=70)
    assert await resolve_orphans(bank.engine, writer.owner) == 1
    await settle(writer, *(settled(held, 120) for _ in range(100)))
    return [70]


async def settling_what_was_never_held(bank: Bank, customer: Customer) -> Sequence[int]:
    writer = bank.writer()
    held = await hold(writer, customer, 300)
    forged = [Hold(held.id, 2**40, 300), Hold(make_ask(customer, 1).id, customer.account_id, 300)]
    await settle(writer, *(settled(item, 300) for item in forged), settled(held, 10))
    return [10]


async def refused(bank: Bank, customer: Customer, *, charge: object = 0, usage: Usage | None = None) -> Sequence[int]:
    """A settlement that can't be written: its hold is given back later, and those beside it are as they should be."""
    writer = bank.writer(lanes=1)
    bad, good = await hold(writer, customer, 300), await hold(writer, customer, 100)
    settlement = Settlement(bad, Status.SETTLED, charge, usage=usage)  # type: ignore[arg-type]
    await settle(writer, settlement, settled(good, 40))
    assert set(await bank.holds(customer)) == {bad.id}
    assert bad.id not in writer.open
    assert await _resolve(bank.engine, writer.owner, age=0, known=writer.open, status="released", error="stray") == 1
    return [0, 40]


async def priced(bank: Bank, customer: Customer, *, usage: Usage) -> Sequence[int]:
    """At a dollar a million tokens: less than nothing is no charge that could be written."""
    charge = read_price({"input_mtok": "1", "output_mtok": "1"}).cost(usage)
    return await refused(bank, customer, charge=charge, usage=usage)


async def beyond_all_there_is(bank: Bank, customer: Customer, *, charge: int) -> Sequence[int]:
    writer = bank.writer()
    await settle(writer, settled(await hold(writer, customer, 100), charge))
    (entry,) = await bank.entries(customer)
    assert entry["uncollected"] == charge - GRANTED
    return [GRANTED]


async def usage_beyond_the_limits_counters(bank: Bank, customer: Customer) -> Sequence[int]:
    async with bank.engine.begin() as connection:
        await set_limits(connection, customer.account_id, {"tpm": 1000}, key_id=customer.key_id)
    writer = bank.writer(lanes=1)
    held = await hold(writer, customer, 100, tokens=10)
    huge = Usage(input_tokens=2**63 - 1, output_tokens=2**63 - 1)
    await settle(writer, Settlement(held, Status.SETTLED, 50, usage=huge))
    assert set(await bank.holds(customer)) == {held.id}, "refused: the stray sweep gives it back"
    await settle(writer, released(held))
    return [0]


async def a_crowd_on_a_nearly_empty_key(bank: Bank, customer: Customer) -> Sequence[int]:
    """A thousand at once over two processes, for a hundred of whom there is money."""
    writers = bank.writer(), bank.writer()
    halves = await asyncio.gather(
        *(hold_together(writer, [make_ask(customer, 10) for _ in range(500)]) for writer in writers)
    )
    for writer, replies in zip(writers, halves, strict=True):
        assert all(isinstance(reply, Hold) or reply is Refusal.HELD for reply in replies)
        await settle(writer, *(settled(reply, 10) for reply in replies if isinstance(reply, Hold)))
    return [10] * 100


async def edits_under_load(bank: Bank, customer: Customer) -> Sequence[int]:
    """An operator changes all that can be changed while requests are held and settled."""
    writers = bank.writer(), bank.writer()

    async def call(writer: LedgerWriter) -> None:
        for _ in range(20):
            await settle(writer, settled(await hold(writer, customer, 5), 3))

    async def edit() -> None:
        for number in range(20):
            async with bank.engine.begin() as connection:
                values = {"name": f"renamed {number}", "price_ratio": number}
                await update_account(connection, customer.account_id, values)
            await bank.grant(customer, 10)
            await bank.set_quota(customer, GRANTED + number)
            await bank.grant(customer, -10)
        await bank.set_quota(customer, GRANTED)

    await asyncio.gather(*(call(writer) for writer in writers), edit())
    return [3] * 40


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(replay_from_four_processes, id="replay a settle 100 times from 4 processes"),
        pytest.param(replay_at_other_prices, id="replay a settle 100 times with other amounts"),
        pytest.param(replay_of_an_orphan, id="replay a settle 100 times after the sweep"),
        pytest.param(settling_what_was_never_held, id="settle what was never held"),
        pytest.param(partial(priced, usage=Usage(input_tokens=-5)), id="negative usage"),
        pytest.param(partial(refused, charge=-1), id="negative charge"),
        pytest.param(partial(refused, charge=float("nan")), id="NaN charge"),
        pytest.param(partial(refused, charge=float("inf")), id="infinite charge"),
        pytest.param(partial(refused, charge=2**63), id="overflow charge"),
        pytest.param(partial(refused, usage=Usage(2**64)), id="overflow usage"),
        pytest.param(usage_beyond_the_limits_counters, id="overflow usage under limits"),
        pytest.param(partial(beyond_all_there_is, charge=2**63 - 1), id="a charge beyond all there is"),
        pytest.param(a_crowd_on_a_nearly_empty_key, id="1000 concurrent requests on a near-empty key"),
        pytest.param(edits_under_load, id="edit the account during load"),
    ],
)
async def test_money(bank: Bank, attack: Attack, caplog: pytest.LogCaptureFixture) -> None:
    """Never more than was granted, to the nano-dollar; one entry for each hold; counters that are the entries' sum."""
    customer = await bank.customer(GRANTED, quota=GRANTED)
    charges = await attack(bank, customer)
    caplog.clear()  # rows that are refused are logged
    await bank.close_writers()
    entries = await bank.entries(customer)
    assert sorted(entry["charged"] for entry in entries) == sorted(charges)
    assert len({entry["id"] for entry in entries}) == len(entries)
    assert await bank.holds(customer) == {}
    charged = sum(charges)
    assert charged <= GRANTED
    assert counters(await bank.account(customer)) == (GRANTED, GRANTED - charged, 0, charged)
    assert counters(await bank.key_wallet(customer)) == (GRANTED, GRANTED - charged, 0, charged)


@pytest.mark.parametrize(
    "count",
    [
        "-1",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "9223372036854775808",
        "1e15",
        "20000001",
        "5.0",
        '"5"',
        "true",
        "null",
        "[5]",
    ],
)
def test_money_of_a_report(count: str) -> None:
    """A count that can't be is none: the request is charged by an estimate, as without a report."""
    report = json.loads(f'{{"tokens": {count}}}')
    assert read_count(report, "tokens") is None
    if count not in ("5.0", "20000001"):
        assert read_milliseconds(report, "tokens") is None
