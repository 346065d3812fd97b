"""kill -9 between each pair of writes of a media task's life: nothing is stuck unseen, charged twice, or refunded twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator
from tests.media.client import MediaClient
from tests.webhooks.receiver import Receiver, receiving

PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="

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
_WAITING = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@dataclass(frozen=True)
class Point:
    """The write in which a process is killed: in its statement, so that it never was, or in its commit, so that it was though
    nobody heard of it. `act`: what is done once the upstream has the task.
    """

    name: str
    condition: str
    event: str = "UPDATE"
    table: str = "tasks"
    commit: bool = False
    script: str = "seconds=0"
    act: str = ""

    def __str__(self) -> str:
        return f"{self.name}, {'in the commit' if self.commit else 'before'}"


_ENDED = "NEW.step IS NULL AND OLD.step IS NOT NULL"
IN_THE_WORKER = [
    Point("claimed", "NEW.step = 'submit' AND NEW.claim > OLD.claim"),
    Point("sending", "NEW.step = 'sending' AND OLD.step = 'submit'"),
    Point("submitted", "NEW.step = 'poll' AND OLD.step = 'sending'"),
    Point("claimed for a poll", "NEW.step = 'poll' AND NEW.claim > OLD.claim"),
    Point("polled", "NEW.polls > OLD.polls", script="polls=2"),
    Point("refused", "NEW.tried <> OLD.tried", script="status=503"),
    Point(
        "lost", "NEW.step = 'sending' AND OLD.step = 'sending' AND NEW.faults > OLD.faults", script="lost=1&seconds=0"
    ),
    Point("stuck", "NEW.step = 'stuck'", script="lost=1&seconds=0"),
    Point("ended", _ENDED),
    Point("failed", _ENDED, script="seconds=0&fail=Not+today"),
    Point("cancelled", _ENDED, script="never=1", act="cancel"),
    Point("too late", _ENDED, script="never=1", act="deadline"),
    Point("resolved", "NEW.step = 'poll' AND NEW.claim > OLD.claim", script="lost=1&seconds=0", act="resolve"),
    Point("its entry", "true", table="entries", event="INSERT"),
    Point("its callback", "true", table="deliveries", event="INSERT"),
    Point("its callback claimed", "NEW.claimed_until > OLD.next_at", table="deliveries"),
    Point("its callback delivered", "NEW.state = 'delivered'", table="deliveries"),
]
IN_THE_API = [
    Point("asked for", "true", event="INSERT"),
    Point("cancelling", "NEW.cancelled AND NOT OLD.cancelled", script="never=1", act="cancel"),
    Point("resolving", "OLD.step = 'stuck' AND NEW.step = 'poll'", script="lost=1&seconds=0", act="resolve"),
]
QUICK = ("ended, before",)


def each(points: list[Point]) -> list[Any]:
    """Before and in the commit; all but one take minutes together."""
    both = [replace(point, commit=commit) for point in points for commit in (False, True)]
    both = [point for point in both if not (point.commit and point.act == "deadline")]  # ten seconds for nothing new
    return [pytest.param(point, id=str(point), marks=[] if str(point) in QUICK else pytest.mark.long) for point in both]


@asynccontextmanager
async def stalled(database_url: str, point: Point, account_id: int) -> AsyncIterator[asyncpg.Connection]:
    """The writes of a point wait as long as the block runs, for one account."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(_FUNCTION)
    trigger = _COMMIT if point.commit else _STATEMENT
    condition = f"NEW.account_id = {account_id} AND {point.condition}"
    await connection.execute(trigger.format(event=point.event, table=point.table, condition=condition))
    await connection.execute("SELECT pg_advisory_lock(7)")
    try:
        yield connection
    finally:
        await connection.execute("SELECT pg_advisory_unlock_all()")
        await connection.execute(f"DROP TRIGGER stall ON {point.table}")
        await connection.close()


async def until(condition: Callable[[], Any], timeout: float = 30.0) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := await asyncio.to_thread(condition)):
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.05)
    return found


