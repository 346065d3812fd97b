"""`/v1/videos`: OpenAI's videos API over the gateway's video tasks, whichever API made them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from pydantic import Field

from app.accounts.principals import Principal
from app.api.caller import PrincipalDep
from app.api.context import ServicesDep
from app.api.holder.shapes import HolderQuery
from app.api.media.bodies import Form, in_thread_if_large, is_form, read_form, read_object, read_whole
from app.api.media.files import get_file
from app.api.media.generations import write_json
from app.api.media.requests import find_task, idempotency_key_of, request_id_of
from app.api.media.shapes import VIDEO_SCHEMA, DeletedVideo, VideoBody, VideoList, documented, refusals
from app.api.media.video_object import write_video
from app.core.media import Attachment, Job, Scope, Status
from app.errors import GatewayError, Kind, invalid_request
from app.media.inputs import read_upload
from app.media.rules.generation import Submission
from app.media.rules.urls import check_urls
from app.media.rules.videos import read_remix, read_video, type_fields
from app.media.task import Source, Task
from app.services import Services

POLL_AFTER_MS = 1000
"""What the SDKs' poller waits by itself too; a query costs one look at a row."""

CANCEL_PATIENCE = 5.0
"""Seconds that a deletion waits for a running task to stop."""

videos = APIRouter(prefix="/videos", tags=["media"])


class VideosQuery(HolderQuery):
    """Which page of the account's videos."""

    after: str | None = Field(None, min_length=1, max_length=256, description="The id where the page before ended")
    limit: int = Field(20, ge=1, le=100)
    order: Literal["asc", "desc"] = "desc"


class ContentQuery(HolderQuery):
    """What of a video is fetched."""

    variant: Literal["video", "thumbnail", "spritesheet"] = "video"


@videos.post(
    "",
    summary="Create a video",
    response_model=VideoBody,
    responses=refusals(400, 404, 409, 413, 429, 503),
    openapi_extra=documented(
        {
            "multipart/form-data": {"schema": VIDEO_SCHEMA},
            "application/json": {
                "schema": VIDEO_SCHEMA,
                "example": {"model": "sora-2", "prompt": "A cat", "seconds": "4"},
            },
        }
    ),
)
async def create_video(principal: PrincipalDep, request: Request, services: ServicesDep) -> Response:
    """Begins a video, and answers at once. What it will cost is held; a video that fails costs nothing."""
    idempotency_key = idempotency_key_of(request)
    submission = await _read(request, services)
    await check_urls(services.egress, submission.job, submission.notify_hook, pictures="input_reference[image_url]")
    task = await services.desk.submit(
        principal,
        submission.job,
        source=Source.VIDEOS,
        request_id=request_id_of(request),
        notify_hook=submission.notify_hook,
        idempotency_key=idempotency_key,
    )
    return _answer(services, task)


@videos.get("", summary="List videos", response_model=VideoList, responses=refusals(404, 422))
async def list_videos(
    principal: PrincipalDep, query: Annotated[VideosQuery, Query()], services: ServicesDep
) -> Response:
    """The account's videos, the newest first unless `order` is `asc`."""
    after = None if query.after is None else await find_task(services, principal, Scope.VIDEOS, query.after)
    found = await services.desk.list(
        principal,
        scope=Scope.VIDEOS,
        source=None,
        before=after,
        limit=query.limit + 1,
        oldest_first=query.order == "asc",
    )
    shown = [write_video(task, _retention(services)) for task in found[: query.limit]]
    return write_json(
        {
            "object": "list",
            "data": shown,
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
            "has_more": len(found) > query.limit,
        }
    )


@videos.post("/edits", include_in_schema=False)
@videos.post("/extensions", include_in_schema=False)
@videos.post("/characters", include_in_schema=False)
async def refuse_operation(_principal: PrincipalDep, request: Request) -> Response:
    """OpenAI has these; the gateway doesn't, and says what there is instead."""
    operation = request.scope["path"].rpartition("/")[2]
    if operation == "characters":
        raise invalid_request(
            "Characters are made by POST /sora/v1/characters, of a video's URL or of a finished task."
        )
    raise invalid_request(
        f"The gateway has no video {operation}; POST /v1/videos/{{id}}/remix makes a new take on a video."
    )


@videos.get("/{video_id}", summary="Retrieve a video", response_model=VideoBody, responses=refusals(404))
async def retrieve_video(principal: PrincipalDep, video_id: str, services: ServicesDep) -> Response:
    """How far a video has come. It never asks the upstream; `openai-poll-after-ms` says when to ask again."""
    return _answer(services, await find_task(services, principal, Scope.VIDEOS, video_id))


@videos.delete("/{video_id}", summary="Delete a video", response_model=DeletedVideo, responses=refusals(404, 409))
async def delete_video(principal: PrincipalDep, video_id: str, services: ServicesDep) -> Response:
    """Deletes a video and its file. One that is being made is cancelled first, which takes a moment."""
    task = await find_task(services, principal, Scope.VIDEOS, video_id)
    if not task.status.final:
        task = await _cancel(services, principal, task)
    if task.status.final:
        await services.desk.delete(principal, task)
    return write_json({"id": task.id, "object": "video.deleted", "deleted": task.status.final})


