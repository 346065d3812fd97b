"""Submitting: a job goes to the first channel that takes it, and what may have been paid for isn't submitted again.

Where an answer was lost, the upstream is asked whether it has the job, by the same idempotency key or by looking it up; where
neither can be, an operator decides before the deadline does.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncEngine

from app.catalog.catalog import Catalog
from app.catalog.snapshot import Channel
from app.core.media import Attachment, Job, Status
from app.db.engine import DATABASE_ERRORS
from app.egress.client import Egress
from app.errors import GatewayError, UpstreamError
from app.logs import get_log
from app.media.caller import AnswerLost, Caller
from app.media.ending import CANCELLED, CHANNEL_GONE, MAX_REASON, OVERDUE, TRANSIENT, Endings, clean, failure
from app.media.fetch import fetch_input
from app.media.inputs import Sort
from app.media.pace import (
    FIRST_DOUBT,
    POLL_TIMEOUT,
    ROUNDS,
    SUBMIT_TIMEOUT,
    may_send,
    pause_after_fault,
    pause_before_round,
    pause_between_polls,
    pause_when_busy,
)
from app.media.queue import (
    Claim,
    Order,
    give_back,
    is_refused,
    mark_sending,
    record_refusal,
    record_submitted,
    retake,
)
from app.media.route import Way, find_ways
from app.media.settle import Ending
from app.media.storage import Storage, StorageError
from app.media.upstream import channel_of, checked, percent
from app.providers.media import Call, Done, Failed, Outcome, Running, refused
from app.providers.replies import LOST, error_of
from app.routing.board import Board

log = get_log("relaygate.media")

ELSEWHERE = (404, 405)
"""Answers to a submission that say that this channel has no such model or endpoint: another may."""

FIRST_KEY = 0
"""Media goes under the first of a channel's keys: only the account that made a job can ask about it."""

UNCLEAR = (*ELSEWHERE, 409)
"""Answers to a submission that is sent again, under the same key, that say nothing about the first one."""

RETAKEN = 30.0
"""Seconds that a claim that was lost is held again, for one write."""

WRITES = 60
"""Tries to write what an upstream has answered to a submission, while the database is away: some five minutes."""


