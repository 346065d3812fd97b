"""A task while a client waits for its end: handed in, followed state by state, and never lost with the client."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.accounts.principals import Principal
from app.core.media import Job
from app.db.engine import DATABASE_ERRORS
from app.egress.client import Egress
from app.errors import GatewayError, Kind, invalid_request, unavailable
from app.media.desk import TaskDesk
from app.media.follow import Follower
from app.media.rules.urls import check_urls
from app.media.task import Source, Task
from app.relay.exchange import LEDGER_PATIENCE, Exchange, Interrupt, interruption_error

KEEP_ALIVE = 12.0
"""Seconds of silence after which a stream shows a sign of life: proxies cut connections that are silent for a minute."""

INPUT_PATIENCE = 60.0
"""Seconds for a submission with pictures: their addresses are looked up, their bytes go into storage."""

GRACE = 300.0
"""Seconds past its deadline within which a task surely is final: after that, no worker runs that could tell."""

_KEY = re.compile(rb"[!-~](?:[ -~]{0,253}[!-~])?")


class LiveTasks:
    """Serves the detours of the relay that make media."""

    def __init__(self, desk: TaskDesk, follower: Follower, egress: Egress, *, write_timeout: float) -> None:
        self._desk = desk
        self._follower = follower
        self._egress = egress
        self._write_timeout = write_timeout

    async def submit(
        self, exchange: Exchange, principal: Principal, job: Job, *, source: Source, route: str | None = None
    ) -> Task:
        """As `TaskDesk.submit`, with the request's idempotency key; `x-relaygate-task-id` names the task."""
        exchange.allow(INPUT_PATIENCE if job.images else LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        try:
            await check_urls(self._egress, job)
            task = await self._desk.submit(
                principal,
                job,
                source=source,
                request_id=exchange.id,
                route=route,
                idempotency_key=_idempotency_key(exchange),
            )
        except DATABASE_ERRORS as error:
            raise unavailable("The gateway can't reach its database.") from error
        exchange.extra_headers.append((b"x-relaygate-task-id", task.id.encode()))
        return task

    async def states(self, exchange: Exchange, task: Task) -> AsyncGenerator[Task | None, None]:
        """The task's states until the final one; None whenever nothing has changed for a while.

        Raises GatewayError 499 once the client is gone, 504 for a task that nobody brings to its end.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + (task.deadline_at - task.created_at).total_seconds() + GRACE
        async with aclosing(self._follower.follow(task)) as following:
            while clock() < until:
                if exchange.gone:  # where the gateway reads on after a hang-up there is nothing to read here
                    raise interruption_error(Interrupt.CLIENT_GONE)
                # Bounded, or a hang-up wouldn't be noticed; longer than any pause below.
                exchange.allow(2 * KEEP_ALIVE, Interrupt.IDLE_TIMEOUT)
                state: Task | None = None
                try:
                    async with asyncio.timeout(KEEP_ALIVE):
                        state = await anext(following)
                except TimeoutError:
                    pass
                except StopAsyncIteration:
                    break
                yield state
                if state is not None and state.status.final:
                    return
        where = f"/v2/{task.scope.value}/generations/{task.id}"
        message = f"The task {task.id} isn't finished yet; GET {where} tells how it goes on."
        raise GatewayError(Kind.TIMEOUT, "task_unfinished", message)

    async def final(self, exchange: Exchange, task: Task) -> Task:
        """The task at its end. Raises GatewayError as `states`."""
        state = task
        async with aclosing(self.states(exchange, task)) as states:
            async for seen in states:
                state = seen or state
        return state

    async def write(self, exchange: Exchange, out: bytes, *, more: bool) -> None:
        """A piece of a stream."""
        exchange.allow(self._write_timeout, Interrupt.WRITE_TIMEOUT)
        await exchange.write(out, more=more)

    async def answer(self, exchange: Exchange, body: bytes, content_type: bytes) -> None:
        """A whole answer."""
        exchange.first_byte = asyncio.get_running_loop().time()
        exchange.allow(self._write_timeout, Interrupt.WRITE_TIMEOUT)
        await exchange.answer(200, body, [(b"content-type", content_type)])

    async def start(self, exchange: Exchange, content_type: bytes) -> None:
        """The head of a stream."""
        exchange.allow(self._write_timeout, Interrupt.WRITE_TIMEOUT)
        exchange.first_byte = asyncio.get_running_loop().time()
        headers = [(b"content-type", content_type), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        await exchange.start(200, headers)


def _idempotency_key(exchange: Exchange) -> str | None:
    """Raises GatewayError 400 for a header that stands twice, or isn't 1 to 255 printable ASCII characters."""
    values = [value for name, value in exchange.scope["headers"] if name == b"idempotency-key"]
    if not values:
        return None
    if len(values) > 1 or _KEY.fullmatch(values[0]) is None:
        message = "Idempotency-Key: must stand once, with 1 to 255 printable ASCII characters."
        raise invalid_request(message, "Idempotency-Key")
    key: bytes = values[0]
    return key.decode("ascii")
