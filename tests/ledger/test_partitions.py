"""Months of entries come and go beside the traffic, and not a nano-dollar with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from app.core.ids import new_id
from app.ledger.entries import first_id
from app.ledger.partitions import AHEAD, Month, Tended, tend_partitions
from app.ledger.records import Hold
from app.webhooks.outbox import prune
from tests.gateway import Gateway
from tests.ledger.bank import Bank, Customer, eventually, hold, settle, settled


@pytest.fixture
def month() -> Month:
    """This one."""
    now = datetime.now(UTC)
    return Month(now.year, now.month)


def _id_in(month: Month) -> UUID:
    """An id of the middle of a month."""
    return UUID(int=new_id().int % 2**80 | first_id(datetime(month.year, month.number, 15, tzinfo=UTC)).int)


async def _months(bank: Bank) -> list[str]:
    rows = await bank.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'entries'::regclass"
    )
    return sorted(row["name"] for row in rows)


async def _where(bank: Bank) -> dict[str, int]:
    """How many entries each partition has."""
    rows = await bank.fetch("SELECT tableoid::regclass::text AS name, count(*) AS n FROM entries GROUP BY 1")
    return {row["name"]: row["n"] for row in rows}


async def _shape(bank: Bank, month: Month) -> set[str]:
    """A partition's indexes and constraints, without its name."""
    indexes = await bank.fetch("SELECT indexdef AS line FROM pg_indexes WHERE tablename = $1", month.partition)
    checks = await bank.fetch(
        "SELECT conname || pg_get_constraintdef(oid) AS line FROM pg_constraint WHERE conrelid = $1::text::regclass",
        month.partition,
    )
    return {row["line"].replace(month.partition, "") for row in (*indexes, *checks)}


async def _totals(bank: Bank, customer: Customer) -> tuple[int, int]:
    """Entries and nano-dollars of a key in the months that were dropped."""
    query = "SELECT entries, charged FROM entry_totals WHERE account_id = $1 AND key_id = $2"
    rows = await bank.fetch(query, customer.account_id, customer.key_id)
    return (rows[0]["entries"], rows[0]["charged"]) if rows else (0, 0)


async def _age(bank: Bank, customer: Customer, months: Month, count: int) -> None:
    """Makes the customer's newest `count` entries as old as that month."""
    moment = datetime(months.year, months.number, 15, tzinfo=UTC)
    newest = await bank.fetch(
        "SELECT id FROM entries WHERE account_id = $1 AND created_at > now() - interval '1 hour' ORDER BY id LIMIT $2",
        customer.account_id,
        count,
    )
    assert len(newest) == count
    for row in newest:
        query = "UPDATE entries SET id = $3, created_at = $4 WHERE account_id = $1 AND id = $2"
        await bank.fetch(query, customer.account_id, row["id"], _id_in(months), moment)


async def _without(bank: Bank, *months: Month) -> None:
    for month in months:
        await bank.fetch(f"DROP TABLE {month.partition}")


async def _busy_past(bank: Bank, month: Month, months: int) -> Customer:
    """A customer with an entry of 100 in each of the past months, and one in this."""
    await bank.fetch(f"SELECT make_entry_partitions(now() - interval '{months} months', {months})")
    customer = await bank.customer(10_000, quota=8000)
    writer = bank.writer()
    for back in range(1, months + 1):
        await settle(writer, settled(await hold(writer, customer, 100), 100))
        await _age(bank, customer, month.plus(-back), 1)
    await settle(writer, settled(await hold(writer, customer, 100), 100))
    return customer


@pytest.mark.long
def test_a_worker_does_all_of_it_at_its_start(start_gateway: Callable[..., Gateway], month: Month) -> None:
    first = start_gateway()
    assert first.stop() == 0
    ahead, old = month.plus(AHEAD), month.plus(-9)

    async def run(query: str) -> list[str]:
        connection = await asyncpg.connect(first.database_url)
        rows = await connection.fetch(query)
        await connection.close()
        return [str(row[0]) for row in rows]

    asyncio.run(run(f"DROP TABLE {ahead.partition}"))
    asyncio.run(run("SELECT make_entry_partitions(now() - interval '9 months', 1)"))
    second = start_gateway(first.database_url, RELAYGATE_RETENTION_MONTHS="6")

    async def done() -> bool:
        return "partition_made" in second.log and "partition_dropped" in second.log

    asyncio.run(eventually(done))
    names = asyncio.run(run("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'entries'::regclass"))
    assert ahead.partition in names
    assert old.partition not in names


@pytest.mark.parametrize(
    ("month", "plus", "expected"),
    [
        (Month(2030, 1), 0, Month(2030, 1)),
        (Month(2030, 1), 11, Month(2030, 12)),
        (Month(2030, 1), 12, Month(2031, 1)),
        (Month(2030, 1), -1, Month(2029, 12)),
        (Month(2030, 12), -24, Month(2028, 12)),
    ],
)
def test_months(month: Month, plus: int, expected: Month) -> None:
    assert month.plus(plus) == expected
    assert expected.plus(-plus) == month


