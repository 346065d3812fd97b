"""Makes the calls that providers of media describe: with the channel's credentials, bounded, and never to another host."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from app.catalog.snapshot import Channel
from app.egress.connector import Connector
from app.errors import Kind, UpstreamError, bad_upstream_response
from app.providers.media import Call, Part, Reply

MAX_REPLY = 192 * 1024 * 1024
"""Bytes of a whole answer: several images of 4K as base64. Videos come as files, which are streamed."""

MAX_REFUSAL = 256 * 1024
"""Bytes of an answer that is an error: as much of it is read as may tell why."""

CALL_TIMEOUT = 60.0
IDLE_TIMEOUT = 60.0
"""Seconds that a result file may stop on its way."""

SLOW_START = 60.0
SLOWEST = 32 * 1024
"""Bytes a second that a result file must come with on average, beyond the first minute: one that drips would keep a place."""

PIECE = 256 * 1024
TOKEN_MARGIN = 60.0
"""Seconds before it runs out in which a token isn't used any more."""


class NotSent(UpstreamError):
    """The upstream was never reached: it has seen nothing of the call."""

    def __init__(self) -> None:
        super().__init__(Kind.UPSTREAM, "upstream_unreachable", "The upstream can't be reached.")


class AnswerLost(UpstreamError):
    """The call went out and no whole answer came: what the upstream did is unknown."""

    def __init__(self) -> None:
        super().__init__(Kind.UPSTREAM, "upstream_lost", "The upstream's answer was lost.")


class Caller:
    """Calls upstreams of media. Two sessions: one keeps its connections, for polling; the other makes a new one for every
    submission, since a kept connection that had died would look like an answer that was lost.
    """

    def __init__(self, connect_timeout: float) -> None:
        self._connect_timeout = connect_timeout
        self._kept: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        self._tokens: dict[int, tuple[str, str, float]] = {}

    def start(self) -> None:
        self._kept = _open_session(Connector(limit=0, ttl_dns_cache=30, keepalive_timeout=15.0))
        self._fresh = _open_session(Connector(limit=0, ttl_dns_cache=30, force_close=True))

    async def close(self) -> None:
        for session in (self._kept, self._fresh):
            if session is not None:
                await session.close()

    async def call(self, channel: Channel, call: Call, *, timeout: float = CALL_TIMEOUT, fresh: bool = False) -> Reply:
        """The whole answer, whatever its status; of an error the beginning. Raises NotSent, AnswerLost (one that is too large
        included), and UpstreamError where the channel can't be called at all.
        """
        seconds = call.timeout or timeout
        try:
            async with asyncio.timeout(seconds), self._open(channel, call, fresh=fresh) as response:
                body = await _read(response)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, headers, body)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSent from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise AnswerLost from error

    @asynccontextmanager
    async def download(self, channel: Channel, call: Call) -> AsyncIterator[tuple[Reply, AsyncIterator[bytes]]]:
        """A result file as it comes: its head (the body of a refusal in it), and its pieces.

        Raises UpstreamError, within the block too.
        """
        try:
            async with self._open(channel, call, fresh=False) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                body = b"" if response.status < 300 else await _read(response)
                yield Reply(response.status, headers, body), steady(response.content.iter_chunked(PIECE))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise AnswerLost from error

    @asynccontextmanager
    async def _open(self, channel: Channel, call: Call, *, fresh: bool) -> AsyncIterator[aiohttp.ClientResponse]:
        session = self._fresh if fresh else self._kept
        assert session is not None, "the caller isn't started"
        url = _url(channel, call)
        headers, body = await self._prepare(channel, call)
        timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=channel.connect_timeout or self._connect_timeout,
            sock_read=call.timeout or IDLE_TIMEOUT,
        )
        async with session.request(
            call.method, url, headers=headers, data=body, allow_redirects=False, timeout=timeout
        ) as response:
            yield response

    async def _prepare(self, channel: Channel, call: Call) -> tuple[CIMultiDict[str], Any]:
        headers = channel.headers.copy()
        headers.popall("content-type", None)
        if channel.provider.token is not None:
            headers.update(channel.provider.sign(await self._token(channel)))
        headers.update(call.headers)
        if call.form is not None:
            return headers, _form(call.form)
        if call.json is None:
            return headers, None
        headers["content-type"] = "application/json"
        return headers, orjson.dumps(call.json)

    async def _token(self, channel: Channel) -> str:
        """What the channel's secret was traded for, as long as it is good."""
        source, now = channel.provider.token, time.monotonic()
        assert source is not None
        known = self._tokens.get(channel.id)
        if known is not None and known[0] == channel.secret and now < known[2]:
            return known[1]
        try:
            call = source.exchange(channel.secret, time.time())
        except ValueError as error:
            raise UpstreamError(Kind.UPSTREAM, "upstream_error", "The channel's key can't be used.") from error
        reply = await self._exchange(call)
        token, seconds = source.read(reply)
        self._tokens[channel.id] = (channel.secret, token, now + seconds - TOKEN_MARGIN)
        return token

    async def _exchange(self, call: Call) -> Reply:
        assert self._kept is not None
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT, sock_connect=self._connect_timeout)
        body: Any = None if call.json is None else orjson.dumps(call.json)
        if call.urlencoded is not None:
            body = dict(call.urlencoded)
        try:
            async with self._kept.request(
                call.method, call.path, data=body, headers=call.headers, allow_redirects=False, timeout=timeout
            ) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, headers, await _read(response))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NotSent from error  # of the call that wants the token, nothing was sent


def same_origin(channel: Channel, url: str) -> bool:
    """Whether a link of an upstream leads to the upstream itself, where its key may go."""
    try:
        return URL(url).origin() == URL(channel.site.base_url).origin()
    except ValueError:
        return False


def _url(channel: Channel, call: Call) -> URL:
    if call.path.startswith(("http://", "https://")):
        if not same_origin(channel, call.path):
            raise bad_upstream_response("The upstream's link leads elsewhere.")
        url = URL(call.path, encoded=True)
        if url.user is not None or url.password is not None:  # the channel's own credentials go with the call
            raise bad_upstream_response("The upstream's link holds credentials.")
    else:
        url = URL(channel.site.base_url + call.path, encoded=True)
    query = channel.site.options.get("query")
    return url.update_query({str(name): str(value) for name, value in query.items()}) if query else url


def _form(parts: tuple[Part, ...]) -> aiohttp.FormData:
    form = aiohttp.FormData(default_to_multipart=True)
    for part in parts:
        value = io.BytesIO(part.value) if isinstance(part.value, bytes) else part.value
        form.add_field(part.name, value, filename=part.filename, content_type=part.content_type)
    return form


async def steady(
    pieces: AsyncIterator[bytes], *, start: float = SLOW_START, slowest: float = SLOWEST
) -> AsyncIterator[bytes]:
    """The pieces as they come. Raises AnswerLost where, after `start` seconds, fewer than `slowest` bytes a second did."""
    began, size = time.monotonic(), 0
    async for piece in pieces:
        size += len(piece)
        if time.monotonic() - began > start + size / slowest:
            raise AnswerLost
        yield piece


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Raises AnswerLost for a success that is too large: whatever it says, the upstream has done something."""
    refused = response.status >= 300
    if not refused and (response.content_length or 0) > MAX_REPLY:
        raise AnswerLost
    parts, size = [], 0
    async for part in response.content.iter_chunked(PIECE):
        parts.append(part)
        size += len(part)
        if refused and size >= MAX_REFUSAL:
            break
        if size > MAX_REPLY:
            raise AnswerLost
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _open_session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("user-agent", "accept"),
        trust_env=False,
    )
