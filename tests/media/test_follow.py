"""Following tasks: every change and the end, one look for all, nothing lost over an outage, nothing asked for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, insert, text, update

from app.core.media import Job, Scope, Status
from app.db.engine import Database
from app.db.tables.media import tasks
from app.media import store
from app.media.follow import Follower, Following
from app.media.task import Task
from tests.ledger.proxy import Proxy

PERIOD = 0.01
PATIENCE = 15.0
Name = tuple[int, str]


class Rows:
    """The tasks' table, as a worker writes it and a desk reads it; `asked` are the looks, oldest first."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = Database(url)
        self.asked: list[Collection[Name]] = []
        self.failed = 0

    async def get_many(self, ids: Collection[Name]) -> dict[Name, Task]:
        self.asked.append(ids)
        try:
            async with self.database.engine.connect() as connection:
                return await store.get_tasks(connection, ids)
        except Exception:
            self.failed += 1
            raise

    async def add(self, **fields: Any) -> Task:
        row = {
            "account_id": 1, "id": uuid4().hex, "key_id": 1, "source": "v2", "scope": "videos", "platform": "demo",
            "model": "m", "job": Job(Scope.VIDEOS, "m", "a cat").write(), "units": {}, "step": "poll", "hold_id": uuid4(),
            "deadline_at": text("now() + interval '1 hour'"), **fields,
        }  # fmt: skip
        async with self.database.engine.begin() as connection:
            made = await connection.execute(insert(tasks).values(**row).returning(*store.VISIBLE))
            return store.read_task(made.mappings().one())

    async def change(self, task: Task, status: Status | str, progress: int = 0) -> None:
        values: dict[str, Any] = {"status": status, "progress": progress}
        if status in (Status.SUCCESS, Status.FAILURE):
            values["step"] = None
        async with self.database.engine.begin() as connection:
            await connection.execute(update(tasks).where(tasks.c.id == task.id).values(**values))

    async def remove(self, task: Task) -> None:
        async with self.database.engine.begin() as connection:
            await connection.execute(delete(tasks).where(tasks.c.id == task.id))

    async def next_look(self) -> None:
        """Returns once a look has begun after this call, and the one that was under way is over."""
        seen = len(self.asked)
        async with asyncio.timeout(PATIENCE):
            while len(self.asked) < seen + 2:
                await asyncio.sleep(PERIOD)


@pytest.fixture(scope="module")
def database_url(migrated_database: Callable[[], str]) -> str:
    return migrated_database()


@pytest.fixture
async def rows(database_url: str) -> AsyncIterator[Rows]:
    made = Rows(database_url)
    yield made
    await made.database.close()


@asynccontextmanager
async def following(desk: Rows) -> AsyncIterator[Follower]:
    follower = Follower(desk, period=PERIOD)
    follower.start()
    yield follower
    await follower.stop()


async def next_of(states: Following) -> tuple[Status, int]:
    async with asyncio.timeout(PATIENCE):
        task = await anext(states)
    return task.status, task.progress


async def assert_ended(states: Following) -> None:
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(StopAsyncIteration):
            await anext(states)


async def test_every_change_until_the_end(rows: Rows) -> None:
    task = await rows.add()
    async with following(rows) as follower:
        states = follower.follow(task)
        assert await next_of(states) == (Status.NOT_START, 0)
        for status, progress in [
            (Status.QUEUED, 0),
            (Status.IN_PROGRESS, 10),
            (Status.IN_PROGRESS, 60),
            (Status.SUCCESS, 100),
        ]:
            await rows.change(task, status, progress)
            assert await next_of(states) == (status, progress)
        await assert_ended(states)


async def test_a_final_task_is_shown_once_and_never_asked_for(rows: Rows) -> None:
    task = await rows.add(status="FAILURE", step=None, progress=100)
    async with following(rows) as follower:
        states = follower.follow(task)
        assert await next_of(states) == (Status.FAILURE, 100)
        await assert_ended(states)
        await asyncio.sleep(10 * PERIOD)
        assert rows.asked == []


