"""HTTP/1.1 over one connection: uvicorn's protocol, with bounds on what it leaves open.

uvicorn has none on the time, the size and the number of headers, on connections, and on requests that are sent ahead without
waiting for answers. Trailers would end up among the headers of a request that is being served.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from app.wire.guard import Guard, Limits

MAX_TARGET = 16 * 1024
MAX_HEAD = 64 * 1024
MAX_HEADERS = 100
MAX_AHEAD = 16
"""Requests that may wait on a connection behind the one that is served. Each costs memory, and no client needs many."""

UPGRADE = b"websocket"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a client is told before its connection is closed."""

    status: int
    code: str
    message: str


INVALID = Refusal(400, "invalid_http", "The request isn't valid HTTP.")
LATE = Refusal(408, "request_timeout", "The request took too long to arrive.")
LONG_TARGET = Refusal(414, "uri_too_long", f"The request target is longer than {MAX_TARGET // 1024} KiB.")
UPGRADES = Refusal(426, "upgrade_not_supported", "This endpoint isn't served over WebSocket.")
LARGE_HEAD = Refusal(
    431, "headers_too_large", f"The headers are more than {MAX_HEADERS}, or larger than {MAX_HEAD // 1024} KiB in all."
)
FULL = Refusal(503, "too_many_connections", "The gateway has too many connections open.")


class Refused(Exception):
    """Ends the parsing of what a connection sent; the parser hands it on as one of its own errors."""


class GuardedProtocol(HttpToolsProtocol):
    """The guard is the application's attribute `guard`: one for each process."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        guard = getattr(self.app, "guard", None)
        self._guard = guard if isinstance(guard, Guard) else Guard(Limits())
        self._address = ""
        self._in_head = False
        self._head_bytes = 0
        self._target = 0
        self._body_open = False
        self._refusal = INVALID

    # -- the connection ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        if self._guard.open(self._address):
            self._guard.wait(self, self._guard.limits.head_timeout)
        else:
            self._refuse(FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.close(self, self._address)
        super().connection_lost(exc)
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_head and self.parser is not None:
            # A header that never ends isn't seen by the callbacks.
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD + MAX_TARGET:
                self._refuse(LARGE_HEAD)
            else:
                self._guard.wait(self, self._guard.limits.head_timeout)

    def expire(self) -> None:
        """The head, or the rest of a body, didn't come in time."""
        self._refuse(LATE)

    # -- what the parser says --------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        self._target = 0

    def on_url(self, url: bytes) -> None:
        self._target += len(url)
        if self._target > MAX_TARGET:
            self._stop(LONG_TARGET)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD or len(self.headers) >= MAX_HEADERS:
            self._stop(LARGE_HEAD)
        if self._in_head:
            super().on_header(name, value)
        # else a trailer: it would end up among the headers that decided who this is.

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._body_open = True
        self._head_bytes = 0
        self._guard.came(self)
        if len(self.pipeline) >= MAX_AHEAD:
            self._stop(INVALID)
        if self.parser.should_upgrade() and self._get_upgrade() == UPGRADE:
            self._stop(UPGRADES)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._body_open = False
        self._guard.came(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._body_open:  # answered before its body was whole: the rest is thrown away, if it comes
            self._guard.wait(self, self._guard.limits.body_timeout)
        super().on_response_complete()

    # -- refusing ------------------------------------------------------------------------------------------------------

    def _stop(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise Refused

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when the parser gave up."""
        self._refuse(self._refusal)

    def _refuse(self, refusal: Refusal) -> None:
        """Says why, if no answer is on its way that this would fall into, and closes."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if not self.pipeline and (cycle is None or cycle.response_complete or not cycle.response_started):
            self.transport.write(_answer(refusal))
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """A line of log for every request would be the flood's second half."""


def _answer(refusal: Refusal) -> bytes:
    kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
    error = {"message": refusal.message, "type": kind, "param": None, "code": refusal.code}
    body = orjson.dumps({"error": error})
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return STATUS_LINE[refusal.status] + head + body