async def until_it_waits(connection: asyncpg.Connection) -> None:
    deadline = time.monotonic() + 40
    while not await connection.fetchval(_WAITING):
        assert time.monotonic() < deadline, "the write never came"
        await asyncio.sleep(0.02)


async def let_time_pass(connection: asyncpg.Connection, account_id: int) -> None:
    """As half a minute would do, for which a delivery is claimed: once what the dead worker had sent is committed or not."""
    await connection.execute("SELECT pg_advisory_unlock_all()")
    await connection.execute("SELECT FROM deliveries WHERE account_id = $1 FOR UPDATE", account_id)
    await connection.execute("UPDATE deliveries SET claimed_until = now() WHERE account_id = $1", account_id)


@dataclass
class House:
    """An API process and the worker that is killed next, with one storage."""

    api: Gateway
    folder: Path
    settings: dict[str, str]
    worker: Gateway | None = None
    workers: int = 0

    def start_worker(self) -> Gateway:
        if self.worker is None:
            self.workers += 1
            folder = self.folder / f"worker-{self.workers}"
            folder.mkdir()
            self.worker = Gateway(self.api.database_url, folder, self.settings).start()
        return self.worker

    def kill_worker(self) -> None:
        assert self.worker is not None
        self.worker.kill()
        self.worker = None


@pytest.fixture(scope="module")
def house(work_dir: Path, migrated_database: Callable[[], str]) -> Iterator[House]:
    folder = work_dir / "crash"
    folder.mkdir()
    settings = {
        "RELAYGATE_LEASE": "1",
        "RELAYGATE_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
        "RELAYGATE_STORAGE_URL": f"file://{folder}/media",
    }
    made = House(Gateway(migrated_database(), folder, settings | {"RELAYGATE_ROLE": "api"}).start(), folder, settings)
    yield made
    for gateway in (made.worker, made.api):
        assert gateway is None or gateway.stop() == 0, gateway.log


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


