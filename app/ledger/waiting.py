"""Where requests wait, in order, for what other requests have: money that they hold, and places under a concurrency limit.

Holds are worst-case, so a crowd can hold everything an account has while it spends next to nothing. Refusing the rest
would tell a well-funded customer that there is no money. And a request counts as open for a moment after its client has
the whole answer: a client that calls strictly one after the other must not be told that it calls twice at once.
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
from app.ledger.shadow import ShadowRefusals
from app.ledger.writer import LedgerWriter

FRONT = 16
"""How many of a line ask again at once: what one settlement frees is seldom enough for more."""

POLL = 0.25
BUSY_POLL = 0.03
"""Seconds after which a line asks again without having heard of a settlement: other processes' settle too."""

BUSY_PATIENCE = 1.0
"""Seconds to wait for a place under a concurrency limit: for a request to be settled, not for one to be answered."""

WAITABLE = (Refusal.HELD, Refusal.BUSY)


@dataclass(slots=True, eq=False)
class _Waiter:
    ask: Ask
    since: float
    deadline: float
    reply: asyncio.Future[Hold | Refusal]
    busy: bool


@dataclass(slots=True, eq=False)
class _Line:
    """Those who wait for one key's money, the first come first."""

    waiters: deque[_Waiter] = field(default_factory=deque)
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    server: asyncio.Task[None] | None = None


class WaitingRoom:
    """Holds through the ledger, and waits with those whose money is there but held."""

    def __init__(self, ledger: LedgerWriter, patience: float, shadow: ShadowRefusals | None = None) -> None:
        self._ledger = ledger
        self._patience = patience
        self._shadow = shadow or ShadowRefusals()
        self._lines: dict[tuple[int, int], _Line] = {}
        ledger.on_settled = self._on_settled

    @property
    def waiting(self) -> int:
        return sum(len(line.waiters) for line in self._lines.values())

    async def hold(self, ask: Ask, on_wait: Callable[[float], None]) -> Hold | Refusal:
        """As LedgerWriter.hold, but `HELD` only after `patience` seconds and `BUSY` after BUSY_PATIENCE.

        Calls `on_wait` with the patience before it waits. What a cancelled caller may have been granted is given back.
        What limits in shadow would have refused is noted.
        """
        outcome = await self._hold(ask, on_wait)
        if isinstance(outcome, Hold):
            self._shadow.note(ask.standing, ask.request_id, ask.account_id, ask.key_id)
        return outcome

    async def _hold(self, ask: Ask, on_wait: Callable[[float], None]) -> Hold | Refusal:
        key = (ask.account_id, ask.key_id)
        # Where others wait, one only looks: what is refused anyhow is refused at once, what is free is free at once.
        ask.patient = True if key not in self._lines else None
        outcome = await self._ledger.hold(ask)
        if outcome not in WAITABLE:
            return outcome
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
            line.server = asyncio.get_running_loop().create_task(self._serve(key, line))
        on_wait(self._patience)
        loop = asyncio.get_running_loop()
        busy = outcome is Refusal.BUSY
        patience = BUSY_PATIENCE if busy else self._patience
        waiter = _Waiter(ask, loop.time(), loop.time() + patience, loop.create_future(), busy)
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
                    poll = BUSY_POLL if any(waiter.busy for waiter in front) else POLL
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(poll, max(0.0, soonest))):
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
        try:
            outcome = await self._ask(waiter.ask, patient)
        except GatewayError as error:
            if not waiter.reply.done():
                waiter.reply.set_exception(error)
            return True
        if outcome in WAITABLE and patient:
            waiter.busy = outcome is Refusal.BUSY
            if not waiter.busy:  # a place is free, and now it is money that is missing
                waiter.deadline = max(waiter.deadline, waiter.since + self._patience)
            return waiter.reply.done()
        if waiter.reply.done():
            self._give_back(outcome)
        else:
            waiter.reply.set_result(outcome)
        return True

    async def _ask(self, ask: Ask, patient: bool | None) -> Hold | Refusal:
        """Asks in the name of `ask`, under an id of its own; the standing goes to `ask`."""
        reply: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        copy = replace(ask, id=new_id(), reply=reply, patient=patient, standing=None)
        outcome = await self._ledger.hold(copy)
        ask.standing = copy.standing
        return outcome

    def _give_back(self, outcome: Hold | Refusal) -> None:
        if isinstance(outcome, Hold):
            self._ledger.settle(Settlement(outcome, Status.RELEASED, error="client_closed_request"))
