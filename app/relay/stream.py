"""Relays a stream: bytes as they come, a tap beside them, and an honest end whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import aiohttp

from app.errors import GatewayError, Kind, UpstreamError, bad_upstream_response
from app.formats.base import Tap
from app.relay.answer import SHORTEST_SECRET, answer_headers, own_headers, pass_answer, said_type
from app.relay.attempt import MAX_ERROR_BODY, Upstreams, connection_error, interrupted, read_start, redact
from app.relay.bill import Bill
from app.relay.exchange import Exchange, Interrupt
from app.relay.sending import Sending
from app.routing.board import Pick

EVENT_STREAM = b"text/event-stream; charset=utf-8"
HOLD_COMMENTS = 2.0
"""Seconds that a stream of nothing but comments (an upstream's queue) is kept from the client: until then another channel
can still take over; after that the client needs a sign of life more."""

END_WAIT = 1.0
"""Seconds that a connection may take to end after the stream's own end mark, to be of use again."""


async def relay_stream(
    exchange: Exchange, upstreams: Upstreams, pick: Pick, bill: Bill, sending: Sending, answered: Callable[[], None]
) -> None:
    """One attempt; `answered` is called when an answer has begun. Raises UpstreamError while nothing was sent; afterwards
    ends the stream itself, errors included: `bill.broken` has them.
    """
    channel, write = pick.channel, upstreams.timeouts.write
    tap = sending.open_tap()
    bill.tap = tap
    whole: aiohttp.ClientResponse | None = None
    try:
        response = await upstreams.call(exchange, pick, sending)
        if sending.comes_whole(said_type(response)):
            whole = response
        else:
            await _relay(exchange, response, upstreams, pick, bill, sending, tap, answered)
    except asyncio.CancelledError as error:
        reason = interrupted(exchange, error)
        if exchange.gone:  # the upstream has the request and will bill its input
            bill.answered = True
        await _break(exchange, bill, reason, write)
    except (aiohttp.ClientError, OSError) as error:
        await _break(exchange, bill, connection_error(error), write)
    except UpstreamError as error:
        await _break(exchange, bill, redact(error, channel), write)
    finally:
        bill.usage = sending.usage_of(tap)
        if bill.request.background and tap.id is not None and tap.usage is None and not sending.converted:
            bill.unfinished_id = tap.id  # the upstream goes on without a listener
    if whole is not None:
        bill.tap = bill.usage = None
        await pass_answer(exchange, whole, upstreams, pick, bill, sending, answered)


async def _relay(
    exchange: Exchange,
    response: aiohttp.ClientResponse,
    upstreams: Upstreams,
    pick: Pick,
    bill: Bill,
    sending: Sending,
    tap: Tap,
    answered: Callable[[], None],
) -> None:
    idle, write, secret = upstreams.idle(pick), upstreams.timeouts.write, pick.key.secret.encode()
    try:
        content_type = await _check_type(response, sending)
        head = await _first_frames(response, exchange, tap)
        exchange.first_byte = asyncio.get_running_loop().time()
        answered()
        keeps = bill.request.kept and not sending.converted
        if keeps:
            await _keep(bill, pick, tap, unfinished=bill.request.background)
        await _start(exchange, response, bill, sending, content_type)
        last = await _pass(exchange, response, tap, head, idle, write, secret)
        if keeps:
            await _keep(bill, pick, tap)
        await _end(exchange, tap, last, write, secret)
        if tap.error is not None:  # which the format's own frame has told the client
            bill.error, bill.broken = tap.error.code, tap.error
    finally:
        bill.answered = exchange.committed and tap.started  # comments alone, a queue's say, are no answer
        await _let_go(response, tap)


async def _first_frames(response: aiohttp.ClientResponse, exchange: Exchange, tap: Tap) -> bytes:
    """The frames up to and with the first that carries data; an error in it can still be hidden by another channel."""
    head = b""
    clock = asyncio.get_running_loop().time
    while not tap.started:
        chunk = await response.content.readany()
        head += tap.feed(chunk) if chunk else tap.end()
        if tap.error is not None:
            raise tap.error
        if not chunk and not tap.started:
            raise bad_upstream_response("The upstream's stream ended before it began.")
        if head and clock() - exchange.started > HOLD_COMMENTS:
            break
    return head


async def _check_type(response: aiohttp.ClientResponse, sending: Sending) -> bytes:
    """The content type of the client's stream. A stream was asked for: JSON instead may be an error with status 200; anything
    else is no answer.
    """
    said = said_type(response)
    content_type = sending.stream_type(said)
    if content_type is not None:
        return content_type
    if "json" in said:
        error = sending.read_reply(await read_start(response.content, MAX_ERROR_BODY)).error
        if error is not None:
            raise error
    raise bad_upstream_response("The upstream didn't answer with a stream of the type that was asked for.")


async def _start(
    exchange: Exchange, response: aiohttp.ClientResponse, bill: Bill, sending: Sending, content_type: bytes
) -> None:
    headers = answer_headers(response, content_type, sending.dropped)
    headers.append((b"cache-control", b"no-cache"))
    headers.append((b"x-accel-buffering", b"no"))  # nginx would gather the stream otherwise
    own_headers(headers, bill, exchange)
    await exchange.start(200, headers)


async def _pass(
    exchange: Exchange,
    response: aiohttp.ClientResponse,
    tap: Tap,
    head: bytes,
    idle: float,
    write: float,
    secret: bytes,
) -> bytes:
    """Until the upstream ends; returns the last frames. Raises UpstreamError for an error in the stream, and for an end that
    came too early. An error that its format tells in a frame of its own ends the stream like any other end.
    """
    read, send, feed = response.content.readany, exchange.send, tap.feed
    hides = len(secret) >= SHORTEST_SECRET
    out = head
    while not tap.ended:
        if out:
            exchange.allow(write, Interrupt.WRITE_TIMEOUT)
            if hides and secret in out:  # an upstream that repeats its key, within what one read brings
                out = out.replace(secret, b"[redacted]")
            await send({"type": "http.response.body", "body": out, "more_body": True})
        if tap.error is not None:
            raise tap.error
        exchange.allow(idle, Interrupt.IDLE_TIMEOUT)
        chunk = await read()
        if chunk:
            out = feed(chunk)
            continue
        out = tap.end()
        if tap.error is None and not tap.complete:
            tap.error = UpstreamError(Kind.UPSTREAM, "upstream_truncated", "The upstream ended its answer too early.")
    return out


async def _keep(bill: Bill, pick: Pick, tap: Tap, *, unfinished: bool = False) -> None:
    if tap.id is not None:
        await bill.dispatch.keep(pick, (tap.id, *tap.parts), tap.usage, unfinished=unfinished)


async def _end(exchange: Exchange, tap: Tap, last: bytes, write: float, secret: bytes) -> None:
    """The last frames. `secret`, which an upstream may repeat in an error, doesn't pass."""
    if tap.error is not None and secret:
        last = last.replace(secret, b"[redacted]")
    exchange.allow(write, Interrupt.WRITE_TIMEOUT)
    await exchange.write(last, more=False)


async def _let_go(response: aiohttp.ClientResponse, tap: Tap) -> None:
    """Gives the connection back after a whole answer; cuts it otherwise: that tells the upstream that nobody listens."""
    if not tap.ended:
        response.close()
        return
    if not response.content.is_eof():  # the last chunk's end may still be on its way
        with suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(END_WAIT):
                while await response.content.readany():
                    pass
    response.release()


async def _break(exchange: Exchange, bill: Bill, error: GatewayError, write: float) -> None:
    """Ends a stream that can't go on: with an error frame once it has begun, else by raising the error."""
    if not exchange.committed:
        raise error
    bill.error = error.code
    if isinstance(error, UpstreamError):
        bill.broken = error.with_traceback(None)
    if exchange.gone:
        return
    frame = bill.format.write_stream_error(error, bill.request.framing)
    if not frame:  # a file: cut off, or it would pass for whole
        exchange.cut()
        return
    exchange.allow(write, Interrupt.WRITE_TIMEOUT)
    await exchange.write(frame, more=False)
