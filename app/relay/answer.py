"""Relays a whole answer: read within its bound, checked, passed on as it came."""

from __future__ import annotations

import asyncio

import aiohttp

from app.catalog.snapshot import Channel
from app.errors import bad_upstream_response
from app.relay.attempt import Upstreams, connection_error, interrupted
from app.relay.bill import Bill
from app.relay.exchange import Exchange, Interrupt
from app.relay.translate import Sending, dropped_header

JSON = b"application/json"
PASSED_HEADERS = ("openai-processing-ms", "openai-version")
"""Upstream headers that a client gets. Not among them: the rate limits, which are the operator's; whatever could carry a
key, an organisation or a cookie."""


async def relay_answer(
    exchange: Exchange, upstreams: Upstreams, channel: Channel, bill: Bill, sending: Sending, max_bytes: int
) -> None:
    """One attempt. Raises UpstreamError before anything was sent to the client, or not at all."""
    try:
        response = await upstreams.call(exchange, channel, sending)
        try:
            answer = await _read(response, exchange, channel.idle_timeout or upstreams.timeouts.idle, max_bytes)
        finally:
            response.release()
    except asyncio.CancelledError as error:
        reason = interrupted(exchange, error)
        if exchange.gone:  # the upstream has the request and will bill its input
            bill.answered = True
        raise reason from error
    answer = answer.lstrip()  # DeepSeek sends blank lines while a request queues
    reply = sending.format.read_reply(answer, channel.provider.quirks)
    if reply.error is not None:
        raise reply.error
    written = await bill.conversation.convert_answer(sending, channel, answer) if sending.converted else answer
    bill.answered = True
    bill.answer = answer
    bill.usage = reply.usage
    if reply.id is not None and bill.request.kept and not sending.converted:
        bill.unfinished_id = None if reply.done else reply.id
        await bill.conversation.keep(channel, (reply.id, *reply.parts), reply.usage, unfinished=not reply.done)
    exchange.first_byte = asyncio.get_running_loop().time()
    exchange.allow(upstreams.timeouts.write, Interrupt.WRITE_TIMEOUT)
    await exchange.answer(200, written, answer_headers(response, JSON, sending.dropped))


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
