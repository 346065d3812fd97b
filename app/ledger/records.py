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
    """Why the ledger granted nothing: whose money is short, or what else stands in the way.

    HELD: the money is there, but other requests hold it. LIMITED: a limit or a budget refuses; the ask's standing says which.
    BUSY: too many requests are open at the moment.
    """

    ACCOUNT_SHORT = -1
    KEY_SHORT = -2
    UNKNOWN = -3
    HELD = -4
    LIMITED = -5
    BUSY = -6


@dataclass(slots=True, eq=False)
class Ask:
    """A hold that is wanted. Amounts are nano-dollars: `want` covers the worst known charge, `minimum` the least useful one.

    `tokens` are counted against limits until the settlement says how many they were; None: no limit applies to this key.
    `patient`: where only other requests' holds stand in the way, rather be told so than take what is left; None: take
    nothing that costs, only say what stands in the way. `standing` is
    filled in with the reply for a request under limits: JSON of what is left of them, and of what refused or, in shadow,
    would have.
    """

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
    group_ppm: int
    tokens: int | None
    reply: Future[int] = field(repr=False)
    patient: bool | None = True
    standing: str | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Money set aside for one request, durable before any byte goes upstream."""

    id: UUID
    account_id: int
    amount: int
    limited: bool = False


@dataclass(slots=True, eq=False)
class Settlement:
    """How a hold ends. Settling the same hold again changes nothing.

    Nano-dollars: `charge` is what the account owes, at the price `price_id` (None: that of the hold); `cost` is what the
    vendor takes, None if the operator hasn't said. `model` is the one that answered in the place of the hold's, and
    `group_ppm` the ratio of its group, in parts per million; None: those of the hold.
    """

    hold: Hold
    status: Status
    charge: int = 0
    cost: int | None = None
    price_id: int | None = None
    channel_id: int | None = None
    usage: Usage | None = None
    estimated: bool = False
    latency_ms: int | None = None
    first_byte_ms: int | None = None
    attempts: int = 0
    error: str | None = None
    model: str | None = None
    group_ppm: int | None = None
