"""The journal of received requests that tests read back, and the counters beside it."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.demo.asgi import Headers
from app.demo.forms import render_parts

# The journal forgets its oldest entries beyond either bound.
MAX_ENTRIES = 1_000
MAX_BYTES = 64 << 20
# As much of a body as an inspection shows as text.
MAX_SHOWN = 1 << 20


@dataclass(slots=True, eq=False)
class Entry:
    """One received request and what became of it; times are Unix seconds.

    `parts` are those of a form that was read as it came, and may be too large for `raw` to hold it.
    """

    id: int
    method: str
    path: str
    query: bytes
    headers: Headers
    started_at: float
    raw: bytes = b""
    parts: list[dict[str, Any]] | None = None
    finished: bool = False
    disconnected_at: float | None = None
    chunks_sent: int = 0

    def render(self) -> dict[str, Any]:
        """The entry as JSON for `GET /_demo/requests`; `body` is null when it is not JSON, `parts` when it is no form."""
        try:
            body = orjson.loads(self.raw)
        except orjson.JSONDecodeError:
            body = None
        return {
            "id": self.id,
            "method": self.method,
            "path": self.path,
            "query": self.query.decode("latin-1"),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers],
            "body": body,
            "parts": render_parts(self.headers, self.raw) if self.parts is None else self.parts,
            "raw_body": self.raw[:MAX_SHOWN].decode("utf-8", "replace"),
            "started_at": self.started_at,
            "finished": self.finished,
            "disconnected": self.disconnected_at is not None,
            "disconnected_at": self.disconnected_at,
            "chunks_sent": self.chunks_sent,
        }


@dataclass(slots=True)
class Journal:
    """Counts every request and, when `keeps` is set, remembers the latest ones."""

    keeps: bool
    requests: int = 0
    open: int = 0
    disconnects: int = 0
    chunks: int = 0
    _entries: deque[Entry] = field(default_factory=deque)
    _bytes: int = 0
    _idle: list[asyncio.Future[None]] = field(default_factory=list)

    def begin(self, method: str, path: str, query: bytes, headers: Headers) -> Entry:
        """Opens the entry of a request; `end` must follow."""
        self.requests += 1
        self.open += 1
        return Entry(self.requests, method, path, query, headers, time.time())

    def keep(self, entry: Entry, raw: bytes) -> None:
        """Remembers an entry once its body is here, at the cost of the oldest entries."""
        if not self.keeps:
            return
        entry.raw = raw
        self._entries.append(entry)
        self._bytes += len(raw)
        while len(self._entries) > 1 and (len(self._entries) > MAX_ENTRIES or self._bytes > MAX_BYTES):
            self._bytes -= len(self._entries.popleft().raw)

    def end(self, entry: Entry) -> None:
        """Closes an entry and adds it to the counters."""
        self.open -= 1
        self.chunks += entry.chunks_sent
        self.disconnects += entry.disconnected_at is not None
        if self._idle and self.open == 0:
            for waiter in self._idle:
                if not waiter.done():
                    waiter.set_result(None)
            self._idle.clear()

    def latest(self, limit: int, naming: str = "") -> list[dict[str, Any]]:
        """The last `limit` entries whose path or body has a text, the oldest of them first."""
        named = [entry for entry in self._entries if naming in entry.path or naming.encode() in entry.raw]
        return [entry.render() for entry in named[max(0, len(named) - limit) :]]

    def clear(self) -> None:
        """Forgets the entries; the counters stay."""
        self._entries.clear()
        self._bytes = 0

    def stats(self) -> dict[str, int]:
        """The counters since the start."""
        return {
            "requests": self.requests,
            "open": self.open,
            "disconnects": self.disconnects,
            "chunks": self.chunks,
        }

    async def wait_idle(self, seconds: float) -> None:
        """Returns once no request is open, or after that time."""
        if self.open == 0 or seconds <= 0:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(waiter)
        await asyncio.wait((waiter,), timeout=seconds)
        if not waiter.done():
            self._idle.remove(waiter)
