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

SETTINGS = ("rpm", "tpm", "rpd", "concurrency", "budget", "budget_period")


@dataclass(frozen=True, slots=True)
class Limits:
    """What is allowed; None doesn't restrict.

    Requests and tokens a minute, requests a day, requests at once, and nano-dollars a `day`, `week` (from Monday) or
    `month`, all in UTC. `period_start` and `spent` say how far the budget is used up.
    """

    rpm: int | None = None
    tpm: int | None = None
    rpd: int | None = None
    concurrency: int | None = None
    budget: int | None = None
    budget_period: str | None = None
    period_start: datetime | None = None
    spent: int | None = None


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

_SPENT = text(
    """
    SELECT l.account_id, l.key_id, l.rpm, l.tpm, l.rpd, l.concurrency, l.budget, l.budget_period, p.start AS period_start,
        CASE WHEN l.budget IS NULL THEN NULL WHEN l.period_start = p.start THEN c.charged - l.period_charged ELSE 0 END
            AS spent
    FROM limits l
    CROSS JOIN LATERAL (
        SELECT date_trunc(l.budget_period, now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS start
    ) p
    CROSS JOIN LATERAL (
        SELECT charged FROM account_balances a WHERE l.key_id = 0 AND a.account_id = l.account_id
        UNION ALL SELECT charged FROM key_balances k WHERE k.account_id = l.account_id AND k.key_id = l.key_id
    ) c
    WHERE l.account_id = ANY (CAST(:account_ids AS bigint[])) AND l.key_id = ANY (CAST(:key_ids AS bigint[]))
    """
)


async def set_limits(
    connection: AsyncConnection, account_id: int, changes: Mapping[str, Any], *, key_id: int = ACCOUNT
) -> None:
    """Changes the settings that are given (see SETTINGS); what was counted stays. Counts for the very next request.

    Raises GatewayError 404 for an account that isn't there.
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
    rows = await connection.execute(_SPENT, {"account_ids": list(account_ids), "key_ids": list(key_ids)})
    found: dict[tuple[int, int], Limits] = {}
    for row in rows.mappings():
        values = {name: value for name, value in row.items() if name not in ("account_id", "key_id")}
        found[row["account_id"], row["key_id"]] = Limits(**values)
    return found
