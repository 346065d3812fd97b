"""The stretch of a video that shows a character: `start,end` in seconds, one to three apart."""

from __future__ import annotations

import re
from decimal import Decimal

from app.core.media import Job
from app.errors import invalid_request

SHORTEST, LONGEST = 1, 3
"""Seconds (contract, Sora 2 and Characters)."""

_PAIR = re.compile(r" *([0-9]{1,5}(?:\.[0-9]{1,3})?) *, *([0-9]{1,5}(?:\.[0-9]{1,3})?) *", re.ASCII)


def read_timestamps(text: str, param: str) -> tuple[Decimal, Decimal]:
    """Start and end. Raises GatewayError 400 naming `param`."""
    pair = _PAIR.fullmatch(text)
    if pair is None:
        raise invalid_request(f'{param}: must be start and end in seconds, such as "1,3".', param)
    start, end = Decimal(pair[1]), Decimal(pair[2])
    if not SHORTEST <= end - start <= LONGEST:
        raise invalid_request(f"{param}: end must be {SHORTEST} to {LONGEST} seconds after start.", param)
    return start, end


def check_timestamps(job: Job) -> None:
    """A job's character: both fields or neither. Raises GatewayError 400 naming `character_timestamps`, or the URL if
    that is what is missing.
    """
    if job.character_timestamps is not None:
        read_timestamps(job.character_timestamps, "character_timestamps")
        if job.character_url is None:
            raise invalid_request("character_url: is required with character_timestamps.", "character_url")
    elif job.character_url is not None:
        message = "character_timestamps: is required with character_url: where in the video the character is."
        raise invalid_request(message, "character_timestamps")
