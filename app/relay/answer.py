"""Relays a whole answer: read within its bound, checked, passed on as it came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

from app.core.money import write_amount
from app.errors import GatewayError, bad_upstream_response
from app.relay.attempt import Upstreams, connection_error, interrupted
from app.relay.bill import Bill
from app.relay.exchange import Exchange, Interrupt
from app.relay.sending import JSON, Sending
from app.relay.translate import dropped_header
from app.routing.board import Pick

PASSED_HEADERS = ("openai-processing-ms", "openai-version")
"""Upstream headers that a client gets. Not among them: the rate limits, which are the operator's; whatever could carry a
key, an organisation or a cookie."""

SHORTEST_SECRET = 16
"""Characters. What servers without keys are given (`ollama`, `EMPTY`) is shorter, and a word that an answer may hold."""


async def relay_answer(
    exchange: Exchange, upstreams: Upstreams, pick: Pick, bill: Bill, sending: Sending, answered: Callable[[], None]
) -> None:
    """One attempt; `answered` is called when there is an answer. Raises UpstreamError before anything was sent to the client,
    or not at all.
    """
    try:
        response = await upstreams.call(exchange, pick, sending)
    except asyncio.CancelledError as error:
        raise _interruption(exchange, bill, error) from error
    await pass_answer(exchange, response, upstreams, pick, bill, sending, answered)


async def pass_answer(
    exchange: Exchange,
    response: aiohttp.ClientResponse,
    upstreams: Upstreams,
    pick: Pick,
    bill: Bill,
    sending: Sending,
    answered: Callable[[], None],
) -> None:
    """The rest of an attempt whose answer has begun. Raises as `relay_answer`."""
    try:
        answer = await _read(response, exchange, upstreams.idle(pick), upstreams.max_answer)
    except asyncio.CancelledError as error:
        raise _interruption(exchange, bill, error) from error
    finally:
        response.release()
    content_type = sending.answer_type(said_type(response))
    if content_type is JSON:
        answer = answer.lstrip()  # DeepSeek sends blank lines while a request queues
    answer = hide_secret(answer, pick.key.secret)
    reply = sending.read_reply(answer)
    if reply.error is not None:
        raise reply.error
    written = await sending.write_answer(answer)
    answered()
    bill.answered = True
    bill.answer = answer
    bill.usage = reply.usage
    if reply.id is not None and bill.request.kept and not sending.converted:
        bill.unfinished_id = None if reply.done else reply.id
        await bill.dispatch.keep(pick, (reply.id, *reply.parts), reply.usage, unfinished=not reply.done)
    exchange.first_byte = asyncio.get_running_loop().time()
    exchange.allow(upstreams.timeouts.write, Interrupt.WRITE_TIMEOUT)
    headers = answer_headers(response, content_type, sending.dropped)
    own_headers(headers, bill, exchange)
    await exchange.answer(200, written, headers)


def said_type(response: aiohttp.ClientResponse) -> str:
    """The content type that the upstream names, in lower case; empty where it names none."""
    return response.headers.get("content-type", "").lower()


def _interruption(exchange: Exchange, bill: Bill, error: asyncio.CancelledError) -> GatewayError:
    reason = interrupted(exchange, error)
    if exchange.gone:  # the upstream has the request and will bill its input
        bill.answered = True
    return reason


def hide_secret(answer: bytes, secret: str) -> bytes:
    """The answer without the key that it was asked for with, should an upstream repeat it."""
    return answer.replace(secret.encode(), b"[redacted]") if len(secret) >= SHORTEST_SECRET else answer


def answer_headers(
    response: aiohttp.ClientResponse, content_type: bytes, dropped: tuple[str, ...]
) -> list[tuple[bytes, bytes]]:
    """The headers of our answer: the content type, what of the upstream's may pass, and what it wasn't told."""
    headers = [(b"content-type", content_type)]
    if dropped:
        headers.append(dropped_header(dropped))
    for name in PASSED_HEADERS:
        value = response.headers.get(name)
        if value is not None:
            headers.append((name.encode(), value.encode("latin-1", "replace")))
    return headers


def own_headers(headers: list[tuple[bytes, bytes]], bill: Bill, exchange: Exchange) -> None:
    """What the gateway itself says of an answer: `x-relaygate-*`. Never a channel's name, address or secret.

    Milliseconds until the answer began (a stream's) or was there: spent waiting for upstreams, and all the rest. The cost, in
    dollars, is known of whole answers alone.
    """
    pick = bill.pick
    if pick is None or not bill.tells:
        return
    waited = bill.upstream_seconds + pick.seconds
    overhead = exchange.seconds() - waited
    headers.append((b"x-relaygate-channel", pick.channel.label.encode()))
    headers.append((b"x-relaygate-attempts", b"%d" % bill.attempts))
    headers.append((b"x-relaygate-upstream-ms", b"%d" % (waited * 1000)))
    headers.append((b"x-relaygate-overhead-ms", b"%.1f" % (max(0.0, overhead) * 1000)))
    if bill.usage is not None and bill.tap is None:
        headers.append((b"x-relaygate-cost", write_amount(bill.charge_of(bill.usage)).encode()))
    if pick.model.name != bill.plan.model.name:
        headers.append((b"x-relaygate-model", pick.model.name.encode("ascii", "replace")))


async def _read(response: aiohttp.ClientResponse, exchange: Exchange, idle: float, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        while chunk := await response.content.readany():
            exchange.allow(idle, Interrupt.IDLE_TIMEOUT)
            parts.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                response.close()
                raise bad_upstream_response("The upstream's answer is larger than the gateway allows.")
    except (aiohttp.ClientError, OSError) as error:
        raise connection_error(error) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)
