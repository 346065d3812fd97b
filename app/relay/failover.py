"""Tries one channel after the other until one begins to answer: what upstream trouble clients don't get to see."""

from __future__ import annotations

import asyncio
from functools import partial

from app.errors import GatewayError, Kind, UpstreamError
from app.logs import get_log
from app.relay.answer import relay_answer
from app.relay.attempt import Upstreams, interrupted, redact
from app.relay.bill import Bill
from app.relay.exchange import LEDGER_PATIENCE, Exchange, Interrupt
from app.relay.sending import Sending
from app.relay.stream import relay_stream
from app.routing.board import Board, Pick
from app.routing.retry_budget import RetryBudget
from app.routing.trip import Trip

log = get_log("relaygate.relay")

ROOM_LOOK = 0.05
"""Seconds between looks for room on channels that have a cap."""


class Failover:
    """Makes the attempts of requests, and tells the board what became of each."""

    def __init__(
        self, upstreams: Upstreams, board: Board, budget: RetryBudget, *, max_attempts: int, room_patience: float
    ) -> None:
        """`room_patience`: seconds to wait where every channel has as much to do as its caps allow."""
        self._upstreams = upstreams
        self._board = board
        self._budget = budget
        self._max_attempts = max_attempts
        self._room_patience = room_patience

    async def deliver(self, exchange: Exchange, bill: Bill, trip: Trip) -> None:
        """Answers. Raises the last attempt's error where none could.

        A channel whose upstream can't be told all that was asked is passed over; where none can, the first one's reason
        is the answer.
        """
        failure: UpstreamError | None = None
        untold: GatewayError | None = None
        self._budget.deposit()
        most = bill.plan.model.max_attempts or self._max_attempts
        while (pick := await self._next(exchange, trip)) is not None:
            if failure is not None and not self._budget.withdraw(self._board.clock()):
                log.warning("retry_budget_spent", request_id=exchange.label)
                break
            try:
                bill.sending = sending = await self._prepare(exchange, bill, pick)
            except GatewayError as error:
                if error.kind is not Kind.INVALID or exchange.gone:
                    raise
                untold = untold or error.with_traceback(None)
                trip.skip(pick)
                continue
            failure = await self._attempt(exchange, bill, pick, sending, trip)
            if failure is None:
                return
            if exchange.committed or not failure.retryable or bill.attempts >= most:
                break
        raise failure or untold or trip.refusal(bill.plan.model.name)

    async def _next(self, exchange: Exchange, trip: Trip) -> Pick | None:
        """The next attempt's choice; waits a while where all that could be chosen is busy, or asked for a short pause."""
        pick = trip.next()
        until = self._board.clock() + self._room_patience
        if pick is not None or not (trip.waits_for_room or trip.opens_at < until):
            return pick
        exchange.allow(self._room_patience + LEDGER_PATIENCE, Interrupt.FIRST_BYTE_TIMEOUT)
        try:
            while pick is None and (trip.waits_for_room or trip.opens_at < until) and self._board.clock() < until:
                await asyncio.sleep(ROOM_LOOK)
                pick = trip.next()
        except asyncio.CancelledError as error:
            raise interrupted(exchange, error) from error
        return pick

    async def _prepare(self, exchange: Exchange, bill: Bill, pick: Pick) -> Sending:
        exchange.allow(self._upstreams.first_byte(pick), Interrupt.FIRST_BYTE_TIMEOUT)
        try:
            return await bill.dispatch.send_to(pick)
        except asyncio.CancelledError as error:
            raise interrupted(exchange, error) from error

    async def _attempt(
        self, exchange: Exchange, bill: Bill, pick: Pick, sending: Sending, trip: Trip
    ) -> UpstreamError | None:
        """None: the client has been answered, if only with the beginning of a stream."""
        board = self._board
        pick.began = board.clock()
        bill.pick = pick
        bill.attempts += 1
        board.begin(pick)
        relay = relay_stream if bill.request.stream else relay_answer
        try:
            await relay(exchange, self._upstreams, pick, bill, sending, partial(board.answered, pick))
        except UpstreamError as error:
            bill.upstream_seconds += board.clock() - pick.began
            failure = redact(error, pick.channel).with_traceback(None)  # which holds this frame, and so the body
            trip.learn(pick, board.failed(pick, failure))
            self._note_failure(exchange, bill, pick, failure)
            return failure
        finally:
            board.end(pick, None if bill.usage is None else bill.usage.input_tokens + bill.usage.output_tokens)
        if bill.broken is not None:
            board.failed(pick, bill.broken)
        elif not exchange.gone:
            board.completed(pick)
        return None

    def _note_failure(self, exchange: Exchange, bill: Bill, pick: Pick, error: UpstreamError) -> None:
        bill.failed.append((pick.channel.name, error.code))
        log.warning(
            "attempt_failed",
            request_id=exchange.label,
            channel=pick.channel.name,
            error=error.code,
            upstream_status=error.upstream_status,
        )