async def test_who_is_slow_gets_the_newest(rows: Rows) -> None:
    task = await rows.add()
    async with following(rows) as follower:
        states = follower.follow(task)
        await next_of(states)
        for progress in (10, 20, 30):
            await rows.change(task, Status.IN_PROGRESS, progress)
            await rows.next_look()
        assert await next_of(states) == (Status.IN_PROGRESS, 30)
        await rows.change(task, Status.SUCCESS, 100)
        assert await next_of(states) == (Status.SUCCESS, 100)


async def test_one_look_for_all(rows: Rows) -> None:
    several = [await rows.add() for _ in range(5)]
    async with following(rows) as follower:
        all_states = [follower.follow(task) for task in several for _ in range(20)]
        for states in all_states:
            await next_of(states)
        await rows.next_look()
        assert {len(ids) for ids in rows.asked} == {5}
        for task in several:
            await rows.change(task, Status.SUCCESS, 100)
        for states in all_states:
            assert await next_of(states) == (Status.SUCCESS, 100)


async def test_nobody_follows_nobody_asks(rows: Rows) -> None:
    task = await rows.add()
    async with following(rows) as follower:
        closed, dropped = follower.follow(task), follower.follow(task)
        await rows.next_look()
        await closed.aclose()
        await rows.next_look()  # the other one still follows
        del dropped
        await asyncio.sleep(5 * PERIOD)
        looks = len(rows.asked)
        await asyncio.sleep(20 * PERIOD)
        assert len(rows.asked) == looks
        again = follower.follow(task)
        await rows.next_look()
        await again.aclose()


async def test_waiting_can_be_broken_off_and_begun_again(rows: Rows) -> None:
    task = await rows.add()
    async with following(rows) as follower:
        states = follower.follow(task)
        await next_of(states)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(PERIOD):
                    await anext(states)
        await rows.change(task, Status.IN_PROGRESS, 50)
        assert await next_of(states) == (Status.IN_PROGRESS, 50)


async def test_a_task_that_is_gone_ends_it(rows: Rows) -> None:
    task, other = await rows.add(), await rows.add()
    async with following(rows) as follower:
        states, others = follower.follow(task), follower.follow(other)
        await next_of(states)
        await next_of(others)
        await rows.remove(task)
        await assert_ended(states)
        await rows.change(other, Status.SUCCESS, 100)
        assert await next_of(others) == (Status.SUCCESS, 100)


async def test_stopping_ends_all(rows: Rows) -> None:
    task = await rows.add()
    async with following(rows) as follower:
        states = follower.follow(task)
        await next_of(states)
        waiting = asyncio.create_task(assert_ended(states))
        await rows.next_look()
    await waiting


async def test_an_outage_is_outlived(rows: Rows, work_dir: Path) -> None:
    task = await rows.add()
    folder = work_dir / uuid4().hex[:8]
    async with Proxy(rows.url, folder) as proxy:
        desk = Rows(proxy.url)
        async with following(desk) as follower:
            states = follower.follow(task)
            await next_of(states)
            await desk.next_look()
            (folder / ".s.PGSQL.5432").rename(folder / "away")
            proxy.cut()
            async with asyncio.timeout(PATIENCE):
                while desk.failed < 3:
                    await asyncio.sleep(PERIOD)
            await rows.change(task, Status.SUCCESS, 100)
            (folder / "away").rename(folder / ".s.PGSQL.5432")
            assert await next_of(states) == (Status.SUCCESS, 100)
        await desk.database.close()


async def test_a_row_that_cannot_be_read_ends_nobodys_waiting(rows: Rows) -> None:
    good, bad = await rows.add(), await rows.add()
    async with following(rows) as follower:
        states, others = follower.follow(good), follower.follow(bad)
        await next_of(states)
        await next_of(others)
        await rows.change(bad, "NO_SUCH_STATUS")
        async with asyncio.timeout(PATIENCE):
            while rows.failed < 2:
                await asyncio.sleep(PERIOD)
        await rows.change(bad, Status.SUCCESS, 100)
        assert await next_of(others) == (Status.SUCCESS, 100)
        await rows.change(good, Status.FAILURE, 100)
        assert await next_of(states) == (Status.FAILURE, 100)
