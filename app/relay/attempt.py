"""One call to one upstream, until its answer begins: everything that can go wrong there, as one kind of error."""

from __future__ import annotations

import asyncio
import io

import aiohttp
from yarl import URL

from app.catalog.snapshot import Channel
from app.errors import GatewayError, Kind, UpstreamError, bad_upstream_response
from app.formats.base import Format
from app.relay.exchange import Exchange, Interrupt, interruption_error
from app.relay.translate import Sending

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
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=DNS_TTL, keepalive_timeout=KEEPALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("user-agent", "accept"),
        trust_env=False,
    )


class Upstreams:
    """Calls upstreams over one session."""

    def __init__(self, session: aiohttp.ClientSession, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self._session = session
        self._default = aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect)

    async def call(self, exchange: Exchange, channel: Channel, sending: Sending) -> aiohttp.ClientResponse:
        """Sends the request and waits for the status line. The caller releases the response.

        Raises UpstreamError for whatever isn't a 200, with the upstream's words only where the client is at fault, and
        for a connection that can't be made or breaks.
        """
        exchange.allow(channel.first_byte_timeout or self.timeouts.first_byte, Interrupt.FIRST_BYTE_TIMEOUT)
        clock = asyncio.get_running_loop().time
        started = clock()
        timeout = self._default
        if channel.connect_timeout is not None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=channel.connect_timeout)
        try:
            try:
                response = await self._post(channel, sending, timeout)
            except STALE as error:
                if isinstance(error, aiohttp.ClientConnectorError) or clock() - started > STALE_WITHIN:
                    raise
                # An idle connection that the upstream was just closing: the request never got there. Not the channel's
                # fault, and where only one channel serves the model there is no other to turn to.
                response = await self._post(channel, sending, timeout)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise connection_error(error) from error
        if response.status == 200:
            return response
        try:
            raise await self._refusal(response, sending.format)
        finally:
            response.close()

    async def send(self, channel: Channel, method: str, url: URL) -> aiohttp.ClientResponse:
        """A call without a body, about what the upstream keeps. The caller closes the response.

        Raises aiohttp.ClientError and OSError for what breaks.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.timeouts.connect, sock_read=LOOK_UP)
        return await self._session.request(method, url, headers=channel.headers, timeout=timeout, allow_redirects=False)

    async def look_up(self, channel: Channel, url: URL) -> tuple[int, bytes]:
        """One GET that reads what the upstream keeps: status 200 or 404, and the body.

        Raises UpstreamError for any other status, aiohttp.ClientError and OSError for what breaks.
        """
        async with await self.send(channel, "GET", url) as response:
            body = await read_start(response.content, MAX_LOOK_UP)
            if response.status not in (200, 404):
                raise bad_upstream_response(f"The upstream answered {response.status}.")
            return response.status, body

    async def _post(self, channel: Channel, sending: Sending, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        body, headers = sending.body, channel.headers
        if sending.headers:
            headers = headers.copy()
            headers.update(sending.headers)
        return await self._session.post(
            sending.url,
            # From a file: aiohttp hands a large bytes object to the socket in one go, which stalls the loop.
            data=io.BytesIO(body) if len(body) > LARGE_BODY else body,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
        )

    async def _refusal(self, response: aiohttp.ClientResponse, format: Format) -> UpstreamError:
        if 300 <= response.status < 400:
            return bad_upstream_response("The upstream answered with a redirect.")
        try:
            body = await read_start(response.content, MAX_ERROR_BODY)
        except (aiohttp.ClientError, OSError) as error:
            return connection_error(error)
        refusal = format.read_error(response.status, body)
        refusal.retry_after = _retry_after(response.headers.get("retry-after"))
        return refusal


async def read_start(content: aiohttp.StreamReader, most: int) -> bytes:
    """The first `most` bytes; fewer only if there are no more. One read gives what one packet brought."""
    body = b""
    while len(body) < most and (part := await content.read(most - len(body))):
        body += part
    return body


def connection_error(error: BaseException) -> UpstreamError:
    """A transport fault as an UpstreamError; the cause's own words may hold addresses, so clients don't get them."""
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
    return interruption_error(reason)


def redact(error: UpstreamError, channel: Channel) -> UpstreamError:
    """An upstream that repeats its key in an error must not hand it on.

    The message is shortened only here: half a key would pass unseen.
    """
    if channel.secret and channel.secret in error.message:
        error.message = error.message.replace(channel.secret, "[redacted]")
    error.message = error.message[:MAX_MESSAGE]
    for text in (error.code, error.param or ""):
        if channel.secret and channel.secret in text:
            error.code, error.param = "upstream_error", None
    return error


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header; the date form and what SDKs won't wait for (over 120 s) are left out."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= 120 else None
