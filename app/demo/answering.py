"""How an answer of whatever format leaves: unharmed, or with the faults that its options ask for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.demo.asgi import Headers
from app.demo.exchange import Exchange
from app.demo.faults import JSON, strange_body, strike_early
from app.demo.options import Options
from app.demo.saying import FILLER
from app.demo.streaming import FaultyStream

QUOTA_CODES = ("insufficient_quota", "billing_error", "enforced_spend_limit_reached")


@dataclass(frozen=True, slots=True)
class Fault:
    """An error that was asked for, as a format writes it: the message alone, and the whole answer."""

    message: str
    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Answering:
    """One answer that is ready to go: as a stream or, with the text longer by what is given, as a whole body."""

    options: Options
    credential: str
    stream: FaultyStream | None
    write: Callable[[str], bytes]
    write_fault: Callable[[Options, str], Fault]
    headers: Headers = (JSON,)


async def answer(exchange: Exchange, ready: Answering) -> None:
    """Writes an answer as its options say."""
    options, stream = ready.options, ready.stream
    exchange.alter(options)
    if options.echo_key:
        exchange.add_header(b"x-echo-key", ready.credential)
    if await strike_early(exchange, options, ready.headers if stream is None else stream.headers):
        return
    if options.fails:
        fault = ready.write_fault(options, f" (key: {ready.credential})" if options.echo_key else "")
        strange = strange_body(options, fault.message)
        await exchange.respond(*(strange or (fault.status, fault.headers, fault.body)))
    elif stream is not None:
        await stream.run()
    else:
        body = ready.write("") if options.big is None else fill(ready.write, options.big)
        await send_whole(exchange, options, body, ready.headers)


def retry_headers(options: Options, status: int, quota_codes: Sequence[str] = QUOTA_CODES) -> Headers:
    """The `retry-after` of an error: what was asked for, else a second for a 429 that a second can mend."""
    wait = options.retry_after or ("1" if status == 429 and options.code not in quota_codes else None)
    return () if wait is None else ((b"retry-after", wait.encode("latin-1")),)


def fill(write: Callable[[str], bytes], size: int) -> bytes:
    """A body whose text was lengthened until it has that size; blanks make up for what counts of tokens gained."""
    extra, body = 0, write("")
    for _ in range(4):
        if len(body) == size:
            break
        extra = max(0, extra + size - len(body))
        whole, rest = divmod(extra, len(FILLER))
        body = write(FILLER * whole + FILLER[:rest])
    return body.ljust(size)


async def send_whole(exchange: Exchange, options: Options, body: bytes, headers: Headers = (JSON,)) -> None:
    """Writes a whole body, or half of it, or blank lines before it."""
    status = options.status or 200
    if options.blank_lead:
        await _send_after_blanks(exchange, options, body, headers)
    elif options.cut is not None:
        await exchange.respond_half(status, headers, body)
    elif options.cut_clean is not None:
        await exchange.respond(status, headers, body[: len(body) // 2])
    elif options.stall_chunk is not None:
        await exchange.respond_half(status, headers, body)
        await exchange.stall()
    else:
        exchange.entry.chunks_sent = 1
        await exchange.respond(status, headers, body)


async def _send_after_blanks(exchange: Exchange, options: Options, body: bytes, headers: Headers) -> None:
    await exchange.start(options.status or 200, headers)
    for _ in range(options.blank_lead):
        await exchange.write(b"\n")
        await exchange.pause(options.lead_ms / 1000)
    await exchange.finish(body)
