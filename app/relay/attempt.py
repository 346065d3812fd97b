"""One call to one upstream, until its answer begins: everything that can go wrong there, as one kind of error."""

from __future__ import annotations

import asyncio
import io
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from yarl import URL

from app.catalog.snapshot import Channel, ChannelKey
from app.egress.connector import Connector
from app.errors import GatewayError, Kind, UpstreamError, bad_upstream_response
from app.relay.exchange import Exchange, Interrupt, interruption_error
from app.relay.sending import Outgoing
from app.routing.board import Pick
from app.routing.outages import LONGEST_REQUESTED
from app.routing.trip import probe_timeout

MAX_ERROR_BODY = 64 * 1024
MAX_MESSAGE = 1_000
LARGE_BODY = 1024 * 1024
KEEPALIVE = 15.0
"""Seconds an idle upstream connection is kept: shorter than what common servers keep, so that few die in our hands."""

STALE = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
STALE_WITHIN = 0.25
"""Seconds within which a connection that breaks unanswered is taken for one that was dead already. Later the upstream may
have worked on the request, and a second call would be paid for twice."""

DNS_TTL = 30
LOOK_UP = 30.0
MAX_LOOK_UP = 32 * 1024 * 1024


class Timeouts:
    """Bounds of one process; a channel's own options go before them."""

    __slots__ = ("connect", "first_byte", "idle", "write")

    def __init__(self, *, connect: float, first_byte: float, idle: float, write: float) -> None:
        self.connect = connect
        self.first_byte = first_byte
        self.idle = idle
        self.write = write


