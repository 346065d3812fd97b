"""Counts what a request would feed a model, free of charge: an upstream of the client's format does it, else an estimate."""

from __future__ import annotations

import asyncio

import aiohttp

from app.errors import UpstreamError
from app.formats.base import Format, Request
from app.relay.attempt import Upstreams, connection_error, interrupted, read_start, redact
from app.relay.exchange import Exchange, Interrupt
from app.relay.plan import Plan
from app.relay.sending import JSON, Question
from app.relay.translate import passed_headers
from app.routing.board import Board, Pick
from app.routing.trip import Trip

MAX_COUNT_ANSWER = 64 * 1024
MOST_ESTIMATES = 2
"""Estimates of one process at a time: they cost nobody anything, and must not keep the tokenizer from what does."""


class Counter:
    """Serves the formats' count endpoints."""

    def __init__(self, upstreams: Upstreams, board: Board) -> None:
        self._upstreams = upstreams
        self._board = board
        self._estimates = asyncio.Semaphore(MOST_ESTIMATES)

    async def serve(self, format: Format, exchange: Exchange, request: Request, plan: Plan) -> None:
        """Answers with the upstream's count. `x-relaygate-estimated: true` marks our own.

        Raises GatewayError: what an upstream finds wrong with the request; trouble with one is no reason not to answer.
        """
        counted = await self._ask(format, exchange, request, plan)
        if counted is None:
            async with self._estimates:
                tokens = await asyncio.to_thread(_estimate, format, request)
            counted = format.write_count(tokens)
            exchange.extra_headers.append((b"x-relaygate-estimated", b"true"))
        exchange.allow(self._upstreams.timeouts.write, Interrupt.WRITE_TIMEOUT)
        await exchange.answer(200, counted, [(b"content-type", JSON)])

    async def _ask(self, format: Format, exchange: Exchange, request: Request, plan: Plan) -> bytes | None:
        """What the first upstream that can count says."""
        trip = Trip(self._board, plan.legs, stream=False, tokens=0, pin=plan.pin)
        while (pick := trip.next()) is not None:
            endpoint = pick.channel.endpoints.get(format.name)
            if endpoint is None or endpoint.count is None:
                trip.skip(pick)
                continue
            try:
                return await self._call(format, exchange, request, pick)
            except UpstreamError as error:
                redact(error, pick.channel)
                if not error.retryable:
                    raise
                # Of no consequence for its health: an endpoint that counts may fail where the one that answers doesn't.
                trip.skip(pick)
        return None

    async def _call(self, format: Format, exchange: Exchange, request: Request, pick: Pick) -> bytes:
        channel, candidate = pick.channel, pick.candidate
        url = channel.endpoints[format.name].count_url(candidate.upstream_model)
        assert url is not None
        body = format.write_request(
            request, model=candidate.upstream_model, output_cap=None, cap_field=channel.provider.cap_field
        )
        question = Question(url, body, passed_headers(format, exchange, channel), format.read_error)
        try:
            response = await self._upstreams.call(exchange, pick, question)
            try:
                return await read_start(response.content, MAX_COUNT_ANSWER)
            finally:
                response.close()
        except asyncio.CancelledError as error:
            raise interrupted(exchange, error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise connection_error(error) from error


def _estimate(format: Format, request: Request) -> int:
    return format.read_prompt(request.body).count()
