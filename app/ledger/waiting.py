"""Where requests wait, in order, for money that other requests hold: it comes back when those are settled.

Holds are worst-case, so a crowd can hold everything an account has while it spends next to nothing. Refusing the rest
would tell a well-funded customer that there is no money.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from app.core.background import end_task
from app.core.ids import new_id
from app.errors import GatewayError, unavailable
from app.ledger.records import Ask, Hold, Refusal, Settlement, Status
from app.ledger.writer import LedgerWriter

FRONT = 16
"""How many of a line ask again at once: what one settlement frees is seldom enough for more."""

POLL = 0.25
"""Seconds after which a line asks again without having heard of a settlement: other processes' settle too."""


@dataclass(slots=True, eq=False)
class _Waiter:
    ask: Ask
    deadline: float
    reply: asyncio.Future[Hold | Refusal]


@dataclass(slots=True, eq=False)
class _Line:
    """Those who wait for one key's money, the first come first."""

    waiters: deque[_Waiter] = field(default_factory=deque)
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    server: asyncio.Task[None] | None = None


class WaitingRoom:
    """Holds through the ledger, and waits with those whose money is there but held."""

    def __init__(self, ledger: LedgerWriter, patience: float) -> None:
        self._ledger = ledger
        self._patience = patience
        self._lines: dict[tuple[int, int], _Line] = {}
        ledger.on_settled = self._on_settled

    @property
    def waiting(self) -> int:
        return sum(len(line.waiters) for line in self._lines.values())

    async def hold(self, ask: Ask, on_wait: Callable[[float], None]) -> Hold | Refusal:
        """As LedgerWriter.hold, but `Refusal.HELD` only after `patience` seconds. Calls `on_wait` with them before it waits.

        What a cancelled caller may have been granted is given back.
        """
        key = (ask.account_id, ask.key_id)
        line = self._lines.get(key)
        if line is None:
            outcome = await self._ledger.hold(ask)
            if outcome is not Refusal.HELD:
                return outcome
            line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
            line.server = asyncio.get_running_loop().create_task(self._serve(key, line))
        on_wait(self._patience)
        loop = asyncio.get_running_loop()
        waiter = _Waiter(ask, loop.time() + self._patience, loop.create_future())
        line.waiters.append(waiter)
        try:
            return await waiter.reply
        except asyncio.CancelledError:
            if not waiter.reply.cancelled() and waiter.reply.exception() is None:
                self._give_back(waiter.reply.result())
            raise

    async def close(self) -> None:
        for line in tuple(self._lines.values()):
            await end_task(line.server)

    def _on_settled(self, settlements: Sequence[Settlement]) -> None:
        if self._lines:
            accounts = {item.hold.account_id for item in settlements}
            for (account_id, _), line in self._lines.items():
                if account_id in accounts:
                    line.freed.set()

    async def _serve(self, key: tuple[int, int], line: _Line) -> None:
        """Asks again for the front of the line until nobody is left in it."""
        clock = asyncio.get_running_loop().time
        try:
            while line.waiters:
                line.freed.clear()
                front = [waiter for waiter in line.waiters if not waiter.reply.done()][:FRONT]
                served = await asyncio.gather(*(self._try(waiter, clock()) for waiter in front))
                line.waiters = deque(waiter for waiter in line.waiters if not waiter.reply.done())
                if line.waiters and not any(served):
                    soonest = min(waiter.deadline for waiter in line.waiters) - clock()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(POLL, max(0.0, soonest))):
                            await line.freed.wait()
        finally:
            # No turn of the loop lies between the last look at the line and this: nobody can have joined it.
            del self._lines[key]
            for waiter in line.waiters:
                if not waiter.reply.done():
                    waiter.reply.set_exception(unavailable("The gateway is stopping."))

    async def _try(self, waiter: _Waiter, now: float) -> bool:
        """Whether it need not wait any longer. The patience over, it takes what there is."""
        patient = now < waiter.deadline
        reply: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        ask = replace(waiter.ask, id=new_id(), reply=reply, patient=patient, standing=None)
        try:
            outcome = await self._ledger.hold(ask)
        except GatewayError as error:
            if not waiter.reply.done():
                waiter.reply.set_exception(error)
            return True
        if outcome is Refusal.HELD and patient:
            return waiter.reply.done()
        waiter.ask.standing = ask.standing
        if waiter.reply.done():
            self._give_back(outcome)
        else:
            waiter.reply.set_result(outcome)
        return True

    def _give_back(self, outcome: Hold | Refusal) -> None:
        if isinstance(outcome, Hold):
            self._ledger.settle(Settlement(outcome, Status.RELEASED, error="client_closed_request"))
