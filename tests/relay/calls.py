"""Calling a gateway as clients do, over HTTP and over a bare socket, and what a call must have cost."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx2
import psutil

from app.core.tokens import count_text
from tests.demo.process import DemoProcess
from tests.gateway import Customer, Gateway, Operator, sse_data

UPSTREAM_SECRET = "upstream-secret-0123456789"
ECHOED_SECRET = "echoed-secret-0123456789"
"""The key of channels whose upstream's name holds it, as the admin API shows."""
PATIENCE = 15.0


def upstream_name(options: str = "") -> str:
    """A name for the demo upstream that no other test uses, so that its journal tells this test's requests apart."""
    return f"u-{uuid4().hex[:12]}?{options}"


def serve_model(operator: Operator, *channels: Mapping[str, Any], **fields: Any) -> str:
    """A new model with a channel for each of these, first to last; `upstream_model` beside the fields of a channel.

    Returns once the gateway serves it over all of them: a second model, which only the last channel serves, shows that where
    the model itself can't.
    """
    name = f"m-{uuid4().hex[:12]}"
    price = None if fields.get("free") else {"input_mtok": "1", "output_mtok": "2"}
    operator.call("PUT", f"/models/{name}", json={"kind": "chat", "price": price, "max_output_tokens": 1000, **fields})
    if not channels:
        return name
    shown = name if len(channels) == 1 and "price" not in fields else f"{name}-served"
    if shown != name:
        operator.call("PUT", f"/models/{shown}", json={"kind": "chat", "free": True})
    for rank, channel in enumerate(channels, start=1):
        given = {"upstream_model": "any", "priority": -rank, **channel}
        served = [{"model": name, "upstream_model": given.pop("upstream_model")}]
        if rank == len(channels) and shown != name:
            served.append({"model": shown, "upstream_model": "any"})
        operator.channel(name, "any", **{**given, "models": served})
    wait_until_served(operator, shown)
    return name


def wait_until_served(operator: Operator, model: str) -> None:
    """Returns once the gateway lists the model."""
    deadline = time.monotonic() + PATIENCE
    http = _watcher(operator)
    while http.get(f"models/{model}").status_code != 200:
        assert time.monotonic() < deadline, f"{model} isn't served"
        time.sleep(0.01)


@functools.cache
def _watcher(operator: Operator) -> httpx2.Client:
    return httpx2.Client(base_url=operator.gateway.base_url, headers=operator.customer(grant=None).headers)


def channel_of(operator: Operator, model: str, rank: int = 0) -> dict[str, Any]:
    """The channel of a model that was made as the first, or so many later; -1: as the last."""
    found: list[dict[str, Any]] = operator.call("GET", "/channels", params={"model": model})["data"]
    return found[rank]


def demo_model(operator: Operator, *options: str, **fields: Any) -> str:
    """A new model with a demo channel for each of these options, first to last."""
    return serve_model(operator, *({"upstream_model": upstream_name(text)} for text in options), **fields)


def chat(model: str, **fields: Any) -> dict[str, Any]:
    """A chat request whose text is the one token "hi"."""
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}


def dollars(input_tokens: int, output_tokens: int) -> Decimal:
    """The cost at the price that `Operator.model` sets: 1 and 2 dollars per million tokens."""
    return Decimal(input_tokens + 2 * output_tokens) / 1_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object; insists on OpenAI's shape."""
        (name,) = self.json
        assert name == "error"
        error: dict[str, Any] = self.json["error"]
        assert sorted(error) == ["code", "message", "param", "type"]
        assert isinstance(error["message"], str)
        assert error["message"]
        return error

    @property
    def events(self) -> list[str]:
        return list(sse_data(self.body.decode()))

    @property
    def stream_error(self) -> dict[str, Any]:
        """The error that the last frame of a stream carries."""
        error: dict[str, Any] = json.loads(self.events[-1])["error"]
        assert sorted(error) == ["code", "message", "param", "type"]
        return error

    @property
    def text(self) -> str:
        """What the first choice says, streamed or not."""
        if "json" in self.headers["content-type"]:
            return str(self.json["choices"][0]["message"]["content"])
        return text_of(self.events)


def text_of(events: list[str]) -> str:
    """The content in a stream's chunks."""
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    choices = [choice for chunk in chunks for choice in chunk.get("choices") or []]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


