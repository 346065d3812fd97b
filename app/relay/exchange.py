"""One client request while it is open: its channel to the client, its deadline, and what may interrupt it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from enum import StrEnum
from typing import Any
from uuid import UUID

from app.core.ids import new_id, request_label
from app.errors import GatewayError, Kind, UpstreamError, unavailable

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

NEVER = float("inf")

CUT = "relaygate.cut"
"""Where a request's scope has a function that closes its connection (`app/wire/protocol.py`)."""

LEDGER_PATIENCE = 5.0
"""Seconds that a request waits for its key and its hold before it is told that the gateway has no database."""


class Interrupt(StrEnum):
    """Why the watch took a request out of what it was waiting for."""

    CLIENT_GONE = "client_closed_request"
    BODY_TIMEOUT = "request_timeout"
    LEDGER_TIMEOUT = "ledger_timeout"
    FIRST_BYTE_TIMEOUT = "upstream_timeout"
    IDLE_TIMEOUT = "upstream_stalled"
    WRITE_TIMEOUT = "client_stalled"


class Exchange:
    """State of one request. Waiting is bounded by `deadline`, which the watch looks at four times a second.

    A timer an await would cost more than the rest of the relay; a float that is set costs nothing.
    """

    __slots__ = (
        "_expiry",
        "_interrupt",
        "_listener",
        "_loop",
        "_receive",
        "_task",
        "body_read",
        "committed",
        "deadline",
        "drain_until",
        "extra_headers",
        "first_byte",
        "gone",
        "id",
        "label",
        "scope",
        "send",
        "started",
        "status",
        "waited",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task: asyncio.Task[Any] = task
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self.send = send
        self._listener: asyncio.Task[None] | None = None
        self._interrupt: Interrupt | None = None
        self._expiry = Interrupt.BODY_TIMEOUT
        self.scope = scope
        self.id: UUID = new_id()
        self.label = request_label(self.id)
        self.started = self._loop.time()
        self.first_byte: float | None = None
        self.deadline = NEVER
        self.drain_until = NEVER
        self.body_read = False
        self.committed = False
        self.gone = False
        self.status = 0
        self.waited = False
        self.extra_headers: list[tuple[bytes, bytes]] = []

    # -- time ----------------------------------------------------------------------------------------------------

    def seconds(self) -> float:
        return self._loop.time() - self.started

    def elapsed_ms(self) -> int:
        return int(self.seconds() * 1000)

    def first_byte_ms(self) -> int | None:
        return None if self.first_byte is None else int((self.first_byte - self.started) * 1000)

    def allow(self, seconds: float, expiry: Interrupt) -> None:
        """From now on, waiting longer than this is interrupted as `expiry`."""
        deadline = self._loop.time() + seconds
        self.deadline = deadline if deadline < self.drain_until else self.drain_until
        self._expiry = expiry

    def wait_in_line(self, patience: float) -> None:
        """From now on it waits for what other requests have, for so many seconds."""
        self.waited = True
        self.allow(patience + LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)

    def expire(self) -> None:
        """The watch saw the deadline pass."""
        self.interrupt(Interrupt.CLIENT_GONE if self.gone else self._expiry)

    # -- interruption ----------------------------------------------------------------------------------------------

    def interrupt(self, reason: Interrupt) -> None:
        if self._interrupt is None:
            self._interrupt = reason
            self.deadline = NEVER
            self._task.cancel()

    def take_interrupt(self) -> Interrupt | None:
        """Call it on CancelledError: the watch's reason, or None when somebody else cancels (then raise again)."""
        reason, self._interrupt = self._interrupt, None
        if reason is not None:
            self._task.uncancel()
        if reason in (Interrupt.CLIENT_GONE, Interrupt.WRITE_TIMEOUT):
            self.gone = True
        return reason

    def listen(self, drain: float | None) -> None:
        """Starts to notice a client that hangs up. `drain`: go on for so many seconds instead of stopping at once."""
        if self._listener is None and self.body_read:
            self._listener = self._loop.create_task(self._listen(drain))

    async def _listen(self, drain: float | None) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self.deadline == NEVER:
            return
        self.gone = True
        if drain is None:
            self.interrupt(Interrupt.CLIENT_GONE)
        else:
            self.drain_until = self._loop.time() + drain
            self.deadline = min(self.deadline, self.drain_until)

    def close(self) -> None:
        self.deadline = NEVER
        if self._listener is not None:
            self._listener.cancel()

    # -- the client ------------------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        return await self._receive()

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Sends the status line; from here on the answer can only go on or break."""
        self.committed = True
        self.status = status
        headers.append((b"x-request-id", self.label.encode()))
        headers.append((b"x-content-type-options", b"nosniff"))
        headers += self.extra_headers
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes, *, more: bool) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": more})
        if not more:
            # Only now: a client that doesn't read can block the last piece too. No turn of the loop lies between, so
            # the listener can't take the end that the server announces after a whole answer for a hang-up.
            self.deadline = NEVER

    async def answer(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """A whole answer with its length."""
        headers.append((b"content-length", b"%d" % len(body)))
        await self.start(status, headers)
        await self.write(body, more=False)

    def cut(self) -> None:
        """Ends the connection in the middle of an answer, so that nobody takes it for whole."""
        self.deadline = NEVER
        cut: Callable[[], None] | None = self.scope.get(CUT)
        if cut is not None:
            cut()


def interruption_error(reason: Interrupt) -> GatewayError:
    """What a client is told of an interruption, if it is still there."""
    match reason:
        case Interrupt.CLIENT_GONE | Interrupt.WRITE_TIMEOUT:
            return GatewayError(Kind.INVALID, reason.value, "The client closed the connection.", status=499)
        case Interrupt.BODY_TIMEOUT:
            return GatewayError(Kind.INVALID, reason.value, "The request body took too long to arrive.", status=408)
        case Interrupt.LEDGER_TIMEOUT:
            return unavailable("The gateway can't reach its database.")
        case Interrupt.FIRST_BYTE_TIMEOUT:
            return UpstreamError(Kind.TIMEOUT, reason.value, "The upstream didn't begin to answer in time.")
        case Interrupt.IDLE_TIMEOUT:
            return UpstreamError(Kind.TIMEOUT, reason.value, "The upstream stopped in the middle of its answer.")
