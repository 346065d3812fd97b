"""Answers that an upstream works on after it has said so: their holds stay open until it tells what was used."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import aiohttp

from app.errors import UpstreamError
from app.logs import get_log
from app.relay.attempt import Upstreams
from app.relay.bill import Bill, Cashier
from app.relay.exchange import Exchange
from app.relay.kept import KeptAnswers

log = get_log("relaygate.background")

FIRST_LOOK = 2.0
LATEST_LOOK = 20.0
GROWTH = 1.5
LAST_LOOK = 5.0
"""Seconds that a process which stops gives to its last look at each."""

PATIENCE = 3600.0
"""Seconds after which an answer is charged by estimate: a hold can't stay open for ever."""


class Background:
    """Asks after background answers of this process. One that the process doesn't outlive is an orphan: the sweeper's."""

    def __init__(self, cashier: Cashier, kept: KeptAnswers) -> None:
        self._cashier = cashier
        self._kept = kept
        self._upstreams: Upstreams | None = None
        self._following: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    def start(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams

    async def stop(self) -> None:
        """Looks once more; what isn't done then is charged by what had been produced when it was looked at last."""
        self._stopping.set()
        if not self._following:
            return
        _, late = await asyncio.wait(set(self._following), timeout=LAST_LOOK)
        for task in late:
            task.cancel()
        if late:
            log.warning("background_answers_left", count=len(late), hint="their holds are resolved by the sweeper")
            await asyncio.wait(late)

    def follow(self, bill: Bill, exchange: Exchange) -> None:
        """Takes over the bill of an answer whose upstream has only accepted it so far, or goes on without its client."""
        self._start(self._follow(bill, exchange))

    def finish(self, bill: Bill) -> None:
        """What a background answer used has been told in its stream."""
        if bill.tap is not None and bill.tap.id is not None:
            self._start(self._kept.finish(bill.admission.hold.account_id, bill.tap.id))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _follow(self, bill: Bill, exchange: Exchange) -> None:
        clock = asyncio.get_running_loop().time
        until, pause = clock() + PATIENCE, FIRST_LOOK
        while clock() < until:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            pause = min(pause * GROWTH, LATEST_LOOK)
            try:
                if await self._look(bill):
                    break
            except (UpstreamError, aiohttp.ClientError, OSError) as error:
                log.warning("background_look_failed", request_id=exchange.label, error=str(error)[:200])
            if self._stopping.is_set():
                bill.error = bill.error or "gateway_stopped"
                break
        self._cashier.close(bill, exchange)
        assert bill.unfinished_id is not None
        await self._kept.finish(bill.admission.hold.account_id, bill.unfinished_id)

    async def _look(self, bill: Bill) -> bool:
        """Whether it is over; the bill knows what was used then, or what went wrong."""
        pick, sending, id = bill.pick, bill.sending, bill.unfinished_id
        assert self._upstreams is not None
        assert pick is not None
        assert sending is not None
        assert id is not None
        status, body = await self._upstreams.look_up(pick.key, (sending.url / id).with_query(sending.url.query))
        if status == 404:  # deleted before it was done: what was produced is anybody's guess
            bill.error = "background_answer_gone"
            return True
        reply = sending.read_reply(body)
        if reply.error is not None:
            bill.error = reply.error.code
            bill.usage = reply.usage
            return True
        bill.answer = body
        bill.usage = reply.usage
        return reply.done
