"""A WebSocket over a connection that the guard knows: uvicorn's protocol, with bounds on what it would keep in memory.

uvicorn reads a client's frames as fast as they come within one read, answers pings of a client that reads no pongs, counts no
fragments, and closes at once when the server stops.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import ProtocolError
from websockets.frames import Frame
from websockets.http11 import Request

from app.wire.guard import Guard, Limits

PIECE = 16 * 1024
"""Bytes that are parsed at once: what stands in them may be thousands of frames."""

MAX_FRAGMENTS = 1_000
STOPPING = "relaygate.stopping"
"""The scope's extension that tells when the server stops: an asyncio.Event. The application closes the WebSocket then."""

# uvicorn writes a line with the whole query for each connection, and a key may stand there; websockets, at debug, all frames.
_quiet = logging.getLogger("uvicorn.error.websocket")
_quiet.setLevel(logging.ERROR)


class GuardedWebSocket(WebSocketsSansIOProtocol):
    """`_rest`: came, and isn't parsed before what came earlier is taken. `_deaf`: the client doesn't take our pongs."""

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
        self._stopping = asyncio.Event()
        self._rest = b""
        self._deaf = False
        self._ended = False
        self._unsent = -1
        self.logger = _quiet
        self.conn.logger = _quiet
        self.conn.debug = False

    # -- the connection ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        self._guard.open(self, self._address)  # the connection was counted already, and is no new one

    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.close(self, self._address)
        self._rest = b""
        super().connection_lost(exc)

    def is_closing(self) -> bool:
        """For the guard."""
        return self.transport.is_closing()

    def expire(self) -> None:
        """The guard has waited long enough for the client to take what is there."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent != self._unsent:
            self._unsent = unsent
            self._guard.wait(self, self._guard.limits.write_timeout)
        elif unsent or self.transport.is_closing():
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent = -1
        self._guard.wait(self, self._guard.limits.write_timeout)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._guard.came(self)
        if self._deaf:
            self._deaf = False
            self._go_on()

    def shutdown(self) -> None:
        """The server stops. uvicorn would cut what is under way."""
        if self.handshake_complete and not self.close_sent:
            self._stopping.set()
        else:
            super().shutdown()

    # -- what comes ----------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.close_sent:  # only the client's own close is waited for
            super().data_received(data)
            return
        self._rest = self._rest + data if self._rest else data
        self._parse()

    def _parse(self) -> None:
        """Until something waits to be taken. While it does, nothing more is read from the client."""
        while self._rest and not self._waits and not self._ended:
            if self.handshake_initiated:
                piece, self._rest = self._rest[:PIECE], self._rest[PIECE:]
            else:  # the head, as a whole
                end = self._rest.index(b"\r\n\r\n") + 4
                piece, self._rest = self._rest[:end], self._rest[end:]
            super().data_received(piece)
        if self._waits and not self._ended:
            self.read_paused = True
            self.transport.pause_reading()

    @property
    def _waits(self) -> bool:
        return not self.queue.empty() or self._deaf or (self.handshake_initiated and not self.handshake_complete)

    def _go_on(self) -> None:
        if self._waits:
            return
        if self._rest:
            self._parse()
        if self.read_paused and not self._waits and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()

    async def receive(self) -> Any:
        message = await self.queue.get()
        if message["type"] == "websocket.receive":
            self._go_on()
        return message

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.close_sent:  # a refusal ends the handshake too, which uvicorn would take for a fault
            self.handshake_complete = True
        if message["type"] == "websocket.accept":
            self._go_on()
        elif message["type"] == "websocket.close" and self._rest:
            rest, self._rest = self._rest, b""
            super().data_received(rest)

    # -- what the parser says ------------------------------------------------------------------------------------------

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            cast(dict[str, Any], self.scope["extensions"])[STOPPING] = self._stopping

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= MAX_FRAGMENTS:
            self._fail(1009, "too many fragments")
            return
        super().handle_cont(event)

    def handle_ping(self) -> None:
        super().handle_ping()
        if not self.writable.is_set():
            self._deaf = True

    def handle_parser_exception(self) -> None:
        """uvicorn's, for a handshake that can't be read too."""
        self._ended = True
        if self.conn.close_sent is not None:
            super().handle_parser_exception()
        else:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
            self.transport.close()

    def keepalive_timeout(self) -> None:
        # The answer may be among what isn't read here, or the ping among what isn't read there: the guard minds that.
        if self.read_paused or not self.writable.is_set():
            self.pong_timer = None
            self.schedule_ping()
        else:
            super().keepalive_timeout()

    def _fail(self, code: int, reason: str) -> None:
        if not self.close_sent:
            self.conn.parser_exc = ProtocolError(reason)
            self.conn.fail(code, reason)
            self.handle_parser_exception()
