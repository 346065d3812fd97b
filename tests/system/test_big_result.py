"""A result of 2 GB goes into storage and out to a client through processes that hardly grow."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import psutil
import pytest

from app.egress.client import Egress
from app.media.fetch import download
from app.media.links import Links
from app.media.storage import Storage, new_output_key
from tests.gateway import SECRET_KEY, Gateway

SIZE = 2 * 1024**3
PIECE = bytes(range(256)) * 4096
"""A megabyte that is sent over and over."""

MOST = 100 * 1024 * 1024
ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    """An upstream's public link to a file of SIZE bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % SIZE)
        for _ in range(SIZE // len(PIECE)):
            writer.write(PIECE)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/result.mp4"


class Gauge:
    """The most that a process has grown by since now, in bytes of resident memory, at the moments when it is looked at."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._before = process.memory_info().rss
        self.grown = 0

    def look(self) -> None:
        self.grown = max(self.grown, self._process.memory_info().rss - self._before)


async def bring_home(url: str, folder: str, key: str) -> None:
    """What a worker does with a result, in a process of its own: prints what it took."""
    storage, egress = Storage(None, Path(folder)), Egress([ipaddress.ip_network("127.0.0.0/8")])
    egress.start()
    gauge, started = Gauge(psutil.Process()), time.monotonic()

    async def pieces() -> AsyncIterator[bytes]:
        async with aclosing(download(egress, url)) as found:
            async for piece in found:
                gauge.look()
                yield piece

    size = await storage.put(key, pieces(), "video/mp4")
    gauge.look()
    print(json.dumps({"size": size, "grown": gauge.grown, "seconds": time.monotonic() - started}))
    await egress.close()


async def store(folder: Path, key: str) -> dict[str, float]:
    async with upstream() as url:
        command = [sys.executable, "-m", "tests.system.test_big_result", url, str(folder), key]
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
        output, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[str, float] = json.loads(output)
    return found


@pytest.fixture
def alone(start_gateway: Callable[..., Gateway], tmp_path: Path) -> Iterator[tuple[Gateway, Path]]:
    """A gateway, and the folder of its media, which is cleared at once."""
    folder = tmp_path / "media"
    if shutil.disk_usage(tmp_path).free < SIZE * 2:
        pytest.skip("not enough disk for a result of 2 GB")
    yield start_gateway(RELAYGATE_STORAGE_URL=f"file://{folder}"), folder
    shutil.rmtree(folder)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_2_gb_pass_in_and_out_in_little_memory(alone: tuple[Gateway, Path]) -> None:
    gateway, folder = alone
    key = new_output_key(datetime.now(UTC).date(), 1, "video/mp4")

    stored = await store(folder, key)
    print(f"\nin: {stored['seconds']:.1f} s, grown by {stored['grown'] / 1e6:.1f} MB")
    assert stored["size"] == SIZE
    assert stored["grown"] < MOST

    url = Links([SECRET_KEY], gateway.url, 24).sign(key, datetime.now(UTC))
    grown, seconds, digest = await asyncio.to_thread(fetch, gateway, url)
    print(f"out: {seconds:.1f} s, grown by {grown / 1e6:.1f} MB")
    assert digest == expected()
    assert grown < MOST


def fetch(gateway: Gateway, url: str) -> tuple[int, float, str]:
    """How much the gateway grew at most while a client took the file, how long it took, and the file's digest."""
    assert gateway.process is not None
    gauge, started = Gauge(psutil.Process(gateway.process.pid)), time.monotonic()
    digest, size = hashlib.sha256(), 0
    with httpx2.stream("GET", url, timeout=60) as answer:
        assert answer.status_code == 200
        for piece in answer.iter_bytes(len(PIECE)):
            digest.update(piece)
            size += len(piece)
            gauge.look()
    assert size == SIZE
    return gauge.grown, time.monotonic() - started, digest.hexdigest()


def expected() -> str:
    digest = hashlib.sha256()
    for _ in range(SIZE // len(PIECE)):
        digest.update(PIECE)
    return digest.hexdigest()


if __name__ == "__main__":
    asyncio.run(bring_home(*sys.argv[1:]))