class Scene:
    """One task with a callback, of an account of its own."""

    def __init__(self, house: House, demo: DemoProcess, receiver: Receiver, script: str, act: str = "") -> None:
        self.house = house
        self.demo = demo
        self.receiver = receiver
        self.act = act
        self.script = script
        self.operator = Operator(house.api, demo.url)
        self.customer = self.operator.customer("10")
        seconds = 10 if act == "deadline" else None
        self.model = self.operator.model(
            kind="video", price={"per_second": "0.1"}, max_output_tokens=None, task_timeout=seconds
        )
        self.operator.channel(self.model, f"demo-video?{script}", provider="demo")
        if script.startswith("status"):
            self.operator.channel(self.model, "demo-video?seconds=0", provider="demo", priority=-1)
        self.client = MediaClient(house.api, self.customer)
        self.task_id = ""

    def submit(self) -> None:
        """The same request every time, under one idempotency key."""
        headers = {"idempotency-key": self.model}
        hook = self.receiver.url("/done")
        self.task_id = self.client.submit(self.model, duration=5, notify_hook=hook, images=[PNG], headers=headers)

    def tasks(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.operator.call("GET", f"/tasks?account_id={self.customer.account_id}")["data"]
        return found

    def task(self) -> dict[str, Any]:
        found: dict[str, Any] = self.operator.call("GET", f"/tasks/{self.task_id}")
        return found

    def jobs(self) -> list[dict[str, Any]]:
        """What the upstream has of it."""
        hold = self.task()["hold_id"]
        jobs = self.demo.control("GET", "jobs?limit=100000")["jobs"]
        return [job for job in jobs if job["idempotency_key"] == hold]

    def do(self) -> None:
        """What a client or the operator does once the upstream has it, where the answer says that it was done."""
        match self.act:
            case "cancel":
                self.client.wait(self.task_id, until=lambda task: task["status"] != "NOT_START")
                answer = self.client.http.delete(f"/v2/videos/generations/{self.task_id}")
                assert answer.status_code == 200, answer.text
            case "resolve":
                while self.task()["step"] != "stuck":
                    time.sleep(0.05)
                self.resolve()

    def resolve(self) -> None:
        """As an operator would who looks at what the upstream has."""
        jobs = self.jobs()
        action = {"action": "poll", "upstream_id": jobs[0]["id"]} if jobs else {"action": "submit"}
        self.operator.call("POST", f"/tasks/{self.task_id}/resolve", json=action)

    async def finish(self) -> None:
        """It ends, with an operator's help where only one can know whether the upstream has it; then all has to be right."""
        found = await until(lambda: (task := self.task())["step"] in (None, "stuck") and task, 40)
        if found["step"] == "stuck":
            self.resolve()
        task = await asyncio.to_thread(self.client.wait, self.task_id, timeout=40)
        works = self.act not in ("cancel", "deadline") and "fail=" not in self.script
        assert task["status"] == ("SUCCESS" if works else "FAILURE"), task
        (entry,) = self.operator.entries(self.customer, count=1)
        assert (entry["status"], entry["charged"]) == (("settled", "0.5") if works else ("released", "0"))
        account = self.operator.account(self.customer)
        assert (account["balance"], account["held"]) == ("9.5" if works else "10", "0")
        assert len(self.tasks()) == 1
        # One channel that refuses it, in the case of that name; nobody who has it is ever asked twice.
        assert len(self.jobs()) == 1
        calls = [await asyncio.to_thread(self.receiver.next)]
        while not self.receiver.calls.empty():
            calls.append(self.receiver.calls.get())
        assert len({call.id for call in calls}) == 1
        assert self.operator.audit()["ok"]

    def close(self) -> None:
        self.client.close()
        self.operator.close()


@pytest.mark.parametrize("point", each(IN_THE_WORKER))
async def test_kill_9_of_the_worker(house: House, demo: DemoProcess, receiver: Receiver, point: Point) -> None:
    scene = Scene(house, demo, receiver, point.script, point.act)
    house.start_worker()
    async with stalled(house.api.database_url, point, scene.customer.account_id) as connection:
        scene.submit()
        await asyncio.to_thread(scene.do)
        await until_it_waits(connection)
        house.kill_worker()
        if point.table == "deliveries":
            await let_time_pass(connection, scene.customer.account_id)
    house.start_worker()
    await scene.finish()
    scene.close()


@pytest.mark.parametrize("point", each(IN_THE_API))
async def test_kill_9_of_the_api(house: House, demo: DemoProcess, receiver: Receiver, point: Point) -> None:
    """Whoever asked gets no answer and asks again."""
    scene = Scene(house, demo, receiver, point.script, point.act)
    house.start_worker()
    if point.act:
        scene.submit()
    asks = scene.do if point.act else scene.submit
    async with stalled(house.api.database_url, point, scene.customer.account_id) as connection:
        asking = asyncio.create_task(asyncio.to_thread(asks))
        await until_it_waits(connection)
        house.api.kill()
        with pytest.raises(httpx2.TransportError):
            await asking
    await asyncio.to_thread(house.api.start)
    if not point.act:
        assert len(scene.tasks()) == (1 if point.commit else 0)
        assert (scene.operator.account(scene.customer)["balance"] == "10") != point.commit
        scene.submit()
    elif not point.commit:
        await asyncio.to_thread(scene.do)
    await scene.finish()
    scene.close()


@pytest.mark.long
@pytest.mark.parametrize(
    ("moment", "script"),
    [
        ("submitting", "seconds=0&stall=submit"),
        ("polling", "polls=2&slow_ms=1500"),
        ("copying", "seconds=0&big=3000000&file_ms=150"),
    ],
)
async def test_kill_9_while_the_upstream_is_at_it(
    house: House, demo: DemoProcess, receiver: Receiver, moment: str, script: str
) -> None:
    scene = Scene(house, demo, receiver, script)
    house.start_worker()
    scene.submit()
    match moment:
        case "submitting":
            await until(scene.jobs)
        case "polling":
            await until(lambda: (jobs := scene.jobs()) and jobs[0]["open_polls"])
        case _:
            await until(lambda: (jobs := scene.jobs()) and jobs[0]["downloads"])
    house.kill_worker()
    assert scene.task()["status"] not in ("SUCCESS", "FAILURE")
    house.start_worker()
    await scene.finish()
    scene.close()
