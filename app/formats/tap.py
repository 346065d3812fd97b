"""The tap on a stream that passes in its own format: bytes go on untouched, frames with a marker are looked at.

A network read that ends on a frame's end and holds no marker (usage, an error, an end mark: each format has its own) is
forwarded as it is, after a few substring searches. Only frames with a marker are parsed. The answer's text is not assembled:
the raw bytes are kept, and digested in blocks, in case the upstream never reports usage.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any

from app.core.sse import FrameBuffer, frame_data, split_frames
from app.core.usage import Usage
from app.errors import UpstreamError, bad_upstream_response
from app.formats.refusals import load_json

MAX_FRAME = 16 * 1024 * 1024
"""A frame larger than this is a fault: without a bound, an upstream that sends no line end would fill the memory."""

DIGEST_BYTES = 64 * 1024

ERROR_EVENT = re.compile(rb"(?:^|[\r\n])event: ?error")
"""A frame that is an error by its name, whatever its data look like."""


class FrameTap(ABC):
    """See `app.formats.base.Tap`. A format says what its markers are, and what a frame with one means."""

    max_frame = MAX_FRAME

    __slots__ = (
        "_frames",
        "_kept",
        "_kept_size",
        "_text",
        "complete",
        "ended",
        "error",
        "id",
        "opening",
        "parts",
        "started",
        "usage",
    )

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.opening: Usage | None = None
        self.started = False
        self.complete = False
        self.ended = False
        self.error: UpstreamError | None = None
        self.id: str | None = None
        self.parts: tuple[str, ...] = ()
        self._frames = FrameBuffer()
        self._kept: list[bytes] = []
        self._kept_size = 0
        self._text: list[str] = []

    @abstractmethod
    def _has_marker(self, chunk: bytes) -> bool:
        """Whether any frame in these bytes is worth a look; may say yes too often."""

    def _start_of_marked(self, chunk: bytes) -> int:
        """Where the first frame with a marker begins; what is before it needs no look, however much was read at once."""
        return 0

    @abstractmethod
    def _inspect_frame(self, frame: bytes) -> bool:
        """Takes usage, errors and ends from a frame with a marker. Whether the client gets it."""

    @abstractmethod
    def _digest_frame(self, value: Any) -> None:
        """Adds a frame's text to `_text`, and notes what ends the answer. `value` is its JSON, of any type."""

    def _digested(self) -> None:  # noqa: B027 - most formats have nothing to settle
        """After some frames were digested: settles what only the whole of them tells."""

    def _end_mark(self) -> bytes:
        """What is added where the answer is complete, and the upstream left its format's end mark out."""
        return b""

    def feed(self, chunk: bytes) -> bytes:
        if self.ended or self.error is not None:
            return b""
        chunk = self._frames.take(chunk)
        if self._frames.size > self.max_frame:
            self.error = bad_upstream_response("The upstream sent an endless frame.")
            self._frames.rest()
        if not chunk:
            return b""
        if self._has_marker(chunk):
            chunk = self._inspect(chunk)
        if not self.started:
            self.started = b"data:" in chunk
        self._keep(chunk)
        return chunk

    def end(self) -> bytes:
        tail = b""
        partial = self._frames.rest()
        if partial.strip():
            # Official SDKs drop a last frame that lacks its blank line, so it is given one if it is whole.
            data = frame_data(partial)
            if data is not None and (data.strip() == b"[DONE]" or load_json(data) is not None):
                tail = self.feed(partial + (b"\n" if partial.endswith(b"\n") else b"\n\n"))
        if self.ended:
            return tail
        self._digest()
        if self.complete and self.error is None:
            self.ended = True
            return tail + self._end_mark()
        return tail

    def produced_text(self) -> str:
        self._digest()
        return "".join(self._text)

    def _inspect(self, chunk: bytes) -> bytes:
        start = self._start_of_marked(chunk)
        kept = [chunk[:start]]
        for frame in split_frames(chunk[start:]):
            if self.ended or self.error is not None:
                break  # nothing after the end or an error belongs to the answer
            if not self._has_marker(frame) or self._inspect_frame(frame):
                kept.append(frame)
        return b"".join(kept)

    def _keep(self, chunk: bytes) -> None:
        self._kept.append(chunk)
        self._kept_size += len(chunk)
        if self._kept_size > DIGEST_BYTES:
            self._digest()

    def _digest(self) -> None:
        raw = b"".join(self._kept)
        self._kept.clear()
        self._kept_size = 0
        for frame in split_frames(raw):
            data = frame_data(frame)
            if data is not None:
                self._digest_frame(load_json(data))
        self._digested()
