"""Several workers on one queue of tasks: each task is with one of them at a time, and outlives them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator
from tests.ledger.proxy import SOCKET, Proxy
from tests.media.client import MediaClient

# Who has claimed a task can be told by how far ahead its claim reaches.
LEASES = {"stays": "5", "stopped": "60", "killed": "2"}
_OF_THE_STOPPED = "SELECT count(*) FROM tasks WHERE claimed_until > now() + interval '10 seconds'"
_COUNT = re.compile(r"^relaygate_task_lateness_seconds_count (\S+)$", re.MULTILINE)


@pytest.fixture
def workers(work_dir: Path, migrated_database: Callable[[], str]) -> Iterator[dict[str, Gateway]]:
    """Three processes that do everything, on one database and one storage."""
    database_url = migrated_database()
    folder = work_dir / uuid4().hex[:8]
    made = {}
    for name, lease in LEASES.items():
        (folder / name).mkdir(parents=True)
        settings = {"RELAYGATE_LEASE": lease, "RELAYGATE_METRICS_PUBLIC": "true"}
        settings["RELAYGATE_STORAGE_URL"] = f"file://{folder}/media"
        made[name] = Gateway(database_url, folder / name, settings)
    with ThreadPoolExecutor(len(made)) as threads:
        list(threads.map(Gateway.start, made.values()))
    yield made
    for gateway in made.values():
        assert gateway.process is not None
        if gateway.process.poll() is None:
            assert gateway.stop() == 0, gateway.log


def looked(gateway: Gateway) -> float:
    """How many tasks this process has looked at."""
    found = _COUNT.search(httpx2.get(f"{gateway.url}/metrics").text)
    assert found is not None
    return float(found[1])


def until(condition: Callable[[], Any], timeout: float = 40.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)


class Jobs:
    """What the upstream has of this test, by its prompts."""

    def __init__(self, demo: DemoProcess) -> None:
        self._demo = demo
        self._mark = uuid4().hex

    def prompt(self, kind: str) -> str:
        return f"{self._mark} {kind}"

    def __call__(self, kind: str) -> list[dict[str, Any]]:
        jobs = self._demo.control("GET", "jobs?limit=100000")["jobs"]
        return [job for job in jobs if job["prompt"] == self.prompt(kind)]

    def all_polled_since(self, kind: str) -> Callable[[], bool]:
        now = time.time()
        return lambda: all((job["last_polled_at"] or 0) > now for job in self(kind))

    def finish(self, kind: str) -> None:
        for job in self(kind):
            self._demo.control("POST", f"jobs/{job['id']}", {"state": "done"})


@pytest.mark.long
@pytest.mark.parametrize("count", [40, 300])
async def test_a_task_is_with_one_worker_at_a_time_and_outlives_it(
    workers: dict[str, Gateway], demo: DemoProcess, count: int
) -> None:
    operator = Operator(workers["stays"], demo.url)
    customer = operator.customer("1000")
    client = MediaClient(workers["stays"], customer)
    jobs = Jobs(demo)

    def film(script: str) -> str:
        model = operator.model(kind="video", price={"per_second": "0.1"}, max_output_tokens=None)
        operator.channel(model, f"demo-video?poll_after_ms=500&{script}", provider="openai_videos")
        return model

    def submit(kind: str, model: str, count: int) -> list[str]:
        with ThreadPoolExecutor(8) as threads:
            return list(threads.map(lambda _: client.submit(model, prompt=jobs.prompt(kind), duration=4), range(count)))

    # Some that hang for longer than a process that is stopped waits for.
    hanging = film("never=1&slow_ms=3000")
    ids = submit("hangs", hanging, 9)
    ids += submit("quick", film("polls=4&slow_ms=100"), count)
    ids += submit("open", film("never=1&slow_ms=100"), count)
    until(lambda: len(jobs("open")) == count and all(looked(worker) > count / 4 for worker in workers.values()))

    connection = await asyncpg.connect(workers["stays"].database_url)
    async with asyncio.timeout(40):
        while not await connection.fetchval(f"{_OF_THE_STOPPED} AND model = $1 AND step = 'poll'", hanging):
            await asyncio.sleep(0.05)
    assert workers["stopped"].stop() == 0
    assert await connection.fetchval(_OF_THE_STOPPED) == 0
    until(jobs.all_polled_since("open"))

    before = looked(workers["killed"])
    until(lambda: looked(workers["killed"]) > before)
    workers["killed"].kill()
    until(jobs.all_polled_since("open"))

    for kind in ("open", "hangs"):
        jobs.finish(kind)
    for task_id in ids:
        assert client.wait(task_id, timeout=40)["status"] == "SUCCESS"
    entries = operator.entries(customer, count=len(ids))
    assert {(entry["status"], entry["charged"]) for entry in entries} == {("settled", "0.4")}
    assert operator.account(customer)["balance"] == f"{1000 - len(ids) * 4 / 10:g}"
    for kind, made in (("quick", count), ("open", count), ("hangs", 9)):
        assert len(jobs(kind)) == made
    assert {job["most_open_polls"] for kind in ("quick", "open") for job in jobs(kind)} == {1}
    audit = operator.audit()
    assert (audit["ok"], audit["open_holds"]) == (True, 0)
    await connection.close()
    client.close()
    operator.close()


class Slow:
    """A task whose upstream has been asked, and takes four seconds to say that it has taken it."""

    def __init__(self, gateway: Gateway, demo: DemoProcess) -> None:
        self.demo = demo
        self.operator = Operator(gateway, demo.url)
        self.client = MediaClient(gateway, self.operator.customer("10"))
        self.jobs = Jobs(demo)
        model = self.operator.model(kind="video", price={"per_second": "0.1"}, max_output_tokens=None)
        self.operator.channel(model, "demo-video?seconds=0&slow_ms=4000", provider="demo")
        self.task_id = self.client.submit(model, prompt=self.jobs.prompt("slow"), duration=5)
        hold = self.operator.call("GET", f"/tasks/{self.task_id}")["hold_id"]
        until(lambda: hold in demo.control("GET", "studio")["by_key"])

    def close(self) -> None:
        self.client.close()
        self.operator.close()


@pytest.mark.long
async def test_a_process_that_is_stopped_waits_for_the_answer_to_a_submission(
    start_gateway: Callable[..., Gateway], demo: DemoProcess
) -> None:
    """Broken off, nobody would know whether the upstream has it, and an operator had to find out."""
    gateway = start_gateway()
    slow = Slow(gateway, demo)
    assert slow.jobs("slow") == []
    assert gateway.stop() == 0
    (job,) = slow.jobs("slow")
    connection = await asyncpg.connect(gateway.database_url)
    row = await connection.fetchrow("SELECT step, upstream_id, claimed_until FROM tasks")
    assert row is not None
    assert tuple(row) == ("poll", job["id"], None)
    await connection.close()
    slow.close()


@pytest.mark.long
async def test_an_answer_that_comes_while_the_database_is_away_is_kept(
    start_gateway: Callable[..., Gateway], migrated_database: Callable[[], str], demo: DemoProcess, work_dir: Path
) -> None:
    """Its claim runs out meanwhile, and whoever looks first mustn't take the task for one whose answer was lost."""
    folder = work_dir / uuid4().hex[:8]
    async with Proxy(migrated_database(), folder) as proxy:
        gateway = await asyncio.to_thread(start_gateway, proxy.url, RELAYGATE_LEASE="1")
        slow = await asyncio.to_thread(Slow, gateway, demo)
        (folder / SOCKET).rename(folder / "away")
        proxy.cut()
        # Until the pause before the next try is longer than that before the next look at the queue.
        await asyncio.to_thread(until, lambda: slow.jobs("slow") and gateway.log.count("answer_not_written") >= 4)
        (folder / "away").rename(folder / SOCKET)
        task = await asyncio.to_thread(slow.client.wait, slow.task_id)
        assert task["status"] == "SUCCESS"
        assert len(slow.jobs("slow")) == 1
        assert "task_stuck" not in gateway.log
        await asyncio.to_thread(gateway.stop)
        slow.close()
