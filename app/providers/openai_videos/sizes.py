"""Sizes of OpenAI's videos API, and what shape and resolution they stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from app.core.media import Job
from app.errors import GatewayError, invalid_request

DEFAULT_SIZE = "720x1280"
"""Where a request names none. Source: openai-python, `types/video_create_params.py`."""

_SIZES: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("9:16", "720p"): DEFAULT_SIZE,
        ("16:9", "720p"): "1280x720",
        ("9:16", "1080p"): "1024x1792",
        ("16:9", "1080p"): "1792x1024",
    }
)
"""All sizes that the API has. Its larger ones, 1024 lines, are what it has for 1080p and `hd`."""

_SHAPES: Mapping[str, str] = MappingProxyType({size: ratio for (ratio, _), size in _SIZES.items()})
_CLASSES: Mapping[int, str] = MappingProxyType({1024: "1080p", 2160: "4k"})
_PIXELS = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})", re.ASCII)
_RATIO = re.compile(r"([1-9]\d{0,4}):([1-9]\d{0,4})", re.ASCII)


def choose_size(job: Job) -> str | None:
    """The size that the job asks for, in whatever words; None: it leaves it to the upstream. Raises GatewayError 400 for
    words that the API has no size for, or that contradict each other.
    """
    if job.size is not None:
        _check_against(job, job.size)
        return job.size
    ratio = None if job.aspect_ratio == "auto" else job.aspect_ratio
    if ratio is None and job.resolution is None and not job.hd:
        return None
    resolution = _choose_resolution(job)
    size = _SIZES.get((ratio or "9:16", resolution))
    if size is not None:
        return size
    if resolution not in ("720p", "1080p"):
        raise invalid_request("resolution: this upstream makes 720p and 1080p.", "resolution")
    raise invalid_request("aspect_ratio: this upstream makes 16:9 and 9:16.", "aspect_ratio")


def _choose_resolution(job: Job) -> str:
    if job.hd and job.resolution not in (None, "1080p"):
        raise _contradiction("hd", "resolution")
    return "1080p" if job.hd else job.resolution or "720p"


def _check_against(job: Job, size: str) -> None:
    """Servers of this kind have sizes of their own, so any size goes on; what stands beside it mustn't say otherwise."""
    pixels = _PIXELS.fullmatch(size)
    if pixels is None:
        raise invalid_request("size: must be WIDTHxHEIGHT in pixels, such as 1280x720.", "size")
    width, height = int(pixels[1]), int(pixels[2])
    ratio = _RATIO.fullmatch(job.aspect_ratio or "")
    # 1792x1024 isn't 16:9 to the pixel: what counts is which side is the longer one.
    if ratio is not None and _longer(int(ratio[1]), int(ratio[2])) != _longer(width, height):
        raise _contradiction("aspect_ratio", "size")
    if job.resolution is not None and job.resolution.lower() != resolution_of(size):
        raise _contradiction("resolution", "size")
    if job.hd and min(width, height) < 1024:
        raise _contradiction("hd", "size")


def _longer(width: int, height: int) -> int:
    return (width > height) - (width < height)


def _contradiction(name: str, other: str) -> GatewayError:
    return invalid_request(f"{name}: says something else than {other}; give one of them.", name)


def resolution_of(size: str) -> str | None:
    """The class that a size counts as, as clients ask for it: `720p`, `1080p` (1024 lines too), `4k`, …"""
    pixels = _PIXELS.fullmatch(size)
    if pixels is None:
        return None
    lines = min(int(pixels[1]), int(pixels[2]))
    return _CLASSES.get(lines, f"{lines}p")


def shape_of(size: str) -> str | None:
    """The aspect ratio that one of the API's own sizes stands for."""
    return _SHAPES.get(size)
