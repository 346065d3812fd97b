"""HTTP/1.1 over one connection: uvicorn's protocol, with bounds on what it leaves open.

uvicorn has none on the time, the size and the number of headers, on connections, and on requests that are sent ahead without
waiting for answers. Trailers would end up among the headers of a request that is being served.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httptools
import orjson
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.wire.guard import Guard, Limits

MAX_TARGET = 16 * 1024
MAX_HEAD = 64 * 1024
MAX_HEADERS = 100
MAX_AHEAD = 16
"""Requests that may wait on a connection behind the one that is served. Each costs memory, and no client needs many."""

MAX_LINE = 8_000
"""Of a WebSocket's target and headers: the parser of handshakes takes 8,192 bytes a line."""

KEY_LENGTH = 24
WEBSOCKET = b"websocket"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a client is told before its connection is closed."""

    status: int
    code: str
    message: str


INVALID = Refusal(400, "invalid_http", "The request isn't valid HTTP.")
LATE = Refusal(408, "request_timeout", "The request took too long to arrive.")
LONG_TARGET = Refusal(414, "uri_too_long", f"The request target is longer than {MAX_TARGET // 1024} KiB.")
UPGRADES = Refusal(400, "upgrade_not_supported", "This endpoint isn't served over WebSocket.")
HANDSHAKE = Refusal(400, "invalid_websocket", "The WebSocket handshake isn't valid (RFC 6455, 4.1).")
LARGE_HEAD = Refusal(
    431, "headers_too_large", f"The headers are more than {MAX_HEADERS}, or larger than {MAX_HEAD // 1024} KiB in all."
)
FULL = Refusal(503, "too_many_connections", "The gateway has too many connections open.")


class Refused(Exception):
    """Ends the parsing of what a connection sent; the parser hands it on as one of its own errors."""


class GuardedProtocol(HttpToolsProtocol):
    """The guard is the application's attribute `guard`: one for each process.

    `_loose_bytes`: came since the last piece or end of a body, so a head or what stands between chunks. `_mixed`: what came
    last held such a piece or end too, and `_carried`: after it the beginning of a head, which wasn't counted. `_unused`:
    nothing has come yet.
    """

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
        self._unused = True
        self._in_head = False
        self._body_open = False
        self._mixed = False
        self._carried = False
        self._loose_bytes = 0
        self._unsent = -1
        self._served: RequestResponseCycle | None = None
        self._refusal = INVALID
        self._upgrading = False

    # -- the connection ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        if self._guard.open(self, self._address):
            # Clients open connections ahead, too, and keep them: as idle as those that have been used.
            self._guard.wait(self, self.timeout_keep_alive)
        else:
            self._refuse(FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.close(self, self._address)
        super().connection_lost(exc)
        if self._served is not None:  # uvicorn tells only the request that came last
            self._served.disconnected = True
            self._served.message_event.set()
            self._served = None
        self.pipeline.clear()

    def is_closing(self) -> bool:
        return self.transport.is_closing()

    def data_received(self, data: bytes) -> None:
        """uvicorn's, without a line of log for whatever anybody sends."""
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        if self._unused:
            self._unused = False
            self._guard.came(self)
        self._mixed = False
        self._loose_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._upgrading:
                self._hand_over(data[upgrade.args[0] :])
                return
            # not to a WebSocket: answered as if it hadn't asked
        except httptools.HttpParserError:
            self._refuse(self._refusal)
            return
        if self._in_head or self._body_open:
            # The callbacks see neither a header nor an extension of a chunk before its end.
            if self._mixed:
                self._carried = self._in_head
                self._loose_bytes = 0
            elif self._loose_bytes > MAX_HEAD + MAX_TARGET:
                self._refuse(LARGE_HEAD)
                return
        else:
            self._loose_bytes = 0
        if self._served is None:
            self._wait()

    # -- time ----------------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Nothing is served: the client has so long for what it has begun, even if it was an empty line."""
        limits = self._guard.limits
        if self._body_open:  # answered before it was whole: the rest is thrown away, if it comes
            self._guard.wait(self, limits.body_timeout)
        elif self._in_head or self.timeout_keep_alive_task is None:
            self._guard.wait(self, limits.head_timeout)

    def _came(self) -> None:
        if not self.flow.write_paused:  # else it is also waited for to read
            self._guard.came(self)

    def expire(self) -> None:
        """The guard has waited long enough, for the client to send or to take."""
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            if unsent == self._unsent:
                self.transport.abort()
            else:
                self._unsent = unsent
                self._guard.wait(self, self._guard.limits.write_timeout)
        elif self._served is None:
            if self._in_head or self._body_open:
                self._refuse(LATE)
            else:
                self.transport.close()  # an answer without a request would be taken for the next one's

    def pause_writing(self) -> None:
        super().pause_writing()
        # A relayed stream minds its own time, and ends earlier: this is only looked at a second time.
        self._unsent = -1
        self._guard.wait(self, self._guard.limits.write_timeout)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._guard.came(self)
        if self._served is None:
            self._wait()

    # -- what the parser says --------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > MAX_TARGET:
            self._stop(LONG_TARGET)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: it would end up among the headers that decided who this is
        # As uvicorn does it: a call of its own for each header would cost as much as all the rest here.
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        if len(self.headers) > MAX_HEADERS:
            self._stop(LARGE_HEAD)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._body_open = True
        # Counted only where it can be too much: the sum would cost every request half a microsecond.
        if self._carried or self._mixed or self._loose_bytes > MAX_HEAD:
            self._carried = False
            if sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD:
                self._stop(LARGE_HEAD)
        if len(self.pipeline) >= MAX_AHEAD:
            self._stop(INVALID)
        if self.parser.should_upgrade() and self._get_upgrade() == WEBSOCKET:
            self._check_upgrade()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._mixed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._mixed = True
        self._body_open = False
        if self._served is None:
            self._came()
        super().on_message_complete()

    # -- WebSockets ----------------------------------------------------------------------------------------------------

    def _check_upgrade(self) -> None:
        """Only where one is served, behind no other request, and only one that the next parser can read."""
        if self.ws_protocol_class is None or self.url.partition(b"?")[0] not in self._guard.websocket_paths:
            self._stop(UPGRADES)
        if len(self.url) > MAX_LINE:
            self._stop(LONG_TARGET)
        if any(len(name) + len(value) > MAX_LINE for name, value in self.headers):
            self._stop(LARGE_HEAD)
        given = dict(self.headers)
        if (
            self._served is not None
            or self.pipeline
            or self.parser.get_method() != b"GET"
            or self.parser.get_http_version() != "1.1"
            or given.get(b"sec-websocket-version") != b"13"
            or len(given.get(b"sec-websocket-key", b"")) != KEY_LENGTH
            or not {b"content-length", b"transfer-encoding"}.isdisjoint(given)
        ):
            self._stop(HANDSHAKE)
        self._upgrading = True

    def _hand_over(self, rest: bytes) -> None:
        """From here on the connection is another protocol's. `rest`: what came behind the head."""
        self._guard.close(self, self._address)
        self.handle_websocket_upgrade()
        if rest:
            protocol = self.transport.get_protocol()
            assert isinstance(protocol, asyncio.Protocol)
            protocol.data_received(rest)

    # -- requests --------------------------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._served = cycle
        self._came()
        cycle.scope["relaygate.cut"] = self._cut  # type: ignore[typeddict-unknown-key]
        super()._start_asgi_task(cycle, app)

    def _cut(self) -> None:
        """What is served breaks off: its client must not take it for whole."""
        if self._served is not None:
            self._served.disconnected = True  # nobody misses its end
            self._served.message_event.set()
        self.transport.close()

    def on_response_complete(self) -> None:
        self._served = None
        super().on_response_complete()  # starts what waits, if something does
        if self._served is None and (self._in_head or self._body_open):
            self._wait()

    # -- refusing ------------------------------------------------------------------------------------------------------

    def _stop(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise Refused

    def _refuse(self, refusal: Refusal) -> None:
        """Says why, if no answer is on its way that this would fall into, and closes."""
        if self.transport.is_closing():
            return
        served = self._served
        if not self.pipeline and (served is None or not served.response_started):
            self.transport.write(_answer(refusal))
        self._cut()


def _answer(refusal: Refusal) -> bytes:
    kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
    error = {"message": refusal.message, "type": kind, "param": None, "code": refusal.code}
    body = orjson.dumps({"error": error})
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return STATUS_LINE[refusal.status] + head + body
