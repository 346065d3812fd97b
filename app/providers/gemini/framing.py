"""Which picture and length a job asks for, in the words that Google's APIs take; what they don't take is refused by name."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from app.core.media import Job
from app.errors import invalid_request

VIDEO_RATIOS = ("16:9", "9:16")

IMAGE_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9", "1:4", "4:1", "1:8", "8:1")
"""`ImageConfig` and `ImageResponseFormat` of google-genai 3.4. The last four aren't taken by every model."""

_IMAGE_SIDES = {"1K": 1100, "2K": 2200, "4K": 4400}
"""The largest mean side of each size: 1024, 2048 and 4096, where the picture is square."""

_SHORT_SIDES = {360: "360p", 720: "720p", 1080: "1080p", 2160: "4k"}

_SIZE = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})")


@dataclass(frozen=True, slots=True)
class Frame:
    """What was asked for; None: nothing, so that the upstream's default applies."""

    aspect_ratio: str | None
    resolution: str | None


Role = Literal["first", "frames", "references"]


def role(job: Job) -> Role | None:
    """What the images are: the first frame, the first and the last, or references. None: there are none.

    As the contract names its Veo models: `-components` takes references, `-frames` frames, and a model that adapts (`veo3.1`)
    takes two for frames and more for references. To other models several images are references.
    """
    if not job.images:
        return None
    if "-components" in job.model:
        return "references"
    if len(job.images) == 1:
        return "first"
    frames = len(job.images) == 2 and (job.model.startswith("veo") or "-frames" in job.model)
    return "frames" if frames else "references"


def video_frame(job: Job, resolutions: Collection[str]) -> Frame:
    """`16:9` or `9:16`, and one of the resolutions; `hd` and `enable_upsample` mean 1080p. Raises GatewayError 400."""
    sized = _video_size(job.size)
    ratio = _one_of(job.aspect_ratio, VIDEO_RATIOS, "aspect_ratio") or sized.aspect_ratio
    wished = None if job.resolution is None else job.resolution.lower()
    resolution = _one_of(wished, resolutions, "resolution")
    if resolution is None:
        resolution = _one_of(sized.resolution, resolutions, "size")
    if resolution is None and (job.hd or job.extra.get("enable_upsample") is True):
        resolution = "1080p"
    return Frame(ratio, resolution)


def image_frame(job: Job) -> Frame:
    """An aspect ratio, and `1K`, `2K` or `4K`. Raises GatewayError 400."""
    sized = _image_size(job.size)
    ratio = _one_of(job.aspect_ratio, IMAGE_RATIOS, "aspect_ratio")
    wished = None if job.resolution is None else job.resolution.upper()
    return Frame(ratio or sized.aspect_ratio, _one_of(wished, _IMAGE_SIDES, "resolution") or sized.resolution)


def whole_seconds(job: Job) -> int | None:
    """Google takes whole seconds only. Raises GatewayError 400."""
    if job.seconds is None:
        return None
    if not math.isfinite(job.seconds) or job.seconds != int(job.seconds) or job.seconds < 1:
        raise invalid_request("duration: must be a whole number of seconds.", "duration")
    return int(job.seconds)


def _one_of(value: str | None, allowed: Collection[str], field: str) -> str | None:
    if value is None or value in allowed:
        return value
    raise invalid_request(f"{field}: this upstream takes {', '.join(allowed)}.", field)


def _video_size(size: str | None) -> Frame:
    if size is None:
        return Frame(None, None)
    width, height = _sides(size)
    resolution = _SHORT_SIDES.get(min(width, height))
    ratio = next((name for name in VIDEO_RATIOS if _matches(name, width, height)), None)
    if ratio is None or resolution is None:
        raise invalid_request("size: must be 16:9 or 9:16 with a short side of 360, 720, 1080 or 2160.", "size")
    return Frame(ratio, resolution)


def _image_size(size: str | None) -> Frame:
    if size is None or size == "auto":
        return Frame(None, None)
    width, height = _sides(size)
    ratio = next((name for name in IMAGE_RATIOS if _matches(name, width, height)), None)
    if ratio is None:
        raise invalid_request(f"size: must have one of the ratios {', '.join(IMAGE_RATIOS)}.", "size")
    side = math.isqrt(width * height)
    resolution = next((name for name, most in _IMAGE_SIDES.items() if side <= most), None)
    if resolution is None:
        raise invalid_request("size: is larger than 4096x4096.", "size")
    return Frame(ratio, resolution)


def _sides(size: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(size)
    if match is None:
        raise invalid_request("size: must be WIDTHxHEIGHT in pixels.", "size")
    return int(match[1]), int(match[2])


def _matches(ratio: str, width: int, height: int) -> bool:
    across, _, down = ratio.partition(":")
    return width * int(down) == height * int(across)
