"""`/admin/v1/tasks`: media tasks with what clients don't see, and a decision on those that are stuck."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, cast

from fastapi import Path, Query
from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from app.api.admin.guard import NOT_FOUND, ActorDep, admin_router
from app.api.admin.paging import Page, PageQuery, page_of, read_name_cursor
from app.api.admin.record import record
from app.api.admin.shapes import ErrorBody, Name, QueryId, Shape, refuse, refused
from app.api.admin.usage_filter import REFUSALS
from app.api.context import ConnectionDep, ServicesDep
from app.api.media.shapes import TaskStatus
from app.core.media import Scope
from app.ledger.reports import open_report
from app.media import operate
from app.media.operate import Inside
from app.media.task import Source, Task
from app.media.view import View

router = admin_router("/tasks", "tasks", "usage")

Step = Literal["submit", "sending", "stuck", "poll"]
TaskId = Annotated[str, Path(max_length=200, pattern="^[A-Za-z0-9_:-]+$")]

NOT_STUCK: dict[int | str, dict[str, Any]] = {409: {"model": ErrorBody, "description": "The task isn't stuck."}}

EXAMPLE: dict[str, Any] = {
    "id": "veo3:1895745600-YQVHH4A3Lg0x",
    "account_id": 1,
    "key_id": 1,
    "source": "v2",
    "scope": "videos",
    "platform": "google",
    "model": "veo3",
    "job": {"scope": "videos", "model": "veo3", "prompt": "A cat", "seconds": 8, "count": 1},
    "units": {"input_tokens": 0, "output_tokens": 0, "videos": 1, "milliseconds": 8000},
    "status": "IN_PROGRESS",
    "progress": 45,
    "fail_reason": "",
    "fail_code": None,
    "outputs": [],
    "cancelled": False,
    "created_at": "2030-01-31T12:00:00Z",
    "started_at": "2030-01-31T12:00:10Z",
    "finished_at": None,
    "deadline_at": "2030-01-31T13:00:00Z",
    "channel_id": 1,
    "upstream_model": "veo-3.1-generate-001",
    "upstream_id": "operations/1",
    "step": "poll",
    "due_at": "2030-01-31T12:00:20Z",
    "polls": 2,
    "faults": 0,
    "rounds": 0,
    "last_fault": None,
    "hold_id": "0f8b6a1c-2d3e-7f50-8172-8394a5b6c7d8",
    "notify_hook": None,
    "deleted_at": None,
}


class TaskQuery(PageQuery):
    """Which tasks."""

    account_id: QueryId | None = None
    key_id: QueryId | None = None
    channel_id: QueryId | None = None
    model: Name | None = None
    scope: Scope | None = None
    status: TaskStatus | None = None
    step: Step | None = Field(None, description="What is to be done next; `stuck` waits for you")


class TaskBody(Shape):
    """A media task, whole."""

    id: str
    account_id: int
    key_id: int
    source: Source = Field(description="The API it came by")
    scope: Scope
    platform: str
    model: str
    job: dict[str, Any] = Field(description="What is to be made")
    units: dict[str, Any] = Field(description="What was held for")
    status: TaskStatus
    progress: int
    fail_reason: str
    fail_code: str | None
    outputs: list[str] = Field(description="Links to the results")
    cancelled: bool = Field(description="A client wants it stopped")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline_at: datetime
    channel_id: int | None
    upstream_model: str | None
    upstream_id: str | None
    step: Step | None = Field(description="What is to be done next; null once it is final")
    due_at: datetime
    polls: int
    faults: int = Field(description="Faults in a row")
    rounds: int = Field(description="How many times all channels have refused it")
    last_fault: str | None
    hold_id: str = Field(description="The id of its hold, and of its entry once it is final")
    notify_hook: str | None
    deleted_at: datetime | None = Field(description="When its account deleted it")

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})


class Resolution(Shape):
    """What becomes of a stuck task: its upstream may have accepted it, and the answer was lost."""

    action: Literal["poll", "submit", "fail"] = Field(
        description="poll: the upstream has it, under `upstream_id`; submit: it doesn't; fail: give the money back"
    )
    upstream_id: Name | None = Field(None, description="With `poll`: the upstream's id of the task")

    model_config = ConfigDict(json_schema_extra={"examples": [{"action": "poll", "upstream_id": "video_123"}]})

    @field_validator("upstream_id")
    @classmethod
    def _check(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("action") != "poll":
            refuse("belongs to `poll`")
        return value


@router.get("", summary="List media tasks", responses=REFUSALS)
async def list_tasks(query: Annotated[TaskQuery, Query()], services: ServicesDep) -> Page[TaskBody]:
    """The newest first."""
    beyond = read_name_cursor(query.cursor)
    filters = query.model_dump(exclude={"limit", "cursor"}, mode="json")
    async with open_report(services.database.reports) as connection:
        found = await operate.list_all(connection, filters, beyond=beyond, limit=query.limit + 1)
    return page_of(found, query.limit, lambda pair: _write(*pair, services.view), lambda pair: pair[0].id)


@router.get("/{task_id}", summary="Get a media task", responses=NOT_FOUND)
async def get_task(task_id: TaskId, services: ServicesDep, connection: ConnectionDep) -> TaskBody:
    """Whoever's it is, deleted by its account or not."""
    return _write(*await operate.get_any(connection, task_id), services.view)


@router.post("/{task_id}/resolve", summary="Decide on a stuck task", responses={**NOT_FOUND, **NOT_STUCK})
async def resolve_task(
    task_id: TaskId, body: Resolution, services: ServicesDep, connection: ConnectionDep, actor: ActorDep
) -> TaskBody:
    """For a task whose submission was answered by nothing, at an upstream that can't tell whether it has it. Left alone, it
    fails at its deadline, and its money goes back.
    """
    if body.action == "poll" and body.upstream_id is None:
        raise refused("upstream_id", "`poll` needs it")
    before = _write(*await operate.get_any(connection, task_id), services.view)
    await operate.resolve(connection, task_id, body.action, body.upstream_id)
    after = _write(*await operate.get_any(connection, task_id), services.view)
    await record(connection, actor, f"tasks.resolve_by_{body.action}", task_id, _state(before), _state(after))
    return after


def _state(shown: TaskBody) -> dict[str, Any]:
    """What the log of actions has of a task: not what its client asked for."""
    return shown.model_dump(mode="json", include={"step", "upstream_id", "cancelled", "rounds", "faults"})


def _write(task: Task, inside: Inside, view: View) -> TaskBody:
    return TaskBody(
        id=task.id,
        account_id=task.account_id,
        key_id=task.key_id,
        source=task.source,
        scope=task.scope,
        platform=task.platform,
        model=task.model,
        job=task.job.write(),
        units=task.units,
        status=task.status.value,
        progress=task.progress,
        fail_reason=task.fail_reason,
        fail_code=task.fail_code,
        outputs=view.output_urls(task),
        cancelled=task.cancelled,
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        deadline_at=task.deadline_at,
        channel_id=task.channel_id,
        upstream_model=inside.upstream_model,
        upstream_id=task.upstream_id,
        step=cast("Step | None", inside.step),
        due_at=inside.due_at,
        polls=inside.polls,
        faults=inside.faults,
        rounds=inside.rounds,
        last_fault=inside.last_fault,
        hold_id=str(inside.hold_id),
        notify_hook=inside.notify_hook,
        deleted_at=inside.deleted_at,
    )
