"""The operator's side of tasks: all of them with what clients don't see, and what to do with one that is stuck."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.tables.media import tasks
from app.errors import GatewayError, Kind
from app.ledger.reports import read_report
from app.media.store import VISIBLE, announce, no_such_task, read_task, task_filter
from app.media.task import Task


@dataclass(frozen=True, slots=True)
class Inside:
    """What stands on a task's row beside what clients see."""

    step: str | None
    hold_id: UUID
    rounds: int
    polls: int
    faults: int
    last_fault: str | None
    due_at: datetime
    upstream_model: str | None
    notify_hook: str | None
    deleted_at: datetime | None


_INSIDE = [tasks.c[name] for name in Inside.__slots__]


async def list_all(
    connection: AsyncConnection, filters: Mapping[str, Any], *, beyond: str | None, limit: int
) -> list[tuple[Task, Inside]]:
    """The newest first, beyond the task of that id; `filters`: values by column, None leaves a column out.

    Give it a connection of `open_report`. Raises GatewayError 400 `query_too_broad` when its time is over.
    """
    query = task_filter(select(*VISIBLE, *_INSIDE), filters)
    query = query.order_by(tasks.c.created_at.desc(), tasks.c.id.desc()).limit(limit)
    if beyond is not None:
        last = select(tasks.c.created_at, tasks.c.id).where(tasks.c.id == beyond).limit(1).subquery()
        query = query.join(last, text("true")).where(tuple_(tasks.c.created_at, tasks.c.id) < tuple_(*last.c))
    return [(read_task(row._mapping), _inside(row._mapping)) for row in await read_report(connection, query)]


async def get_any(connection: AsyncConnection, task_id: str) -> tuple[Task, Inside]:
    """Raises GatewayError 404."""
    query = select(*VISIBLE, *_INSIDE).where(tasks.c.id == task_id)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise no_such_task(task_id)
    return read_task(row), _inside(row)


async def resolve(connection: AsyncConnection, task_id: str, action: str, upstream_id: str | None) -> None:
    """Decides for a task that is stuck: `poll` under the upstream's id that the operator found there, `submit` again, or
    `fail`, which gives the money back. Raises GatewayError: 404, 409 for a task that isn't stuck.
    """
    changes: dict[str, Any] = {"due_at": text("now()"), "claimed_until": None, "faults": 0}
    match action:
        case "poll":
            changes |= {"step": "poll", "upstream_id": upstream_id}
        case "submit":
            changes |= {"step": "submit", "tried": [], "rounds": 0}
        case _:
            changes |= {"cancelled": True}
    query = update(tasks).where(tasks.c.id == task_id, tasks.c.step == "stuck").values(**changes)
    if (await connection.execute(query)).rowcount == 0:
        await get_any(connection, task_id)
        raise GatewayError(Kind.CONFLICT, "task_not_stuck", f"The task {task_id} isn't stuck.")
    await announce(connection)


def _inside(row: Mapping[Any, Any]) -> Inside:
    return Inside(**{name: row[name] for name in Inside.__slots__})
