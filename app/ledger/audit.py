"""The proof: every counter recomputed from the rows it stands for, in one snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

# Taken before the snapshot is: a month that is being dropped is then either still there, or in `entry_totals` already.
_LOCK = text("LOCK TABLE entries IN ACCESS SHARE MODE")

# Sums are numeric and joins are full: the worse the books are, the more an audit has to be able to say so.
_ACCOUNTS = text(
    """
    SELECT account_id, COALESCE(b.granted, 0) AS granted, COALESCE(b.balance, 0) AS balance,
        COALESCE(b.held, 0) AS held, COALESCE(b.charged, 0) AS charged, COALESCE(g.amount, 0) AS real_granted,
        COALESCE(h.amount, 0) AS real_held, COALESCE(e.amount, 0) AS real_charged
    FROM account_balances b
    FULL JOIN (SELECT account_id, sum(amount) AS amount FROM grants GROUP BY 1) g USING (account_id)
    FULL JOIN (SELECT account_id, sum(amount) AS amount FROM holds GROUP BY 1) h USING (account_id)
    FULL JOIN (
        SELECT account_id, sum(charged) AS amount
        FROM (SELECT account_id, charged FROM entries UNION ALL SELECT account_id, charged FROM entry_totals) u
        GROUP BY 1
    ) e USING (account_id)
    WHERE COALESCE(b.granted, 0) <> COALESCE(g.amount, 0) OR COALESCE(b.held, 0) <> COALESCE(h.amount, 0)
        OR COALESCE(b.charged, 0) <> COALESCE(e.amount, 0) OR b.granted <> b.balance + b.held + b.charged
    ORDER BY 1
    """
)
_KEYS = text(
    """
    SELECT account_id, key_id, b.granted, b.balance, COALESCE(b.held, 0) AS held, COALESCE(b.charged, 0) AS charged,
        COALESCE(h.amount, 0) AS real_held, COALESCE(e.amount, 0) AS real_charged
    FROM key_balances b
    FULL JOIN (SELECT account_id, key_id, sum(amount) AS amount FROM holds GROUP BY 1, 2) h USING (account_id, key_id)
    FULL JOIN (
        SELECT account_id, key_id, sum(charged) AS amount
        FROM (
            SELECT account_id, key_id, charged FROM entries UNION ALL SELECT account_id, key_id, charged FROM entry_totals
        ) u
        GROUP BY 1, 2
    ) e USING (account_id, key_id)
    WHERE COALESCE(b.held, 0) <> COALESCE(h.amount, 0) OR COALESCE(b.charged, 0) <> COALESCE(e.amount, 0)
        OR b.granted <> b.balance + b.held + b.charged
    ORDER BY 1, 2
    """
)
_TOTALS = text(
    """
    SELECT (SELECT count(*) FROM account_balances) AS accounts, (SELECT count(*) FROM key_balances) AS keys,
        (SELECT count(*) FROM holds) AS open_holds, (SELECT COALESCE(sum(amount), 0) FROM holds) AS held_nano,
        (SELECT count(*) FROM entries) + (SELECT COALESCE(sum(entries), 0) FROM entry_totals) AS entries,
        (SELECT COALESCE(sum(charged), 0) FROM entries) + (SELECT COALESCE(sum(charged), 0) FROM entry_totals)
            AS charged_nano,
        (SELECT COALESCE(sum(uncollected), 0) FROM entries) + (SELECT COALESCE(sum(uncollected), 0) FROM entry_totals)
            AS uncollected_nano,
        (SELECT count(*) FROM holds h JOIN entries e ON e.account_id = h.account_id AND e.id = h.id) AS doubled,
        (SELECT count(*) FROM (
                SELECT account_id, hold_id FROM tasks WHERE step IS NOT NULL
                UNION ALL SELECT account_id, hold_id FROM batches WHERE settled_at IS NULL
            ) t
            FULL JOIN (SELECT account_id, id AS hold_id FROM holds
                WHERE owner = '00000000-0000-0000-0000-000000000000') h USING (account_id, hold_id)
            WHERE t IS NULL OR h IS NULL) AS stray_tasks
    """
)


@dataclass(frozen=True, slots=True)
class Audit:
    """`drift_nano` is the sum of all differences, in nano-dollars; 0, no doubled hold and no stray task is `ok`.

    `stray_tasks`: open tasks and batches without the hold that pays for them, and holds of some that aren't open.
    All sums include the months that were dropped.
    """

    ok: bool
    drift_nano: int
    open_holds: int
    held_nano: int
    charged_nano: int
    uncollected_nano: int
    entries: int
    accounts: int
    keys: int
    doubled: int
    stray_tasks: int
    drifts: list[dict[str, Any]]


async def audit(engine: AsyncEngine) -> Audit:
    """Recomputes granted = balance + held + charged for every account and key; safe beside live traffic."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        await connection.execute(_LOCK)
        drifts = [_integers(row) for row in (await connection.execute(_ACCOUNTS)).mappings()]
        drifts += [_integers(row) for row in (await connection.execute(_KEYS)).mappings()]
        totals = _integers((await connection.execute(_TOTALS)).mappings().one())
        await connection.rollback()
    drift = sum(_difference(row) for row in drifts)
    return Audit(
        ok=not drifts and not totals["doubled"] and not totals["stray_tasks"], drift_nano=drift, drifts=drifts, **totals
    )


def _integers(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: None if value is None else int(value) for name, value in row.items()}


def _difference(row: dict[str, Any]) -> int:
    pairs = [("held", "real_held"), ("charged", "real_charged")]
    if "real_granted" in row:
        pairs.append(("granted", "real_granted"))
    total: int = sum(abs(row[stored] - row[real]) for stored, real in pairs)
    if row["granted"] is not None:
        total += abs(row["granted"] - row["balance"] - row["held"] - row["charged"])
    return total
