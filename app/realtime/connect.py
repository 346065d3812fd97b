"""The upstream's half of a session: its handshake, over the next channel where one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from app.catalog.snapshot import Channel, ChannelKey
from app.egress.connector import Connector
from app.errors import UpstreamError, bad_upstream_response
from app.formats.openai_chat.reply import read_error
from app.logs import get_log
from app.realtime.way import SURFACE, Way
from app.relay.attempt import DNS_TTL, MAX_ERROR_BODY, Upstreams, connection_error, read_pause, read_start, redact
from app.relay.exchange import Scope
from app.routing.board import Board, Pick
from app.routing.retry_budget import RetryBudget
from app.routing.trip import Trip

if TYPE_CHECKING:
    WebSocket = aiohttp.ClientWebSocketResponse[bool]

T = TypeVar("T")

log = get_log("relaygate.realtime")

HANDSHAKE = 20.0
"""Seconds at most for an upstream's handshake: clients give up on theirs sooner than on an answer."""

PASSED = (b"openai-beta", b"openai-safety-identifier")
"""The client's headers that go on. Source: openai-python's `resources/beta/realtime`, and OpenAI's guide to safety."""


class RedirectError(Exception):
    """An upstream would have us go elsewhere."""


async def _refuse_redirect(_session: aiohttp.ClientSession, _context: SimpleNamespace, _params: Any) -> None:
    raise RedirectError


def open_session(connect_timeout: float) -> aiohttp.ClientSession:
    """aiohttp follows redirects of a handshake, credentials and all, unless a trace stops it."""
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse_redirect)
    return aiohttp.ClientSession(
        connector=Connector(limit=0, ttl_dns_cache=DNS_TTL),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("user-agent", "accept"),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout),
        trace_configs=[trace],
        trust_env=False,
    )


@dataclass(frozen=True, slots=True)
class Dialed:
    """An open session with an upstream, and after how many attempts."""

    socket: WebSocket
    pick: Pick
    attempts: int


class Dialer:
    """Opens upstream WebSockets, and tells the board what became of each attempt."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        upstreams: Upstreams,
        board: Board,
        *,
        max_attempts: int,
        retry_budget: float,
        max_frame: int,
    ) -> None:
        self._session = session
        self._upstreams = upstreams
        self._board = board
        self._max_attempts = max_attempts
        self._budget = RetryBudget(retry_budget)
        self._max_frame = max_frame

    async def dial(self, way: Way, scope: Scope, query: Mapping[str, str], label: str) -> Dialed:
        """The first channel whose handshake succeeds. The caller ends the pick with the board. Raises as `first` does."""
        return Dialed(*await self.first(way, label, lambda pick: self._attempt(pick, scope, query)))

    async def first(self, way: Way, label: str, attempt: Callable[[Pick], Awaitable[T]]) -> tuple[T, Pick, int]:
        """What the first attempt that doesn't fail has come to, over which channel, and how many there were.

        Raises GatewayError: the last attempt's, or why nothing could be tried.
        """
        board = self._board
        trip = Trip(board, (way.leg,), stream=True, tokens=0)
        failure: UpstreamError | None = None
        self._budget.deposit()
        attempts, most = 0, way.model.max_attempts or self._max_attempts
        while attempts < most and (pick := trip.next()) is not None:
            if failure is not None and not self._budget.withdraw(board.clock()):
                break
            attempts += 1
            pick.began = board.clock()
            board.begin(pick)
            try:
                found = await attempt(pick)
            except BaseException as error:
                board.end(pick, 0)
                if not isinstance(error, UpstreamError):
                    raise
                failure = redact(error, pick.channel).with_traceback(None)
                trip.learn(pick, board.failed(pick, failure))
                log.warning("attempt_failed", request_id=label, channel=pick.channel.name, error=failure.code)
                if not failure.retryable:
                    break
            else:
                board.answered(pick)
                return found, pick, attempts
        raise failure or trip.refusal(way.model.name)

    async def call_with(self, key: ChannelKey, channel: Channel, url: URL, **content: Any) -> aiohttp.ClientResponse:
        """One POST over the same session; the caller closes the response. Raises UpstreamError unless it succeeds."""
        headers = _headers(key, channel, None)
        headers.update(content.pop("headers", {}))
        try:
            async with asyncio.timeout(HANDSHAKE):
                response = await self._session.post(url, headers=headers, allow_redirects=False, **content)
                if 200 <= response.status < 300:
                    return response
                body = await read_start(response.content, MAX_ERROR_BODY)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise connection_error(error) from error
        response.close()
        if response.status < 400:
            raise bad_upstream_response("The upstream answered with a redirect.")
        refusal = read_error(response.status, body)
        refusal.pause = refusal.retry_after = read_pause(response.headers)
        raise refusal

    async def _attempt(self, pick: Pick, scope: Scope, query: Mapping[str, str]) -> WebSocket:
        try:
            async with asyncio.timeout(min(HANDSHAKE, self._upstreams.first_byte(pick))):
                return await self._session.ws_connect(
                    _address(pick, query),
                    headers=_headers(pick.key, pick.channel, scope),
                    max_msg_size=self._max_frame,
                )
        except aiohttp.WSServerHandshakeError as error:
            raise _refusal(error) from None
        except RedirectError:
            raise bad_upstream_response("The upstream answered with a redirect.") from None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise connection_error(error) from error


def _address(pick: Pick, query: Mapping[str, str]) -> URL:
    model = pick.candidate.upstream_model
    url = pick.channel.surfaces[SURFACE].url(model)
    secure = url.scheme in ("https", "wss")
    return url.with_scheme("wss" if secure else "ws").update_query({**query, "model": model})


def _headers(key: ChannelKey, channel: Channel, scope: Scope | None) -> CIMultiDict[str]:
    headers = key.headers.copy()
    headers.popall("content-type", None)
    headers.popall("accept-encoding", None)
    for name, value in () if scope is None else scope["headers"]:
        field = name.decode("latin-1")
        if name in PASSED and field not in channel.fixed_headers:
            headers[field] = value.decode("latin-1")
    return headers


def _refusal(error: aiohttp.WSServerHandshakeError) -> UpstreamError:
    """aiohttp throws the body away."""
    if error.status == 101 or error.status < 400:
        return bad_upstream_response("The upstream's answer is no WebSocket handshake.")
    refusal = read_error(error.status, b"")
    refusal.pause = refusal.retry_after = read_pause(error.headers or {})
    return refusal
