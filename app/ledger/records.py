"""What goes into the ledger and what comes out: asks, holds, settlements."""

from __future__ import annotations

from asyncio import Future
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from uuid import UUID

from app.core.usage import Usage


class Status(StrEnum):
    """How a hold ended. `orphaned` is written by the sweeper alone."""

    SETTLED = "settled"
    RELEASED = "released"
    ORPHANED = "orphaned"


class Refusal(IntEnum):
    """Why the ledger granted nothing: whose money is short."""

    ACCOUNT_SHORT = -1
    KEY_SHORT = -2
    UNKNOWN = -3


@dataclass(slots=True, eq=False)
class Ask:
    """A hold that is wanted. Amounts are nano-dollars: `want` covers the worst known cost, `minimum` the least useful one."""

    account_id: int
    key_id: int
    id: UUID
    request_id: UUID
    want: int
    minimum: int
    orphan_charge: int
    input_tokens: int
    model: str
    format: str
    stream: bool
    price_id: int | None
    ratio_ppm: int
    reply: Future[int] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Hold:
    """Money set aside for one request, durable before any byte goes upstream."""

    id: UUID
    account_id: int
    amount: int


@dataclass(slots=True, eq=False)
class Settlement:
    """How a hold ends. Settling the same hold again changes nothing."""

    hold: Hold
    status: Status
    cost: int = 0
    channel_id: int | None = None
    usage: Usage | None = None
    estimated: bool = False
    latency_ms: int | None = None
    first_byte_ms: int | None = None
    attempts: int = 0
    error: str | None = None