async def test_months_are_made_ahead(own_bank: Bank, month: Month) -> None:
    last = month.plus(AHEAD)
    await _without(own_bank, month.plus(1), last)
    assert await tend_partitions(own_bank.engine, None) == Tended(made=(month.plus(1), last))
    made = await _months(own_bank)
    assert {month.plus(ahead).partition for ahead in range(AHEAD + 1)} <= set(made)
    assert await tend_partitions(own_bank.engine, None) == Tended()
    assert await _months(own_bank) == made
    # One made here is the same as one that the migration made: constraints, indexes and all.
    assert await _shape(own_bank, last) == await _shape(own_bank, month)


async def test_without_a_month_nothing_fails_and_nothing_is_lost(own_bank: Bank, month: Month) -> None:
    await _without(own_bank, month)
    customer = await own_bank.customer(1000)
    writer = own_bank.writer()
    await settle(writer, *[settled(await hold(writer, customer, 10), 10) for _ in range(3)])
    # A clock that is centuries off, and one that is a few months behind.
    far, behind = Month(2700, 1), month.plus(-5)
    for odd in (far, behind):
        await settle(writer, settled(await hold(writer, customer, 10, id=_id_in(odd)), 10))
    assert await _where(own_bank) == {"entries_default": 5}
    assert await tend_partitions(own_bank.engine, None) == Tended(made=(behind, month), moved=4)
    assert await _where(own_bank) == {"entries_default": 1, month.partition: 3, behind.partition: 1}
    await settle(writer, settled(await hold(writer, customer, 10), 10))
    assert (await _where(own_bank))[month.partition] == 4
    assert (await own_bank.audit()).ok


async def test_a_month_is_moved_beside_the_traffic(own_bank: Bank, month: Month) -> None:
    await _without(own_bank, month)
    customers = [await own_bank.customer(100_000) for _ in range(4)]
    writer = own_bank.writer()
    done = asyncio.Event()

    async def spend(customer: Customer) -> int:
        count = 0
        while not done.is_set() or count < 50:
            await settle(writer, settled(await hold(writer, customer, 7), 9))  # above its hold: an entry is updated too
            count += 1
        return count

    spending = [asyncio.create_task(spend(customer)) for customer in customers]

    async def some() -> bool:
        return (await _where(own_bank)).get("entries_default", 0) > 40

    await eventually(some)
    moved = 0
    while not moved:
        tended = await asyncio.gather(*[tend_partitions(own_bank.engine, None) for _ in range(3)])
        moved = sum(one.moved for one in tended)
    assert sum(one.made == (month,) for one in tended) == 1
    done.set()
    spent = [await task for task in spending]
    where = await _where(own_bank)
    assert set(where) == {month.partition}
    assert where[month.partition] == sum(spent) > moved >= 40
    for customer, count in zip(customers, spent, strict=True):
        assert (await own_bank.account(customer)).charged == 9 * count
    assert (await own_bank.audit()).ok


async def test_a_reader_puts_it_off_and_settlements_go_on(own_bank: Bank, month: Month) -> None:
    await _without(own_bank, month)
    customer = await own_bank.customer(1000)
    writer = own_bank.writer()
    reader = await asyncpg.connect(own_bank.url)
    async with reader.transaction():
        await reader.fetch("SELECT count(*) FROM entries")
        assert await tend_partitions(own_bank.engine, None) == Tended()
        await settle(writer, settled(await hold(writer, customer, 10), 10))
    await reader.close()
    assert await tend_partitions(own_bank.engine, None) == Tended(made=(month,), moved=1)


async def test_old_months_go_and_the_books_stay_right(own_bank: Bank, month: Month) -> None:
    customer = await _busy_past(own_bank, month, 6)
    assert (await own_bank.audit()).charged_nano == 700
    assert await tend_partitions(own_bank.engine, None) == Tended()
    assert (await tend_partitions(own_bank.engine, 4)).dropped == (month.plus(-6), month.plus(-5))
    assert await _totals(own_bank, customer) == (2, 200)
    kept = {month.plus(-back).partition: 1 for back in range(5)}
    assert await _where(own_bank) == kept
    found = await own_bank.audit()
    assert (found.ok, found.entries, found.charged_nano) == (True, 7, 700)
    # Another month later the sums are added to; never is this month dropped, nor the one that ended just now.
    assert (await tend_partitions(own_bank.engine, 1)).dropped == (month.plus(-4), month.plus(-3), month.plus(-2))
    assert await _totals(own_bank, customer) == (5, 500)
    assert await tend_partitions(own_bank.engine, 1) == Tended()
    assert await _where(own_bank) == {month.partition: 1, month.plus(-1).partition: 1}
    found = await own_bank.audit()
    assert (found.ok, found.entries, found.charged_nano) == (True, 7, 700)


async def test_the_audit_finds_what_was_changed_in_the_totals(own_bank: Bank, month: Month) -> None:
    customer = await _busy_past(own_bank, month, 3)
    await tend_partitions(own_bank.engine, 1)
    await own_bank.fetch("UPDATE entry_totals SET charged = charged + 5")
    found = await own_bank.audit()
    assert (found.ok, found.drift_nano) == (False, 10)  # the account's and the key's
    assert {drift["account_id"] for drift in found.drifts} == {customer.account_id}


