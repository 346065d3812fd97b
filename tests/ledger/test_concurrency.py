"""Many at once, over several processes' worth of connections: nothing is oversold, lost or dead-locked."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from app.ledger.records import Hold, Refusal
from app.ledger.writer import MAX_BATCH, LedgerWriter
from tests.ledger.bank import Bank, Customer, counters, hold, make_ask, released, settled


async def test_a_hot_key_with_money_for_a_hundred_of_a_thousand(bank: Bank) -> None:
    customer = await bank.customer(700 + 6, quota=800)
    first, second = bank.writer(), bank.writer()
    replies = await asyncio.gather(
        *(writer.hold(make_ask(customer, 7)) for _ in range(500) for writer in (first, second))
    )
    granted = [reply for reply in replies if isinstance(reply, Hold)]
    assert {reply for reply in replies if not isinstance(reply, Hold)} == {Refusal.HELD}
    assert len(granted) == 100
    assert counters(await bank.account(customer)) == (706, 6, 700, 0)
    assert first.open | second.open == {held.id for held in granted}


async def test_a_hot_key_that_is_bounded_by_its_quota(bank: Bank) -> None:
    customer = await bank.customer(10**6, quota=705)
    writers = bank.writer(), bank.writer()
    replies = await asyncio.gather(*(writer.hold(make_ask(customer, 7)) for _ in range(200) for writer in writers))
    assert Counter(type(reply) if isinstance(reply, Hold) else reply for reply in replies) == {
        Hold: 100,
        Refusal.HELD: 300,
    }
    assert counters(await bank.key_wallet(customer)) == (705, 5, 700, 0)


async def spend(writer: LedgerWriter, customers: list[Customer], seed: int, calls: int) -> dict[int, int]:
    """One client: holds and settles in a row, whatever is granted; returns what each account was charged at most."""
    random = Random(seed)
    spent: Counter[int] = Counter()
    for _ in range(calls):
        customer = random.choice(customers)
        want = random.choice((10, 50, 400))
        reply = await writer.hold(make_ask(customer, want, random.choice((want, want // 4))))
        if isinstance(reply, Refusal):
            continue
        match random.randrange(5):
            case 0:
                writer.settle(released(reply))
            case 1:  # an overage, now and then a large one
                cost = reply.amount + random.choice((1, 1000))
                writer.settle(settled(reply, cost))
                spent[customer.account_id] += cost
            case _:
                cost = random.randrange(reply.amount + 1)
                writer.settle(settled(reply, cost))
                spent[customer.account_id] += cost
    return spent


async def test_two_processes_share_a_hundred_keys(own_bank: Bank) -> None:
    """The order of the locks, tried: statements that took them in another order would dead-lock in here."""
    customers: list[Customer] = []
    for number in range(20):
        first = await own_bank.customer(granted=2000 if number % 2 else 50_000)
        customers += [first, *[await own_bank.key(first.account_id, quota=700) for _ in range(4)]]
    writers = own_bank.writer(), own_bank.writer()
    totals = await asyncio.gather(*(spend(writers[seed % 2], customers, seed, calls=25) for seed in range(80)))
    for writer in writers:
        assert await writer.flush(10)
        assert writer.open == set()

    audit = await own_bank.audit()
    assert audit.ok, audit
    assert (audit.open_holds, audit.held_nano) == (0, 0)
    assert audit.charged_nano + audit.uncollected_nano == sum(sum(spent.values()) for spent in totals)
    assert audit.uncollected_nano > 0
    for number, customer in enumerate(customers[::5]):
        wallet = await own_bank.account(customer)
        assert wallet.granted == (2000 if number % 2 else 50_000)
        assert 0 < wallet.charged <= wallet.granted
    await assert_no_deadlock(own_bank)


async def assert_no_deadlock(bank: Bank) -> None:
    """A dead-lock costs a second even where the retry hides it; the server counts them."""
    await bank.close_writers()  # a backend reports what it counted when it ends
    ((count,),) = await bank.fetch("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert count == 0


async def test_a_deadlock_with_somebody_else_is_retried(bank: Bank) -> None:
    """An operator's own transaction may take the locks in any order; no caller hears of it."""
    low, high = await bank.customer(1000), await bank.customer(1000)
    writer = bank.writer(lanes=1)
    async with bank.lock(high) as connection:
        tasks = [asyncio.create_task(writer.hold(make_ask(customer, 100))) for customer in (low, high)]
        await bank.waiting(1)
        # Now it waits for the writer, and the writer for it: the server ends the one that finds out first.
        await connection.execute("SET deadlock_timeout = '1min'")
        await connection.execute("SELECT 1 FROM account_balances WHERE account_id = $1 FOR UPDATE", low.account_id)
    assert [type(reply) for reply in await asyncio.gather(*tasks)] == [Hold, Hold]


@pytest.mark.parametrize("count", [1, 600])
async def test_what_becomes_ready_in_one_turn_shares_statements(bank: Bank, count: int) -> None:
    customer = await bank.customer(10**6)
    writer = bank.writer(lanes=1)
    await hold(writer, customer, 0)
    await asyncio.gather(*(hold(writer, customer, 1) for _ in range(count)))
    query = "SELECT count(DISTINCT created_at) FROM holds WHERE account_id = $1 AND amount = 1"
    ((transactions,),) = await bank.fetch(query, customer.account_id)
    assert transactions == -(-count // MAX_BATCH)
