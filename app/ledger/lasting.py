"""Holds that outlive the process which made them: of work that goes on for hours, each beside a row that says what for."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.ids import new_id
from app.core.usage import Usage
from app.ledger.records import Refusal, Status
from app.ledger.shadow import ShadowRefusals

OWNER = UUID(int=0)
"""Owns these holds: a migration gives it a lease without end. The audit finds those that no open row stands for."""

_GRANT = text(
    """
    SELECT granted, standings FROM grant_holds(
        :limited, :owner, ARRAY[CAST(:account_id AS bigint)], ARRAY[CAST(:key_id AS bigint)], ARRAY[CAST(:hold_id AS uuid)],
        ARRAY[CAST(:request_id AS uuid)], ARRAY[CAST(:amount AS bigint)], ARRAY[CAST(:amount AS bigint)],
        ARRAY[CAST(0 AS bigint)], ARRAY[0], ARRAY[CAST(:model AS text)], ARRAY[CAST(:format AS text)], ARRAY[false],
        ARRAY[CAST(:price_id AS bigint)], ARRAY[CAST(:ratio_ppm AS bigint)], ARRAY[CAST(:group_ppm AS bigint)],
        ARRAY[CAST(:tokens AS integer)], ARRAY[true]
    )
    """
)
_SETTLE = text(
    """
    SELECT settle_holds(
        :over, true, ARRAY[CAST(:account_id AS bigint)], ARRAY[CAST(:hold_id AS uuid)], ARRAY[CAST(:charge AS bigint)],
        ARRAY[CAST(:status AS text)], ARRAY[CAST(:channel_id AS bigint)], ARRAY[CAST(:price_id AS bigint)],
        ARRAY[CAST(:cost AS bigint)], ARRAY[CAST(:usage AS text)], ARRAY[CAST(:estimated AS boolean)],
        ARRAY[CAST(:latency_ms AS integer)], ARRAY[CAST(NULL AS integer)], ARRAY[CAST(:attempts AS smallint)],
        ARRAY[CAST(:error AS text)]
    )
    """
)
_TERMS = text(
    "SELECT ratio_ppm, group_ppm, amount, price_id FROM holds WHERE account_id = :account_id AND id = :hold_id"
)


@dataclass(frozen=True, slots=True)
class LastingAsk:
    """What is held, in nano-dollars, and what for. `tokens` None: no limit applies to the key."""

    account_id: int
    key_id: int
    request_id: UUID
    amount: int
    model: str
    format: str
    price_id: int | None
    ratio_ppm: int
    group_ppm: int
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was held. `standing`: JSON of what the key's limits have left, where one refused."""

    refusal: Refusal
    standing: str | None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a hold was made at: ratios in parts per million, the amount in nano-dollars."""

    ratio_ppm: int
    group_ppm: int
    amount: int
    price_id: int | None


@dataclass(frozen=True, slots=True)
class LastingSettlement:
    """How such a hold ends, in nano-dollars; `usage` None: nothing was used, and it is released."""

    channel_id: int | None
    price_id: int | None
    charge: int = 0
    cost: int | None = None
    usage: Usage | None = None
    estimated: bool = False
    latency_ms: int = 0
    error: str | None = None


async def hold(connection: AsyncConnection, ask: LastingAsk, shadow: ShadowRefusals | None = None) -> UUID | Refused:
    """In the caller's transaction, which has locked the account and writes the row that the hold is for."""
    hold_id = new_id()
    values = {name: getattr(ask, name) for name in LastingAsk.__slots__}
    values |= {"limited": ask.tokens is not None, "owner": OWNER, "hold_id": hold_id}
    row = (await connection.execute(_GRANT, values)).one()
    if row.granted is not None and row.granted[0] < 0:
        return Refused(Refusal(row.granted[0]), row.standings[0] if row.standings else None)
    if shadow is not None and row.standings:
        shadow.note(row.standings[0], ask.request_id, ask.account_id, ask.key_id)
    return hold_id


async def terms_of(connection: AsyncConnection, account_id: int, hold_id: UUID) -> Terms:
    """Of a hold that is open."""
    row = (await connection.execute(_TERMS, {"account_id": account_id, "hold_id": hold_id})).one()
    return Terms(row.ratio_ppm, row.group_ppm, row.amount, row.price_id)


async def settle(
    connection: AsyncConnection, account_id: int, hold_id: UUID, terms: Terms, settlement: LastingSettlement
) -> None:
    """In the caller's transaction, which has locked the account and ends the row."""
    usage = settlement.usage
    values = {
        "account_id": account_id,
        "hold_id": hold_id,
        "over": settlement.charge > terms.amount,
        "charge": settlement.charge,
        "status": (Status.RELEASED if usage is None else Status.SETTLED).value,
        "channel_id": settlement.channel_id,
        "price_id": settlement.price_id,
        "cost": settlement.cost,
        "usage": "{}" if usage is None else orjson.dumps(usage.counts()).decode(),
        "estimated": settlement.estimated,
        "latency_ms": min(settlement.latency_ms, 2**31 - 1),
        "attempts": 0 if settlement.channel_id is None else 1,
        "error": settlement.error,
    }
    await connection.execute(_SETTLE, values)
