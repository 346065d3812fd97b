"""Where an account and one of its keys stand against their limits, read without counting anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# Rolled forward to now, as the next request would find them; in one statement, so that what was charged fits the rest.
_STANDING = text(
    """
    SELECT l.key_id, r.rpm, r.tpm, r.rpd, r.concurrency, r.budget, r.budget_period,
        r.rpm - (SELECT sum(n) FROM unnest(r.requests) AS n) AS rpm_left,
        r.tpm - (SELECT sum(n) FROM unnest(r.tokens) AS n) AS tpm_left,
        r.rpd - r.day_requests AS rpd_left,
        c.charged - r.period_charged AS spent,
        (date_trunc(r.budget_period, r.period_start AT TIME ZONE 'UTC') + ('1 ' || r.budget_period)::interval)
            AT TIME ZONE 'UTC' AS resets_at
    FROM limits l
    JOIN (
        SELECT account_id, 0 AS key_id, charged FROM account_balances WHERE account_id = :account_id
        UNION ALL
        SELECT account_id, key_id, charged FROM key_balances WHERE account_id = :account_id AND key_id = :key_id
    ) c USING (account_id, key_id)
    CROSS JOIN LATERAL roll_limits(l, clock_timestamp(), c.charged) AS r
    """
)


@dataclass(frozen=True, slots=True)
class Budget:
    """Nano-dollars for each day, week (from Monday) or month of UTC. What is held isn't spent yet."""

    amount: int
    period: str
    spent: int
    left: int
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """Limits, and what is left of them now; None where there is no limit."""

    rpm: int | None = None
    rpm_left: int | None = None
    tpm: int | None = None
    tpm_left: int | None = None
    rpd: int | None = None
    rpd_left: int | None = None
    concurrency: int | None = None
    budget: Budget | None = None


@dataclass(frozen=True, slots=True)
class Standings:
    """An account's and one of its keys'."""

    account: Standing
    key: Standing


async def read_standings(connection: AsyncConnection, account_id: int, key_id: int) -> Standings:
    """As of now; nothing is written."""
    rows = (await connection.execute(_STANDING, {"account_id": account_id, "key_id": key_id})).mappings()
    found = {row["key_id"]: _standing(row) for row in rows}
    return Standings(found.get(0, Standing()), found.get(key_id, Standing()))


def _standing(row: Mapping[Any, Any]) -> Standing:
    budget = None
    if row["budget"] is not None:
        left = max(0, row["budget"] - row["spent"])
        budget = Budget(row["budget"], row["budget_period"], row["spent"], left, row["resets_at"])
    return Standing(
        rpm=row["rpm"],
        rpm_left=_left(row["rpm_left"]),
        tpm=row["tpm"],
        tpm_left=_left(row["tpm_left"]),
        rpd=row["rpd"],
        rpd_left=_left(row["rpd_left"]),
        concurrency=row["concurrency"],
        budget=budget,
    )


def _left(count: int | None) -> int | None:
    """Not below zero: a limit may have been lowered under what was let in."""
    return None if count is None else max(0, int(count))
