"""Rules of Sora 2, by the client's name of the model: lengths, HD, aspect ratio, storyboards."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from app.core.media import Job
from app.errors import invalid_request
from app.media.rules.storyboard import storyboard_seconds

SORA = re.compile(r"sora-2(-pro)?(-\d{4}-\d{2}-\d{2})?", re.ASCII)
"""`sora-2`, `sora-2-pro`, and dated versions such as `sora-2-2025-12-08`."""

RATIOS = ("16:9", "9:16")
DURATIONS = (10, 15, 25)
"""Seconds (contract, Sora 2)."""

PRO_DURATION = 25


def apply_sora(job: Job) -> Job:
    """The job as the contract means it. Raises GatewayError 400 naming the field."""
    check_picture(job)
    allowed = DURATIONS if is_pro(job.model) else DURATIONS[:-1]
    job = fit_storyboard(job, allowed, "duration")
    if job.seconds == PRO_DURATION and PRO_DURATION not in allowed:
        raise invalid_request(f'duration: only sora-2-pro makes "{PRO_DURATION}" seconds.', "duration")
    if job.seconds is not None and job.seconds not in allowed:
        raise invalid_request(f"duration: must be {name_all(DURATIONS)}.", "duration")
    # Contract: ignored at 25 seconds, so it must not be paid for there either.
    return replace(job, hd=job.hd and job.seconds != PRO_DURATION)


def check_picture(job: Job) -> None:
    """Raises GatewayError 400 naming `aspect_ratio` or `hd`."""
    if job.aspect_ratio not in (None, *RATIOS):
        raise invalid_request(f"aspect_ratio: must be {' or '.join(RATIOS)}.", "aspect_ratio")
    if job.hd and not is_pro(job.model):
        raise invalid_request("hd: only sora-2-pro makes HD.", "hd")


def is_pro(model: str) -> bool:
    """Whether a name of the family is the pro model's."""
    name = SORA.fullmatch(model)
    return name is not None and name[1] is not None


def fit_storyboard(job: Job, allowed: Collection[int], field: str) -> Job:
    """A storyboard's shots add up to the length that was asked for in `field`; where none was, they say how long it is.

    Raises GatewayError 400 naming `field` where the two differ, and `prompt` where the sum is no length to be had.
    """
    total = storyboard_seconds(job.prompt)
    if total is None:
        return job
    if job.seconds is None:
        if total not in allowed:
            message = (
                f"prompt: the storyboard's shots add up to {total} seconds; they must add up to {name_all(allowed)}."
            )
            raise invalid_request(message, "prompt")
        return replace(job, seconds=float(total))
    if total != job.seconds:
        message = f"{field}: is {job.seconds:g}, but the storyboard's shots in the prompt add up to {total} seconds."
        raise invalid_request(message, field)
    return job


def name_all(numbers: Collection[int]) -> str:
    """`"10", "15" or "25"`."""
    *some, last = (f'"{number}"' for number in numbers)
    return f"{', '.join(some)} or {last}"
