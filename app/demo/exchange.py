"""One HTTP exchange: reading the body, writing the answer, waiting, and noticing that the client has left."""

import asyncio
import contextlib
import time
import zlib
from collections.abc import AsyncIterator, Iterable
from urllib.parse import parse_qsl

from app.demo.asgi import Headers, Receive, Scope, Send
from app.demo.journal import Entry, Journal
from app.demo.options import Options

GZIP_WINDOW = 31  # zlib's word for a gzip header and trailer around the largest window

# More chunks than this leave in several turns of the loop.
CHUNKS_PER_TURN = 64


class ClientGone(Exception):
    """The client closed the connection before the answer was finished."""


class Exchange:
    """One request and its answer; the server closes the connection when the app returns before `finish`."""

    __slots__ = (
        "_body",
        "_extra",
        "_gone",
        "_gzip",
        "_receive",
        "_rest",
        "_send",
        "_sleeper",
        "_split",
        "_watch",
        "entry",
        "headers",
        "journal",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, entry: Entry, journal: Journal) -> None:
        self.headers: Headers = scope["headers"]
        self.entry = entry
        self.journal = journal
        self._receive = receive
        self._send = send
        self._extra: list[tuple[bytes, bytes]] = []
        self._gone = False
        self._watch: asyncio.Task[None] | None = None
        self._sleeper: asyncio.Future[None] | None = None
        self._gzip: zlib._Compress | None = None
        self._split = 0
        self._rest = b""
        self._body: bytes | None = None

    async def read_body(self) -> bytes:
        """The whole body, as often as it is asked for; raises ClientGone when it never arrives."""
        if self._body is not None:
            return self._body
        parts = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._leave()
                raise ClientGone
            parts.append(message["body"])
            if not message["more_body"]:
                break
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self.journal.keep(self.entry, body)
        self._body = body
        return body

    async def read_pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives, once, and kept nowhere; raises ClientGone when it never ends."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._leave()
                raise ClientGone
            more = message["more_body"]
            yield message["body"]

    def header(self, name: bytes) -> str:
        """The first request header of that name, which is in lower case; empty when there is none."""
        return next((value.decode("latin-1") for found, value in self.headers if found == name), "")

    def query(self) -> dict[str, str]:
        """The values after `?`; the last of those that share a name."""
        return dict(parse_qsl(self.entry.query.decode("latin-1"), keep_blank_values=True))

    def add_header(self, name: bytes, value: str) -> None:
        """Has the answer carry one more header, whatever the answer will be."""
        self._extra.append((name, value.encode("latin-1")))

    def alter(self, options: Options) -> None:
        """Has the body written compressed or in small pieces, as the options say."""
        self._split = options.split
        if options.gzip:
            self._gzip = zlib.compressobj(wbits=GZIP_WINDOW)
            self.add_header(b"content-encoding", "gzip")

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Writes a whole answer."""
        self._announce(body)
        await self.start(status, headers)
        await self.finish(body)

    async def respond_half(self, status: int, headers: Headers, body: bytes) -> None:
        """Announces a whole answer and writes half of it; the caller decides what follows."""
        self._announce(body)
        await self.start(status, headers)
        await self.write(body[: len(body) // 2])

    async def start(self, status: int, headers: Headers) -> None:
        """Writes the status line and the headers."""
        if self._gone:
            raise ClientGone
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *self._extra]})

    async def write(self, data: bytes) -> None:
        """Writes a piece of the body; raises ClientGone when nobody would read it."""
        if self._gone:
            raise ClientGone
        if self._gzip is not None or self._split:
            await self._write_altered(data)
        else:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def write_chunks(self, frames: Iterable[bytes]) -> None:
        """Writes the frames that an entry counts as chunks, one after the other."""
        plain = self._gzip is None and not self._split
        entry, send = self.entry, self._send
        for frame in frames:
            if self._gone:
                raise ClientGone
            if plain:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
            else:
                await self._write_altered(frame)
            entry.chunks_sent += 1
            if entry.chunks_sent % CHUNKS_PER_TURN == 0:
                # Sending does not wait while the server's buffer has room, nor ever again once the socket is dead.
                await asyncio.sleep(0)

    async def finish(self, data: bytes = b"") -> None:
        """Writes the last piece of the body."""
        if self._gzip is not None or self._split:
            await self._write_altered(data, last=True)
            data = b""
        if self._gone:
            raise ClientGone
        # Set first: the server reports a disconnect to every receiver once an answer is complete.
        self.entry.finished = True
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def pause(self, seconds: float) -> None:
        """Waits; raises ClientGone as soon as the client leaves."""
        self.watch()
        if self._gone:
            raise ClientGone
        if seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        # A future and a timer cost half of `asyncio.wait` on the watching task, and paced streams wait often.
        self._sleeper = loop.create_future()
        timer = loop.call_later(seconds, self._wake)
        try:
            await self._sleeper
        finally:
            timer.cancel()
            self._sleeper = None
        if self._gone:
            raise ClientGone

    async def stall(self) -> None:
        """Waits until the client leaves, then raises ClientGone."""
        self.watch()
        assert self._watch is not None
        await asyncio.wait((self._watch,))
        raise ClientGone

    async def drop(self) -> None:
        """Makes the server close the connection without a byte; the caller must return at once.

        ASGI has no word for this. uvicorn marks the answer as started, then refuses the header, and closes the
        connection of an app that returns with its answer started but not complete.
        """
        with contextlib.suppress(RuntimeError):
            await self._send({"type": "http.response.start", "status": 200, "headers": [(b"\0", b"")]})

    def watch(self) -> None:
        """Starts to look out for the client leaving; answers that never wait need not pay for it."""
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._await_disconnect())

    def close(self) -> None:
        """Ends the exchange."""
        if self._watch is not None:
            self._watch.cancel()

    def _announce(self, body: bytes) -> None:
        if self._gzip is None:
            self._extra.append((b"content-length", b"%d" % len(body)))

    async def _write_altered(self, data: bytes, *, last: bool = False) -> None:
        if self._gzip is not None:
            data = self._gzip.compress(data) + self._gzip.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)
        data = self._rest + data
        size = self._split or max(1, len(data))
        whole = len(data) if last else len(data) - len(data) % size
        self._rest = data[whole:]
        for offset in range(0, whole, size):
            await self.pause(0)
            await self._send(
                {
                    "type": "http.response.body",
                    "body": data[offset : min(offset + size, whole)],
                    "more_body": True,
                }
            )
            # A turn of the loop each, else they leave in one packet.
            await asyncio.sleep(0)

    async def _await_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self.entry.finished:
            self._leave()
            self._wake()

    def _leave(self) -> None:
        self._gone = True
        self.entry.disconnected_at = time.time()

    def _wake(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)
