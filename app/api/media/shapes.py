"""Bodies of the media APIs as OpenAPI shows them; what a request may hold is checked by `app/media/rules/`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from app.api.admin.shapes import ErrorBody, Shape

TaskStatus = Literal["NOT_START", "SUBMITTED", "QUEUED", "IN_PROGRESS", "SUCCESS", "FAILURE"]
"""`app.core.media.Status`, written out: in OpenAPI its name belongs to the status of entries."""

TASK_EXAMPLE: dict[str, Any] = {
    "task_id": "veo3:1756693796-YQVHH4A3LgKt",
    "platform": "google",
    "action": "google-videos",
    "status": "SUCCESS",
    "fail_reason": "",
    "submit_time": 1756693797,
    "start_time": 1756693808,
    "finish_time": 1756693898,
    "progress": "100%",
    "data": {"output": "https://example.com/1.mp4", "outputs": ["https://example.com/1.mp4"]},
    "search_item": "",
}


class CreatedTask(Shape):
    """A task that is written down and paid for in advance."""

    task_id: str = Field(description="Letters, digits, `-`, `_` and `:`")

    model_config = ConfigDict(json_schema_extra={"examples": [{"task_id": TASK_EXAMPLE["task_id"]}]})


class TaskOutput(Shape):
    """Where the results are."""

    output: str = Field(description="The first result")
    outputs: list[str] = Field(description="All results")


class MediaTask(Shape):
    """How far a task has come. Times are Unix seconds, 0 until known."""

    task_id: str
    platform: str
    action: str
    status: TaskStatus = Field(description="Moves forward only; SUCCESS and FAILURE are final")
    fail_reason: str = Field(description="Why it failed, in words; empty otherwise")
    submit_time: int
    start_time: int
    finish_time: int
    progress: str = Field(description="Percent, such as `45%`")
    data: TaskOutput | None = Field(description="Null until it has succeeded")
    search_item: str

    model_config = ConfigDict(json_schema_extra={"examples": [TASK_EXAMPLE]})


class TaskList(Shape):
    """One page of tasks, the newest first."""

    data: list[MediaTask]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last one")


class VideoError(Shape):
    """Why a video wasn't made."""

    code: str
    message: str


class VideoBody(Shape):
    """A video job in OpenAI's shape."""

    id: str
    object: Literal["video"]
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int = Field(description="Percent")
    created_at: int = Field(description="Unix seconds")
    completed_at: int | None
    expires_at: int | None = Field(description="When the stored file is deleted")
    prompt: str
    seconds: str
    size: str
    remixed_from_video_id: str | None
    error: VideoError | None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "sora-2:1756693796-YQVHH4A3LgKt",
                    "object": "video",
                    "model": "sora-2",
                    "status": "completed",
                    "progress": 100,
                    "created_at": 1756693797,
                    "completed_at": 1756693898,
                    "expires_at": 1759285898,
                    "prompt": "A cat on a roof",
                    "seconds": "4",
                    "size": "720x1280",
                    "remixed_from_video_id": None,
                    "error": None,
                }
            ]
        }
    )


class VideoList(Shape):
    """One page of videos."""

    object: Literal["list"]
    data: list[VideoBody]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedVideo(Shape):
    """What became of a request to delete."""

    id: str
    object: Literal["video.deleted"]
    deleted: bool = Field(description="False: it is being cancelled, and can be deleted once that is done")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": "sora-2:1756693796-YQVHH4A3LgKt", "object": "video.deleted", "deleted": True}]
        }
    )


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What every media endpoint may answer instead, and what this one may beside."""
    return {status: {"model": ErrorBody, "description": _REFUSALS[status]} for status in (401, 403, *statuses)}


_REFUSALS = {
    400: "A field breaks its rule; `param` names it.",
    401: "No key, or one that is no good.",
    403: "The key may not be used from this address, or not for this model.",
    404: "There is no such task of this account.",
    409: "Not in the state that the task is in, or the idempotency key came with another request before.",
    413: "The body is larger than RELAYGATE_MAX_BODY_MB.",
    422: "A query parameter breaks its rule, or isn't known; `param` names it.",
    429: "A limit, or the quota.",
    503: "No channel serves the model at the moment, or the gateway can't reach its database.",
}

_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}

GENERATION_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["prompt", "model"],
    "properties": {
        "prompt": {**_TEXT, "description": "At most 32 KiB; for Sora 2 it may be a storyboard"},
        "model": _TEXT,
        "duration": {"anyOf": [_TEXT, {"type": "number"}], "description": "Seconds", "examples": ["10"]},
        "aspect_ratio": {**_TEXT, "examples": ["16:9"]},
        "size": {**_TEXT, "description": "WIDTHxHEIGHT", "examples": ["1280x720"]},
        "resolution": {**_TEXT, "examples": ["1080p"]},
        "hd": _FLAG,
        "n": {"type": "integer", "minimum": 1, "maximum": 10},
        "images": {"type": "array", "items": _TEXT, "maxItems": 10, "description": "URLs, base64 or data URIs"},
        "videos": {"type": "array", "items": {**_TEXT, "format": "uri"}, "maxItems": 10},
        "watermark": _FLAG,
        "private": _FLAG,
        "enhance_prompt": _FLAG,
        "enable_upsample": _FLAG,
        "character_url": {**_TEXT, "format": "uri"},
        "character_timestamps": {**_TEXT, "description": "`start,end` in seconds, 1 to 3 apart", "examples": ["1,3"]},
        "notify_hook": {**_TEXT, "format": "uri", "description": "Called with the final task"},
    },
    "additionalProperties": True,
}

VIDEO_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "prompt": _TEXT,
        "model": {**_TEXT, "default": "sora-2"},
        "seconds": {**_TEXT, "enum": ["4", "8", "12"], "description": "Sora 2; other models take what they can make"},
        "size": {**_TEXT, "examples": ["720x1280"], "description": "WIDTHxHEIGHT"},
        "input_reference": {
            "anyOf": [{"type": "object", "properties": {"image_url": _TEXT}}, _TEXT],
            "description": "A picture: a file in a multipart body, or its URL or data URI",
        },
    },
    "additionalProperties": True,
}


def documented(content: dict[str, Any]) -> dict[str, Any]:
    """An endpoint that reads its body itself, as OpenAPI shows it: schema and example by content type."""
    return {"security": [{"key": []}], "requestBody": {"required": True, "content": content}}


KEYED: dict[str, Any] = {"security": [{"key": []}]}
