"""A front before the demo upstream that fails as it is told: TLS on a port of its own, HTTP taken apart by hand."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import ssl
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp

from tests.chaos.answers import MAIL_GREETING, chunk, head, whole_fault
from tests.chaos.certificates import BAD, GOOD
from tests.chaos.faults import CONNECTION_FAULTS, RUDE, Fault

ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER of no time: closing sends a reset."""

ARRIVAL = 0.02
"""Seconds for what was sent to be read at the other side, before a reset throws it away."""

PASSED = ("authorization", "content-type", "x-api-key", "anthropic-version", "x-goog-api-key")
BROKEN = (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, aiohttp.ClientError, OSError)


@dataclass(slots=True, eq=False)
class Connection:
    """One that is open. `busy`: a request is under way."""

    socket: socket.socket
    task: asyncio.Task[None]
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """What came, read to its end."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def streams(self) -> bool:
        return "stream" in self.path or json.loads(self.body or b"{}").get("stream") is True


class Cut(Exception):
    """The connection ends here; `reset`: rudely."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__()
        self.reset = reset


@dataclass(slots=True)
class Front:
    """One upstream. `log`: for each request, or connection that a fault struck, when that was (monotonic) and the fault."""

    demo_url: str
    session: aiohttp.ClientSession
    contexts: Mapping[str, ssl.SSLContext]
    draw: random.Random
    port: int = 0
    log: list[tuple[float, str]] = field(default_factory=list)
    faults: tuple[Fault, ...] = ()
    connections: set[Connection] = field(default_factory=set)
    _listener: asyncio.Task[None] | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def open(self) -> None:
        """Listens, on the port that it had before if it had one."""
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", self.port))
        listening.listen(512)
        listening.setblocking(False)
        self.port = listening.getsockname()[1]
        self._listener = asyncio.create_task(self._listen(listening))

    async def become(self, faults: tuple[Fault, ...]) -> None:
        """From now on it fails like this. What hangs is let go; what has died takes its connections along."""
        self.faults = faults
        self._changed.set()
        self._changed = asyncio.Event()
        kinds = {fault.kind for fault in faults}
        if kinds & CONNECTION_FAULTS:
            for connection in tuple(self.connections):
                if kinds & RUDE or not connection.busy:
                    _reset_on_close(connection.socket)
                    connection.task.cancel()
        if "refused" in kinds and self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])
            self._listener = None
        elif "refused" not in kinds and self._listener is None:
            await self.open()

    # -- connections -------------------------------------------------------------------------------------------------

    async def _listen(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listening:
            while True:
                accepted, _ = await loop.sock_accept(listening)
                connection = Connection(accepted, asyncio.create_task(asyncio.sleep(0)))
                connection.task = asyncio.create_task(self._serve(connection))
                self.connections.add(connection)
                connection.task.add_done_callback(lambda _, gone=connection: self.connections.discard(gone))  # type: ignore[misc]

    async def _serve(self, connection: Connection) -> None:
        fault = next((fault for fault in self.faults if fault.kind in CONNECTION_FAULTS), None)
        with connection.socket as accepted, suppress(*BROKEN):
            if fault is not None:
                self._note(fault.kind)
            match fault:
                case None:
                    await self._talk(connection, self.contexts[GOOD])
                case Fault(kind="reset_accept"):
                    _reset_on_close(accepted)
                case Fault(kind="hang_accept"):
                    await self._changed.wait()
                case Fault(kind="not_tls"):
                    await asyncio.get_running_loop().sock_sendall(accepted, MAIL_GREETING)
                case Fault(kind=kind) if kind in BAD:
                    await self._talk(connection, self.contexts[kind])

    async def _talk(self, connection: Connection, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection.socket, ssl=context)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            while (request := await _read(reader, connection)) is not None:
                connection.busy = True
                await self._answer(request, reader, writer)
                connection.busy = False
                if any(fault.kind in CONNECTION_FAULTS for fault in self.faults):
                    break  # it died meanwhile: an old connection would go on as if nothing had happened
        except Cut as cut:
            if cut.reset:
                _reset_on_close(transport.get_extra_info("socket"))
                transport.abort()
        except asyncio.CancelledError:
            transport.abort()
        finally:
            writer.close()
            with suppress(*BROKEN):
                await writer.wait_closed()

    # -- requests ----------------------------------------------------------------------------------------------------

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self._strike()
        self._note(fault.kind)
        answer = whole_fault(fault, self.draw)
        if answer is not None:
            writer.write(answer)
            await writer.drain()
            if fault.kind == "not_http":
                raise Cut(reset=False)
            return
        content_type = "text/event-stream" if request.streams else "application/json"
        match fault.kind:
            case "reset":
                raise Cut(reset=True)
            case "hang":
                await self._hang(reader)
            case "hang_headers":
                writer.write(head(200, content_type, {}, None))
                await self._hang(reader)
            case "reset_headers":
                writer.write(head(200, content_type, {}, None))
                await writer.drain()
                await asyncio.sleep(ARRIVAL)
                raise Cut(reset=True)
            case "slow":
                await asyncio.sleep(fault.ms / 1000)
        await self._pass_on(request, writer, fault if fault.kind.startswith("cut_") else None)

    def _strike(self) -> Fault:
        place = self.draw.random()
        for fault in self.faults:
            place -= fault.share
            if place < 0 and fault.kind not in CONNECTION_FAULTS:
                return fault
        return Fault("healthy")

    async def _hang(self, reader: asyncio.StreamReader) -> None:
        """Until the client goes, or the weather changes."""
        waits = [asyncio.create_task(self._changed.wait()), asyncio.create_task(reader.read(1))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        raise Cut(reset=False)

    async def _pass_on(self, request: Request, writer: asyncio.StreamWriter, cut: Fault | None) -> None:
        headers = {name: value for name, value in request.headers.items() if name in PASSED}
        async with self.session.request(
            request.method, self.demo_url + request.path, data=request.body, headers=headers
        ) as answer:
            writer.write(head(answer.status, answer.headers["content-type"], {}, None))
            if cut is None:
                async for data in answer.content.iter_any():
                    writer.write(chunk(data))
                    await writer.drain()
            else:
                await _send_part(answer, writer, cut)
                if cut.kind == "cut_reset":
                    raise Cut(reset=True)
            writer.write(chunk(b""))
            await writer.drain()

    def _note(self, kind: str) -> None:
        self.log.append((time.monotonic(), kind))


async def _send_part(answer: aiohttp.ClientResponse, writer: asyncio.StreamWriter, cut: Fault) -> None:
    if "event-stream" in answer.headers["content-type"]:
        rest = b""
        sent = 0
        async for data in answer.content.iter_any():
            *frames, rest = (rest + data).split(b"\n\n")
            for frame in frames[: cut.frames - sent]:
                writer.write(chunk(frame + b"\n\n"))
            sent += len(frames)
            if sent >= cut.frames:
                break
    else:
        whole = await answer.read()
        writer.write(chunk(whole[: len(whole) // 2]))
    await writer.drain()
    await asyncio.sleep(ARRIVAL)


async def _read(reader: asyncio.StreamReader, connection: Connection) -> Request | None:
    """The next request; None: there is none, the client has closed."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    connection.busy = True
    start, *lines = raw.decode("latin-1").strip().split("\r\n")
    method, path, _ = start.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Request(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


def _reset_on_close(accepted: socket.socket) -> None:
    with suppress(OSError):
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
