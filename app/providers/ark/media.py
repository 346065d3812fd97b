"""Seedance's asynchronous tasks: written as content parts, polled until they are final, cancelled while they wait.

Sources: byteplus-python-sdk-v2 3.0.63 (`byteplussdkarkruntime/resources/content_generation/tasks.py` and
`types/content_generation/`: paths, request fields, list filters, the fields of a task); @ai-sdk/bytedance 1.0 (roles of
pictures and videos); the page "Query video generation task" as mirrored at
https://docs.ai-tokenhub.com/en/api-guides/Query-video-generation-task (statuses, that only queued tasks can be cancelled,
that `content.video_url` lasts 24 hours); https://www.volcengine.com/docs/82379/1099476 (errors).

Unverified, for want of a page that shows it: an idempotency key (none is sent), what DELETE answers for a running task
(it isn't sent then), and which fields of other models a model refuses rather than ignores.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from app.core.media import Job, Measured, Scope, Status
from app.core.usage import Usage, read_count, read_milliseconds, read_tier
from app.errors import UpstreamError, bad_upstream_response, invalid_request
from app.providers.ark.shape import Pictures, read_pictures, read_shape, whole_seconds
from app.providers.jobs import (
    as_link,
    check_scope,
    duration_trait,
    read_id,
    read_link,
    refuse,
    requested,
    segment,
    traits,
)
from app.providers.media import (
    Call,
    Characters,
    Done,
    Failed,
    Handle,
    Outcome,
    Reply,
    Running,
    Site,
    refused,
)
from app.providers.replies import read_error, read_json

TASKS = "/contents/generations/tasks"
RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9", "adaptive")
SHORTEST, LONGEST = 2, 15
"""Seconds: Seedance 1 makes 2 to 12, Seedance 2 makes 4 to 15; the model's own bounds are the upstream's to say."""

DEFAULT_SECONDS = 5
"""Where a request names no length."""

FRAMES_PER_SECOND = 24
"""Of every Seedance model (@ai-sdk/bytedance)."""

MAX_REFERENCE_VIDEO_SECONDS = 15
"""Of all reference videos together (Seedance 2.0)."""

_LARGEST_PIXELS: Mapping[str, int] = MappingProxyType({"480p": 430_000, "720p": 965_000, "1080p": 2_100_000})
"""Of a frame, whatever its ratio: the largest are 992x432, 1504x640 and 1920x1088 (@ai-sdk/bytedance)."""

_PIXELS_PER_TOKEN = 1024

GATEWAYS_OWN = frozenset({"notify_hook", "private", "enhance_prompt", "enable_upsample"})
"""Fields of the contract that this API has no word for: results are private here, prompts go as they are, and 1080p is a
resolution."""

_REFUSED = MappingProxyType(
    {
        "content": "give `prompt`, `images` and `videos`",
        "callback_url": "give `notify_hook`",
        "frames": "give `duration`",
    }
)
"""Fields of this API that would say what the contract's fields say: then what is made wouldn't be what is paid for."""

_COMMAND = re.compile(
    r"(?<![\w-])--(rs|resolution|dur|duration|fps|framespersecond|frames|generate_audio)(?![\w-])",
    re.IGNORECASE,
)
"""Seedance 1 takes parameters inside the prompt too (`… --rs 1080p --dur 10`): these would change what is paid for."""


class ArkMedia:
    """See `app.providers.media.Media`. `find` is None: a task in the list shows nothing of the request that made it but
    fields that belong to the client, so that no entry can be told from another one like it.
    """

    platform: str = "bytedance"
    scopes: frozenset[Scope] = frozenset({Scope.VIDEOS})
    takes_urls: bool = True
    idempotent: bool = False
    cancels: bool = True
    remixes: bool = False
    characters: Characters | None = None

    def check(self, job: Job, model: str) -> None:
        check_scope(job, self.scopes, "Seedance")
        refuse(job, "n", "character_url", "character_timestamps", by="Seedance")
        for name, instead in _REFUSED.items():
            if name in job.extra:
                raise invalid_request(f"{name}: isn't taken here; {instead}.", name)
        if (command := _COMMAND.search(job.prompt)) is not None:
            raise invalid_request(f"prompt: holds --{command[1]}; give it as a field of the request.", "prompt")
        whole_seconds(job, SHORTEST, LONGEST)
        read_shape(job, RATIOS)
        frames = _pictures(job).first is not None
        if job.videos and frames:
            raise invalid_request("videos: can't be combined with frames; pictures must be references then.", "videos")

    def units(self, job: Job, model: str) -> Usage:
        """Tokens by the documented formula, pixels of all frames / 1024, at the largest frame of the resolution; a task's
        own count goes over them. Reference videos count too, so they are held for at their longest.
        """
        known = requested(job)
        shape, seconds = read_shape(job, RATIOS), whole_seconds(job, SHORTEST, LONGEST) or DEFAULT_SECONDS
        pixels = _LARGEST_PIXELS.get(shape.resolution or "", max(_LARGEST_PIXELS.values()))
        if shape.resolution == "4k":
            pixels = 4 * _LARGEST_PIXELS["1080p"]
        length = seconds + (MAX_REFERENCE_VIDEO_SECONDS if job.videos else 0)
        said = {
            **known.traits,
            "duration": duration_trait(seconds),
            "resolution": shape.resolution,
            "aspect_ratio": shape.ratio,
            "audio": job.extra.get("generate_audio"),
        }
        return replace(
            known,
            milliseconds=seconds * 1000,
            output_tokens=math.ceil(length * FRAMES_PER_SECOND * pixels / _PIXELS_PER_TOKEN),
            service_tier=read_tier(job.extra.get("service_tier")),
            traits=traits(said),
        )

    def submit(self, job: Job, model: str, key: str, site: Site) -> Call:
        shape, seconds = read_shape(job, RATIOS), whole_seconds(job, SHORTEST, LONGEST)
        body: dict[str, Any] = {name: value for name, value in job.extra.items() if name not in GATEWAYS_OWN}
        body |= {"model": model, "content": _content(job)}
        said = {"ratio": shape.ratio, "resolution": shape.resolution, "duration": seconds}
        body |= {name: value for name, value in said.items() if value is not None}
        return Call("POST", TASKS, json=body)

    def read_submitted(self, job: Job, reply: Reply) -> Outcome:
        try:
            body = read_json(reply)
        except UpstreamError as error:
            if (failed := refused(error)) is not None:
                return failed
            raise
        return _waiting(read_id(body.get("id")))

    def poll(self, handle: Handle, site: Site) -> Call:
        return Call("GET", f"{TASKS}/{segment(handle.id)}")

    def read_polled(self, handle: Handle, reply: Reply) -> Outcome:
        body = read_json(reply)
        match body.get("status"):
            case "queued":
                return _waiting(handle.id)
            case "running":
                return Running(Status.IN_PROGRESS, handle.id)
            case "succeeded":
                return _read_made(body)
            case "failed":
                reason, code = read_error({"error": body.get("error")})
                return Failed(reason or "The upstream gave no reason.", code or "upstream_failed")
            case "cancelled":
                return Failed("The task was cancelled.", "cancelled")
            case "expired":
                return Failed("The upstream didn't make it in time.", "expired")
            case _:
                raise bad_upstream_response("The upstream's answer has no status that is known.")

    def cancel(self, handle: Handle, site: Site) -> Call | None:
        """Only while it waits: for a final task the same call deletes its record, and with it the result."""
        return Call("DELETE", f"{TASKS}/{segment(handle.id)}") if handle.memo.get("queued") is True else None

    def find(self, job: Job, model: str, key: str, site: Site) -> Call | None:
        return None

    def read_found(self, job: Job, key: str, reply: Reply) -> Running | None:
        raise bad_upstream_response("This upstream can't tell which tasks it has.")


def _waiting(id: str) -> Running:
    return Running(Status.QUEUED, id, memo={"queued": True})


def _pictures(job: Job) -> Pictures:
    """Beside a video pictures are references: frames and references exclude each other. Asked for as frames they stay so."""
    pictures = read_pictures(job)
    if job.videos and pictures.first is not None and "-frames" not in job.model:
        return Pictures(references=job.images)
    return pictures


def _content(job: Job) -> list[dict[str, Any]]:
    pictures = _pictures(job)
    parts: list[dict[str, Any]] = [{"type": "text", "text": job.prompt}]
    images = [(pictures.first, "first_frame"), (pictures.last, "last_frame")]
    images += [(item, "reference_image") for item in pictures.references]
    for item, role in images:
        if item is not None:
            parts.append({"type": "image_url", "image_url": {"url": as_link(item)}, "role": role})
    for item in job.videos:
        parts.append({"type": "video_url", "video_url": {"url": as_link(item)}, "role": "reference_video"})
    return parts


def _read_made(body: Mapping[str, Any]) -> Done:
    content, usage = body.get("content"), body.get("usage")
    video = read_link(content.get("video_url"), "video/mp4") if isinstance(content, dict) else None
    if video is None:
        raise bad_upstream_response("The upstream says that it succeeded, and names no result.")
    # Kept whatever the link says: it lasts 24 hours.
    return Done((replace(video, keep=True),), _measure(body, usage if isinstance(usage, dict) else {}))


def _measure(body: Mapping[str, Any], usage: Mapping[str, Any]) -> Measured:
    """`duration` where the request named a length, else `frames`, never both."""
    length = read_milliseconds(body, "duration")
    frames, speed = read_count(body, "frames"), read_count(body, "framespersecond") or FRAMES_PER_SECOND
    if length is None and frames is not None:
        length = read_milliseconds({"seconds": frames / speed}, "seconds")
    said = {
        "duration": None if length is None else duration_trait(length / 1000),
        "resolution": body.get("resolution"),
        "aspect_ratio": body.get("ratio"),
        "audio": body.get("generate_audio"),
    }
    tokens = read_count(usage, "completion_tokens")
    return Measured(videos=1, milliseconds=length, output_tokens=tokens, traits=traits(said))
