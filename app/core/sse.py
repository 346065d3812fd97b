"""Server-sent events in bytes: where a frame ends, and what data a frame carries.

Source: WHATWG HTML, "Server-sent events", §9.2.5: lines end with LF, CRLF or a lone CR; an event ends with a blank
line; a line that starts with a colon is a comment. Nothing is decoded here, so a character split over two network
reads costs nothing.
"""

from __future__ import annotations

import re

_BOUNDARY = re.compile(rb"\r\n(?:\r\n|\n|\r)|\n(?:\r\n|\n|\r)|\r(?!\n)(?:\r\n|\r)")
_LONGEST_END = 4
"""Bytes of the longest end of a frame."""

_LINE_END = re.compile(rb"\r\n|\n|\r")


def end_of_frames(buffer: bytes) -> int:
    """The index just past the last complete frame of `buffer`; 0 if there is none.

    A CR that ends the buffer after a line's LF is taken for half of a CRLF, and its frame for incomplete: the other half
    would open the next frame otherwise, and be sent on alone if this one is dropped.
    """
    if buffer.endswith((b"\n\n", b"\r\n\r\n")):
        return len(buffer)
    if b"\r" not in buffer:
        return buffer.rfind(b"\n\n") + 2 if b"\n\n" in buffer else 0
    halved = len(buffer) if buffer.endswith(b"\n\r") else -1
    end = 0
    for match in _BOUNDARY.finditer(buffer):
        if match.end() != halved:
            end = match.end()
    return end


class FrameBuffer:
    """Cuts whole frames from bytes as they arrive. A frame in many pieces is looked through once, not anew with each."""

    __slots__ = ("_parts", "_tail", "size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._tail = b""
        """The last bytes of what is kept: an end of frame may begin in them."""
        self.size = 0
        """Bytes that are kept: the beginning of a frame."""

    def take(self, chunk: bytes) -> bytes:
        """The whole frames that there are now; nothing while the first isn't whole."""
        if not self._parts:
            if chunk.endswith(b"\n\n") and b"\r" not in chunk:
                return chunk
            end = end_of_frames(chunk)
            self._keep(chunk[end:])
            return chunk[:end]
        known = len(self._tail)
        end = end_of_frames(self._tail + chunk) - known
        if end < 0:
            self._keep(chunk)
            return b""
        frames = b"".join((*self._parts, chunk[:end]))
        self.rest()
        self._keep(chunk[end:])
        return frames

    def rest(self) -> bytes:
        """What is left of a frame that isn't whole; it is given up."""
        left = b"".join(self._parts)
        self._parts, self._tail, self.size = [], b"", 0
        return left

    def _keep(self, part: bytes) -> None:
        if part:
            self._parts.append(part)
            self._tail = (self._tail + part[-_LONGEST_END:])[-_LONGEST_END:]
            self.size += len(part)


def split_frames(buffer: bytes) -> list[bytes]:
    """Complete frames of `buffer`, each with the blank line that ends it; their concatenation is `buffer`.

    What follows the last boundary is returned as a last, incomplete frame.
    """
    frames: list[bytes] = []
    start = 0
    for match in _BOUNDARY.finditer(buffer):
        frames.append(buffer[start : match.end()])
        start = match.end()
    if start < len(buffer):
        frames.append(buffer[start:])
    return frames


def frame_data(frame: bytes) -> bytes | None:
    """The joined `data` of a frame (several data lines are joined by LF); None for comments and other fields."""
    parts = [
        line[6:] if line.startswith(b"data: ") else line[5:]
        for line in _LINE_END.split(frame)
        if line.startswith(b"data:")
    ]
    return b"\n".join(parts) if parts else None


def frame_event(frame: bytes) -> bytes | None:
    """The value of a frame's `event` field, or None."""
    for line in _LINE_END.split(frame):
        if line.startswith(b"event:"):
            return line[6:].strip()
    return None


def read_frame(frame: bytes) -> tuple[bytes | None, bytes | None]:
    """The `event` field and the joined `data` of a frame, each None where the frame has none."""
    if (
        frame.startswith(b"data: ")
        and frame.endswith(b"\n\n")
        and b"\n" not in (line := frame[6:-2])
        and b"\r" not in line
    ):
        return None, line  # nearly every frame of OpenAI's and Google's
    return frame_event(frame), frame_data(frame)
