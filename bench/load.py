"""The load generator: raw asyncio connections that ask for chat completions; `python -m bench.load` prints JSON."""

import argparse
import asyncio
import gc
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from bench.answers import AnswerReader, MalformedAnswer, fault, find_text
from bench.plan import LoadResult, Plan, build_request, spread

PATIENCE = 10.0  # seconds an answer may still take once the time is up

now = time.perf_counter


@dataclass(slots=True)
class Tally:
    """What happened. Answers count between `since` and `until` (values of `now()`), errors always."""

    since: float = 0.0
    until: float = math.inf
    sent: int = 0
    connects: int = 0
    last: float = 0.0
    latencies: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    error_body: str = ""
    cpu_started: float = field(default_factory=time.process_time)

    def add(self, due: float, first: float, ended: float) -> None:
        if self.since <= ended <= self.until:
            self.last = ended
            self.latencies.append(ended - due)
            if first:
                self.firsts.append(first - due)

    def add_error(self, kind: str, body: bytes = b"") -> None:
        self.errors[kind] += 1
        if not self.error_body and body:
            self.error_body = body[:500].decode(errors="replace")

    def result(self) -> LoadResult:
        seconds = max((self.last if math.isinf(self.until) else self.until) - self.since, 1e-9)
        return LoadResult(
            answers=len(self.latencies),
            sent=self.sent,
            seconds=round(seconds, 3),
            per_second=round(len(self.latencies) / seconds, 1),
            latency_ms=spread(self.latencies),
            first_ms=spread(self.firsts),
            errors=dict(self.errors),
            error_body=self.error_body,
            connects=self.connects,
            cpu_seconds=round(time.process_time() - self.cpu_started, 3),
        )


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way; says when it is free or gone."""

    def __init__(
        self,
        request: bytes,
        chunks: int | None,
        tally: Tally,
        on_free: Callable[["Connection"], None],
        on_gone: Callable[["Connection"], None],
    ) -> None:
        self._request = request
        self._chunks = chunks
        self._tally = tally
        self._on_free = on_free
        self._on_gone = on_gone
        self._reader = AnswerReader()
        self._due = 0.0
        self._first = 0.0
        self.busy = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def ask(self, due: float) -> None:
        """Send the request now; its latency counts from `due`."""
        self._due = due
        self._first = 0.0
        self._reader.reset()
        self.busy = True
        self._tally.sent += 1
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        try:
            if not self.busy:
                raise MalformedAnswer("bytes that nobody asked for")
            whole = reader.feed(data)
        except MalformedAnswer as error:
            self._tally.add_error(str(error), data)
            self.busy = False
            self.transport.abort()
            return
        if not self._first and self._chunks is not None and find_text(reader.body):
            self._first = now()
        if whole:
            self._finish(reader)

    def _finish(self, reader: AnswerReader) -> None:
        ended = now()
        body = reader.body
        wrong = fault(reader.status, body, self._chunks)
        if wrong is None:
            self._tally.add(self._due, self._first, ended)
        else:
            self._tally.add_error(wrong, body)
        self.busy = False
        if reader.stays_open:
            self._on_free(self)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            self.busy = False
            self._tally.add_error("connection lost before the answer was whole", self._reader.body)
        self._on_gone(self)


class Crowd:
    """The connections of one run: opens them, replaces lost ones, and waits until all are done."""

    def __init__(self, plan: Plan, tally: Tally) -> None:
        self._plan = plan
        target = urlsplit(plan.url)
        self._host, self._port = target.hostname or "127.0.0.1", target.port or 80
        self._request = build_request(plan)
        self._tally = tally
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._quiet = asyncio.Event()
        self.on_free: Callable[[Connection], None] = self._idle.append
        self.on_gone: Callable[[], None] = lambda: None
        self.on_empty: Callable[[], None] = lambda: None

    def ask(self, due: float) -> None:
        """Send one request on an idle connection, or on a new one."""
        if self._idle:
            self._idle.pop().ask(due)
        else:
            self._spawn(self._open_and_ask(due))

    async def open(self) -> Connection | None:
        """A new connection, or None (and an error in the tally) where nobody listens."""
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self._request, self._plan.chunks, self._tally, self._free, self._gone),
                self._host,
                self._port,
            )
        except OSError as error:
            self._tally.add_error(f"connect: {error.strerror or error}")
            return None
        self._tally.connects += 1
        self._connections.add(connection)
        return connection

    async def fill(self) -> None:
        """Open all the plan's connections, idle."""
        opened = [await self.open() for _ in range(self._plan.connections)]
        self._idle.extend(connection for connection in opened if connection)

    async def drain(self) -> None:
        """Wait for the answers under way, count those that never come, close everything."""
        try:
            async with asyncio.timeout(PATIENCE):
                while self._tasks or any(connection.busy for connection in self._connections):
                    self._quiet.clear()
                    await self._quiet.wait()
        except TimeoutError:
            for connection in self._connections:
                if connection.busy:
                    connection.busy = False
                    self._tally.add_error("no answer in time")
        for connection in self._connections:
            connection.transport.abort()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._quiet.set()
        if not self._tasks and not self._connections:
            self.on_empty()

    async def _open_and_ask(self, due: float) -> None:
        connection = await self.open()
        if connection:
            connection.ask(due)

    def _free(self, connection: Connection) -> None:
        self.on_free(connection)
        if not connection.busy:
            self._quiet.set()

    def _gone(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._quiet.set()
        self.on_gone()


async def run_closed(plan: Plan) -> LoadResult:
    """Every connection asks again as soon as it is answered, until time or the number of requests is up."""
    tally = Tally()
    crowd = Crowd(plan, tally)
    over = asyncio.Event()

    def may_ask() -> bool:
        if plan.requests is not None and tally.sent >= plan.requests:
            over.set()
        return not over.is_set()

    def again(connection: Connection) -> None:
        if may_ask():
            connection.ask(now())

    def replace() -> None:
        if may_ask():
            crowd.ask(now())

    await crowd.fill()
    crowd.on_free, crowd.on_gone, crowd.on_empty = again, replace, over.set
    started = now()
    if plan.requests is None:
        tally.since = started + plan.warmup
        tally.until = tally.since + plan.seconds
        asyncio.get_running_loop().call_later(plan.warmup + plan.seconds, over.set)
    else:
        tally.since = started
    for index in range(plan.connections):
        asyncio.get_running_loop().call_later(plan.ramp * index / plan.connections, replace)
    await over.wait()
    await crowd.drain()
    return tally.result()


async def run_open(plan: Plan, rate: float) -> LoadResult:
    """Ask at a fixed rate whatever the answers do; latency counts from the time a request was due.

    That avoids coordinated omission: a stall is charged to every request that should have gone out during it.
    A thread keeps the time, because the loop's own timers have whole milliseconds.
    """
    tally = Tally()
    crowd = Crowd(plan, tally)
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    await crowd.fill()
    started = now() + 0.05
    count = int(rate * (plan.warmup + plan.seconds))
    tally.since = started + plan.warmup

    def keep_time() -> None:
        for index in range(count):
            due = started + index / rate
            time.sleep(max(0.0, due - now()))
            loop.call_soon_threadsafe(crowd.ask, due)
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=keep_time, daemon=True).start()
    await over.wait()
    await crowd.drain()
    return tally.result()


def run(plan: Plan) -> LoadResult:
    """Run a plan to its end in a loop of its own."""
    gc.collect()
    gc.freeze()
    gc.disable()
    return uvloop.run(run_closed(plan) if plan.rate is None else run_open(plan, plan.rate))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--url", required=True, help="base URL without /v1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--requests", type=int, help="stop after this many requests instead")
    parser.add_argument("--rate", type=float, help="open loop: requests a second")
    parser.add_argument("--ramp", type=float, default=0.0, help="closed loops start evenly over this many seconds")
    parser.add_argument("--chunks", type=int, help="ask for streams and expect this many text chunks")
    parser.add_argument("--authorization", help="value of the Authorization header")
    plan = Plan(**vars(parser.parse_args()))
    print(msgspec.json.encode(run(plan)).decode())


if __name__ == "__main__":
    main()
