"""Tasks as rows: opened with their money in one transaction, looked up, listed; `queue.py` has the worker's side."""

from __future__ import annotations

import secrets
import string
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, insert, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.media import Job, Scope, Status, read_job
from app.db.tables.media import tasks
from app.errors import GatewayError, Kind
from app.ledger.lasting import LastingAsk, Refused, hold
from app.ledger.shadow import ShadowRefusals
from app.ledger.wallets import lock_account
from app.media.task import Source, StoredOutput, Task
from app.providers.media import Handle

FORMAT = "media_task"
"""What stands as `format` on a task's entry."""

KEEP_DAYS = 90
"""How long a task that has ended can be looked up; its files may be gone earlier."""

_ALPHABET = string.ascii_letters + string.digits
_SAFE = frozenset(_ALPHABET + "-_")

_FIELDS = tuple(f.name for f in fields(Task))
VISIBLE = [tasks.c[name] for name in _FIELDS]
"""The columns that make a Task."""


@dataclass(frozen=True, slots=True)
class NewTask:
    """What a task is opened with. `amount` is held, in nano-dollars; `tokens` None: no limit applies to the key."""

    account_id: int
    key_id: int
    request_id: UUID
    source: Source
    model: str
    platform: str
    job: Job
    units: Mapping[str, Any]
    amount: int
    price_id: int | None
    ratio_ppm: int
    group_ppm: int
    tokens: int | None
    seconds: float
    notify_hook: str | None = None
    idempotency_key: str | None = None
    digest: str | None = None
    pinned_to: int | None = None


def new_task_id(model: str, now: float) -> str:
    """`model:unix-random`, such as `veo3:1756693796-YQVHH4A3Lg`; what a model's name may not contribute becomes `-`."""
    slug = "".join(character if character in _SAFE else "-" for character in model)[:64]
    return f"{slug}:{int(now)}-{''.join(secrets.choice(_ALPHABET) for _ in range(12))}"


async def open_task(
    connection: AsyncConnection, new: NewTask, task_id: str, shadow: ShadowRefusals | None = None
) -> Task | Refused:
    """Holds the money and writes the row, in the caller's transaction; a task that this idempotency key made before is
    returned as it is. `shadow` takes note of limits that only would have refused. Raises GatewayError 409 where the task of
    this key was made of another request.
    """
    await lock_account(connection, new.account_id)
    if new.idempotency_key is not None:
        known = await _find_repeated(connection, new)
        if known is not None:
            return known
    ask = LastingAsk(
        new.account_id,
        new.key_id,
        new.request_id,
        new.amount,
        new.model,
        FORMAT,
        new.price_id,
        new.ratio_ppm,
        new.group_ppm,
        new.tokens,
    )
    hold_id = await hold(connection, ask, shadow)
    if isinstance(hold_id, Refused):
        return hold_id
    query = insert(tasks).values(
        account_id=new.account_id,
        id=task_id,
        key_id=new.key_id,
        source=new.source.value,
        scope=new.job.scope.value,
        platform=new.platform,
        model=new.model,
        job=new.job.write(),
        units=dict(new.units),
        idempotency_key=new.idempotency_key,
        digest=new.digest,
        notify_hook=new.notify_hook,
        step="submit",
        hold_id=hold_id,
        pinned_to=new.pinned_to,
        deadline_at=text("now() + make_interval(secs => :seconds)").bindparams(seconds=new.seconds),
    )
    made = (await connection.execute(query.returning(*VISIBLE))).mappings().one()
    await announce(connection)
    return read_task(made)


async def announce(connection: AsyncConnection) -> None:
    """Tells every worker, at commit, that a task is due."""
    await connection.execute(text("SELECT pg_notify('relaygate', 'task')"))


def no_such_task(task_id: str, param: str = "task_id") -> GatewayError:
    """The 404 for another account's task, and for one that nobody has."""
    return GatewayError(Kind.NOT_FOUND, "task_not_found", f"There is no task '{task_id[:200]}'.", param=param)


