"""Polling: how far a task is at its upstream, whether it can be stopped, and what follows the last look."""

from __future__ import annotations

from app.catalog.catalog import Catalog
from app.catalog.snapshot import Channel
from app.core.media import Scope, Status
from app.errors import UpstreamError
from app.logs import get_log
from app.media.caller import Caller
from app.media.ending import CANCELLED, CHANNEL_GONE, OVERDUE, TRANSIENT, Endings, clean, failure
from app.media.pace import POLL_TIMEOUT, RESULT_PATIENCE, pause_after_fault, pause_between_polls
from app.media.queue import Claim, Progress
from app.media.settle import Ending
from app.media.upstream import channel_of, checked, percent
from app.providers.media import Done, Failed, Handle, Media, Running
from app.providers.replies import LOST

log = get_log("relaygate.media")


class Polls:
    """Looks at tasks that an upstream works on. Raises database errors: the claim then runs out, and it is done again."""

    def __init__(self, catalog: Catalog, caller: Caller, endings: Endings) -> None:
        self._catalog = catalog
        self._caller = caller
        self._endings = endings

    async def poll(self, claim: Claim) -> Progress | Done | Ending:
        """One look at the upstream. Whatever isn't its verdict is a fault, and it is asked again."""
        channel = await channel_of(self._catalog, claim)
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
                return Progress(claim, pause_after_fault(claim.faults), fault="not_cancelled")
            uncancelled = True
        try:
            reply = await self._caller.call(channel, media.poll(handle, channel.site), timeout=POLL_TIMEOUT)
            outcome = checked(media.read_polled(handle, reply), channel)
        except UpstreamError as error:
            if claim.overdue:
                return OVERDUE
            return Progress(claim, pause_after_fault(claim.faults, error.retry_after), fault=clean(error.code, channel))
        match outcome:
            case Running():
                if claim.overdue:
                    await self._stop(channel, media, handle)
                    return OVERDUE
                return _progress(claim, outcome, uncancelled)
            case Done():
                return outcome
            case Failed():
                return failure(outcome.reason, outcome.code, channel)

    async def conclude(self, claim: Claim, verdict: Done | Ending) -> Progress | None:
        """What follows a last poll: the result is brought home, and the task ends."""
        channel = await channel_of(self._catalog, claim)
        order = await self._endings.order_of(claim)
        if order is None:
            return None
        if isinstance(verdict, Ending):
            await self._endings.end(claim, order, verdict)
            return None
        assert channel is not None
        try:
            ending = await self._endings.success(channel, order, verdict)
        except TRANSIENT as error:
            log.warning("result_not_kept", task=claim.id, channel=channel.name, error=clean(str(error), channel))
            if claim.overdue_by > RESULT_PATIENCE:
                ending = Ending(
                    Status.FAILURE, fail_reason="The result can't be fetched.", fail_code="result_unavailable"
                )
            else:
                return Progress(claim, pause_after_fault(claim.faults), fault="result_unavailable")
        await self._endings.end(claim, order, ending)
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
        if reply.status == 429 or reply.status >= 500 or reply.status in LOST:
            return None  # no word on whether it can be
        return reply.status < 300


def _progress(claim: Claim, running: Running, uncancelled: bool) -> Progress:
    return Progress(
        claim,
        pause_between_polls(running.poll_after, claim.polls + 1),
        status=running.status,
        progress=percent(running.progress),
        upstream_id=running.id,
        memo=running.memo,
        uncancelled=uncancelled,
    )
