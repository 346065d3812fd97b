"""The tap that translates: an upstream's stream in one format becomes the client's in another, event by event."""

from __future__ import annotations

from collections.abc import Sequence

from app.core.conversation import (
    BlockStarted,
    Event,
    Failed,
    Grown,
    Refusal,
    Reported,
    Started,
    Text,
    Thinking,
    ToolCall,
)
from app.core.custom_tools import Unwrapper
from app.core.sse import FrameBuffer, read_frame, split_frames
from app.core.usage import Usage
from app.errors import UpstreamError, bad_upstream_response
from app.formats.base import EventReader, EventWriter
from app.formats.tap import MAX_FRAME

COMMENT = b": keep-alive\n\n"


class Converter:
    """See `app.formats.base.Tap`: nothing is held back."""

    __slots__ = (
        "_comments",
        "_frames",
        "_reader",
        "_text",
        "_unwrapper",
        "_writer",
        "complete",
        "ended",
        "error",
        "id",
        "opening",
        "parts",
        "started",
        "usage",
    )

    def __init__(
        self, reader: EventReader, writer: EventWriter, unwrapper: Unwrapper | None = None, *, comments: bool
    ) -> None:
        self.usage: Usage | None = None
        self.opening: Usage | None = None
        self.started = False
        self.complete = False
        self.ended = False
        self.error: UpstreamError | None = None
        self.id: str | None = None
        self.parts: tuple[str, ...] = ()
        self._reader = reader
        self._writer = writer
        self._unwrapper = unwrapper
        self._comments = comments
        self._frames = FrameBuffer()
        self._text: list[str] = []

    def feed(self, chunk: bytes) -> bytes:
        if self.ended or self.error is not None:
            return b""
        chunk = self._frames.take(chunk)
        if self._frames.size > MAX_FRAME:
            self.error = bad_upstream_response("The upstream sent an endless frame.")
            self._frames.rest()
        if not chunk:
            return b""
        out: list[bytes] = []
        for frame in split_frames(chunk):
            self._convert(frame, out)
            if self.ended or self.error is not None:
                break
        return b"".join(out)

    def end(self) -> bytes:
        out: list[bytes] = []
        partial = self._frames.rest()
        if partial.strip() and not self.ended and self.error is None:
            self._convert(partial + b"\n\n", out)  # a last frame that lacks its blank line
        if not self.ended and self.error is None:
            self._take(self._reader.end(), out)
            self._finish(out)
        return b"".join(out)

    def produced_text(self) -> str:
        return "".join(self._text)

    def _convert(self, frame: bytes, out: list[bytes]) -> None:
        event, data = read_frame(frame)
        if data is None:
            if self._comments and frame.startswith(b":"):
                out.append(COMMENT)
            return
        self._take(self._reader.read(data, event), out)
        if self._reader.ended:
            self._finish(out)

    def _finish(self, out: list[bytes]) -> None:
        self.complete = self._reader.complete and self.error is None
        if self.complete:
            out.append(self._writer.end())
            self.ended = self.started = True

    def _take(self, events: Sequence[Event], out: list[bytes]) -> None:
        for event in events if self._unwrapper is None else self._unwrapper.take(events):
            if type(event) is Grown:
                self._text.append(event.text)
            elif not self._note(event):
                return
            written = self._writer.write(event)
            if written:
                out.append(written)
                self.started = True

    def _note(self, event: Event) -> bool:
        """Whether the client hears of it."""
        match event:
            case Failed(error):
                self.error = error
                return False
            case Reported(usage):
                self.usage = usage
            case Started(usage=usage):
                self.opening = usage
            case BlockStarted(ToolCall(name=name, arguments=arguments)):
                self._text += [name, arguments]
            case BlockStarted(Text(text) | Thinking(text) | Refusal(text)):
                self._text.append(text)
        return True
