"""The files of a job: the media itself, as long as asked, and the part of it that a range names."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

from app.demo.media.makers import make_mp4, make_png, make_wav
from app.demo.media.studio import Job, Scope

CONTENT_TYPES: dict[Scope, str] = {"images": "image/png", "videos": "video/mp4", "audio": "audio/wav"}
ENDINGS: dict[Scope, str] = {"images": "png", "videos": "mp4", "audio": "wav"}
# What follows the media in a file that shall be longer: offset by offset the same, so that any part can be checked.
FILLER = bytes(range(256)) * 1024
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class File:
    """One result, `size` bytes long: `head` is the media, cut or followed by filler. Any part can be had at any time."""

    content_type: str
    head: bytes
    size: int

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to before `stop`, as far as the file goes."""
        stop = min(stop, self.size)
        part = self.head[start:stop]
        at = start + len(part)
        if at >= stop:
            return part
        offset = at % len(FILLER)
        return part + (FILLER[offset:] + FILLER * ((stop - at) // len(FILLER) + 1))[: stop - at]


class Darkroom:
    """Makes the files of jobs, remembering the recent media."""

    def __init__(self) -> None:
        self._png: Callable[[str, int, int], bytes] = functools.lru_cache(maxsize=16)(make_png)
        self._wav: Callable[[str, float], bytes] = functools.lru_cache(maxsize=16)(make_wav)
        self._mp4: Callable[[str, int, int, float], bytes] = functools.lru_cache(maxsize=16)(make_mp4)

    def develop(self, job: Job, number: int) -> File:
        """The result of that number, counted from 1."""
        order = job.order
        # Several results of one prompt shall not look alike.
        prompt = order.prompt if number == 1 else f"{order.prompt} #{number}"
        if order.scope == "images":
            head = self._png(prompt, order.width, order.height)
        elif order.scope == "videos":
            head = self._mp4(prompt, order.width, order.height, job.seconds)
        else:
            head = self._wav(prompt, job.seconds)
        size = len(head) if job.options.big is None else job.options.big
        return File(CONTENT_TYPES[order.scope], head, size)


def read_range(header: str, size: int) -> tuple[int, int] | None:
    """Start and stop of the one range that a `Range` header names; None: the whole file is meant (RFC 9110 section 14.2,
    several ranges and what can't be read included). A range that holds nothing starts at `size`.
    """
    match = RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return min(int(first), size), min(int(last) + 1, size) if last else size
