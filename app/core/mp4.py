"""How long an MP4 or QuickTime video is, read off its boxes, never decoded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

Read = Callable[[int, int], Awaitable[bytes]]
"""`await read(offset, length)`: at most so many bytes of the file from there on; fewer only at its end."""

MAX_BOXES = 64
"""Boxes of one level that are looked at. A file has some five on its first level, `moov` a dozen."""

MAX_MS = 24 * 3600 * 1000
"""A day. What claims to be longer is damaged or lies."""

_UNKNOWN = (0, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
_LONGEST_HEADER = 16
_MVHD = 32
"""Bytes of `mvhd`, from its version on, that hold time scale and duration."""


@dataclass(frozen=True, slots=True)
class _Box:
    """Where a box's contents are; `end` None: up to the end of the file."""

    kind: bytes
    start: int
    end: int | None


async def read_duration(read: Read, size: int = 0) -> int | None:
    """Milliseconds, by the movie's header; None where it doesn't say, or isn't one. Never raises by itself.

    `size` of the file in bytes: nothing is read beyond it. 0: not known. Makes at most some 200 reads of 32 bytes at most.
    Source: ISO/IEC 14496-12, 4.2 (boxes), 8.2.2 (mvhd), 8.8.2 (mehd, for fragmented files, whose mvhd says 0).
    """
    moov = await _find(read, 0, size or None, b"moov")
    if moov is None:
        return None
    mvhd = await _find(read, moov.start, moov.end, b"mvhd")
    if mvhd is None:
        return None
    scale, duration = _read_mvhd(await _contents(read, mvhd, _MVHD))
    if duration in _UNKNOWN:
        duration = await _fragments(read, moov)
    if scale == 0 or duration in _UNKNOWN:
        return None
    milliseconds = (duration * 1000 + scale // 2) // scale
    return milliseconds if 0 < milliseconds <= MAX_MS else None


async def duration_in(head: bytes) -> int | None:
    """The same for the first bytes of a file, or all of it: None where the movie's header lies behind them."""

    async def read(offset: int, length: int) -> bytes:
        return head[offset : offset + length]

    return await read_duration(read)


async def _fragments(read: Read, moov: _Box) -> int:
    """The duration that `mehd` has, in the movie's time scale; 0: it isn't there."""
    mvex = await _find(read, moov.start, moov.end, b"mvex")
    mehd = None if mvex is None else await _find(read, mvex.start, mvex.end, b"mehd")
    if mehd is None:
        return 0
    data = await _contents(read, mehd, 12)
    wide = data[:1] == b"\x01"
    return int.from_bytes(data[4:12] if wide else data[4:8], "big") if len(data) >= (12 if wide else 8) else 0


def _read_mvhd(data: bytes) -> tuple[int, int]:
    """Time scale (units a second) and duration (units); zeros if it is cut short or of another version."""
    match data[:1]:
        case b"\x00" if len(data) >= 20:
            return int.from_bytes(data[12:16], "big"), int.from_bytes(data[16:20], "big")
        case b"\x01" if len(data) >= 32:
            return int.from_bytes(data[20:24], "big"), int.from_bytes(data[24:32], "big")
        case _:
            return 0, 0


async def _contents(read: Read, box: _Box, most: int) -> bytes:
    length = most if box.end is None else min(most, box.end - box.start)
    return await read(box.start, length)


async def _find(read: Read, start: int, end: int | None, kind: bytes) -> _Box | None:
    async for box in _boxes(read, start, end):
        if box.kind == kind:
            return box
    return None


async def _boxes(read: Read, at: int, end: int | None) -> AsyncIterator[_Box]:
    """The boxes from there on. Each begins behind the one before, and none reaches beyond `end`: nothing can loop."""
    for _ in range(MAX_BOXES):
        if end is not None and at >= end:
            return
        header = await read(at, _LONGEST_HEADER)
        if len(header) < 8:
            return
        size, kind, length = int.from_bytes(header[:4], "big"), header[4:8], 8
        if size == 1:
            size, length = int.from_bytes(header[8:16], "big"), 16
        box_end = end if size == 0 else at + size
        if len(header) < length or 0 < size < length:
            return
        if end is not None and (box_end is None or box_end > end):
            return
        yield _Box(kind, at + length, box_end)
        if size == 0 or box_end is None:
            return
        at = box_end
