"""An answer as a stream of whatever format: its pace, and the faults that strike inside it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from app.demo.asgi import Headers
from app.demo.exchange import Exchange
from app.demo.options import Options

SSE: Headers = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))


@dataclass(frozen=True, slots=True)
class Framing:
    """How server-sent events look: what stands before each, its field names, and what ends a line."""

    before: bytes
    space: bytes
    eol: bytes

    def frame(self, data: bytes) -> bytes:
        """An event without a name."""
        return self.before + b"data:" + self.space + data + self.eol + self.eol

    def event(self, name: bytes, data: bytes) -> bytes:
        """An event with a name."""
        head = self.before + b"event:" + self.space + name + self.eol
        return head + b"data:" + self.space + data + self.eol + self.eol


def read_framing(options: Options, *, comments: bool = True) -> Framing:
    """The framing that the options ask for; without comments where a format has none."""
    eol = b"\r\n" if options.crlf else b"\r" if options.cr else b"\n"
    words = (
        b": OPENROUTER PROCESSING" if options.dialect == "openrouter" else b": keep-alive" if options.comments else b""
    )
    return Framing(
        before=words + eol + eol if words and comments else b"",
        space=b"" if options.nospace else b" ",
        eol=eol,
    )


class FaultyStream(ABC):
    """One streamed answer. A format tells its frames: those before the counted chunks, the chunks, and those after them.

    A frame of a chunk may hold several events; `cut=N` and its like count such frames.
    """

    def __init__(self, exchange: Exchange, options: Options, eol: bytes = b"\n") -> None:
        self._exchange = exchange
        self._options = options
        self._eol = eol
        points = (options.cut, options.cut_clean, options.stall_chunk, options.error_chunk, options.malformed)
        self._points = frozenset(point for point in points if point is not None)

    @property
    def headers(self) -> Headers:
        """Those of the answer."""
        return SSE

    async def run(self) -> None:
        """Writes the stream to its end, or to the fault that ends it."""
        await self._exchange.start(self._options.status or 200, self.headers)
        if 0 in self._points and await self._struck(0):
            return
        for frame in self._opening():
            await self._exchange.write(frame)
        if not await self._send_chunks():
            await self._send_closing()

    @property
    @abstractmethod
    def _long(self) -> bool:
        """Whether it could outlast its client; what is short leaves in one turn of the loop, with no client to lose."""

    @abstractmethod
    def _opening(self) -> Iterator[bytes]: ...

    @abstractmethod
    def _chunks(self) -> Iterator[bytes]: ...

    @abstractmethod
    def _closing(self) -> Iterator[bytes]:
        """At least one frame."""

    @abstractmethod
    def _error(self) -> bytes:
        """The frame that tells of an error in the middle of a stream."""

    @abstractmethod
    def _broken(self) -> bytes:
        """A frame whose JSON breaks off."""

    async def _send_chunks(self) -> bool:
        """Writes the counted chunks; true when a fault has ended the stream."""
        exchange, points = self._exchange, self._points
        entry = exchange.entry
        if self._long:
            exchange.watch()
        pace = self._options.chunk_ms / 1000
        if not pace and not points:
            await exchange.write_chunks(self._chunks())
            return False
        now = asyncio.get_running_loop().time
        due = now()
        for sent, frame in enumerate(self._chunks(), start=1):
            if pace and sent > 1:
                due += pace
                await exchange.pause(due - now())
            await exchange.write(frame)
            entry.chunks_sent = sent
            if sent in points and await self._struck(sent):
                return True
        return False

    async def _send_closing(self) -> None:
        *frames, last = self._closing()
        for frame in frames:
            await self._exchange.write(frame)
        # One line end still closes the line; what is missing is the blank line after it.
        await self._exchange.finish(last.removesuffix(self._eol) if self._options.no_final_blank else last)

    async def _struck(self, sent: int) -> bool:
        """Does what the options plan after so many chunks; true when the stream is over."""
        options, exchange = self._options, self._exchange
        if sent == options.malformed:
            await exchange.write(self._broken())
        if sent == options.error_chunk:
            await exchange.finish(self._error())
            return True
        if sent == options.stall_chunk:
            await exchange.stall()
        if sent == options.cut_clean:
            await exchange.finish()
            return True
        return sent == options.cut
