"""kill -9 of a worker between each pair of writes of a media task's life: nothing stuck, charged twice, or refunded twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator
from tests.media.client import MediaClient
from tests.webhooks.receiver import Receiver, receiving

LEASE = "2"
SETTINGS = {
    "RELAYGATE_LEASE": LEASE,
    "RELAYGATE_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
}

# A write of this kind waits for a lock that the test has, in the middle of its statement or of its commit.
_FUNCTION = """
CREATE OR REPLACE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7);
    RETURN NEW;
END
$$
"""
_STATEMENT = "CREATE TRIGGER stall BEFORE {event} ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION stall()"
_COMMIT = (
    "CREATE CONSTRAINT TRIGGER stall AFTER {event} ON {table} DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION stall()"
)
_WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted"


@dataclass(frozen=True)
class Point:
    """Where the worker is killed: in a write, or while it waits for the upstream."""

    name: str
    condition: str = "true"
    event: str = "UPDATE"
    table: str = "tasks"
    commit: bool = False
    script: str = "seconds=0"

    def __str__(self) -> str:
        return self.name


WRITES = {
    "claimed": "NEW.step = 'submit' AND NEW.claim > OLD.claim",
    "sending": "NEW.step = 'sending' AND OLD.step = 'submit'",
    "submitted": "NEW.step = 'poll' AND OLD.step = 'sending'",
    "claimed for a poll": "NEW.step = 'poll' AND NEW.claim > OLD.claim",
    "polled": "NEW.polls > OLD.polls",
    "ended": "NEW.step IS NULL AND OLD.step IS NOT NULL",
}
POINTS = [
    *(Point(f"{name}, before", condition, script="polls=2") for name, condition in WRITES.items()),
    *(Point(f"{name}, in the commit", condition, commit=True, script="polls=2") for name, condition in WRITES.items()),
    Point("its entry", table="entries", event="INSERT"),
    Point("its callback", table="deliveries", event="INSERT"),
    Point("its callback claimed", "NEW.attempts > OLD.attempts", table="deliveries", commit=True),
]


@asynccontextmanager
async def stalled(database_url: str, point: Point) -> AsyncIterator[asyncpg.Connection]:
    """The writes of a point wait as long as the block runs."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(_FUNCTION)
    # The partition that is written to has the trigger: PostgreSQL clones those of the table.
    trigger = _COMMIT if point.commit else _STATEMENT
    await connection.execute(trigger.format(event=point.event, table=point.table, condition=point.condition))
    await connection.execute("SELECT pg_advisory_lock(7)")
    try:
        yield connection
    finally:
        await connection.execute("SELECT pg_advisory_unlock_all()")
        await connection.execute(f"DROP TRIGGER stall ON {point.table}")
        await connection.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


async def until(condition: Callable[[], Any], timeout: float = 30.0) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.05)
    return found


class Scene:
    """One task with a callback, a worker to be killed, and another to go on."""

    def __init__(self, gateway: Gateway, demo: DemoProcess, receiver: Receiver, script: str) -> None:
        self.gateway = gateway
        self.demo = demo
        self.receiver = receiver
        self.operator = Operator(gateway, demo.url)
        self.customer = self.operator.customer("10")
        self.model = self.operator.model(kind="video", price={"per_second": "0.1"}, max_output_tokens=None)
        self.operator.channel(self.model, f"demo-video?{script}", provider="demo")
        self.client = MediaClient(gateway, self.customer)

    def submit(self) -> str:
        return self.client.submit(self.model, duration=5, notify_hook=self.receiver.url("/done"))

    def task(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.operator.call("GET", f"/tasks/{task_id}")
        return found

    def jobs(self, task_id: str) -> list[dict[str, Any]]:
        """What the upstream has of it."""
        hold = self.task(task_id)["hold_id"]
        jobs = self.demo.control("GET", "jobs?limit=1000")["jobs"]
        return [job for job in jobs if job["idempotency_key"] == hold]

    async def finish(self, task_id: str) -> None:
        """As an operator would, where the task can't know whether the upstream has it; then everything has to be right."""
        found = await until(lambda: (task := self.task(task_id))["step"] in (None, "stuck") and task, 40)
        if found["step"] == "stuck":
            jobs = self.jobs(task_id)
            action = {"action": "poll", "upstream_id": jobs[0]["id"]} if jobs else {"action": "submit"}
            self.operator.call("POST", f"/tasks/{task_id}/resolve", json=action)
        task = self.client.wait(task_id, timeout=40)
        assert task["status"] == "SUCCESS", task
        assert len(self.jobs(task_id)) == 1
        (entry,) = self.operator.entries(self.customer, count=1)
        assert (entry["status"], entry["charged"]) == ("settled", "0.5")
        assert self.operator.account(self.customer)["balance"] == "9.5"
        calls = [await asyncio.to_thread(self.receiver.next)]
        while not self.receiver.calls.empty():
            calls.append(self.receiver.calls.get())
        assert len({call.id for call in calls}) == 1
        audit = self.operator.audit()
        assert (audit["ok"], audit["open_holds"]) == (True, 0)

    def close(self) -> None:
        self.client.close()
        self.operator.close()


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS, ids=str)
async def test_kill_9_in_every_write(
    start_gateway: Callable[..., Gateway], demo: DemoProcess, receiver: Receiver, point: Point
) -> None:
    api = start_gateway(RELAYGATE_ROLE="api", **SETTINGS)
    scene = Scene(api, demo, receiver, point.script)
    worker = start_gateway(api.database_url, **SETTINGS)
    async with stalled(api.database_url, point) as connection:
        task_id = scene.submit()
        deadline = time.monotonic() + 30
        while not await connection.fetchval(_WAITING):
            assert time.monotonic() < deadline, "the write never came"
            await asyncio.sleep(0.05)
        worker.kill()
    start_gateway(api.database_url, **SETTINGS)
    await scene.finish(task_id)
    scene.close()


@pytest.mark.parametrize(
    ("moment", "script"),
    [
        ("submitting", "seconds=0&slow_ms=1500"),
        ("polling", "polls=2&slow_ms=1500"),
        pytest.param("copying", "seconds=0&big=3000000&file_ms=150", marks=pytest.mark.long),
    ],
)
async def test_kill_9_while_the_upstream_is_at_it(
    start_gateway: Callable[..., Gateway], demo: DemoProcess, receiver: Receiver, moment: str, script: str
) -> None:
    api = start_gateway(RELAYGATE_ROLE="api", **SETTINGS)
    scene = Scene(api, demo, receiver, script)
    worker = start_gateway(api.database_url, **SETTINGS)
    task_id = scene.submit()
    match moment:
        case "submitting":
            await until(lambda: scene.jobs(task_id))
        case "polling":
            await until(lambda: (jobs := scene.jobs(task_id)) and jobs[0]["open_polls"])
        case _:
            await until(lambda: (jobs := scene.jobs(task_id)) and jobs[0]["downloads"])
    worker.kill()
    start_gateway(api.database_url, **SETTINGS)
    await scene.finish(task_id)
    scene.close()
