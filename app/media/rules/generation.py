"""A body of the unified API read into a job: the fields of every model, then the rules of the model's family."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar

from app.core.media import Attachment, Job, Scope
from app.egress.guard import MAX_URL
from app.errors import invalid_request
from app.media.inputs import read_image
from app.media.rules.fields import Fields
from app.media.rules.sora import SORA, apply_sora
from app.media.rules.timestamps import check_timestamps
from app.media.rules.veo import VEO, check_veo

T = TypeVar("T")

MAX_PROMPT = 32 * 1024
"""Bytes. Ten times what any video model reads; a storyboard of twenty-five shots has a fifth of it."""

MAX_SECONDS = 3600
LEAST_SECONDS: Mapping[Scope, float] = MappingProxyType({Scope.IMAGES: 1, Scope.VIDEOS: 1, Scope.AUDIO: 0.5})
"""No video is shorter, and effects are the shortest sounds. An upstream that reads less as nothing takes its own default,
which would be paid for as the fraction.
"""

MAX_IMAGES = 10
MAX_VIDEOS = 10
MAX_COUNT: Mapping[Scope, int] = MappingProxyType({Scope.IMAGES: 10, Scope.VIDEOS: 4, Scope.AUDIO: 4})
"""Results of one task, each of which is paid."""

RESERVED: Mapping[str, str] = MappingProxyType(
    {
        "remix_of": "use POST /v1/videos/{id}/remix",
        "remixed_from_video_id": "use POST /v1/videos/{id}/remix",
        "input_reference": "give pictures in `images`",
    }
)
"""What would mean something to an upstream, had a client said it: names that the gateway itself sets, or that say in
another API what a field of this one says, so that what is made would not be what is paid for."""

PRICED = ("quality", "mode", "audio", "generate_audio", "service_tier")
"""Fields that go on as they came, and that prices depend on."""

FLAGS = ("watermark", "private", "enhance_prompt", "enable_upsample")
"""Fields of the contract that are true or false, and go on as they came."""

_RATIO = re.compile(r"[1-9][0-9]{0,3}:[1-9][0-9]{0,3}|[a-z]{2,16}", re.ASCII)
_SIZE = re.compile(r"[1-9][0-9]{1,4}x[1-9][0-9]{1,4}", re.ASCII)
_RESOLUTION = re.compile(r"[1-9][0-9]{2,3}p|[1-9][0-9]?k|0\.5k", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Submission:
    """What a client asked for, and whom to tell when it is final."""

    job: Job
    notify_hook: str | None


def read_generation(scope: Scope, body: Mapping[str, Any]) -> Submission:
    """The job that a body describes. Raises GatewayError 400 naming the field that breaks a rule.

    `body` is JSON as Python has it. Pictures in base64 are decoded here: for a body of megabytes call it in a thread.
    URLs are read, not looked up: that is `check_urls`.
    """
    submission = read_submission(scope, Fields(body))
    return replace(submission, job=_apply_family(submission.job))


def read_submission(scope: Scope, fields: Fields) -> Submission:
    """As `read_generation`, without the rules of families."""
    model = fields.needed("model")
    if not model.isprintable():
        raise invalid_request("model: must hold printable characters only.", "model")
    prompt = fields.needed("prompt", MAX_PROMPT)
    notify_hook = fields.text("notify_hook", MAX_URL)
    for name in FLAGS:
        fields.check_flag(name)
    job = Job(
        scope=scope,
        model=model,
        prompt=prompt,
        seconds=_read_seconds(scope, fields),
        aspect_ratio=fields.pattern("aspect_ratio", _RATIO, "WIDTH:HEIGHT, such as 16:9, or a word such as auto"),
        size=_read_size(fields),
        resolution=_read_resolution(fields),
        hd=bool(fields.flag("hd")),
        count=_read_count(scope, fields),
        images=_read_images(fields),
        videos=_read_videos(fields),
        character_url=fields.text("character_url", MAX_URL),
        character_timestamps=fields.text("character_timestamps"),
        extra=_read_rest(fields),
    )
    check_timestamps(job)
    return Submission(job, notify_hook)


def _apply_family(job: Job) -> Job:
    """The rules that the client's name of the model stands for, wherever the model is routed."""
    if job.scope is not Scope.VIDEOS:
        return job
    if SORA.fullmatch(job.model):
        return apply_sora(job)
    if VEO.fullmatch(job.model):
        check_veo(job)
    return job


def _read_seconds(scope: Scope, fields: Fields) -> float | None:
    """`duration`, or `seconds` as OpenAI calls it: one of the two, so that no upstream hears of another length."""
    bounds = LEAST_SECONDS[scope], MAX_SECONDS
    return _either(fields.number("duration", *bounds), fields.number("seconds", *bounds), "duration", "seconds")


def _read_count(scope: Scope, fields: Fields) -> int:
    most = MAX_COUNT[scope]
    return _either(fields.count("n", most), fields.count("count", most), "n", "count") or 1


def _either(one: T | None, other: T | None, name: str, second: str) -> T | None:
    if one is not None and other is not None and one != other:
        raise invalid_request(f"{second}: says something else than {name}; give one of them.", second)
    return other if one is None else one


def _read_size(fields: Fields) -> str | None:
    size = fields.text("size")
    if size is None or size == "auto":  # OpenAI's word for leaving it out
        return None
    if _SIZE.fullmatch(size) is None:
        message = (
            "size: must be WIDTHxHEIGHT in pixels, such as 1280x720; for a class such as 1080p or 2K use `resolution`."
        )
        raise invalid_request(message, "size")
    return size


def _read_resolution(fields: Fields) -> str | None:
    resolution = fields.pattern("resolution", _RESOLUTION, "a class such as 720p, 1080p or 4k")
    return None if resolution is None else resolution.lower()


def _read_images(fields: Fields) -> tuple[Attachment, ...]:
    texts = fields.texts("images", MAX_IMAGES)
    return tuple(read_image(text, f"images[{index}]") for index, text in enumerate(texts))


def _read_videos(fields: Fields) -> tuple[Attachment, ...]:
    urls = fields.texts("videos", MAX_VIDEOS)
    for index, url in enumerate(urls):
        if not url.lower().startswith(("https://", "http://")):
            raise invalid_request(f"videos[{index}]: must be a URL (http or https) of a video.", f"videos[{index}]")
    return tuple(Attachment(url=url) for url in urls)


def _read_rest(fields: Fields) -> dict[str, Any]:
    for name, hint in RESERVED.items():
        if name in fields:
            raise invalid_request(f"{name}: isn't a field of this API; {hint}.", name)
    return fields.rest(*PRICED)
