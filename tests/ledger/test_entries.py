"""Entries read back: pages over all accounts in order, and only the months and index ranges that can hold the answer."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.dialects import postgresql

from app.core.ids import new_id
from app.db.tables.ledger import entries
from app.ledger.entries import Filter, Group, conditions, first_id, list_entries, sum_entries
from app.ledger.partitions import Month
from tests.ledger.bank import Bank, Customer, hold, settle, settled

MANY = """
INSERT INTO entries (account_id, id, key_id, request_id, created_at, model, format, status, held, charged, usage, price_id,
    ratio_ppm, group_ppm, estimated, stream, attempts)
SELECT 1 + i % 40, (left(first_id(moment)::text, 24) || lpad(to_hex(i), 12, '0'))::uuid, 1 + i % 200, gen_random_uuid(),
    moment, 'm', 'openai_chat', 'settled', 10, 10, '{}', NULL, 1000000, 1000000, false, true, 1
FROM (SELECT i, now() - i * interval '2 minutes' AS moment FROM generate_series(1, 60000) AS i) AS times
"""


async def _entry(bank: Bank, customer: Customer, moment: datetime) -> UUID:
    """An entry whose id is of that moment."""
    id = UUID(int=new_id().int % 2**80 | first_id(moment).int)
    writer = bank.writer()
    await settle(writer, settled(await hold(writer, customer, 10, id=id), 10))
    return id


async def test_pages_over_all_accounts_reach_as_far_as_they_must(own_bank: Bank) -> None:
    customers = [await own_bank.customer(10_000) for _ in range(3)]
    now = datetime.now(UTC)
    ages = [timedelta(hours=hours) for hours in (-30 * 24, 0, 0, 0.9, 1.1, 23, 25, 30 * 24, 32 * 24, 400 * 24)]
    made = [await _entry(own_bank, customers[i % 3], now - age) for i, age in enumerate(ages)]
    expected = sorted(made, reverse=True)
    for limit in (1, 2, 3, 7, 50):
        seen: list[UUID] = []
        async with own_bank.engine.connect() as connection:
            while True:
                before = seen[-1] if seen else None
                page = await list_entries(connection, Filter(), before=before, limit=limit)
                seen += [entry.id for entry in page]
                if len(page) < limit:
                    break
        assert seen == expected, limit


@pytest.mark.parametrize("before", [UUID(int=0), UUID(int=1 << 80), UUID(int=2**128 - 1)])
async def test_any_id_may_be_a_cursor(own_bank: Bank, before: UUID) -> None:
    made = await _entry(own_bank, await own_bank.customer(100), datetime.now(UTC))
    async with own_bank.engine.connect() as connection:
        page = await list_entries(connection, Filter(), before=before, limit=5)
        assert [entry.id for entry in page] == ([made] if before > made else [])
        until = datetime.now(UTC) - timedelta(days=100)
        assert await list_entries(connection, Filter(until=until), before=before, limit=5) == []


async def test_a_days_sums_end_at_midnight_of_utc(own_bank: Bank) -> None:
    customer = await own_bank.customer(1000)
    for _ in range(3):
        await _entry(own_bank, customer, datetime.now(UTC))
    first, second, third = [row["id"] for row in await own_bank.entries(customer)]
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    moments = {first: midnight - timedelta(microseconds=1), second: midnight, third: midnight + timedelta(hours=1)}
    for id, moment in moments.items():
        await own_bank.fetch("UPDATE entries SET created_at = $2 WHERE id = $1", id, moment)
    async with own_bank.engine.connect() as connection:
        await connection.execute(text("SET TIME ZONE 'Asia/Tokyo'"))
        rows = await sum_entries(connection, Filter(customer.account_id), [Group.DAY], limit=10)
        assert [(row["day"], row["requests"]) for row in rows] == [
            (midnight.date(), 2),
            (midnight.date() - timedelta(days=1), 1),
        ]
        rows = await sum_entries(connection, Filter(customer.account_id, since=midnight), [Group.DAY], limit=10)
        assert [row["requests"] for row in rows] == [2]


async def test_a_keys_month_is_one_range_of_one_index(own_bank: Bank) -> None:
    await own_bank.fetch("SELECT make_entry_partitions(now() - interval '4 months', 5)")
    await own_bank.fetch(MANY)
    await own_bank.fetch("ANALYZE entries")
    now = datetime.now(UTC)
    month = Month(now.year, now.month).plus(-1)
    start, end = (datetime(m.year, m.number, 2, tzinfo=UTC) for m in (month, month))
    filter = Filter(account_id=8, key_id=8, since=start, until=end + timedelta(days=25))
    query = select(entries.c.charged).where(*conditions(filter))
    compiled = query.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
    plan = "\n".join([row[0] for row in await own_bank.fetch(f"EXPLAIN (COSTS OFF) {compiled}")])
    # The default partition may hold anything; it is empty unless a clock is wrong.
    assert {name for name in _tables(plan) if name != "entries_default"} == {month.partition}, plan
    assert "account_id_key_id_id_idx" in plan, plan
    condition = next(line for line in plan.splitlines() if "Index Cond" in line)
    assert all(column in condition for column in ("account_id = 8", "key_id = 8", "id >= ", "id < ")), plan


def _tables(plan: str) -> set[str]:
    """The partitions that are read."""
    return {name for name in re.findall(r" on (entries_\w+)", plan) if not name.endswith("_idx")}
