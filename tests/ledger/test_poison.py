"""One row that the database refuses doesn't take its batch along, and a row isn't blamed for the database's troubles."""

from __future__ import annotations

import asyncio

import pytest

from app.core.usage import Usage
from app.errors import GatewayError
from app.ledger.records import Ask, Settlement, Status
from tests.ledger.bank import Bank, amounts, counters, hold, hold_together, make_ask, released, settle, settled


def spoil(ask: Ask, fault: str) -> Ask:
    """Makes the ask one that can't be written."""
    match fault:
        case "nul":
            ask.model = "m\0"
        case "surrogate":
            ask.model = "m\ud800"
        case "overflow":
            ask.want = ask.minimum = 2**63
        case "int4":
            ask.input_tokens = 2**31
        case "check":
            ask.orphan_charge = ask.want + 1
        case "type":
            ask.price_id = "seven"  # type: ignore[assignment]
    return ask


@pytest.mark.parametrize("fault", ["nul", "surrogate", "overflow", "int4", "check", "type"])
async def test_a_poisoned_ask_fails_alone(bank: Bank, fault: str) -> None:
    customer = await bank.customer(1000)
    writer = bank.writer(lanes=1)
    held = await hold(writer, customer, 100)
    writer.settle(settled(held, 30))
    asks = [make_ask(customer, 100), spoil(make_ask(customer, 100), fault), make_ask(customer, 100)]
    replies = await asyncio.gather(*(writer.hold(ask) for ask in asks), return_exceptions=True)
    poisoned = replies.pop(1)
    assert isinstance(poisoned, GatewayError)
    assert poisoned.code == "service_unavailable"
    assert amounts(replies) == [100, 100]  # type: ignore[arg-type]
    assert await writer.flush(10)
    assert writer.open == {asks[0].id, asks[2].id}
    assert counters(await bank.account(customer)) == (1000, 770, 200, 30)


@pytest.mark.parametrize("error", ["up\0stream", "up\ud800stream"])
async def test_what_an_upstream_calls_its_error_never_spoils_a_settlement(bank: Bank, error: str) -> None:
    customer = await bank.customer(1000)
    writer = bank.writer()
    held = await hold(writer, customer, 100)
    await settle(writer, settled(held, 40, error=error))
    (entry,) = await bank.entries(customer)
    assert (entry["charged"], entry["error"]) == (40, "up?stream")


@pytest.mark.parametrize("fault", ["cost", "negative", "latency", "usage"])
async def test_a_poisoned_settlement_fails_alone(bank: Bank, fault: str) -> None:
    customer = await bank.customer(1000)
    writer = bank.writer(lanes=1)
    first, spoiled, last = [await hold(writer, customer, 100) for _ in range(3)]
    poison = {
        "cost": Settlement(spoiled, Status.SETTLED, 2**63),
        "negative": Settlement(spoiled, Status.SETTLED, -1),
        "latency": Settlement(spoiled, Status.SETTLED, 1, latency_ms=2**31),
        "usage": Settlement(spoiled, Status.SETTLED, 1, usage=Usage(input_tokens=2**64)),
    }[fault]
    writer.settle(settled(first, 10))
    writer.settle(poison)
    writer.settle(settled(last, 20))
    replies = await hold_together(writer, [make_ask(customer, 700)])
    assert amounts(replies) == [700]
    assert await writer.flush(10)
    assert [entry["charged"] for entry in await bank.entries(customer)] == [10, 20]
    assert spoiled.id not in writer.open, "the stray sweep gives it back"
    await settle(writer, released(spoiled))


@pytest.mark.parametrize(
    ("trouble", "cure"),
    [
        # as after a failover to a standby
        ("ALTER DATABASE {} SET default_transaction_read_only = on", "ALTER DATABASE {} RESET ALL"),
        ("ALTER DATABASE {} SET lock_timeout = '20ms'", "ALTER DATABASE {} RESET ALL"),
        ("ALTER DATABASE {} SET statement_timeout = '20ms'", "ALTER DATABASE {} RESET ALL"),
        # as in the middle of a botched migration
        ("ALTER FUNCTION ledger_batch RENAME TO gone", "ALTER FUNCTION gone RENAME TO ledger_batch"),
    ],
)
async def test_settlements_outlast_a_database_in_trouble(own_bank: Bank, trouble: str, cure: str) -> None:
    """What is wrong with the server isn't wrong with the row: no settlement is given up for it."""
    customer = await own_bank.customer(1000)
    before = own_bank.writer(lanes=1)
    # A setting of the database counts for new connections, a function that is gone for old ones too.
    writer = own_bank.writer(lanes=1) if "DATABASE" in trouble else before
    holds = [await hold(before, customer, 100) for _ in range(3)]
    async with own_bank.lock(customer) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await own_bank.fetch(trouble.format(name))
        for held in holds:
            writer.settle(settled(held, 10))
        with pytest.raises(GatewayError, match="service_unavailable"):
            await writer.hold(make_ask(customer, 100))
        assert not await writer.flush(0.1)
        await own_bank.fetch(cure.format(name))
    assert await writer.flush(10)
    entries = await own_bank.entries(customer)
    assert [(entry["id"], entry["charged"]) for entry in entries] == [(held.id, 10) for held in holds]
    assert counters(await own_bank.account(customer)) == (1000, 970, 0, 30)
    assert (await own_bank.audit()).ok


async def test_a_bug_leaves_nobody_waiting(bank: Bank) -> None:
    customer = await bank.customer(1000)
    writer = bank.writer(lanes=1)
    held = await hold(writer, customer, 100)
    writer.settle(Settlement(held, Status.SETTLED, usage="three"))  # type: ignore[arg-type]
    with pytest.raises(GatewayError, match="service_unavailable"):
        await writer.hold(make_ask(customer, 100))
    assert writer.open == set(), "the stray sweep gives it back"
    await settle(writer, released(held))
    assert counters(await bank.account(customer)) == (1000, 1000, 0, 0)
