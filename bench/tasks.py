"""Thousands of open media tasks on one worker: how late they are polled, how quick queries stay, what memory does."""

import asyncio
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx

from bench.gateway import FullGateway, start_full
from bench.processes import BenchError, choose_cores, memory_mb
from bench.targets import UPSTREAM_KEY, Target, start_upstream

TASKS = 10_000
SETTLE_SECONDS = 75.0  # polls come every 2 seconds at first, and every 10 in the end
MEASURED_SECONDS = 60.0
SUBMITTERS = 16
QUERIES_A_SECOND = 50
LATE_SECONDS = "2.0"
QUERY_MS = 20.0
LATENESS = "relaygate_task_lateness_seconds"


@dataclass(frozen=True, slots=True)
class Polled:
    """The gateway's own histogram of lateness, at one moment."""

    count: int
    in_time: int
    total: float


def bench_tasks(count: int) -> int:
    """1 when tasks are polled late, queries are slow, a task was polled twice at once, or the books don't balance."""
    cores = choose_cores()
    with tempfile.TemporaryDirectory(prefix="relaygate-tasks-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with start_upstream(cores, folder) as upstream, start_full(upstream, cores, folder) as gateway:
            _set_up(gateway, upstream)
            return asyncio.run(_bench(gateway, upstream, count))


def _set_up(gateway: FullGateway, upstream: Target) -> None:
    for method, path, body in (
        ("PUT", "/admin/v1/models/film", {"kind": "video", "price": {"per_video": "0.1"}, "task_timeout": 86_400}),
        (
            "POST",
            "/admin/v1/channels",
            {
                "name": "film",
                "provider": "demo",
                "base_url": f"{upstream.base_url}/v1",
                "api_key": UPSTREAM_KEY,
                "models": [{"model": "film", "upstream_model": "demo-video?never=1"}],
            },
        ),
    ):
        answer = gateway.admin.request(method, path, json=body)
        if not answer.is_success:
            raise BenchError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")


async def _bench(gateway: FullGateway, upstream: Target, count: int) -> int:
    target = gateway.target
    headers = {"authorization": target.authorization}
    async with httpx.AsyncClient(base_url=target.base_url, headers=headers, timeout=30, trust_env=False) as client:
        started_at = time.monotonic()
        ids = await _submit(client, count)
        took = time.monotonic() - started_at
        print(
            f"{count:,} tasks submitted in {took:.0f} s ({count / took:.0f}/s); memory {memory_mb(target.worker):.0f} MB"
        )
        await asyncio.sleep(SETTLE_SECONDS)
        memory, before = memory_mb(target.worker), await _polled(gateway)
        queries = await _query(client, ids, MEASURED_SECONDS)
        after, grown = await _polled(gateway), memory_mb(target.worker)
    polls = after.count - before.count
    in_time = (after.in_time - before.in_time) / polls
    late = (after.total - before.total) / polls
    p50, p99 = statistics.median(queries), queries[int(len(queries) * 0.99)]
    stats = httpx.get(f"{upstream.base_url}/_demo/studio", trust_env=False).json()
    ok, audit = gateway.audit()
    print(
        f"polls: {polls:,} in {MEASURED_SECONDS:.0f} s, {in_time:.2%} at most {LATE_SECONDS} s late, "
        f"{late * 1000:.0f} ms on average"
    )
    print(f"queries meanwhile, {QUERIES_A_SECOND}/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {queries[-1]:.1f} ms")
    once = stats["most_open_polls"]
    print(f"memory: {memory:.0f} → {grown:.0f} MB; polls of one task at once: {once}; audit {'ok' if ok else audit}")
    good = in_time >= 0.95 and p99 <= QUERY_MS and once <= 1 and ok
    return 0 if good else 1


async def _submit(client: httpx.AsyncClient, count: int) -> list[str]:
    left = iter(range(count))
    ids: list[str] = []

    async def work() -> None:
        for number in left:
            answer = await client.post("/v2/videos/generations", json={"model": "film", "prompt": f"Film {number}"})
            if answer.status_code != 200:
                raise BenchError(f"{answer.status_code} {answer.text[:300]}")
            ids.append(answer.json()["task_id"])

    await asyncio.gather(*(work() for _ in range(SUBMITTERS)))
    return ids


async def _query(client: httpx.AsyncClient, ids: list[str], seconds: float) -> list[float]:
    """Milliseconds of random queries at a steady pace, sorted."""
    taken: list[float] = []

    async def ask() -> None:
        started_at = time.perf_counter()
        answer = await client.get(f"/v2/videos/generations/{random.choice(ids)}")
        taken.append((time.perf_counter() - started_at) * 1000)
        if answer.status_code != 200:
            raise BenchError(f"{answer.status_code} {answer.text[:300]}")

    asked: list[asyncio.Task[None]] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        asked.append(asyncio.create_task(ask()))
        await asyncio.sleep(1 / QUERIES_A_SECOND)
    await asyncio.gather(*asked)
    return sorted(taken)


async def _polled(gateway: FullGateway) -> Polled:
    answer = await asyncio.to_thread(gateway.admin.get, "/metrics")
    found = {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
        for line in answer.text.splitlines()
        if line.startswith(LATENESS)
    }
    in_time = found[f'{LATENESS}_bucket{{le="{LATE_SECONDS}"}}']
    return Polled(int(found[f"{LATENESS}_count"]), int(in_time), found[f"{LATENESS}_sum"])