class Submissions:
    """Gives tasks to upstreams. Raises database errors: the claim then runs out, and the step is done again."""

    def __init__(
        self,
        engine: AsyncEngine,
        catalog: Catalog,
        caller: Caller,
        storage: Storage,
        egress: Egress,
        endings: Endings,
        board: Board,
    ) -> None:
        self._engine = engine
        self._catalog = catalog
        self._caller = caller
        self._storage = storage
        self._egress = egress
        self._endings = endings
        self._board = board
        self._places: Counter[int] = Counter()
        self._sent: set[tuple[int, str]] = set()

    def is_sent(self, claim: Claim) -> bool:
        """Whether an upstream is being asked to take it: broken off now, nobody would know whether it did."""
        return (claim.account_id, claim.id) in self._sent

    async def submit(self, claim: Claim) -> None:
        """Gives the job to the first channel that takes it; where it may have one already, finds out."""
        order = await self._endings.order_of(claim)
        if order is None:
            return
        if claim.cancelled or claim.overdue:
            await self._endings.end(claim, order, CANCELLED if claim.cancelled else OVERDUE)
        elif claim.step == "submit":
            await self._submit(claim, order)
        elif claim.step == "sending":
            await self._find_out(claim, order)

    async def _submit(self, claim: Claim, order: Order) -> None:
        ways, obstacle = await self._ways(claim, order)
        untried = [way for way in ways if way.candidate.channel.id not in order.tried]
        if not untried:
            await self._next_round(claim, order, obstacle)
            return
        way = untried[0]
        channel_id = way.candidate.channel.id
        if not may_send(self._places[channel_id], self._places.total()):
            pause = pause_when_busy(claim.faults)
            await self._refuse(claim, order, "submit", "channel_busy", pause, tried=order.tried)
            return
        with self._place(channel_id):
            await self._offer(claim, order, way)

    @contextmanager
    def _place(self, channel_id: int) -> Iterator[None]:
        """One of the channel's, from fetching what goes in on: a client's own server may be the one that hangs."""
        self._places[channel_id] += 1
        try:
            yield
        finally:
            self._places -= Counter([channel_id])  # drops what has come to zero

    async def _offer(self, claim: Claim, order: Order, way: Way) -> None:
        channel = way.candidate.channel
        try:
            job = await self._loaded(order.job, takes_urls=way.media.takes_urls)
            # Before anything says that it was sent: what a provider can't write has surely not arrived.
            call = way.media.submit(job, way.candidate.upstream_model, str(order.hold_id), channel.site)
        except StorageError as error:
            await self._refuse(claim, order, "submit", error.code, pause_after_fault(claim.faults), tried=order.tried)
            return
        except GatewayError as error:
            await self._endings.end(claim, order, failure(error.message, error.code, channel))
            return
        async with self._engine.begin() as connection:
            mine = await mark_sending(
                connection,
                claim,
                channel_id=channel.id,
                upstream_model=way.candidate.upstream_model,
                platform=way.media.platform,
                price_id=way.candidate.price_id,
                cost_id=way.candidate.cost_id,
            )
            if not mine:
                await give_back(connection, [claim])  # it was cancelled: the next look ends it
        if mine:
            order = replace(order, price_id=way.candidate.price_id, cost_id=way.candidate.cost_id)
            await self._send(replace(claim, channel_id=channel.id), order, way, job, call)

    async def _send(self, claim: Claim, order: Order, way: Way, job: Job, call: Call) -> None:
        key = (claim.account_id, claim.id)
        self._sent.add(key)
        try:
            await self._ask(claim, order, way, job, call)
        finally:
            self._sent.discard(key)

    async def _ask(self, claim: Claim, order: Order, way: Way, job: Job, call: Call) -> None:
        channel, media = way.candidate.channel, way.media
        began = self._board.clock()
        try:
            reply = await self._caller.call(channel, call, timeout=SUBMIT_TIMEOUT, fresh=True)
            if reply.status in LOST:
                raise AnswerLost
            if reply.status in ELSEWHERE:
                raise error_of(reply)
            try:
                outcome = checked(media.read_submitted(job, reply), channel)
            except UpstreamError as error:
                if reply.status < 300 and error.code == "upstream_bad_response":
                    raise AnswerLost from error  # it was accepted, whatever the answer means
                raise
        except AnswerLost as error:
            log.warning("submission_lost", task=claim.id, channel=channel.name)
            pause = FIRST_DOUBT if claim.step == "submit" else pause_after_fault(claim.faults)
            await self._refuse(claim, order, "sending", error.code, pause, tried=order.tried)
        except UpstreamError as error:
            self._board.blamed(way.candidate, FIRST_KEY, error, began)
            await self._rejected(claim, order, channel, error)
        else:
            self._board.cleared(way.candidate, FIRST_KEY, began)
            await self._accepted(claim, order, channel, outcome)

    async def _rejected(self, claim: Claim, order: Order, channel: Channel, error: UpstreamError) -> None:
        """The upstream surely hasn't taken it: the request's own fault is a verdict, else the next channel has its turn.

        Not so where it was sent before and the answer was lost: an error of the second says nothing of the first.
        """
        again = claim.step == "sending"
        verdict = None if error.upstream_status in (UNCLEAR if again else ELSEWHERE) else refused(error)
        fault = clean(error.code, channel)
        log.warning(
            "submission_refused",
            task=claim.id,
            channel=channel.name,
            error=fault,
            upstream_status=error.upstream_status,
        )
        if verdict is not None:
            await self._endings.end(claim, order, failure(verdict.reason, verdict.code, channel))
        elif again:
            pause = pause_after_fault(claim.faults, error.retry_after)
            await self._refuse(claim, order, "sending", fault, pause, tried=order.tried)
        else:
            await self._refuse(claim, order, "submit", fault, 0.0, tried=(*order.tried, channel.id))

    async def _accepted(self, claim: Claim, order: Order, channel: Channel, outcome: Outcome) -> None:
        match outcome:
            case Failed():
                await self._endings.end(claim, order, failure(outcome.reason, outcome.code, channel))
            case Running():
                if await self._insist(claim, lambda own: self._record(own, outcome)):
                    log.info("task_submitted", task=claim.id, channel=channel.name)
            case Done():
                # It can't be asked for again: a failure here leaves the task `sending`, and that is found out about.
                try:
                    ending = await self._endings.success(channel, order, outcome)
                except TRANSIENT as error:
                    log.error("result_not_kept", task=claim.id, channel=channel.name, error=clean(str(error), channel))
                    await self._refuse(claim, order, "sending", "result_unavailable", 0.0, tried=order.tried)
                else:
                    await self._insist(claim, lambda own: self._endings.end(own, order, ending))

    async def _record(self, claim: Claim, running: Running) -> bool:
        async with self._engine.begin() as connection:
            return await record_submitted(
                connection,
                claim,
                status=max(running.status, Status.SUBMITTED, key=lambda status: status.rank),
                progress=percent(running.progress),
                upstream_id=running.id,
                memo=running.memo,
                pause=pause_between_polls(running.poll_after, 0),
            )

    async def _insist(self, claim: Claim, write: Callable[[Claim], Awaitable[bool]]) -> bool:
        """Writes what only this answer told: later, while the database is away, and though the claim was lost meanwhile."""
        for attempt in range(WRITES):
            try:
                if await write(claim):
                    return True
                async with self._engine.begin() as connection:
                    own = await retake(connection, claim, RETAKEN)
                if own is None:
                    log.warning("answer_too_late", task=claim.id)
                    return False
                claim = own
            except DATABASE_ERRORS as error:
                if is_refused(error) or attempt + 1 == WRITES:
                    raise
                log.warning("answer_not_written", task=claim.id, error=type(error).__name__)
                await asyncio.sleep(min(0.2 * 2**attempt, 5.0))
        return False

    async def _find_out(self, claim: Claim, order: Order) -> None:
        """An upstream may have the job, and its answer was lost: never submit it twice."""
        channel = await channel_of(self._catalog, claim)
        media = None if channel is None else channel.provider.media
        if channel is None or media is None:
            await self._endings.end(claim, order, CHANNEL_GONE)
            return
        key, model = str(order.hold_id), claim.upstream_model or ""
        if media.idempotent:
            ways, _ = await self._ways(claim, order)
            same = [way for way in ways if way.candidate.channel.id == channel.id]
            if same:
                await self._send_again(claim, order, same[0])
                return
        call = media.find(order.job, model, key, channel.site)
        if call is None:
            log.error(
                "task_stuck",
                task=claim.id,
                channel=channel.name,
                hint="POST /admin/v1/tasks/{id}/resolve, or wait for its deadline",
            )
            await self._refuse(claim, order, "stuck", "upstream_lost", 86_400.0, tried=order.tried)
            return
        try:
            found = media.read_found(order.job, key, await self._caller.call(channel, call, timeout=POLL_TIMEOUT))
            found = None if found is None else checked(found, channel)
        except UpstreamError as error:
            pause = pause_after_fault(claim.faults, error.retry_after)
            await self._refuse(claim, order, "sending", clean(error.code, channel), pause, tried=order.tried)
            return
        if found is None:
            await self._refuse(claim, order, "submit", "upstream_lost", 0.0, tried=order.tried)
        else:
            await self._accepted(claim, order, channel, found)

    async def _send_again(self, claim: Claim, order: Order, way: Way) -> None:
        """Under the same key, which makes no second job of it."""
        try:
            job = await self._loaded(order.job, takes_urls=way.media.takes_urls)
        except GatewayError as error:
            pause = pause_after_fault(claim.faults)
            await self._refuse(claim, order, "sending", error.code, pause, tried=order.tried)
            return
        call = way.media.submit(job, way.candidate.upstream_model, str(order.hold_id), way.candidate.channel.site)
        await self._send(claim, order, way, job, call)

    async def _ways(self, claim: Claim, order: Order) -> tuple[list[Way], GatewayError | None]:
        """The channels that can do it today, and why none can."""
        model = (await self._catalog.snapshot_for(claim.model)).find(claim.model)
        if model is None:
            return [], None
        try:
            ways = find_ways(model, order.job, order.pinned_to)
            # What is out comes last, and is tried all the same where nothing else takes it: a task has time.
            return sorted(ways, key=lambda way: bool(self._board.outages_of(way.candidate, FIRST_KEY))), None
        except GatewayError as error:
            return [], error

    async def _next_round(self, claim: Claim, order: Order, obstacle: GatewayError | None) -> None:
        """Every channel has refused for reasons of its own, or there is none: they get another chance, a few times."""
        if order.rounds + 1 < ROUNDS:
            pause = pause_before_round(order.rounds)
            await self._refuse(claim, order, "submit", "no_channel", pause, tried=(), rounds=order.rounds + 1)
            return
        if obstacle is not None and obstacle.code != "no_channel":
            ending = Ending(Status.FAILURE, fail_reason=obstacle.message[:MAX_REASON], fail_code=obstacle.code)
        else:
            ending = Ending(Status.FAILURE, fail_reason="No upstream took it.", fail_code="upstream_error")
        await self._endings.end(claim, order, ending)

    async def _refuse(
        self,
        claim: Claim,
        order: Order,
        step: str,
        fault: str,
        pause: float,
        *,
        tried: tuple[int, ...],
        rounds: int | None = None,
    ) -> None:
        async with self._engine.begin() as connection:
            await record_refusal(
                connection,
                claim,
                step=step,
                tried=tried,
                rounds=order.rounds if rounds is None else rounds,
                fault=fault,
                pause=pause,
            )

    async def _loaded(self, job: Job, *, takes_urls: bool) -> Job:
        """The job with the bytes of what goes in. Raises GatewayError 400 for a URL that can't be fetched."""

        async def load(item: Attachment, sort: Sort, place: int) -> Attachment:
            if item.key is not None:
                return replace(item, data=await self._storage.read_all(item.key))
            if takes_urls or item.url is None:
                return item
            return await fetch_input(self._egress, item.url, param=f"{sort}s[{place}]", sort=sort)

        images = tuple([await load(item, "image", place) for place, item in enumerate(job.images)])
        videos = tuple([await load(item, "video", place) for place, item in enumerate(job.videos)])
        return replace(job, images=images, videos=videos)
