"""The steps of a task's life at its upstream: submitted, polled, and, whichever way it goes, ended once.

What may have been paid for upstream isn't submitted again: where an answer was lost, the upstream is asked whether it has the
job, by the same idempotency key or by looking it up; where neither can be, an operator decides before the deadline does.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import TypeVar

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from app.catalog.catalog import Catalog
from app.catalog.price_rows import load_price
from app.catalog.snapshot import Channel
from app.core.media import Attachment, Job, Measured, Scope, Status
from app.egress.client import Egress, EgressError
from app.errors import GatewayError, UpstreamError, bad_upstream_response
from app.logs import get_log
from app.media import queue
from app.media.caller import AnswerLost, Caller, NotSent
from app.media.fetch import fetch_input
from app.media.inputs import MAX_IMAGE, Sort
from app.media.pace import (
    BUSY_PAUSE,
    POLL_TIMEOUT,
    RESULT_PATIENCE,
    ROUNDS,
    SENDING,
    SUBMIT_TIMEOUT,
    pause_after_fault,
    pause_before_poll,
    pause_before_round,
)
from app.media.queue import Claim, Ending, Order, Prices, Progress
from app.media.results import Results
from app.media.route import Way, find_ways
from app.media.storage import Storage, StorageError
from app.media.task import Task
from app.media.view import View
from app.providers.media import Done, Failed, Handle, Media, Outcome, Running, refused
from app.providers.replies import LOST

log = get_log("relaygate.media")

MAX_REASON = 500
MAX_ID = 2_000
MAX_MEMO = 64_000
MAX_VIDEO = 64 * 1024 * 1024
"""Bytes of a video that a client named by URL and that an upstream wants as bytes: it is in memory then."""

T = TypeVar("T", bound=Outcome)

TRANSIENT = (UpstreamError, StorageError, EgressError)

CANCELLED = Ending(Status.FAILURE, fail_reason="Cancelled.", fail_code="task_cancelled")
OVERDUE = Ending(
    Status.FAILURE, fail_reason="It wasn't finished within the time that the model is given.", fail_code="task_timeout"
)
CHANNEL_GONE = Ending(
    Status.FAILURE, fail_reason="The channel that worked on it was removed.", fail_code="channel_removed"
)


class Steps:
    """Takes claimed tasks a step further. Raises database errors: the claim then runs out, and the step is done again."""

    def __init__(
        self, engine: AsyncEngine, catalog: Catalog, caller: Caller, storage: Storage, egress: Egress, view: View
    ) -> None:
        self._engine = engine
        self._catalog = catalog
        self._caller = caller
        self._storage = storage
        self._egress = egress
        self._view = view
        self._results = Results(storage, caller, egress)
        self._sending: Counter[int] = Counter()

    # -- polling -----------------------------------------------------------------------------------------------------

    async def poll(self, claim: Claim) -> Progress | Done | Ending:
        """One look at the upstream. Whatever isn't its verdict is a fault, and it is asked again."""
        channel = await self._channel(claim)
        media = None if channel is None else channel.provider.media
        if channel is None or media is None:
            return CHANNEL_GONE
        assert claim.upstream_id is not None
        handle = Handle(claim.upstream_id, claim.memo, Scope(claim.scope), claim.upstream_model or "")
        uncancelled = False
        if claim.cancelled:
            stopped = await self._stop(channel, media, handle)
            if stopped:
                return CANCELLED
            if stopped is None and not claim.overdue:
                return Progress(claim, pause_after_fault(claim.faults), fault="upstream_unreachable")
            uncancelled = True
        try:
            reply = await self._caller.call(channel, media.poll(handle, channel.site), timeout=POLL_TIMEOUT)
            outcome = _checked(media.read_polled(handle, reply))
        except UpstreamError as error:
            if claim.overdue:
                return OVERDUE
            return Progress(
                claim, pause_after_fault(claim.faults, error.retry_after), fault=_clean(error.code, channel)
            )
        match outcome:
            case Running():
                if claim.overdue:
                    await self._stop(channel, media, handle)
                    return OVERDUE
                return _progress(claim, outcome, uncancelled)
            case Done():
                return outcome
            case Failed():
                return _failure(outcome.reason, outcome.code, channel)

    async def conclude(self, claim: Claim, verdict: Done | Ending) -> Progress | None:
        """What follows a last poll: the result is brought home, and the task ends."""
        channel = await self._channel(claim)
        order = await self._order(claim)
        if order is None:
            return None
        if isinstance(verdict, Ending):
            await self._end(claim, order, verdict)
            return None
        assert channel is not None
        try:
            ending = await self._success(channel, order, verdict)
        except TRANSIENT as error:
            log.warning("result_not_kept", task=claim.id, channel=channel.name, error=_clean(str(error), channel))
            if claim.overdue_by > RESULT_PATIENCE:
                ending = Ending(
                    Status.FAILURE, fail_reason="The result can't be fetched.", fail_code="result_unavailable"
                )
            else:
                return Progress(claim, pause_after_fault(claim.faults), fault="result_unavailable")
        await self._end(claim, order, ending)
        return None

    async def _stop(self, channel: Channel, media: Media, handle: Handle) -> bool | None:
        """Whether the upstream has stopped it; None: it couldn't be asked."""
        call = media.cancel(handle, channel.site)
        if call is None:
            return False
        try:
            reply = await self._caller.call(channel, call, timeout=POLL_TIMEOUT)
        except UpstreamError:
            return None
        return reply.status < 300

    # -- submitting --------------------------------------------------------------------------------------------------

    async def submit(self, claim: Claim) -> None:
        """Gives the job to the first channel that takes it; where it may have one already, finds out."""
        order = await self._order(claim)
        if order is None:
            return
        if claim.cancelled or claim.overdue:
            await self._end(claim, order, CANCELLED if claim.cancelled else OVERDUE)
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
        if self._sending[way.candidate.channel.id] >= SENDING:
            await self._refuse(claim, order, "submit", "channel_busy", BUSY_PAUSE, tried=order.tried)
            return
        try:
            job = await self._loaded(order.job, takes_urls=way.media.takes_urls)
        except StorageError as error:
            await self._refuse(claim, order, "submit", error.code, pause_after_fault(claim.faults), tried=order.tried)
            return
        except GatewayError as error:
            await self._end(claim, order, _failure(error.message, error.code, way.candidate.channel))
            return
        async with self._engine.begin() as connection:
            mine = await queue.mark_sending(
                connection,
                claim,
                channel_id=way.candidate.channel.id,
                upstream_model=way.candidate.upstream_model,
                platform=way.media.platform,
                price_id=way.candidate.price_id,
                cost_id=way.candidate.cost_id,
            )
        if mine:
            self._sending[way.candidate.channel.id] += 1
            try:
                await self._send(replace(claim, channel_id=way.candidate.channel.id), order, way, job)
            finally:
                self._sending -= Counter([way.candidate.channel.id])

    async def _send(self, claim: Claim, order: Order, way: Way, job: Job) -> None:
        channel, media = way.candidate.channel, way.media
        order = replace(order, price_id=way.candidate.price_id, cost_id=way.candidate.cost_id)
        key = str(order.hold_id)
        try:
            call = media.submit(job, way.candidate.upstream_model, key, channel.site)
            reply = await self._caller.call(channel, call, timeout=SUBMIT_TIMEOUT, fresh=True)
            if reply.status in LOST:
                raise AnswerLost
            try:
                outcome = _checked(media.read_submitted(job, reply))
            except UpstreamError as error:
                if reply.status < 300:  # it was accepted, whatever the answer means
                    raise AnswerLost from error
                raise
        except AnswerLost as error:
            log.warning("submission_lost", task=claim.id, channel=channel.name)
            pause = pause_after_fault(claim.faults)
            await self._refuse(claim, order, "sending", error.code, pause, tried=order.tried)
        except UpstreamError as error:
            await self._rejected(claim, order, channel, error)
        else:
            await self._accepted(claim, order, channel, outcome)

    async def _rejected(self, claim: Claim, order: Order, channel: Channel, error: UpstreamError) -> None:
        """The upstream surely hasn't taken it: the request's own fault is a verdict, else the next channel has its turn."""
        verdict = None if isinstance(error, NotSent) else refused(error)
        fault = _clean(error.code, channel)
        log.warning(
            "submission_refused",
            task=claim.id,
            channel=channel.name,
            error=fault,
            upstream_status=error.upstream_status,
        )
        if verdict is not None:
            await self._end(claim, order, _failure(verdict.reason, verdict.code, channel))
        else:
            await self._refuse(claim, order, "submit", fault, 0.0, tried=(*order.tried, channel.id))

    async def _accepted(self, claim: Claim, order: Order, channel: Channel, outcome: Outcome) -> None:
        match outcome:
            case Failed():
                await self._end(claim, order, _failure(outcome.reason, outcome.code, channel))
            case Running():
                async with self._engine.begin() as connection:
                    await queue.record_submitted(
                        connection,
                        claim,
                        status=max(outcome.status, Status.SUBMITTED, key=lambda status: status.rank),
                        progress=_percent(outcome.progress),
                        upstream_id=outcome.id,
                        memo=outcome.memo,
                        pause=outcome.poll_after or pause_before_poll(0, random.random()),  # noqa: S311
                    )
                log.info("task_submitted", task=claim.id, channel=channel.name)
            case Done():
                # It can't be asked for again: a failure here leaves the task `sending`, and that is found out about.
                try:
                    ending = await self._success(channel, order, outcome)
                except TRANSIENT as error:
                    log.error("result_not_kept", task=claim.id, channel=channel.name, error=_clean(str(error), channel))
                    await self._refuse(claim, order, "sending", "result_unavailable", 0.0, tried=order.tried)
                else:
                    await self._end(claim, order, ending)

    async def _find_out(self, claim: Claim, order: Order) -> None:
        """An upstream may have the job, and its answer was lost: never submit it twice."""
        channel = await self._channel(claim)
        media = None if channel is None else channel.provider.media
        if channel is None or media is None:
            await self._end(claim, order, CHANNEL_GONE)
            return
        key, model = str(order.hold_id), claim.upstream_model or ""
        if media.idempotent:
            ways, _ = await self._ways(claim, order)
            same = [way for way in ways if way.candidate.channel.id == channel.id]
            if same:
                await self._send(claim, order, same[0], await self._loaded(order.job, takes_urls=media.takes_urls))
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
            found = None if found is None else _checked(found)
        except UpstreamError as error:
            pause = pause_after_fault(claim.faults, error.retry_after)
            await self._refuse(claim, order, "sending", _clean(error.code, channel), pause, tried=order.tried)
            return
        if found is None:
            await self._refuse(claim, order, "submit", "upstream_lost", 0.0, tried=order.tried)
        else:
            await self._accepted(claim, order, channel, found)

    async def _ways(self, claim: Claim, order: Order) -> tuple[list[Way], GatewayError | None]:
        """The channels that can do it today, and why none can."""
        model = self._catalog.snapshot.models.get(claim.model)
        if model is None:
            model = (await self._catalog.reloaded()).models.get(claim.model)
        if model is None:
            return [], None
        try:
            return find_ways(model, order.job, order.pinned_to), None
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
        await self._end(claim, order, ending)

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
            await queue.record_refusal(
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
            most = MAX_IMAGE if sort == "image" else MAX_VIDEO
            return await fetch_input(self._egress, item.url, most=most, param=f"{sort}s[{place}]", sort=sort)

        images = tuple([await load(item, "image", place) for place, item in enumerate(job.images)])
        videos = tuple([await load(item, "video", place) for place, item in enumerate(job.videos)])
        return replace(job, images=images, videos=videos)

    # -- ending ------------------------------------------------------------------------------------------------------

    async def _success(self, channel: Channel, order: Order, done: Done) -> Ending:
        """Raises UpstreamError, StorageError while the result can't be had."""
        outputs = await self._results.keep(channel, done.outputs)
        usage = done.measured.over(order.units)
        estimated = False
        if order.job.scope is not Scope.IMAGES and not usage.milliseconds and not usage.characters:
            # Nobody says how long it is: the file itself does.
            lengths = [await self._results.milliseconds(output) for output in outputs]
            known = sum(length for length in lengths if length is not None)
            usage = Measured(milliseconds=known).over(usage)
            estimated = None in lengths
        return Ending(Status.SUCCESS, outputs, usage, estimated)

    async def _end(self, claim: Claim, order: Order, ending: Ending) -> None:
        async with self._engine.begin() as connection:
            prices = Prices(await load_price(connection, order.price_id), None)
            if order.cost_id is not None:
                prices = replace(prices, cost=await load_price(connection, order.cost_id))
            task = await queue.end_task(connection, claim, ending, prices, self._write)
        if task is None:
            return
        log.info(
            "task_finished",
            task=task.id,
            account=task.account_id,
            model=task.model,
            status=task.status.value,
            channel=task.channel_id,
            error=ending.fail_code,
        )
        inputs = [item.key for item in (*order.job.images, *order.job.videos) if item.key is not None]
        if inputs:
            try:
                await self._storage.delete(inputs)
            except StorageError as error:
                log.warning("inputs_not_deleted", task=task.id, error=str(error))

    # -- what they share ---------------------------------------------------------------------------------------------

    def _write(self, task: Task) -> str:
        return orjson.dumps(self._view.write(task)).decode()

    async def _order(self, claim: Claim) -> Order | None:
        async with self._engine.connect() as connection:
            return await queue.read_order(connection, claim)

    async def _channel(self, claim: Claim) -> Channel | None:
        """The claim's channel, disabled or not; asked for anew before it is taken for gone."""
        if claim.channel_id is None:
            return None
        found = self._catalog.snapshot.channels.get(claim.channel_id)
        return found or (await self._catalog.reloaded()).channels.get(claim.channel_id)


def _checked(outcome: T) -> T:
    """What may be stored. Raises UpstreamError for an id or a memo that PostgreSQL couldn't hold, or shouldn't."""
    match outcome:
        case Running(id=id, memo=memo):
            text = orjson.dumps(dict(memo)).decode()
            if not 0 < len(id) <= MAX_ID or "\0" in id or "\\u0000" in text or len(text) > MAX_MEMO:
                raise bad_upstream_response("The upstream's name of the task can't be used.")
        case Done(outputs=()):
            raise bad_upstream_response("The upstream says that it is done, and has no result.")
    return outcome


def _progress(claim: Claim, running: Running, uncancelled: bool) -> Progress:
    pause = running.poll_after
    if pause is None:
        pause = pause_before_poll(claim.polls + 1, random.random())  # noqa: S311 - spreads load, guards nothing
    return Progress(
        claim,
        min(max(pause, 0.0), 60.0),
        status=running.status,
        progress=_percent(running.progress),
        upstream_id=running.id,
        memo=running.memo,
        uncancelled=uncancelled,
    )


def _percent(progress: int | None) -> int:
    """Below 100 as long as it isn't final: a client that sees 100 % looks for a result."""
    return 0 if progress is None else max(0, min(99, progress))


def _failure(reason: str, code: str, channel: Channel) -> Ending:
    reason = _clean(reason, channel) or "The upstream gave no reason."
    return Ending(Status.FAILURE, fail_reason=reason, fail_code=_clean(code, channel)[:100])


def _clean(text: str, channel: Channel) -> str:
    """An upstream's words as they may be stored and shown: without its key, and without what PostgreSQL can't hold."""
    if channel.secret:
        text = text.replace(channel.secret, "[redacted]")
    return text.encode("utf-8", "replace").decode().replace("\0", "?")[:MAX_REASON]