async def _find_repeated(connection: AsyncConnection, new: NewTask) -> Task | None:
    query = select(tasks.c.digest, *VISIBLE).where(
        tasks.c.account_id == new.account_id, tasks.c.idempotency_key == new.idempotency_key
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        return None
    if row["digest"] != new.digest:
        message = "This Idempotency-Key came with another request before; use a new one."
        raise GatewayError(Kind.CONFLICT, "idempotency_key_reused", message, param="Idempotency-Key")
    return read_task(row)


async def find_task(connection: AsyncConnection, account_id: int, task_id: str) -> Task | None:
    """A task of this account that it hasn't deleted."""
    query = select(*VISIBLE).where(
        tasks.c.account_id == account_id, tasks.c.id == task_id, tasks.c.deleted_at.is_(None)
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else read_task(row)


async def get_tasks(connection: AsyncConnection, ids: Collection[tuple[int, str]]) -> dict[tuple[int, str], Task]:
    """Those of the tasks that there are, by account and id."""
    query = select(*VISIBLE).where(tuple_(tasks.c.account_id, tasks.c.id).in_(list(ids)))
    found = [read_task(row) for row in (await connection.execute(query)).mappings()]
    return {(task.account_id, task.id): task for task in found}


def task_filter(query: Select[Any], filters: Mapping[str, Any]) -> Select[Any]:
    """`filters`: values by column; None leaves a column out."""
    for name, value in filters.items():
        if value is not None:
            query = query.where(tasks.c[name] == value)
    return query


async def list_tasks(
    connection: AsyncConnection,
    filters: Mapping[str, Any],
    *,
    beyond: tuple[datetime, str] | None,
    limit: int,
    oldest_first: bool = False,
) -> list[Task]:
    """What wasn't deleted, the newest first, beyond one task's time and id."""
    place = tuple_(tasks.c.created_at, tasks.c.id)
    query = task_filter(select(*VISIBLE).where(tasks.c.deleted_at.is_(None)), filters).limit(limit)
    if oldest_first:
        query = query.order_by(tasks.c.created_at, tasks.c.id)
        query = query if beyond is None else query.where(place > tuple_(*beyond))
    else:
        query = query.order_by(tasks.c.created_at.desc(), tasks.c.id.desc())
        query = query if beyond is None else query.where(place < tuple_(*beyond))
    return [read_task(row) for row in (await connection.execute(query)).mappings()]


async def ask_to_cancel(connection: AsyncConnection, account_id: int, task_id: str) -> Task | None:
    """Has the worker end it at once; None if it is final."""
    query = (
        tasks.update()
        .where(tasks.c.account_id == account_id, tasks.c.id == task_id, tasks.c.step.is_not(None))
        .values(cancelled=True, due_at=text("now()"))
        .returning(*VISIBLE)
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        return None
    await announce(connection)
    return read_task(row)


async def find_handle(connection: AsyncConnection, account_id: int, task_id: str) -> tuple[int, Handle] | None:
    """The channel that works on a task, and the task's name there; None where none has it for certain."""
    columns = tasks.c
    query = select(columns.channel_id, columns.upstream_id, columns.memo, columns.scope, columns.upstream_model).where(
        columns.account_id == account_id, columns.id == task_id, columns.step == "poll"
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None or row.channel_id is None or row.upstream_id is None:
        return None
    return row.channel_id, Handle(row.upstream_id, row.memo, Scope(row.scope), row.upstream_model or "")


async def mark_deleted(connection: AsyncConnection, account_id: int, task_id: str) -> None:
    """Hides a task that is final."""
    query = tasks.update().where(tasks.c.account_id == account_id, tasks.c.id == task_id, tasks.c.step.is_(None))
    await connection.execute(query.values(deleted_at=text("now()")))


async def prune_tasks(connection: AsyncConnection) -> None:
    """Forgets tasks that ended KEEP_DAYS ago; their entries stay."""
    query = tasks.delete().where(
        tasks.c.step.is_(None), tasks.c.finished_at < text(f"now() - interval '{KEEP_DAYS} days'")
    )
    await connection.execute(query)


def read_task(row: RowMapping) -> Task:
    values: dict[str, Any] = {name: row[name] for name in _FIELDS}
    values["source"] = Source(values["source"])
    values["scope"] = Scope(values["scope"])
    values["status"] = Status(values["status"])
    values["job"] = read_job(values["job"])
    values["outputs"] = tuple(StoredOutput(**item) for item in values["outputs"])
    return Task(**values)
