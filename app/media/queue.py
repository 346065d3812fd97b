"""The queue of tasks: due rows are claimed for a while, and whoever writes must still have the claim.

Statuses only move forward, and a task ends in one transaction: its status, its money, and the callback. Times are the
database's: replicas' clocks may differ.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.media import Job, Status, read_job
from app.core.usage import Usage
from app.db.tables.media import tasks


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to take one task a step further: just what a poll needs. `overdue_by`: seconds past its deadline, negative
    before it; `lateness`: seconds since it was due.
    """

    account_id: int
    id: str
    claim: int
    step: str
    scope: str
    model: str
    channel_id: int | None
    upstream_model: str | None
    upstream_id: str | None
    memo: dict[str, Any]
    polls: int
    faults: int
    cancelled: bool
    overdue_by: float
    lateness: float

    @property
    def overdue(self) -> bool:
        return self.overdue_by >= 0


@dataclass(frozen=True, slots=True)
class Order:
    """The rest of a claimed task: what a submission and an ending need."""

    job: Job
    units: Usage
    hold_id: UUID
    price_id: int | None
    cost_id: int | None
    pinned_to: int | None
    tried: tuple[int, ...]
    rounds: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What a poll came to: `pause` seconds until the next. `fault`: it brought no verdict, and why.

    `uncancelled`: a client wanted it stopped, and the upstream can't.
    """

    claim: Claim
    pause: float
    status: Status | None = None
    progress: int = 0
    upstream_id: str | None = None
    memo: Mapping[str, Any] | None = None
    fault: str | None = None
    uncancelled: bool = False


_CLAIMED = (
    "t.account_id, t.id, t.claim, t.step, t.scope, t.model, t.channel_id, t.upstream_model, t.upstream_id, t.memo, t.polls, "
    "t.faults, t.cancelled, extract(epoch FROM now() - t.deadline_at)::float8 AS overdue_by, "
    "extract(epoch FROM now() - t.due_at)::float8 AS lateness"
)

# The inner conditions are asked again with the lock: another worker may have been there since the statement began. A claim
# that a power cut loses is no loss, so nobody waits for the disk.
_UNSAFE_IS_ENOUGH = text("SET LOCAL synchronous_commit = off")
_DUE = """
    WITH due AS MATERIALIZED (
        SELECT account_id, id, channel_id, due_at FROM tasks
        WHERE {which} AND due_at <= now() AND (claimed_until IS NULL OR claimed_until <= now())
        ORDER BY due_at LIMIT :room FOR UPDATE SKIP LOCKED
    )"""
_CLAIM = "UPDATE tasks t SET claim = t.claim + 1, claimed_until = now() + make_interval(secs => :claim)"
# Of a channel no more than it has places, so that nothing has to be given back: the rest of its rows were only locked.
_SHARED = """, placed AS (
        SELECT account_id, id, channel_id, row_number() OVER (PARTITION BY channel_id ORDER BY due_at) AS place FROM due
    )"""
_BOUNDED = """
    FROM placed LEFT JOIN unnest(CAST(:channels AS bigint[]), CAST(:places AS integer[])) AS b(channel_id, places)
        USING (channel_id)
    WHERE t.account_id = placed.account_id AND t.id = placed.id AND place <= COALESCE(b.places, :usual)"""
_NEXT_DUE = (
    "SELECT extract(epoch FROM min(due_at) - clock_timestamp())::float8 FROM tasks WHERE {which} AND due_at > now()"
)
# Apart, each with an index of its own: a backlog of polls must not slow submissions down, nor the other way round.
_POLLS, _ORDERS = "step = 'poll'", "step <> 'poll'"
_NOT_FULL = f"{_POLLS} AND channel_id <> ALL (CAST(:full AS bigint[]))"
_CLAIM_POLLS = text(f"{_DUE.format(which=_NOT_FULL)}{_SHARED} {_CLAIM} {_BOUNDED} RETURNING {_CLAIMED}")
_ALL = "FROM due WHERE t.account_id = due.account_id AND t.id = due.id"
_CLAIM_ORDERS = text(f"{_DUE.format(which=_ORDERS)} {_CLAIM} {_ALL} RETURNING {_CLAIMED}")
_NEXT_POLL = text(_NEXT_DUE.format(which=_POLLS))
_NEXT_ORDER = text(_NEXT_DUE.format(which=_ORDERS))
# One that was let go meanwhile stays let go: it keeps its number, and renewed it would rest for a whole lease.
_RENEW = text(
    """
    UPDATE tasks t SET claimed_until = now() + make_interval(secs => :claim)
    FROM unnest(CAST(:accounts AS bigint[]), CAST(:ids AS text[]), CAST(:claims AS bigint[])) AS u(account_id, id, claim)
    WHERE t.account_id = u.account_id AND t.id = u.id AND t.claim = u.claim AND t.step IS NOT NULL
        AND t.claimed_until IS NOT NULL
    """
)
_GIVE_BACK = text(
    """
    UPDATE tasks t SET claimed_until = NULL
    FROM unnest(CAST(:accounts AS bigint[]), CAST(:ids AS text[]), CAST(:claims AS bigint[])) AS u(account_id, id, claim)
    WHERE t.account_id = u.account_id AND t.id = u.id AND t.claim = u.claim AND t.step IS NOT NULL
    """
)
_RANKS = "ARRAY['NOT_START', 'SUBMITTED', 'QUEUED', 'IN_PROGRESS', 'SUCCESS', 'FAILURE']"
_FORWARD = (
    f"CASE WHEN array_position({_RANKS}, {{new}}) > array_position({_RANKS}, t.status) THEN {{new}} ELSE t.status END"
)
_POLLED = text(
    f"""
    UPDATE tasks t SET
        status = {_FORWARD.format(new="u.status")},
        progress = GREATEST(t.progress, u.progress),
        started_at = COALESCE(t.started_at, CASE WHEN u.status = 'IN_PROGRESS' THEN now() END),
        upstream_id = COALESCE(u.upstream_id, t.upstream_id), memo = COALESCE(u.memo::jsonb, t.memo),
        polls = t.polls + 1, faults = CASE WHEN u.fault IS NULL THEN 0 ELSE t.faults + 1 END,
        last_fault = COALESCE(u.fault, t.last_fault), claimed_until = NULL,
        cancelled = t.cancelled AND NOT u.uncancelled,
        due_at = CASE WHEN t.cancelled AND NOT u.knew THEN now()
            WHEN t.deadline_at > now() THEN LEAST(now() + u.pause * interval '1 second', t.deadline_at)
            ELSE now() + u.pause * interval '1 second' END
    FROM unnest(
        CAST(:accounts AS bigint[]), CAST(:ids AS text[]), CAST(:claims AS bigint[]), CAST(:statuses AS text[]),
        CAST(:progress AS integer[]), CAST(:upstream_ids AS text[]), CAST(:memos AS text[]), CAST(:faults AS text[]),
        CAST(:pauses AS float8[]), CAST(:uncancelled AS boolean[]), CAST(:knew AS boolean[])
    ) AS u(account_id, id, claim, status, progress, upstream_id, memo, fault, pause, uncancelled, knew)
    WHERE t.account_id = u.account_id AND t.id = u.id AND t.claim = u.claim AND t.step = 'poll'
    """  # noqa: S608 - nothing but our own words
)
MINE = "WHERE t.account_id = :account_id AND t.id = :id AND t.claim = :claim AND t.step IS NOT NULL"
_SENDING = text(
    f"""
    UPDATE tasks t SET step = 'sending', channel_id = :channel_id, upstream_model = :upstream_model, platform = :platform,
        price_id = :price_id, cost_id = :cost_id {MINE} AND NOT t.cancelled
    """  # noqa: S608
)
_SUBMITTED = text(
    f"""
    UPDATE tasks t SET step = 'poll', status = {_FORWARD.format(new=":status")}, progress = GREATEST(t.progress, :progress),
        started_at = COALESCE(t.started_at, CASE WHEN :status = 'IN_PROGRESS' THEN now() END),
        upstream_id = :upstream_id, memo = CAST(:memo AS jsonb), faults = 0, claimed_until = NULL,
        due_at = CASE WHEN t.cancelled THEN now() ELSE LEAST(now() + make_interval(secs => :pause), t.deadline_at) END
    {MINE}
    """  # noqa: S608
)
_TRY_AGAIN = text(
    f"""
    UPDATE tasks t SET step = :step, tried = CAST(:tried AS bigint[]), rounds = :rounds, faults = t.faults + 1,
        last_fault = :fault, claimed_until = NULL,
        due_at = CASE WHEN t.cancelled THEN now() ELSE LEAST(now() + make_interval(secs => :pause), t.deadline_at) END
    {MINE}
    """  # noqa: S608
)
_FAULT = text(
    f"""
    UPDATE tasks t SET faults = t.faults + 1, last_fault = :fault, claimed_until = NULL,
        due_at = CASE WHEN t.deadline_at > now() THEN LEAST(now() + make_interval(secs => :pause), t.deadline_at)
            ELSE now() + make_interval(secs => :pause) END
    {MINE}
    """  # noqa: S608
)
_RETAKE = text(
    """
    UPDATE tasks t SET claim = t.claim + 1, claimed_until = now() + make_interval(secs => :claim)
    WHERE t.account_id = :account_id AND t.id = :id AND t.channel_id = :channel_id AND t.step IN ('sending', 'stuck')
    RETURNING t.claim
    """
)


async def claim_polls(
    connection: AsyncConnection, *, room: int, places: Mapping[int, int], usual: int, seconds: float
) -> tuple[list[Claim], float | None]:
    """Claims up to `room` tasks that are due to be polled, of each channel no more than it has `places`, else `usual`.

    A claim holds for `seconds`, unless it is renewed. Beside them, the seconds until the next one that isn't due yet; None
    if there is none.
    """
    await connection.execute(_UNSAFE_IS_ENOUGH)
    bounds = {channel: count for channel, count in places.items() if count > 0}
    values = {
        "room": room,
        "full": [channel for channel in places if channel not in bounds],
        "channels": list(bounds),
        "places": list(bounds.values()),
        "usual": usual,
        "claim": seconds,
    }
    rows = await connection.execute(_CLAIM_POLLS, values)
    return [Claim(*row) for row in rows], await _pause(connection, _NEXT_POLL)


async def claim_orders(connection: AsyncConnection, *, room: int, seconds: float) -> tuple[list[Claim], float | None]:
    """The same for tasks that are due for any other step."""
    await connection.execute(_UNSAFE_IS_ENOUGH)
    rows = await connection.execute(_CLAIM_ORDERS, {"room": room, "claim": seconds})
    return [Claim(*row) for row in rows], await _pause(connection, _NEXT_ORDER)


async def _pause(connection: AsyncConnection, query: TextClause) -> float | None:
    pause = (await connection.execute(query)).scalar_one()
    return None if pause is None else max(float(pause), 0.0)


async def renew(connection: AsyncConnection, claims: Collection[Claim], seconds: float) -> None:
    """Work on these goes on for another while."""
    await connection.execute(_UNSAFE_IS_ENOUGH)
    await connection.execute(_RENEW, {**_names(claims), "claim": seconds})


async def give_back(connection: AsyncConnection, claims: Collection[Claim]) -> None:
    """Work on these was broken off: another worker may have them at once."""
    await connection.execute(_GIVE_BACK, _names(claims))


def _names(claims: Collection[Claim]) -> dict[str, Any]:
    return {
        "accounts": [claim.account_id for claim in claims],
        "ids": [claim.id for claim in claims],
        "claims": [claim.claim for claim in claims],
    }


async def read_order(connection: AsyncConnection, claim: Claim) -> Order | None:
    """None: the claim isn't this worker's any more."""
    columns = tasks.c
    query = tasks.select().where(
        columns.account_id == claim.account_id, columns.id == claim.id, columns.claim == claim.claim
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        return None
    return Order(
        job=read_job(row["job"]),
        units=Usage(**row["units"]),
        hold_id=row["hold_id"],
        price_id=row["price_id"],
        cost_id=row["cost_id"],
        pinned_to=row["pinned_to"],
        tried=tuple(row["tried"]),
        rounds=row["rounds"],
    )


async def record_polls(connection: AsyncConnection, polled: Sequence[Progress]) -> None:
    """What many polls came to, in one statement; those whose claim was lost change nothing."""
    await connection.execute(_UNSAFE_IS_ENOUGH)
    values = {
        **_names([item.claim for item in polled]),
        "statuses": [None if item.status is None else item.status.value for item in polled],
        "progress": [item.progress for item in polled],
        "upstream_ids": [item.upstream_id for item in polled],
        "memos": [None if item.memo is None else orjson.dumps(dict(item.memo)).decode() for item in polled],
        "faults": [item.fault for item in polled],
        "pauses": [item.pause for item in polled],
        "uncancelled": [item.uncancelled for item in polled],
        "knew": [item.claim.cancelled for item in polled],
    }
    await connection.execute(_POLLED, values)


async def mark_sending(
    connection: AsyncConnection,
    claim: Claim,
    *,
    channel_id: int,
    upstream_model: str,
    platform: str,
    price_id: int | None,
    cost_id: int | None,
) -> bool:
    """From here on an upstream may have the job; to be committed before it is asked. False: the claim was lost, or a client
    has cancelled it.
    """
    values = {
        "channel_id": channel_id,
        "upstream_model": upstream_model,
        "platform": platform,
        "price_id": price_id,
        "cost_id": cost_id,
    }
    return (await connection.execute(_SENDING, mine(claim) | values)).rowcount == 1


async def record_submitted(
    connection: AsyncConnection,
    claim: Claim,
    *,
    status: Status,
    progress: int,
    upstream_id: str,
    memo: Mapping[str, Any],
    pause: float,
) -> bool:
    """The upstream has the job; it is polled from now on. False: the claim was lost."""
    values = {
        "status": status.value,
        "progress": progress,
        "upstream_id": upstream_id,
        "memo": orjson.dumps(dict(memo)).decode(),
        "pause": pause,
    }
    return (await connection.execute(_SUBMITTED, mine(claim) | values)).rowcount == 1


async def retake(connection: AsyncConnection, claim: Claim, seconds: float) -> Claim | None:
    """A claim anew for whoever has the upstream's answer to a submission after all, where it was lost meanwhile (the database
    was away, the process stood still): nobody else can know what it says. None: it was found out about, or ended.
    """
    values = {"account_id": claim.account_id, "id": claim.id, "channel_id": claim.channel_id, "claim": seconds}
    number = (await connection.execute(_RETAKE, values)).scalar_one_or_none()
    return None if number is None else replace(claim, claim=number)


async def record_fault(connection: AsyncConnection, claim: Claim, fault: str, pause: float) -> None:
    """The step came to nothing for a reason of our own; it is done again after `pause` seconds."""
    await connection.execute(_FAULT, mine(claim) | {"fault": fault, "pause": pause})


async def record_refusal(
    connection: AsyncConnection,
    claim: Claim,
    *,
    step: str,
    tried: Collection[int],
    rounds: int,
    fault: str,
    pause: float,
) -> None:
    """The upstream didn't take it, or it isn't known whether it did: `step` is done again after `pause` seconds."""
    values = {"step": step, "tried": list(tried), "rounds": rounds, "fault": fault, "pause": pause}
    await connection.execute(_TRY_AGAIN, mine(claim) | values)


def is_refused(error: Exception) -> bool:
    """Whether the values themselves can't be written, so that the same write fails for ever; else the database is away."""
    cause = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig is not None else error
    return isinstance(cause, (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError, TypeError))


def mine(claim: Claim) -> dict[str, Any]:
    return {"account_id": claim.account_id, "id": claim.id, "claim": claim.claim}
