"""Limits of accounts and keys: what operators set. What was used of them is counted with the holds, in the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.tables.ledger import limits
from app.ledger.wallets import lock_account

ACCOUNT = 0
"""The key id under which an account's own limits stand."""

_LEFT = ("rpm_left", "tpm_left", "rpd_left", "budget_left")


@dataclass(frozen=True, slots=True)
class Limits:
    """What is allowed; None doesn't restrict.

    Requests and tokens a minute, requests a day, requests at once, and nano-dollars a `day`, `week` (from Monday) or
    `month`, all in UTC. `*_left` is what is left of each now, never below zero; what is held isn't spent yet. `spent` and
    the period mean something only beside a budget. `shadow`: they are counted, and refuse nothing.
    """

    rpm: int | None = None
    tpm: int | None = None
    rpd: int | None = None
    concurrency: int | None = None
    budget: int | None = None
    budget_period: str | None = None
    shadow: bool = False
    rpm_left: int | None = None
    tpm_left: int | None = None
    rpd_left: int | None = None
    budget_left: int | None = None
    spent: int | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None


NO_LIMITS = Limits()

# What a budget has spent is what was charged since its period began; both are known only here when it is set in the middle.
_BEGIN_PERIOD = text(
    """
    UPDATE limits l SET period_start = p.start, period_charged = c.charged - (
        SELECT COALESCE(sum(e.charged), 0) FROM entries e
        WHERE e.account_id = l.account_id AND (l.key_id = 0 OR e.key_id = l.key_id)
            AND e.created_at >= p.start AND e.id >= first_id(p.start - interval '1 day')
    )
    FROM (SELECT date_trunc(:period, now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS start) p,
        (
            SELECT 0 AS key_id, charged FROM account_balances WHERE account_id = :account_id
            UNION ALL SELECT key_id, charged FROM key_balances WHERE account_id = :account_id AND key_id = :key_id
        ) c
    WHERE l.account_id = :account_id AND l.key_id = :key_id AND c.key_id = l.key_id
    """
)

# Rolled forward to now, as the next request would find them; in one statement, so that what was charged fits the rest.
_READ = text(
    """
    SELECT l.account_id, l.key_id, r.rpm, r.tpm, r.rpd, r.concurrency, r.budget, r.budget_period, r.shadow,
        r.rpm - (SELECT sum(n) FROM unnest(r.requests) AS n) AS rpm_left,
        r.tpm - (SELECT sum(n) FROM unnest(r.tokens) AS n) AS tpm_left,
        r.rpd - r.day_requests AS rpd_left, r.budget - (c.charged - r.period_charged) AS budget_left,
        c.charged - r.period_charged AS spent, r.period_start,
        (r.period_start AT TIME ZONE 'UTC' + ('1 ' || r.budget_period)::interval) AT TIME ZONE 'UTC' AS period_end
    FROM limits l
    CROSS JOIN LATERAL (
        SELECT charged FROM account_balances a WHERE l.key_id = 0 AND a.account_id = l.account_id
        UNION ALL SELECT charged FROM key_balances k WHERE k.account_id = l.account_id AND k.key_id = l.key_id
    ) c
    CROSS JOIN LATERAL roll_limits(l, clock_timestamp(), c.charged) AS r
    WHERE l.account_id = ANY (CAST(:account_ids AS bigint[])) AND l.key_id = ANY (CAST(:key_ids AS bigint[]))
    """
)


async def set_limits(
    connection: AsyncConnection, account_id: int, changes: Mapping[str, Any], *, key_id: int = ACCOUNT
) -> None:
    """Changes what is given of rpm, tpm, rpd, concurrency, budget, budget_period and shadow; what was counted stays.

    Counts for the very next request. Raises GatewayError 404 for an account that isn't there.
    """
    if not changes:
        return
    await lock_account(connection, account_id)
    own = limits.c.account_id == account_id, limits.c.key_id == key_id
    before = (await connection.execute(select(limits.c.budget_period).where(*own))).scalar()
    statement = insert(limits).values(account_id=account_id, key_id=key_id, **changes)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=[limits.c.account_id, limits.c.key_id], set_=dict(changes))
    )
    period = changes.get("budget_period", before)
    if period is not None and period != before:
        values = {"account_id": account_id, "key_id": key_id, "period": period}
        await connection.execute(_BEGIN_PERIOD, values)


async def account_limits(connection: AsyncConnection, account_ids: Collection[int]) -> Mapping[int, Limits]:
    """The accounts' own limits, by account; none for those that never had any."""
    found = await _read(connection, account_ids, [ACCOUNT])
    return {account_id: limits for (account_id, _), limits in found.items()}


async def key_limits(connection: AsyncConnection, keys: Collection[tuple[int, int]]) -> Mapping[int, Limits]:
    """The limits of keys, named by account and key; by key, none for those that never had any."""
    found = await _read(connection, {account for account, _ in keys}, {key for _, key in keys})
    return {key_id: limits for (_, key_id), limits in found.items()}


async def _read(
    connection: AsyncConnection, account_ids: Collection[int], key_ids: Collection[int]
) -> dict[tuple[int, int], Limits]:
    rows = await connection.execute(_READ, {"account_ids": list(account_ids), "key_ids": list(key_ids)})
    found: dict[tuple[int, int], Limits] = {}
    for row in rows.mappings():
        values = {name: value for name, value in row.items() if name not in ("account_id", "key_id")}
        # A limit may have been lowered under what was let in.
        left = {name: max(0, int(values[name])) for name in _LEFT if values[name] is not None}
        found[row["account_id"], row["key_id"]] = Limits(**(values | left))
    return found
