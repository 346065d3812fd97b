"""An upstream of bare sockets, for what no well-behaved server can be made to send."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

Script = Callable[["Conversation"], Awaitable[None]]


class Conversation:
    """One request that came, and the bytes that answer it. `authorization`: that header, in small letters."""

    def __init__(self, body: Any, writer: asyncio.StreamWriter, authorization: str = "") -> None:
        self.body = body
        self.authorization = authorization
        self._writer = writer

    async def send(self, *pieces: bytes, pause: float = 0.0) -> None:
        """Sends pieces, each in a packet of its own where there is a pause."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            await asyncio.sleep(pause)

    async def head(self, status: int = 200, content_type: str = "text/event-stream", *more: str) -> None:
        """A status line and headers; the body lasts until the connection ends."""
        lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}", "connection: close", *more]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode())


@contextlib.asynccontextmanager
async def serve(script: Script) -> AsyncIterator[str]:
    """Answers each request by the script, then closes the connection; yields the base URL for a channel."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            authorization = head.partition(b"authorization: ")[2].partition(b"\r\n")[0].decode("latin-1")
            await script(Conversation(json.loads(await reader.readexactly(length)), writer, authorization))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the gateway hung up, as some tests want
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def chunk(text: str = "", finish: str | None = None) -> bytes:
    """A frame of a chat stream."""
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    data = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(data).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
