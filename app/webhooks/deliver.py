"""Delivers what is due in the outbox: at least once, under one id, for 24 hours, and never on a request's way."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.catalog.vault import Vault
from app.core.background import end_task
from app.db.engine import DATABASE_ERRORS
from app.egress.client import Egress
from app.logs import get_log
from app.webhooks.callback_secrets import make_callback_secrets
from app.webhooks.claims import CLAIM, HEAD, Claim, claim_due, give_back
from app.webhooks.outbox import Outcome, make_test, record
from app.webhooks.retry import BASE_PAUSE, pause_after
from app.webhooks.send import send

log = get_log("relaygate.webhooks")

PLACES = 24
"""Attempts of one process at a time; `claims.py` bounds how many of them one account or one host may have. Fewer than the
look-ups of names that may be under way (`egress/client.py`): dead name servers must leave some."""

PACE = 0.02
"""Seconds between two looks at the outbox: what ends meanwhile makes room together."""

DEEP_SHARE = 20
"""A look at all of a backlog is followed by quick ones at its head for so many times as long as it took: a twentieth of one
connection's time is the most that the database has to do with deliveries for which there is no place."""

POLL = 5.0
"""Seconds after which the outbox is looked at though nobody announced anything: claims of dead workers run out silently."""

STOP_PATIENCE = 2.0

RECORD_PAUSE = 1.0
RECORD_MARGIN = 3.0
"""Seconds before its claim runs out in which an attempt isn't written down any more."""


class Deliverer:
    """`start` it in processes that deliver; `send_test` works in any. `base_pause`: before the second attempt, seconds."""

    def __init__(self, engine: AsyncEngine, vault: Vault, egress: Egress, *, base_pause: float = BASE_PAUSE) -> None:
        self._engine = engine
        self._vault = vault
        self._egress = egress
        self._base_pause = base_pause
        self._news = asyncio.Event()
        self._deep_from = 0.0
        self._loop_task: asyncio.Task[None] | None = None
        self._open: dict[asyncio.Task[None], Claim] = {}

    def start(self) -> None:
        self._loop_task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Something may be due."""
        self._news.set()

    async def stop(self) -> None:
        """Gives attempts under way two seconds; what is broken off then, another worker does again."""
        await end_task(self._loop_task)
        if not self._open:
            return
        await asyncio.wait(self._open, timeout=STOP_PATIENCE)
        left = dict(self._open)
        for task in left:
            await end_task(task)
        if left:
            try:
                async with asyncio.timeout(STOP_PATIENCE), self._engine.begin() as connection:
                    await give_back(connection, left.values())
            except DATABASE_ERRORS as error:
                log.warning("claims_not_given_back", count=len(left), error=type(error).__name__)

    async def send_test(self, account_id: int) -> int:
        """Sends a sample to the account's webhook now, once; returns the delivery's id.

        Raises GatewayError: 404 for an account that isn't there, 409 for one without a webhook.
        """
        async with self._engine.begin() as connection:
            claim = await make_test(connection, account_id)
        await self._attempt(claim)
        return claim.id

    async def _run(self) -> None:
        while True:
            self._news.clear()
            pause = POLL
            try:
                pause = await self._claim()
            except DATABASE_ERRORS as error:
                log.warning("outbox_unreadable", error=type(error).__name__)
            await asyncio.sleep(PACE)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()

    async def _claim(self) -> float:
        """Begins what is due and has a place; returns for how long there is nothing more to do."""
        room = PLACES - len(self._open)
        if room <= 0:
            return POLL
        clock = asyncio.get_running_loop().time
        began = clock()
        is_deep = began >= self._deep_from
        async with self._engine.begin() as connection:
            claims, pause = await claim_due(
                connection, room=room, under_way=self._open.values(), depth=None if is_deep else HEAD
            )
            claims = await self._with_secrets(connection, claims)
        if is_deep:
            self._deep_from = clock() + DEEP_SHARE * (clock() - began)
        for claim in claims:
            task = asyncio.create_task(self._attempt(claim))
            self._open[task] = claim
            task.add_done_callback(partial(self._ended, claim))
        pause = POLL if pause is None else min(pause, POLL)
        # What a quick look may have missed.
        return pause if is_deep else min(pause, max(0.0, self._deep_from - clock()))

    async def _with_secrets(self, connection: AsyncConnection, claims: list[Claim]) -> list[Claim]:
        """An account's first callback makes what signs it."""
        bare = [claim for claim in claims if claim.url is not None and claim.secret is None and not claim.deleted]
        made = await make_callback_secrets(connection, self._vault, {claim.account_id for claim in bare})
        signed = [replace(claim, secret=made[claim.account_id]) for claim in bare]
        return [claim for claim in claims if claim not in bare] + signed

    def _ended(self, claim: Claim, task: asyncio.Task[None]) -> None:
        del self._open[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("delivery_bug", delivery=claim.id, error=type(error).__name__)
        self.wake()

    async def _attempt(self, claim: Claim) -> None:
        until = asyncio.get_running_loop().time() + CLAIM - RECORD_MARGIN
        try:
            outcome = await send(self._egress, self._vault, claim)
        except Exception as error:  # noqa: BLE001 - a bug that one answer brings out must not make its row due for ever
            log.error("delivery_bug", delivery=claim.id, error=type(error).__name__)
            outcome = Outcome(0, error="The attempt failed by a fault of the gateway.")
        chance = random.random()  # noqa: S311 - spreads load, guards nothing
        pause = pause_after(claim.tries, base=self._base_pause, chance=chance, retry_after=outcome.retry_after)
        state = await self._record(claim, outcome, pause, until)
        if state == "failed" and not claim.test:
            log.warning("delivery_failed", delivery=claim.id, account=claim.account_id, attempts=claim.number)

    async def _record(self, claim: Claim, outcome: Outcome, pause: float, until: float) -> str | None:
        """Keeps at it until `until`, in the loop's seconds: a short trouble of the database repeats no message."""
        clock = asyncio.get_running_loop().time
        while True:
            try:
                async with asyncio.timeout_at(until), self._engine.begin() as connection:
                    return await record(connection, claim, outcome, pause)
            except DATABASE_ERRORS as error:
                if clock() + RECORD_PAUSE >= until:
                    # Its claim runs out and it is delivered again: the receiver knows it by its id.
                    log.warning("attempt_not_recorded", delivery=claim.id, error=type(error).__name__)
                    return None
            await asyncio.sleep(RECORD_PAUSE)
