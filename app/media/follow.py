"""Follows tasks for clients that wait for them: one look at the database for all of them, twice a second."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Protocol
from weakref import WeakSet

from app.core.background import end_task
from app.db.engine import DATABASE_ERRORS
from app.errors import GatewayError
from app.logs import get_log
from app.media.task import Task

log = get_log("relaygate.media")

PERIOD = 0.5
PATIENCE = 10.0
"""Seconds that a look may take: a database that hangs is asked anew, over another connection."""

MOST = 5_000
"""Tasks a query: PostgreSQL takes 32,767 parameters, and a task is named by two."""

Name = tuple[int, str]


class Desk(Protocol):
    """What of the desk of tasks is needed here."""

    async def get_many(self, ids: Collection[Name]) -> Mapping[Name, Task]: ...


class Following:
    """One follower's view of a task: an iterator over its states, of which a slow reader gets the newest only.

    Waiting for the next state may be broken off and begun again. It ends with the final state, or when the task or the
    process is gone. Whoever leaves earlier calls `aclose`, or just drops it: the reader keeps no hold on it.
    """

    __slots__ = ("__weakref__", "_changed", "_closed", "_newest", "_told", "name")

    def __init__(self, task: Task) -> None:
        self.name: Name = (task.account_id, task.id)
        self._newest = task
        self._told: Task | None = None
        self._closed = False
        self._changed = asyncio.Event()
        self._changed.set()

    @property
    def followed(self) -> bool:
        """Whether more may come of looking."""
        return not self._closed and not self._newest.status.final

    def show(self, task: Task | None) -> None:
        """What the reader has found; None: there is no such task any more."""
        if task is None:
            self._close()
        elif _visible(task) != _visible(self._newest):
            self._newest = task
            self._changed.set()

    def __aiter__(self) -> Following:
        return self

    async def __anext__(self) -> Task:
        if self._told is not None and self._told.status.final:
            raise StopAsyncIteration
        await self._changed.wait()
        if self._closed:
            raise StopAsyncIteration
        self._changed.clear()
        self._told = self._newest
        return self._told

    async def aclose(self) -> None:
        """Ends it, for whoever waits too."""
        self._close()

    def _close(self) -> None:
        self._closed = True
        self._changed.set()


def _visible(task: Task) -> tuple[object, ...]:
    return task.status, task.progress, task.outputs


class Follower:
    """The process's only reader of tasks that are followed. It asks nothing while nobody follows."""

    def __init__(self, desk: Desk, *, period: float = PERIOD) -> None:
        self._desk = desk
        self._period = period
        self._followings: WeakSet[Following] = WeakSet()
        self._wanted = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._away = False

    def start(self) -> None:
        self._reader = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends all that is followed: no state would come any more."""
        await end_task(self._reader)
        for following in tuple(self._followings):
            await following.aclose()

    def follow(self, task: Task) -> Following:
        """The task as it is, and again on every change of status, progress or outputs until it is final."""
        following = Following(task)
        if following.followed:
            self._followings.add(following)
            self._wanted.set()
        return following

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            await asyncio.sleep(self._period)
            followings = [following for following in tuple(self._followings) if following.followed]
            if not followings:
                # No turn of the loop lies between the look and this: nobody's wish is lost.
                self._wanted.clear()
                continue
            try:
                await self._look(followings)
            except (*DATABASE_ERRORS, GatewayError) as error:
                self._note(error)
            except Exception:
                # A row that can't be read must not leave everybody else waiting for ever.
                log.exception("follower_bug")
            else:
                self._away = False
            del followings  # while it sleeps, nothing but the follower itself may keep one alive

    async def _look(self, followings: Collection[Following]) -> None:
        names = list({following.name for following in followings})
        found: dict[Name, Task] = {}
        for start in range(0, len(names), MOST):
            async with asyncio.timeout(PATIENCE):
                found.update(await self._desk.get_many(names[start : start + MOST]))
        for following in followings:
            following.show(found.get(following.name))

    def _note(self, error: Exception) -> None:
        if not self._away:  # once an outage: it tries twice a second
            log.warning("tasks_unreadable", error=type(error).__name__)
        self._away = True
