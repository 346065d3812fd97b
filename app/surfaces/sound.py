"""How long a recording is, by its head and its size: what a transcription is held for, and charged where nothing tells."""

from __future__ import annotations

import io
import os
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO

from tinytag import TinyTag, TinyTagException

from app.core.usage import MAX_PLAUSIBLE_MILLISECONDS
from app.surfaces.form import Part

ANY = 1_536_000
FASTEST = ((b"RIFF", ANY), (b"fLaC", ANY), (b"FORM", ANY), (b"OggS", 64_000), (b"ID3", 40_000), (b"\xff", 40_000))
"""Bytes a second that a recording has at the most, by how its file begins: 192 kHz of stereo in 32 bits; Opus' most; 320
kbit/s of MP3. A head that says less than the size does isn't believed.
"""

SLOWEST, USUAL = 2_000, 8_000
"""Bytes a second of recordings whose head tells nothing (WebM above all): 16 kbit/s is as little as speech can do with."""


@dataclass(frozen=True, slots=True)
class Length:
    """Milliseconds: at the most, and likely."""

    most: int
    likely: int


def measure(part: Part) -> Length:
    """The length of a recording; reads its head, so it belongs into a thread."""
    size = part.size
    try:
        with closing(_open(part)) as file:
            found = TinyTag.get(file_obj=file, tags=False, duration=True)
    except (TinyTagException, ValueError, OSError):
        found = None
    seconds = None if found is None else found.duration
    if found is None or not seconds or seconds != seconds or seconds < 0:
        return Length(_bounded(size / SLOWEST), _bounded(size / USUAL))
    likely = _bounded(max(float(seconds), size / _fastest(part)))
    return Length(likely, likely)


def _fastest(part: Part) -> int:
    head = part.value[:8] if isinstance(part.value, bytes) else part.value.read(0, 8)
    if head[4:8] == b"ftyp":  # MP4, at 512 kbit/s
        return 64_000
    return next((rate for begin, rate in FASTEST if head.startswith(begin)), ANY)


def _bounded(seconds: float) -> int:
    return min(MAX_PLAUSIBLE_MILLISECONDS, int(seconds * 1000) + 1)


def _open(part: Part) -> BinaryIO:
    if isinstance(part.value, bytes):
        return io.BytesIO(part.value)
    file = os.fdopen(os.dup(part.value.descriptor), "rb")
    file.seek(0)
    return file
