"""The proof: every counter recomputed from the rows it stands for, in one snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

_ACCOUNTS = text(
    """
    SELECT b.account_id, b.granted, b.balance, b.held, b.charged,
        COALESCE(g.amount, 0)::bigint AS real_granted, COALESCE(h.amount, 0)::bigint AS real_held,
        COALESCE(e.amount, 0)::bigint AS real_charged
    FROM account_balances b
    LEFT JOIN (SELECT account_id, sum(amount) AS amount FROM grants GROUP BY 1) g USING (account_id)
    LEFT JOIN (SELECT account_id, sum(amount) AS amount FROM holds GROUP BY 1) h USING (account_id)
    LEFT JOIN (SELECT account_id, sum(charged) AS amount FROM entries GROUP BY 1) e USING (account_id)
    WHERE b.granted <> COALESCE(g.amount, 0) OR b.held <> COALESCE(h.amount, 0)
        OR b.charged <> COALESCE(e.amount, 0) OR b.granted <> b.balance + b.held + b.charged
    ORDER BY 1
    """
)
_KEYS = text(
    """
    SELECT b.account_id, b.key_id, b.granted, b.balance, b.held, b.charged,
        COALESCE(h.amount, 0)::bigint AS real_held, COALESCE(e.amount, 0)::bigint AS real_charged
    FROM key_balances b
    LEFT JOIN (SELECT account_id, key_id, sum(amount) AS amount FROM holds GROUP BY 1, 2) h USING (account_id, key_id)
    LEFT JOIN (SELECT account_id, key_id, sum(charged) AS amount FROM entries GROUP BY 1, 2) e
        USING (account_id, key_id)
    WHERE b.held <> COALESCE(h.amount, 0) OR b.charged <> COALESCE(e.amount, 0)
        OR b.granted <> b.balance + b.held + b.charged
    ORDER BY 1, 2
    """
)
_TOTALS = text(
    """
    SELECT (SELECT count(*) FROM account_balances) AS accounts, (SELECT count(*) FROM key_balances) AS keys,
        (SELECT count(*) FROM holds) AS open_holds, (SELECT COALESCE(sum(amount), 0)::bigint FROM holds) AS held_nano,
        (SELECT count(*) FROM entries) AS entries, (SELECT COALESCE(sum(charged), 0)::bigint FROM entries) AS charged_nano,
        (SELECT COALESCE(sum(uncollected), 0)::bigint FROM entries) AS uncollected_nano,
        (SELECT count(*) FROM holds h JOIN entries e ON e.account_id = h.account_id AND e.id = h.id) AS doubled
    """
)
_UNCOUNTED = text(
    """
    SELECT COALESCE(sum(amount), 0)::bigint FROM (
        SELECT account_id, key_id, sum(amount) AS amount FROM (
            SELECT account_id, key_id, amount FROM holds
            UNION ALL SELECT account_id, key_id, charged FROM entries
        ) moves GROUP BY 1, 2
    ) m WHERE NOT EXISTS (
        SELECT 1 FROM key_balances b WHERE b.account_id = m.account_id AND b.key_id = m.key_id
    )
    """
)


@dataclass(frozen=True, slots=True)
class Audit:
    """`drift_nano` is the sum of all differences, in nano-dollars; 0 and no doubled hold is `ok`."""

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
    drifts: list[dict[str, Any]]


async def audit(engine: AsyncEngine) -> Audit:
    """Recomputes granted = balance + held + charged for every account and key; safe beside live traffic."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        drifts = [dict(row) for row in (await connection.execute(_ACCOUNTS)).mappings()]
        drifts += [dict(row) for row in (await connection.execute(_KEYS)).mappings()]
        totals = (await connection.execute(_TOTALS)).mappings().one()
        uncounted = int((await connection.execute(_UNCOUNTED)).scalar_one())
        await connection.rollback()
    drift = uncounted + sum(_difference(row) for row in drifts)
    return Audit(
        ok=not drifts and not uncounted and not totals["doubled"], drift_nano=drift, drifts=drifts, **dict(totals)
    )


def _difference(row: dict[str, Any]) -> int:
    pairs = [("held", "real_held"), ("charged", "real_charged")]
    if "real_granted" in row:
        pairs.append(("granted", "real_granted"))
    total = sum(abs(row[stored] - row[real]) for stored, real in pairs)
    if row["granted"] is not None:
        total += abs(row["granted"] - row["balance"] - row["held"] - row["charged"])
    return int(total)
