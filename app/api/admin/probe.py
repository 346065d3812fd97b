"""One live call over a channel: what an operator wants to know before customers do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import NoReturn

import aiohttp
from pydantic import ConfigDict, Field

from app.api.admin.channel_options import looks_secret
from app.api.admin.shapes import Shape
from app.catalog.snapshot import Channel
from app.core.conversation import Ask, Message, Text
from app.core.usage import Usage
from app.errors import Kind, UpstreamError, bad_upstream_response
from app.formats.base import Format, Target
from app.relay.attempt import Upstreams, connection_error
from app.relay.exchange import Exchange
from app.relay.exchange import Message as Received
from app.relay.sending import Question

TIMEOUT = 30.0
MAX_ANSWER = 1024 * 1024
MAX_OUTPUT = 16
_PROMPT = "Say OK"
_OUR_HEADERS = frozenset({"content-type", "accept-encoding"})
_SHORTEST_SECRET = 6


class ProbeFault(Shape):
    """What went wrong, with the upstream's secret taken out."""

    code: str
    message: str


class ProbeBody(Shape):
    """How the call went."""

    ok: bool
    status: int | None = Field(description="The upstream's HTTP status; null if it never answered")
    latency_ms: int
    model: str
    error: ProbeFault | None
    usage: dict[str, int] | None = Field(description="As the upstream reported it")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "ok": True,
                    "status": 200,
                    "latency_ms": 412,
                    "model": "gpt-small",
                    "error": None,
                    "usage": {"input_tokens": 9, "output_tokens": 2},
                }
            ]
        }
    )


async def probe(
    upstreams: Upstreams, formats: Mapping[str, Format], channel: Channel, model: str, upstream_model: str
) -> ProbeBody:
    """Asks for a few tokens, as a client's request would be relayed. Never raises on what the upstream does."""
    started = time.monotonic()
    usage: Usage | None = None
    fault: UpstreamError | None = None
    try:
        async with asyncio.timeout(TIMEOUT):
            usage = await _ask(upstreams, formats, channel, upstream_model)
    except TimeoutError:
        fault = UpstreamError(Kind.TIMEOUT, "upstream_timeout", f"The upstream didn't answer within {TIMEOUT:.0f} s.")
    except UpstreamError as error:
        fault = error
    return ProbeBody(
        ok=fault is None,
        status=200 if fault is None else fault.upstream_status,
        latency_ms=int((time.monotonic() - started) * 1000),
        model=model,
        error=None if fault is None else _write_fault(fault, channel),
        usage=None if usage is None else usage.counts(),
    )


async def _ask(
    upstreams: Upstreams, formats: Mapping[str, Format], channel: Channel, upstream_model: str
) -> Usage | None:
    provider = channel.provider
    spoken = next(iter(channel.endpoints), None)
    if spoken is None:
        raise UpstreamError(Kind.UNSUPPORTED, "format_not_spoken", f"Provider {provider.name} has no chat endpoint.")
    format = formats[spoken]
    ask = Ask(format="", model=upstream_model, messages=(Message("user", (Text(_PROMPT),)),))
    target = Target(upstream_model, MAX_OUTPUT, MAX_OUTPUT, provider.cap_field, provider.quirks)
    written = format.write_ask(ask, target)
    url = channel.endpoints[spoken].url(upstream_model, stream=False)
    sending = Question(url, written.body, written.headers, format.read_error)
    exchange = Exchange({}, _no_client, _no_client)
    response = await upstreams.call_with(exchange, channel, channel.keys[0], sending, TIMEOUT)
    try:
        reply = format.read_reply((await _read(response)).lstrip(), provider.quirks)
    finally:
        response.close()
    if reply.error is not None:
        raise reply.error
    return reply.usage


async def _read(response: aiohttp.ClientResponse) -> bytes:
    answer = b""
    try:
        while chunk := await response.content.readany():
            answer += chunk
            if len(answer) > MAX_ANSWER:
                raise bad_upstream_response("The upstream's answer is too large for so short a question.")
    except (aiohttp.ClientError, OSError) as error:
        raise connection_error(error) from error
    return answer


async def _no_client(*_message: Received) -> NoReturn:
    raise AssertionError("a probe has no client")


def _write_fault(fault: UpstreamError, channel: Channel) -> ProbeFault:
    code = "upstream_error" if _hide(fault.code, channel) != fault.code else fault.code
    return ProbeFault(code=code, message=_hide(fault.message, channel))


def _hide(text: str, channel: Channel) -> str:
    """An upstream may repeat what it was sent: the key, or a credential among the channel's own headers and query."""
    for secret in sorted(_secrets(channel), key=len, reverse=True):
        text = text.replace(secret, "[redacted]")
    return text


def _secrets(channel: Channel) -> Iterable[str]:
    found = {channel.secret}
    for name, value in channel.headers.items():
        if name.lower() not in _OUR_HEADERS and looks_secret(name):
            found |= {value, value.rpartition(" ")[2]}
    query = channel.site.options.get("query", {})
    found |= {value for name, value in query.items() if looks_secret(name)}
    return {secret for secret in found if len(secret) >= _SHORTEST_SECRET}
