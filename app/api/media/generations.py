"""`/v2/{scope}/generations`: media tasks are submitted, queried, listed, followed and cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from app.api.admin.paging import PageQuery, page_of, read_name_cursor
from app.api.caller import PrincipalDep
from app.api.context import ServicesDep
from app.api.holder.shapes import HolderQuery
from app.api.media.bodies import in_thread_if_large, read_object, read_whole
from app.api.media.requests import find_task, idempotency_key_of, request_id_of
from app.api.media.shapes import (
    GENERATION_SCHEMA,
    KEYED,
    CreatedTask,
    MediaTask,
    TaskList,
    TaskStatus,
    documented,
    refusals,
)
from app.core.media import Scope
from app.errors import GatewayError, Kind, invalid_request
from app.media.follow import Following
from app.media.rules.generation import Submission, read_generation
from app.media.rules.urls import check_urls
from app.media.task import Source, Task
from app.media.view import View

KEEP_ALIVE = 15.0
"""Seconds after which a comment tells proxies and clients that the connection lives."""

router = APIRouter(tags=["media"])


class TasksQuery(HolderQuery, PageQuery):
    """Which tasks, and which page of them."""

    status: TaskStatus | None = Field(None, description="Only tasks of this status")


@router.post(
    "/v2/{scope}/generations",
    summary="Submit a task",
    response_model=CreatedTask,
    responses=refusals(400, 404, 409, 413, 429, 503),
    openapi_extra=documented(
        {
            "application/json": {
                "schema": GENERATION_SCHEMA,
                "example": {
                    "model": "demo-video",
                    "prompt": "A cat on a roof",
                    "duration": "10",
                    "aspect_ratio": "16:9",
                },
            }
        }
    ),
)
async def submit(principal: PrincipalDep, scope: str, request: Request, services: ServicesDep) -> Response:
    """Begins an image, a video or a piece of audio, and answers at once with the task's id.

    What it will cost is held; a task that fails costs nothing. With an `Idempotency-Key` header the same request, sent
    again, gets the same task.
    """
    kind = _read_scope(scope)
    idempotency_key = idempotency_key_of(request)
    submission = await in_thread_if_large(await read_whole(request, services), partial(_read, kind))
    await check_urls(services.egress, submission.job, submission.notify_hook)
    task = await services.desk.submit(
        principal,
        submission.job,
        source=Source.V2,
        request_id=request_id_of(request),
        notify_hook=submission.notify_hook,
        idempotency_key=idempotency_key,
    )
    return write_json({"task_id": task.id})


@router.get(
    "/v2/{scope}/generations",
    summary="List tasks",
    response_model=TaskList,
    responses=refusals(400, 404, 422),
    openapi_extra=KEYED,
)
async def list_tasks(
    principal: PrincipalDep, scope: str, query: Annotated[TasksQuery, Query()], services: ServicesDep
) -> Response:
    """The account's tasks of a scope, the newest first."""
    kind = _read_scope(scope)
    last = read_name_cursor(query.cursor)
    before = None if last is None else await _find_last(services, principal, kind, last)
    found = await services.desk.list(
        principal,
        scope=kind,
        source=None,
        status=query.status,
        before=before,
        limit=query.limit + 1,
    )
    page = page_of(found, query.limit, services.view.write, lambda task: task.id)
    return write_json({"data": page.data, "next_cursor": page.next_cursor})


@router.get(
    "/v2/{scope}/generations/{task_id}",
    summary="Query a task",
    response_model=MediaTask,
    responses=refusals(404),
    openapi_extra=KEYED,
)
async def query_task(principal: PrincipalDep, scope: str, task_id: str, services: ServicesDep) -> Response:
    """How far a task has come, and where its results are. It never asks the upstream, so ask as often as you like."""
    task = await find_task(services, principal, _read_scope(scope), task_id)
    return write_json(services.view.write(task))


@router.delete(
    "/v2/{scope}/generations/{task_id}",
    summary="Cancel a task",
    response_model=MediaTask,
    responses=refusals(404, 409),
    openapi_extra=KEYED,
)
async def cancel_task(principal: PrincipalDep, scope: str, task_id: str, services: ServicesDep) -> Response:
    """Has a task stopped: soon it is a FAILURE, and what was held is given back. 409 where it is too late for that."""
    task = await find_task(services, principal, _read_scope(scope), task_id)
    return write_json(services.view.write(await services.desk.cancel(principal, task)))


@router.get(
    "/v2/{scope}/generations/{task_id}/events",
    summary="Follow a task",
    response_class=StreamingResponse,
    responses=refusals(404)
    | {
        200: {
            "description": "The query's body whenever it changes, until it is final.",
            "content": {"text/event-stream": {}},
        }
    },
    openapi_extra=KEYED,
)
async def follow_task(principal: PrincipalDep, scope: str, task_id: str, services: ServicesDep) -> Response:
    """Server-sent events: `data` is the query's body, at once and on every change; the stream ends after the final one."""
    task = await find_task(services, principal, _read_scope(scope), task_id)
    return StreamingResponse(
        _events(services.follower.follow(task), services.view),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _events(following: Following, view: View) -> AsyncGenerator[bytes, None]:
    try:
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    task: Task = await anext(following)
            except TimeoutError:
                yield b": still there\n\n"
            except StopAsyncIteration:
                return
            else:
                yield b"data: " + orjson.dumps(view.write(task)) + b"\n\n"
    finally:
        await following.aclose()


def _read(scope: Scope, body: bytes) -> Submission:
    return read_generation(scope, read_object(body))


def _read_scope(text: str) -> Scope:
    try:
        return Scope(text)
    except ValueError:
        scopes = ", ".join(scope.value for scope in Scope)
        message = f"There is no scope '{text[:200]}'; there are {scopes}."
        raise GatewayError(Kind.NOT_FOUND, "not_found", message) from None


async def _find_last(services: Any, principal: Any, scope: Scope, task_id: str) -> Task:
    try:
        return await find_task(services, principal, scope, task_id)
    except GatewayError as error:
        if error.kind is not Kind.NOT_FOUND:
            raise
        message = "The cursor isn't one of ours, or the task where the page ended was deleted."
        raise invalid_request(message, "cursor", "bad_cursor") from error


def write_json(body: Any) -> Response:
    """A JSON answer without a detour over FastAPI's models: queries come by the thousand."""
    return Response(orjson.dumps(body), media_type="application/json")