async def test_entries_of_the_default_partition_grow_old_too(own_bank: Bank, month: Month) -> None:
    customer = await own_bank.customer(1000)
    writer = own_bank.writer()
    for _ in range(2):
        await settle(writer, settled(await hold(writer, customer, 10, id=_id_in(Month(2700, 1))), 10))
    old = datetime(month.plus(-3).year, month.plus(-3).number, 28, tzinfo=UTC)
    await own_bank.fetch("UPDATE entries SET created_at = $1 WHERE id = (SELECT min(id::text)::uuid FROM entries)", old)
    await tend_partitions(own_bank.engine, 2)
    assert await _where(own_bank) == {"entries_default": 1}
    assert await _totals(own_bank, customer) == (1, 10)
    assert (await own_bank.audit()).ok


async def test_a_month_with_an_open_hold_stays(own_bank: Bank, month: Month) -> None:
    customer = await _busy_past(own_bank, month, 3)
    writer = own_bank.writer()
    late = await hold(writer, customer, 50, id=_id_in(month.plus(-3)))
    assert (await tend_partitions(own_bank.engine, 1)).dropped == (month.plus(-2),)
    await settle(writer, settled(late, 50))
    # What came in just now has to lie for a day: who wrote it may write more.
    assert (await tend_partitions(own_bank.engine, 1)).dropped == ()
    assert await _totals(own_bank, customer) == (1, 100)
    await own_bank.fetch("UPDATE entries SET created_at = created_at - interval '2 days' WHERE charged = 50")
    assert (await tend_partitions(own_bank.engine, 1)).dropped == (month.plus(-3),)
    assert await _totals(own_bank, customer) == (3, 250)
    assert (await own_bank.audit()).ok


async def test_what_comes_in_between_the_sums_and_the_drop_isnt_lost(own_bank: Bank, month: Month) -> None:
    customer = await _busy_past(own_bank, month, 2)
    writer = own_bank.writer()
    reader = await asyncpg.connect(own_bank.url)
    async with reader.transaction():
        await reader.fetch("SELECT count(*) FROM entries")
        tending = asyncio.create_task(tend_partitions(own_bank.engine, 1))
        await eventually(lambda: _wants_everything(own_bank))
        late: Hold = await hold(writer, customer, 30, id=_id_in(month.plus(-2)))
        await settle(writer, settled(late, 30))
    await reader.close()
    assert (await tending).dropped == ()
    assert (await _where(own_bank))[month.plus(-2).partition] == 2
    assert await _totals(own_bank, customer) == (0, 0)
    assert (await own_bank.audit()).ok


async def _wants_everything(bank: Bank) -> bool:
    """Whether somebody waits to have all entries to itself."""
    query = (
        "SELECT 1 FROM pg_locks WHERE relation = 'entries'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted"
    )
    return bool(await bank.fetch(query))


async def test_audits_are_right_while_months_are_dropped(own_bank: Bank, month: Month) -> None:
    await _busy_past(own_bank, month, 8)
    customer = await own_bank.customer(10**6)
    writer = own_bank.writer()
    done = asyncio.Event()

    audits = 0

    async def watch() -> None:
        nonlocal audits
        while not done.is_set():
            found = await own_bank.audit()
            assert found.ok, found
            audits += 1

    async def spend() -> None:
        while not done.is_set():
            await settle(writer, settled(await hold(writer, customer, 7), 9))

    tasks = [asyncio.create_task(watch()), asyncio.create_task(watch()), asyncio.create_task(spend())]
    try:
        dropped: list[Month] = []
        while len(dropped) < 6:
            dropped += (await tend_partitions(own_bank.engine, 2)).dropped
    finally:
        done.set()
    await asyncio.gather(*tasks)
    assert audits > 0
    assert dropped == [month.plus(-back) for back in range(8, 2, -1)]


async def test_finished_deliveries_are_forgotten_in_the_end(own_bank: Bank) -> None:
    """With their attempts; what is still to be delivered stays however old it is."""
    make = (
        "INSERT INTO deliveries (account_id, topic, body, state, finished_at) "
        "SELECT 1, 't', '{}', state, now() - age::interval FROM (VALUES ('delivered', '91 days'), ('failed', '91 days'),"
        " ('delivered', '89 days'), ('pending', NULL)) AS v(state, age) RETURNING id"
    )
    made = [row["id"] for row in await own_bank.fetch(make)]
    note = "INSERT INTO delivery_attempts SELECT 1, unnest($1::bigint[]), 1, now(), 5"
    await own_bank.fetch(note, made)
    async with own_bank.engine.begin() as connection:
        await prune(connection)
    assert [row["id"] for row in await own_bank.fetch("SELECT id FROM deliveries ORDER BY id")] == made[2:]
    query = "SELECT delivery_id FROM delivery_attempts ORDER BY delivery_id"
    assert [row["delivery_id"] for row in await own_bank.fetch(query)] == made[2:]
