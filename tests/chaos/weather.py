"""The process that runs the fronts, and how a test tells it what weather each of them has."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
from aiohttp import web

from tests.chaos.certificates import load_contexts
from tests.chaos.faults import Fault, read_faults, write_faults
from tests.chaos.front import Front

SEED = 20


@dataclass(frozen=True, slots=True)
class Upstreams:
    """The fronts of a running process, counted from 0."""

    control: httpx2.Client
    ports: tuple[int, ...]

    def url(self, front: int) -> str:
        """The base URL of a channel over it."""
        return f"https://127.0.0.1:{self.ports[front]}/v1"

    def become(self, front: int, *faults: Fault) -> float:
        """Sets one's weather; none: healthy. Returns when it was set, in monotonic seconds."""
        self.control.put(f"/{front}", json=write_faults(faults)).raise_for_status()
        return time.monotonic()

    def log(self, front: int, since: float = 0.0) -> list[tuple[float, str]]:
        """What it received: when, and which fault it met it with (`healthy`: none)."""
        answer = self.control.get(f"/{front}").raise_for_status()
        return [(when, kind) for when, kind in answer.json()["log"] if when >= since]

    def open_connections(self) -> int:
        return sum(
            int(self.control.get(f"/{front}").raise_for_status().json()["open"]) for front in range(len(self.ports))
        )


@contextmanager
def run_upstreams(demo_url: str, certificates: Path, count: int) -> Iterator[Upstreams]:
    """Starts the process; it ends with the block, and with this process."""
    command = [sys.executable, "-m", "tests.chaos.weather", demo_url, str(certificates), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            control, *ports = json.loads(process.stdout.readline())
            with httpx2.Client(base_url=f"http://127.0.0.1:{control}", timeout=10) as client:
                yield Upstreams(client, tuple(ports))
        finally:
            process.stdin.close()
            process.wait(10)


class Station:
    """The control API: `PUT /{front}` with a list of faults, `GET /{front}` for what it has received."""

    def __init__(self, fronts: Sequence[Front]) -> None:
        self._fronts = fronts

    async def put(self, request: web.Request) -> web.Response:
        await self._front(request).become(read_faults(await request.json()))
        return web.json_response({})

    async def get(self, request: web.Request) -> web.Response:
        front = self._front(request)
        return web.json_response({"log": front.log, "open": len(front.connections)})

    def _front(self, request: web.Request) -> Front:
        return self._fronts[int(request.match_info["front"])]


async def serve(demo_url: str, certificates: Path, count: int) -> None:
    """Until standard input ends."""
    contexts = load_contexts(certificates)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), trust_env=False) as session:
        fronts = [Front(demo_url, session, contexts, random.Random(SEED + number)) for number in range(count)]
        for front in fronts:
            await front.open()
        station = Station(fronts)
        app = web.Application()
        app.add_routes([web.put("/{front}", station.put), web.get("/{front}", station.get)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        addresses: Any = runner.addresses
        print(json.dumps([addresses[0][1], *(front.port for front in fronts)]), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
