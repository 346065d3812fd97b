"""Writes a job as a fal model's input: the fields that most models share, and the client's own as they came.

Each model has a schema of its own (https://fal.ai/models/MODEL/llms.txt); a model that calls something otherwise takes it
from the client under its own name, since unknown fields of a request go on unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from app.core.media import Job, Scope
from app.core.usage import Usage
from app.errors import invalid_request
from app.providers.ark.shape import Pictures, read_pictures
from app.providers.jobs import as_link, refuse, requested, seconds_text, traits

GATEWAYS_OWN = frozenset({"notify_hook", "private", "enable_upsample"})
"""Fields of the contract that no model has a word for: results are private, and 1080p is a resolution."""

_REFUSED = MappingProxyType(
    {
        **dict.fromkeys(
            ("num_images", "num_samples", "num_outputs", "num_videos", "batch_size", "max_images"), "give `n`"
        ),
        **dict.fromkeys(
            (
                "num_frames",
                "frames",
                "seconds_total",
                "duration_seconds",
                "total_second_length",
                "video_length",
                "length",
                "music_length_ms",
            ),
            "give `duration`",
        ),
        **dict.fromkeys(("image_size", "width", "height"), "give `size`"),
        "webhook_url": "give `notify_hook`",
    }
)
"""Fields of models that would say what the contract's fields say: then what is made wouldn't be what is paid for."""

_SECONDS_WITH_UNIT = ("veo", "luma-dream-machine")
"""Models whose lengths are `8s` (https://fal.ai/models/fal-ai/veo3.1/image-to-video/llms.txt), by a part of their path."""


def check(job: Job, model: str) -> None:
    """Raises GatewayError 400 naming the field that no model of fal has a common word for."""
    refuse(job, "character_url", "character_timestamps", by="fal")
    for name, instead in _REFUSED.items():
        if name in job.extra:
            raise invalid_request(f"{name}: isn't taken here; {instead}.", name)
    if job.scope is not Scope.IMAGES:
        refuse(job, "n", "size", by=f"fal's {job.scope.value}")
    if job.scope is Scope.AUDIO:
        refuse(job, "images", "videos", "aspect_ratio", "resolution", "hd", by="fal's audio")
    if job.scope is Scope.IMAGES:
        refuse(job, "duration", "videos", "hd", by="fal's images")
    _check_twice(job)
    if len(job.videos) > 1:
        raise invalid_request("videos: fal's models take one.", "videos")
    if job.scope is Scope.VIDEOS and _pictures(job).last is not None and "first-last-frame" not in model:
        message = (
            "images: fal's models have no common name for a last frame; give the first, and it by the model's own name."
        )
        raise invalid_request(message, "images")


def _check_twice(job: Job) -> None:
    """Some models take one picture as a list, or under another name: so these may be the client's own, but not both."""
    for name, given in (("image_url", job.images), ("image_urls", job.images), ("video_url", job.videos)):
        if name in job.extra and given:
            raise invalid_request(f"{name}: was given beside the contract's own field; give one of them.", name)
    if job.scope is Scope.AUDIO and "text" in job.extra:
        raise invalid_request("text: isn't taken here; give `prompt`.", "text")


def units(job: Job) -> Usage:
    """What the request tells. A length that it doesn't name stays zero: the default is the model's, and not every model
    reports what it made, so that a price by the second needs a request that names it.
    """
    known = requested(job)
    said = {
        **known.traits,
        "input": _input(job),
        "resolution": _resolution(job),
        "audio": job.extra.get("generate_audio"),
    }
    return replace(known, traits=traits(said))


def write_body(job: Job, model: str) -> dict[str, Any]:
    """The input. Lengths go as text: most models list them as such (`"5"`), and the others read a number from it."""
    ours: dict[str, Any] = {"prompt": job.prompt}
    if job.scope is Scope.AUDIO:
        ours["text"] = job.prompt  # what models of speech call it; music and effects have `prompt`
    if job.seconds is not None:
        unit = "s" if any(name in model for name in _SECONDS_WITH_UNIT) else ""
        ours["duration"] = seconds_text(job.seconds) + unit
    if job.size is not None:
        width, height = job.size.split("x")
        ours["image_size"] = {"width": int(width), "height": int(height)}
    if job.scope is Scope.IMAGES and job.count != 1:
        ours["num_images"] = job.count
    said = {"aspect_ratio": job.aspect_ratio, "resolution": _resolution(job)}
    ours |= {name: value for name, value in said.items() if value is not None}
    if job.videos:
        ours["video_url"] = as_link(job.videos[0])
    ours |= _write_pictures(job, model)
    return {name: value for name, value in job.extra.items() if name not in GATEWAYS_OWN} | ours


def _write_pictures(job: Job, model: str) -> dict[str, Any]:
    pictures = _pictures(job)
    if "first-last-frame" in model and pictures.first is not None:
        # https://fal.ai/models/fal-ai/veo3.1/fast/first-last-frame-to-video/llms.txt
        frames: Mapping[str, Any] = {"first_frame_url": pictures.first, "last_frame_url": pictures.last}
        return {name: as_link(item) for name, item in frames.items() if item is not None}
    if pictures.first is not None:
        return {"image_url": as_link(pictures.first)}
    return {"image_urls": [as_link(item) for item in pictures.references]} if pictures.references else {}


def _pictures(job: Job) -> Pictures:
    """Of a video as the contract has it; an image is made from one picture, or from several alike."""
    if job.scope is Scope.VIDEOS:
        return read_pictures(job)
    return Pictures(first=job.images[0]) if len(job.images) == 1 else Pictures(references=job.images)


def _input(job: Job) -> str:
    """What it is made from, whether the contract's fields say it or a model's own: `end_image_url`, `video_urls`, …"""
    links = [name for name in job.extra if name.endswith(("_url", "_urls"))]
    if job.videos or any("video" in name for name in links):
        return "video"
    return "image" if job.images or any("image" in name or "frame" in name for name in links) else "text"


def _resolution(job: Job) -> str | None:
    if job.resolution is None and job.scope is Scope.VIDEOS:
        return "1080p" if job.hd or job.extra.get("enable_upsample") is True else None
    return job.resolution
