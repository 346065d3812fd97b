"""One raw connection to a gateway: what is sent byte by byte, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import orjson

from tests.gateway import Gateway

PATIENCE = 15.0


@dataclass
class Answer:
    """A whole answer."""

    status: int
    head: bytes
    body: bytes

    @property
    def code(self) -> str:
        code: str = orjson.loads(self.body)["error"]["code"]
        return code


@dataclass
class Talk:
    """A connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        with suppress(ConnectionError):  # it may have been refused already: what was answered can still be read
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self) -> Answer | None:
        """The next answer; None: the connection ended without one."""
        async with asyncio.timeout(PATIENCE):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            length = next(
                int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
            )
            return Answer(int(head.split(b" ")[1]), head, await self.reader.readexactly(length))

    async def ended(self) -> bytes:
        """Whatever still comes until the gateway closes."""
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                return await self.reader.read()
            return b""


@asynccontextmanager
async def talk(gateway: Gateway) -> AsyncIterator[Talk]:
    """Opens a connection, closes it afterwards."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        yield Talk(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def head(method: str = "GET", path: str = "/healthz", *headers: str, host: str = "x") -> bytes:
    """A request's head."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode()