def open_session() -> aiohttp.ClientSession:
    """The one client session of a process: no cookies, no redirects, no limit but the clients' own number."""
    return aiohttp.ClientSession(
        connector=Connector(limit=0, ttl_dns_cache=DNS_TTL, keepalive_timeout=KEEPALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("user-agent", "accept"),
        trust_env=False,
    )


class Upstreams:
    """Calls upstreams over one session. `max_answer`: bytes of a whole answer."""

    def __init__(self, session: aiohttp.ClientSession, timeouts: Timeouts, max_answer: int = MAX_LOOK_UP) -> None:
        self.timeouts = timeouts
        self.max_answer = max_answer
        self._session = session
        self._default = aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect)

    def first_byte(self, pick: Pick) -> float:
        """Seconds that this attempt is given to begin to answer: the channel's and the model's own bounds go before the
        gateway's, the shorter one counts.
        """
        own = (pick.channel.first_byte_timeout, pick.model.first_byte_timeout)
        seconds = min((bound for bound in own if bound is not None), default=self.timeouts.first_byte)
        probing = probe_timeout(pick) if pick.bounded else None
        return seconds if probing is None else min(seconds, probing)

    def idle(self, pick: Pick) -> float:
        """Seconds between two reads of its answer, bounded alike."""
        own = (pick.channel.idle_timeout, pick.model.idle_timeout)
        return min((bound for bound in own if bound is not None), default=self.timeouts.idle)

    async def call(self, exchange: Exchange, pick: Pick, sending: Outgoing) -> aiohttp.ClientResponse:
        """`call_with` for an attempt of a client's request."""
        return await self.call_with(exchange, pick.channel, pick.key, sending, self.first_byte(pick))

    async def call_with(
        self,
        exchange: Exchange,
        channel: Channel,
        key: ChannelKey,
        sending: Outgoing,
        first_byte: float,
        *,
        again: bool = True,
    ) -> aiohttp.ClientResponse:
        """Sends the request and waits for the status line, `first_byte` seconds at most. The caller releases the response.
        `again`: once more, where it broke off as idle connections do.

        Raises UpstreamError for whatever isn't a 200, with the upstream's words only where the client is at fault, and
        for a connection that can't be made or breaks.
        """
        exchange.allow(first_byte, Interrupt.FIRST_BYTE_TIMEOUT)
        clock = asyncio.get_running_loop().time
        started = clock()
        timeout = self._default
        if channel.connect_timeout is not None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=channel.connect_timeout)
        try:
            try:
                response = await self._post(key, sending, timeout)
            except STALE as error:
                if isinstance(error, aiohttp.ClientConnectorError) or clock() - started > STALE_WITHIN or not again:
                    raise
                # An idle connection that the upstream was just closing: the request never got there. Not the channel's
                # fault, and where only one channel serves the model there is no other to turn to.
                response = await self._post(key, sending, timeout)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise connection_error(error) from error
        if response.status == 200:
            return response
        try:
            raise await self._refusal(response, sending)
        finally:
            response.close()

    async def send(self, key: ChannelKey, method: str, url: URL) -> aiohttp.ClientResponse:
        """A call without a body, about what the upstream keeps. The caller closes the response.

        Raises aiohttp.ClientError and OSError for what breaks.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.timeouts.connect, sock_read=LOOK_UP)
        return await self._session.request(method, url, headers=key.headers, timeout=timeout, allow_redirects=False)

    async def look_up(self, key: ChannelKey, url: URL) -> tuple[int, bytes]:
        """One GET that reads what the upstream keeps: status 200 or 404, and the body.

        Raises UpstreamError for any other status, aiohttp.ClientError and OSError for what breaks.
        """
        async with await self.send(key, "GET", url) as response:
            body = await read_start(response.content, MAX_LOOK_UP)
            if response.status not in (200, 404):
                raise bad_upstream_response(f"The upstream answered {response.status}.")
            return response.status, body

    async def _post(self, key: ChannelKey, sending: Outgoing, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        body, headers = sending.body, key.headers
        if sending.headers:
            headers = headers.copy()
            headers.update(sending.headers)
        data: Any = body
        if not isinstance(body, bytes):
            headers = headers.copy()
            headers["content-type"], headers["content-length"] = body.content_type, str(body.size)
            data = body.chunks()
        elif len(body) > LARGE_BODY:
            # From a file: aiohttp hands a large bytes object to the socket in one go, which stalls the loop.
            data = io.BytesIO(body)
        return await self._session.post(sending.url, data=data, headers=headers, timeout=timeout, allow_redirects=False)

    async def _refusal(self, response: aiohttp.ClientResponse, sending: Outgoing) -> UpstreamError:
        if 300 <= response.status < 400:
            return bad_upstream_response("The upstream answered with a redirect.")
        try:
            body = await read_start(response.content, MAX_ERROR_BODY)
        except (aiohttp.ClientError, OSError) as error:
            return connection_error(error)
        refusal = sending.read_error(response.status, body)
        refusal.pause = refusal.retry_after = read_pause(response.headers)
        return refusal


async def read_start(content: aiohttp.StreamReader, most: int) -> bytes:
    """The first `most` bytes; fewer only if there are no more. One read gives what one packet brought."""
    body = b""
    while len(body) < most and (part := await content.read(most - len(body))):
        body += part
    return body


def connection_error(error: BaseException) -> UpstreamError:
    """A transport fault as an UpstreamError; the cause's own words may hold addresses, so clients don't get them.

    The cause forgets its traceback: aiohttp keeps it in the response, which its frames keep, and the whole request with it.
    """
    error.with_traceback(None)
    match error:
        case aiohttp.ConnectionTimeoutError() | TimeoutError():
            return UpstreamError(Kind.TIMEOUT, "upstream_timeout", "The upstream couldn't be reached in time.")
        case aiohttp.ClientConnectorError() | ConnectionRefusedError():
            return UpstreamError(Kind.UPSTREAM, "upstream_unreachable", "The upstream can't be reached.")
        case aiohttp.ClientResponseError():
            return bad_upstream_response("The upstream's answer isn't valid HTTP.")
        case _:
            return UpstreamError(Kind.UPSTREAM, "upstream_disconnected", "The upstream closed the connection.")


def interrupted(exchange: Exchange, error: asyncio.CancelledError) -> GatewayError:
    """What an interruption of an await means; raises the cancellation again if it wasn't the watch's."""
    reason = exchange.take_interrupt()
    if reason is None:
        raise error
    error.with_traceback(None)  # whose frames keep the reason that it is the cause of, and the whole request
    return interruption_error(reason)


def redact(error: UpstreamError, channel: Channel) -> UpstreamError:
    """An upstream that repeats its key in an error must not hand it on.

    The message is shortened only here: half a key would pass unseen.
    """
    for secret in channel.secrets:
        error.message = error.message.replace(secret, "[redacted]")
        if secret in error.code or secret in (error.param or ""):
            error.code, error.param = "upstream_error", None
    error.message = error.message[:MAX_MESSAGE]
    return error


def read_pause(headers: Mapping[str, str]) -> float | None:
    """Seconds that an upstream asks to be left alone for: `retry-after-ms` before `retry-after`, in seconds or as a date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) / unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - time.time()
            except (ValueError, OverflowError):
                continue
        if math.isfinite(seconds) and seconds >= 0:
            return min(seconds, LONGEST_REQUESTED)
    return None
