"""Large forms: in little memory, within their bounds, sent again where an upstream fails, and never left on disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psutil
import pytest

from tests.gateway import Customer, Gateway, Operator
from tests.relay.calls import UPSTREAM_SECRET, connect, entries, little_memory, wait_until_served

MB = 1024 * 1024
PIECE = bytes(range(256)) * 4096
"""A megabyte."""


class Swallower:
    """An upstream that takes bodies of any size, and answers each request with the next status."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.statuses: list[int] = []
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            left = size = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            while left:
                left -= len(await reader.read(min(left, MB)))
            self.sizes.append(size)
            status = self.statuses.pop(0) if self.statuses else 200
            body = b'{"text": "Hi.", "usage": {"type": "duration", "seconds": 60}}' if status == 200 else b"{}"
            writer.write(b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n" % status)
            writer.write(b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        writer.close()


@pytest.fixture
async def swallower() -> AsyncIterator[Swallower]:
    made = Swallower()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    async with server:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        yield made


def serve(operator: Operator, url: str, channels: int = 1) -> str:
    """A new model; returns once all its channels are known, which a second model of the last one shows."""
    name, shown = f"audio-{uuid4().hex[:12]}", f"shown-{uuid4().hex[:12]}"
    operator.call("PUT", f"/models/{name}", json={"kind": "audio", "price": {"per_minute": "0.006"}})
    operator.call("PUT", f"/models/{shown}", json={"kind": "audio", "free": True})
    for rank in range(channels):
        names = [name, shown] if rank == channels - 1 else [name]
        served = [{"model": each, "upstream_model": "any"} for each in names]
        operator.channel(name, "any", base_url=url, api_key=UPSTREAM_SECRET, priority=-rank, models=served)
    wait_until_served(operator, shown)
    return name


def form(model: str, size: int) -> tuple[bytes, bytes, dict[str, str]]:
    """What comes before and after a file of so many bytes, and the headers."""
    head = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.webm"\r\nContent-Type: audio/webm\r\n\r\n'
    tail = b'\r\n--B\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n--B--\r\n' % model.encode()
    length = len(head) + size + len(tail)
    return head, tail, {"content-type": "multipart/form-data; boundary=B", "content-length": str(length)}


async def upload(gateway: Gateway, customer: Customer, model: str, megabytes: int) -> httpx2.Response:
    head, tail, headers = form(model, megabytes * MB)

    async def body() -> AsyncIterator[bytes]:
        yield head
        for _ in range(megabytes):
            yield PIECE
        yield tail

    async with httpx2.AsyncClient(timeout=120.0) as http:
        url = f"{gateway.url}/v1/audio/transcriptions"
        return await http.post(url, content=body(), headers={**headers, **customer.headers})


@pytest.mark.parametrize("megabytes", [100, pytest.param(500, marks=pytest.mark.long)])
async def test_a_large_recording_passes_in_little_memory(
    gateway: Gateway, operator: Operator, swallower: Swallower, megabytes: int
) -> None:
    """Its model's name comes after it, as in the forms of OpenAI's Node SDK."""
    customer = operator.customer("1000")
    model = serve(operator, swallower.url)
    with little_memory(gateway):
        answer = await upload(gateway, customer, model, megabytes)
    assert answer.status_code == 200, answer.text
    assert swallower.sizes[0] > megabytes * MB
    (entry,) = await entries(operator, customer, 1)
    assert (entry["charged"], entry["estimated"]) == ("0.006", False)


async def test_a_recording_is_sent_again_where_an_upstream_fails(
    gateway: Gateway, operator: Operator, swallower: Swallower
) -> None:
    customer = operator.customer("1000")
    model = serve(operator, swallower.url, channels=2)
    swallower.statuses = [500]
    answer = await upload(gateway, customer, model, 3)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-relaygate-attempts"] == "2"
    assert len(set(swallower.sizes)) == 1
    assert len(swallower.sizes) == 2


def open_files(gateway: Gateway) -> list[str]:
    """What the gateway has open below its folder of uploads, deleted or not."""
    assert gateway.process is not None
    folder = Path(f"/proc/{gateway.process.pid}/fd")
    links = []
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):
            links.append(str(entry.readlink()))
    return [link for link in links if "/uploads/" in link]


async def test_nothing_is_left_on_disk(gateway: Gateway, operator: Operator, swallower: Swallower) -> None:
    customer = operator.customer("1000")
    model = serve(operator, swallower.url)
    head, _, headers = form(model, 50 * MB)
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**headers, **customer.headers}.items())
    raw = f"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\n{lines}\r\n".encode() + head + PIECE
    async with connect(gateway, raw):
        async with asyncio.timeout(10):
            while not open_files(gateway):
                await asyncio.sleep(0.02)
        assert all(link.endswith("(deleted)") for link in open_files(gateway))
    async with asyncio.timeout(10):
        while open_files(gateway):
            await asyncio.sleep(0.02)
    assert list((gateway.data_dir / "uploads").iterdir()) == []
    assert not swallower.sizes
    assert await asyncio.to_thread(operator.entries, customer) == []


async def test_a_form_that_is_too_large_is_refused_at_once(gateway: Gateway, customer_of: Customer) -> None:
    headers: Any = {"content-type": "multipart/form-data; boundary=B", "content-length": str(600 * MB)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**headers, **customer_of.headers}.items())
    async with connect(gateway, f"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\n{lines}\r\n".encode()) as wire:
        status, _ = await wire.read_head()
    assert status == 413


async def test_a_stranger_writes_nothing_to_disk(gateway: Gateway) -> None:
    assert gateway.process is not None
    before = psutil.Process(gateway.process.pid).io_counters().write_bytes
    lines = (
        "authorization: Bearer sk-wrong\r\ncontent-type: multipart/form-data; boundary=B\r\ncontent-length: 9999\r\n"
    )
    async with connect(gateway, f"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: x\r\n{lines}\r\n".encode()) as wire:
        status, _ = await wire.read_head()
    assert status == 401
    assert psutil.Process(gateway.process.pid).io_counters().write_bytes - before < MB


@pytest.fixture
def customer_of(operator: Operator) -> Customer:
    return operator.customer("1000")


def test_the_hold_of_a_recording_is_by_its_length(operator: Operator, gateway: Gateway) -> None:
    """An account that can't pay for the recording is refused, whatever the upstream would have reported."""
    customer = operator.customer("0.0000001")
    model = serve(operator, "http://127.0.0.1:9/v1")
    files = {"file": ("a.webm", bytes(1_000_000), "audio/webm")}
    answer = httpx2.post(
        f"{gateway.url}/v1/audio/transcriptions", data={"model": model}, files=files, headers=customer.headers
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")
    assert Decimal(operator.account(customer)["held"]) == 0