class Client:
    """A client of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        # No proxies of the environment; every request on a connection of its own unless it ends well.
        self.http = httpx2.AsyncClient(base_url=gateway.url, timeout=PATIENCE)

    async def close(self) -> None:
        await self.http.aclose()

    async def chat(self, customer: Customer, model: str, *, stream: bool = False, **fields: Any) -> Answer:
        body = chat(model, **({"stream": True} if stream else {}), **fields)
        return await self.send(json.dumps(body).encode(), customer.headers)

    async def send(
        self, content: bytes | AsyncIterator[bytes], headers: Mapping[str, str], path: str = "/v1/chat/completions"
    ) -> Answer:
        started = time.monotonic()
        response = await self.http.post(path, content=content, headers={"content-type": "application/json", **headers})
        return Answer(response.status_code, dict(response.headers), response.content, time.monotonic() - started)


class Wire:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def read_head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of an answer."""
        raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        start, *lines = raw.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        return int(start.split()[1]), headers

    async def read_events(self, count: int) -> list[str]:
        """The next data lines of a stream, as they arrive."""
        events: list[str] = []
        while len(events) < count:
            line = await asyncio.wait_for(self.reader.readline(), PATIENCE)
            assert line, "the connection ended"
            if line.startswith(b"data: "):
                events.append(line[6:].decode().strip())
        return events

    async def read_to_end(self) -> bytes:
        """All that comes until the server closes."""
        return await asyncio.wait_for(self.reader.read(), PATIENCE)


@contextlib.asynccontextmanager
async def connect(gateway: Gateway, raw: bytes = b"", *, window: int | None = None) -> AsyncIterator[Wire]:
    """A connection on which `raw` was sent; it closes with the block. `window`: bytes that arrive before any is read."""
    plain = socket.socket()
    plain.setblocking(False)
    if window is not None:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    try:
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", gateway.port))
    except OSError:
        plain.close()
        raise
    reader, writer = await asyncio.open_connection(sock=plain, limit=window or 2**16)
    try:
        writer.write(raw)
        await writer.drain()
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def raw_request(body: object, *headers: tuple[str, str], path: str = "/v1/chat/completions") -> bytes:
    """A POST as it goes over the wire; headers may repeat and hold any Latin-1 character."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return (
        f"POST {path} HTTP/1.1\r\nhost: gateway\r\n{given}content-length: {len(content)}\r\n\r\n".encode("latin-1")
        + content
    )


def authorization(customer: Customer) -> tuple[str, str]:
    return "authorization", f"Bearer {customer.key}"


def received(demo: DemoProcess, upstream_model: str) -> list[dict[str, Any]]:
    """What the demo upstream received for a model, oldest first."""
    named = demo.received(upstream_model)
    return [request for request in named if (request["body"] or {}).get("model") == upstream_model]


async def disconnected(demo: DemoProcess, upstream_model: str, within: float) -> dict[str, Any]:
    """The demo's only request for a model, once the gateway has hung up on it; it has `within` seconds to do so."""
    deadline = time.monotonic() + within
    while True:
        (request,) = await asyncio.to_thread(received, demo, upstream_model)
        if request["disconnected"]:
            return request
        assert time.monotonic() < deadline, f"still connected after {within} s"
        await asyncio.sleep(0.02)


async def entries(operator: Operator, customer: Customer, count: int) -> list[dict[str, Any]]:
    """The customer's entries, newest first, once there are so many and no hold is open."""
    return await asyncio.to_thread(operator.entries, customer, count=count)


def assert_charged(entry: Mapping[str, Any], input_tokens: int, output_tokens: int, *, estimated: bool = False) -> None:
    """An entry that was settled at these counts, at the usual price, to the nano-dollar."""
    assert entry["status"] == "settled"
    assert (entry["usage"]["input_tokens"], entry["usage"]["output_tokens"]) == (input_tokens, output_tokens)
    assert entry["estimated"] is estimated
    assert Decimal(entry["charged"]) == dollars(input_tokens, output_tokens)


def assert_released(entry: Mapping[str, Any], code: str | None = None) -> None:
    """An entry that cost nothing."""
    assert (entry["status"], entry["charged"], entry["error"]) == ("released", "0", code)


def tokens(text: str) -> int:
    return count_text(text)


@contextlib.contextmanager
def little_memory(gateway: Gateway) -> Iterator[None]:
    """The gateway may grow by less than 100 MB meanwhile, at its highest."""
    assert gateway.process is not None
    pid = gateway.process.pid
    with open(f"/proc/{pid}/clear_refs", "w") as peak:
        peak.write("5")  # proc(5): resets the peak
    before = psutil.Process(pid).memory_info().rss
    yield
    with open(f"/proc/{pid}/status") as status:
        highest = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    assert highest - before < 100 * 1024 * 1024