@videos.get(
    "/{video_id}/content",
    summary="Download a video",
    response_class=StreamingResponse,
    responses=refusals(404, 409, 422)
    | {
        200: {"description": "The file; ranges are served.", "content": {"video/mp4": {}}},
        302: {"description": "The file is at the upstream, which serves it to anybody."},
    },
)
async def download_video(
    principal: PrincipalDep,
    video_id: str,
    query: Annotated[ContentQuery, Query()],
    request: Request,
    services: ServicesDep,
) -> Response:
    """The video's file, once it is completed."""
    task = await find_task(services, principal, Scope.VIDEOS, video_id)
    if query.variant != "video":
        raise invalid_request(f"variant: no {query.variant} is made; there is the video itself.", "variant")
    if not task.status.final:
        raise GatewayError(Kind.CONFLICT, "task_not_finished", f"The video {task.id} isn't finished.")
    if task.status is not Status.SUCCESS or not task.outputs:
        raise GatewayError(Kind.NOT_FOUND, "file_not_found", f"There is no file: the video {task.id} has failed.")
    output = task.outputs[0]
    if output.key is not None:
        # As its link would be answered, ranges and all: the key has let the caller in, so the link is made here.
        link = dict(parse_qsl(urlsplit(services.links.sign(output.key, task.finished_at or task.created_at)).query))
        return await get_file(output.key, request, services, link["expires"], link["signature"])
    assert output.url is not None
    return RedirectResponse(output.url, status_code=302)


@videos.post(
    "/{video_id}/remix",
    summary="Remix a video",
    response_model=VideoBody,
    responses=refusals(400, 404, 409, 429, 503),
    openapi_extra=documented(
        {
            "application/json": {
                "schema": {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}},
                "example": {"prompt": "The same, at night"},
            }
        }
    ),
)
async def remix_video(principal: PrincipalDep, video_id: str, request: Request, services: ServicesDep) -> Response:
    """Begins a new video out of a completed one, at the upstream that made it; model, length and size are the first one's."""
    idempotency_key = idempotency_key_of(request)
    body = await read_whole(request, services)
    form = await read_form(request, body) if is_form(request) else Form(read_object(body), {})
    prompt = read_remix(form.fields)
    first = await find_task(services, principal, Scope.VIDEOS, video_id)
    task = await services.desk.submit(
        principal,
        _remix(services, first, prompt),
        source=Source.VIDEOS,
        request_id=request_id_of(request),
        idempotency_key=idempotency_key,
        pinned_to=first.channel_id,
    )
    return _answer(services, task)


async def _read(request: Request, services: Services) -> Submission:
    body = await read_whole(request, services)
    if is_form(request):
        form = await read_form(request, body)
        return await asyncio.to_thread(_read_form, form) if len(body) > 1024 * 1024 else _read_form(form)
    return await in_thread_if_large(body, lambda whole: read_video(read_object(whole)))


def _read_form(form: Form) -> Submission:
    unknown = next((name for name in form.files if name != "input_reference"), None)
    if unknown is not None:
        raise invalid_request(f"{unknown[:200]}: takes no file; a picture goes into input_reference.", unknown[:200])
    reference: Attachment | None = None
    if form.files:
        if "input_reference" in form.fields:
            raise invalid_request("input_reference: stands twice.", "input_reference")
        data, content_type = form.files["input_reference"]
        reference = read_upload(data, content_type, "input_reference")
        if not (reference.content_type or "").startswith("image/"):
            raise invalid_request("input_reference: must be a picture, not a video.", "input_reference")
    return read_video(type_fields(form.fields), reference)


async def _cancel(services: Services, principal: Principal, task: Task) -> Task:
    """The task as it is once it has stopped, or when patience ends. Raises GatewayError 409 where it can't be stopped."""
    following = services.follower.follow(await services.desk.cancel(principal, task))
    try:
        async with asyncio.timeout(CANCEL_PATIENCE):
            while True:
                task = await anext(following)
    except (TimeoutError, StopAsyncIteration):
        return task
    finally:
        await following.aclose()


def _remix(services: Services, first: Task, prompt: str) -> Job:
    """Raises GatewayError: 409 for a video that isn't completed, 400 where its upstream can't remix."""
    if first.status is not Status.SUCCESS:
        raise GatewayError(Kind.CONFLICT, "task_not_finished", f"The video {first.id} isn't completed.")
    channel = None if first.channel_id is None else services.catalog.snapshot.channels.get(first.channel_id)
    media = None if channel is None else channel.provider.media
    if first.upstream_id is None or media is None or not media.remixes:
        raise invalid_request(f"The upstream that made {first.id} can't remix it.", "video_id")
    return replace(first.job, prompt=prompt, images=(), videos=(), remix_of=first.upstream_id, remixed_from=first.id)


def _answer(services: Services, task: Task) -> Response:
    response = write_json(write_video(task, _retention(services)))
    if not task.status.final:
        response.headers["openai-poll-after-ms"] = str(POLL_AFTER_MS)
    return response


def _retention(services: Services) -> timedelta:
    return timedelta(days=services.settings.media_retention_days)


def _routers() -> APIRouter:
    """Under `/v1`, and without it for clients whose base URL is the host alone."""
    both = APIRouter()
    both.include_router(videos, prefix="/v1")
    both.include_router(videos, include_in_schema=False)
    return both


router: APIRouter = _routers()
