"""A bare HTTP client that shows an answer as it came over the wire: chunks, framing, and how it ended."""

import asyncio
import contextlib
import http.client
import json
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tests.demo.process import DemoProcess

HEADERS = {"authorization": "Bearer sk-test"}
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class WireAnswer:
    """An answer: `pieces` are the HTTP chunks (or the one body); `complete` says that the framing was closed."""

    status: int
    headers: dict[str, str]
    pieces: list[bytes]
    complete: bool

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[str]:
        """The data of the stream's events, `[DONE]` included; wants the common framing."""
        frames = self.body.decode().split("\n\n")
        assert frames.pop() == ""
        assert all(frame.startswith("data: ") for frame in frames), frames
        return [frame.removeprefix("data: ") for frame in frames]

    def chunks(self) -> list[dict[str, Any]]:
        """The stream's JSON chunks, without `[DONE]`."""
        return [json.loads(event) for event in self.events() if event != "[DONE]"]

    def text(self) -> str:
        """The streamed content of the first choice."""
        choices = [choice for chunk in self.chunks() for choice in chunk["choices"] if choice["index"] == 0]
        return "".join(choice["delta"].get("content") or "" for choice in choices)


def chat(model: str = "demo", **fields: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}


def stream(model: str = "demo", **fields: Any) -> dict[str, Any]:
    """A streamed chat request that asks for usage."""
    return chat(model, stream=True, stream_options={"include_usage": True}, **fields)


class WireCall:
    """A request that was sent; the answer is read step by step."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.status = 0
        self.headers: dict[str, str] = {}

    async def read_head(self) -> None:
        lines = (await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), PATIENCE)).decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = dict(line.split(": ", 1) for line in lines[1:] if line)

    async def read_piece(self) -> bytes:
        """One HTTP chunk, or the body of known length; raises IncompleteReadError when the connection ends first."""
        length = self.headers.get("content-length")
        if length is not None:
            return await asyncio.wait_for(self._reader.readexactly(int(length)), PATIENCE)
        line = await asyncio.wait_for(self._reader.readuntil(b"\r\n"), PATIENCE)
        data = await asyncio.wait_for(self._reader.readexactly(int(line, 16) + 2), PATIENCE)
        return data[:-2]

    async def read_all(self) -> WireAnswer:
        await self.read_head()
        pieces: list[bytes] = []
        try:
            while piece := await self.read_piece():
                pieces.append(piece)
                if "content-length" in self.headers:
                    break
        except asyncio.IncompleteReadError as error:
            return WireAnswer(self.status, self.headers, [*pieces, error.partial], complete=False)
        return WireAnswer(self.status, self.headers, pieces, complete=True)

    async def is_silent(self, seconds: float = 0.2) -> bool:
        """Whether nothing arrives for that long, neither a byte nor the end."""
        try:
            await asyncio.wait_for(self._reader.read(1), seconds)
        except TimeoutError:
            return True
        return False

    async def read_to_end(self) -> bytes:
        """Whatever still comes until the server closes."""
        return await asyncio.wait_for(self._reader.read(), PATIENCE)


@contextlib.asynccontextmanager
async def call(demo: DemoProcess, payload: object, **headers: str) -> AsyncIterator[WireCall]:
    """Sends a chat request on a connection of its own, which closes when the block ends."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    lines = {**HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", demo.port)
    try:
        start = f"POST /v1/chat/completions HTTP/1.1\r\nhost: demo\r\ncontent-length: {len(body)}\r\n{head}\r\n"
        writer.write(start.encode() + body)
        await writer.drain()
        yield WireCall(reader)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def ask(demo: DemoProcess, payload: object, **headers: str) -> WireAnswer:
    """Sends a chat request and reads the whole answer."""
    async with call(demo, payload, **headers) as wire:
        return await wire.read_all()


def call_path(
    demo: DemoProcess, path: str, payload: object, headers: dict[str, str], method: str = "POST"
) -> WireAnswer:
    """Sends JSON to any path and reads the whole answer, as one piece."""
    with closing(http.client.HTTPConnection("127.0.0.1", demo.port, timeout=PATIENCE)) as connection:
        body = None if payload is None else json.dumps(payload)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        data = response.read()
    return WireAnswer(
        response.status, {name.lower(): value for name, value in response.getheaders()}, [data], complete=True
    )
