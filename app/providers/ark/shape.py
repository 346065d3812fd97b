"""What a video shall look like, in words of ratio and class, and which part each of the client's pictures plays in it."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from app.core.media import Attachment, Job
from app.errors import invalid_request

_SIZE = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})", re.ASCII)
_CLASSES: Mapping[int, str] = MappingProxyType({480: "480p", 720: "720p", 1080: "1080p", 2160: "4k"})
"""By the length of the shorter side."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the client asked for; None: it didn't."""

    ratio: str | None
    resolution: str | None


@dataclass(frozen=True, slots=True)
class Pictures:
    """Which picture plays which part. First and last are None where there is none."""

    first: Attachment | None = None
    last: Attachment | None = None
    references: tuple[Attachment, ...] = ()


def read_shape(job: Job, ratios: Collection[str], resolutions: Collection[str] | None = None) -> Shape:
    """Ratio and class of a video, `size` among what says them; `hd` and `enable_upsample` mean 1080p.

    `ratios`, `resolutions`: what the upstream takes; None: any. Raises GatewayError 400 naming a field that asks for
    something else, or that contradicts another.
    """
    ratio, resolution = (None, None) if job.size is None else _read_size(job.size, ratios, resolutions)
    if job.aspect_ratio is not None and job.aspect_ratio not in ratios:
        raise invalid_request(f"aspect_ratio: this upstream takes {', '.join(ratios)}.", "aspect_ratio")
    if ratio is not None and job.aspect_ratio not in (None, ratio):
        raise invalid_request("size: says another shape than aspect_ratio; give one of them.", "size")
    wished = None if job.resolution is None else job.resolution.lower()
    if wished is not None and resolutions is not None and wished not in resolutions:
        raise invalid_request(f"resolution: this upstream takes {', '.join(resolutions)}.", "resolution")
    if resolution is not None and wished not in (None, resolution):
        raise invalid_request("size: says something else than resolution; give one of them.", "size")
    upscaled = "hd" if job.hd else "enable_upsample" if job.extra.get("enable_upsample") is True else None
    if upscaled is not None and (wished or resolution or "1080p") != "1080p":
        raise invalid_request(f"{upscaled}: means 1080p, and another size was asked for.", upscaled)
    if upscaled is not None:
        resolution = "1080p"
    return Shape(job.aspect_ratio or ratio, wished or resolution)


def whole_seconds(job: Job, fewest: int, most: int) -> int | None:
    """The length; None: the client named none. Raises GatewayError 400 for what isn't whole, or out of bounds."""
    if job.seconds is None:
        return None
    if not fewest <= job.seconds <= most or job.seconds != int(job.seconds):
        raise invalid_request(f"duration: this upstream makes whole seconds, {fewest} to {most}.", "duration")
    return int(job.seconds)


def read_pictures(job: Job) -> Pictures:
    """By the client's name of the model, as the contract has it: `-frames` are the first frame and the last,
    `-components` references; `veo3.1*` adapts. For any other name one picture is the first frame, and several are
    references, as in chat-format video.

    Raises GatewayError 400 naming `images` for more than two frames.
    """
    images = job.images
    if "-components" in job.model:
        return Pictures(references=images)
    adapts = job.model.startswith("veo3.1") and len(images) == 2
    if "-frames" in job.model or adapts or len(images) <= 1:
        if len(images) > 2:
            raise invalid_request("images: a first frame and a last one at most.", "images")
        first, last = (*images, None, None)[:2]
        return Pictures(first, last)
    return Pictures(references=images)


def _read_size(size: str, ratios: Collection[str], resolutions: Collection[str] | None) -> tuple[str, str]:
    match = _SIZE.fullmatch(size)
    width, height = (int(match[1]), int(match[2])) if match is not None else (0, 0)
    across = math.gcd(width, height) or 1
    ratio, resolution = f"{width // across}:{height // across}", _CLASSES.get(min(width, height))
    if ratio not in ratios or resolution is None or (resolutions is not None and resolution not in resolutions):
        raise invalid_request("size: this upstream can't make it; give aspect_ratio and resolution instead.", "size")
    return ratio, resolution
