"""What goes to an upstream and what comes back of it: the client's own bytes, or their translation into another format."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from yarl import URL

from app.catalog.snapshot import Candidate, Channel
from app.core.conversation import Ask
from app.core.custom_tools import Unwrapper, custom_names, unwrap_answer
from app.core.tokens import count_long_text
from app.core.usage import Usage
from app.errors import UpstreamError
from app.formats.base import Format, Reply, Request, Stamp, Tap, Target
from app.relay.converter import Converter
from app.relay.exchange import Exchange
from app.relay.inline import NO_IMAGE_URLS, Fetch, inline_images
from app.relay.sending import JSON
from app.routing.board import Pick

MAX_DROPPED = 1000
LARGE_BODY = 256 * 1024
"""Bytes above which a request is converted in a thread: it takes milliseconds, which the loop's other requests would wait."""
IMAGE_URL = re.compile(rb'"(?:image_)?url"\s*:\s*"https?:')


@dataclass(frozen=True, slots=True)
class ChatSending:
    """See `app.relay.sending.Sending`. `format` is what the upstream speaks."""

    conversation: Conversation
    format: Format
    channel: Channel
    url: URL
    body: bytes
    headers: Mapping[str, str] | None = None
    converted: bool = False
    dropped: tuple[str, ...] = ()

    @property
    def read_error(self) -> Callable[[int, bytes], UpstreamError]:
        return self.format.read_error

    def answer_type(self, said: str) -> bytes:
        return JSON

    def read_reply(self, answer: bytes) -> Reply:
        return self.format.read_reply(answer, self.channel.provider.quirks)

    async def write_answer(self, answer: bytes) -> bytes:
        return await self.conversation.convert_answer(self, answer) if self.converted else answer

    def stream_type(self, said: str) -> bytes | None:
        return self.conversation.stream_type if "text/event-stream" in said else None

    def comes_whole(self, said: str) -> bool:
        return False

    def open_tap(self) -> Tap:
        return self.conversation.open_tap(self)

    def usage_of(self, tap: Tap) -> Usage | None:
        return tap.usage

    def estimate(self, tap: Tap | None, answer: bytes) -> Usage:
        return self.conversation.estimate(tap, self.format.reply_text(answer) if tap is None else tap.produced_text())


class Conversation:
    """One client request on its way to any of its candidates: read for conversion once, and only if one needs it.

    `remember` is given the model, the channel, its key and the id of an answer that an upstream keeps; `fetch` gets pictures
    for upstreams that fetch none themselves.
    """

    __slots__ = (
        "_ask",
        "_client",
        "_default_cap",
        "_exchange",
        "_fetch",
        "_formats",
        "_least_cap",
        "_output_cap",
        "_remember",
        "request",
        "stamp",
    )

    def __init__(
        self,
        client: Format,
        request: Request,
        exchange: Exchange,
        formats: Mapping[str, Format],
        *,
        output_cap: int | None,
        default_cap: int,
        remember: Callable[..., Awaitable[None]],
        fetch: Fetch,
    ) -> None:
        self.request = request
        self._remember = remember
        self._fetch = fetch
        self.stamp = Stamp(exchange.id.hex, int(time.time()))
        self._client = client
        self._exchange = exchange
        self._formats = formats
        self._output_cap = output_cap
        self._default_cap = self._least_cap = default_cap
        self._ask: Ask | None = None

    @property
    def ask(self) -> Ask:
        """The request in the canonical model; there once a candidate has needed it."""
        assert self._ask is not None, "nothing has been converted"
        return self._ask

    async def send_to(self, pick: Pick) -> ChatSending:
        """The request for one attempt. Raises GatewayError 400 naming a field that its upstream can't be told."""
        candidate, channel = pick.candidate, pick.channel
        self._default_cap = pick.model.max_output_tokens or self._least_cap
        if self._client.name not in channel.endpoints:
            return await self._convert(candidate, self._formats[next(iter(channel.endpoints))])
        if self._has_pictures_to_fetch(channel):
            return await self._convert(candidate, self._client)
        if len(self.request.body) > LARGE_BODY:
            return await asyncio.to_thread(self._pass, candidate)
        return self._pass(candidate)

    def _has_pictures_to_fetch(self, channel: Channel) -> bool:
        return NO_IMAGE_URLS in channel.provider.quirks and IMAGE_URL.search(self.request.body) is not None

    def _pass(self, candidate: Candidate) -> ChatSending:
        channel, client, request = candidate.channel, self._client, self.request
        body = client.write_request(
            request,
            model=candidate.upstream_model,
            output_cap=self._output_cap,
            cap_field=channel.provider.cap_field,
        )
        url = channel.endpoints[client.name].url(candidate.upstream_model, stream=request.stream)
        return ChatSending(self, client, channel, url, body, passed_headers(client, self._exchange, channel))

    async def _convert(self, candidate: Candidate, spoken: Format) -> ChatSending:
        channel, request = candidate.channel, self.request
        # Kept for the next candidate: what was fetched isn't fetched again.
        ask = self._ask = await inline_images(await self._read(), channel.provider.quirks, self._fetch)
        target = Target(
            model=candidate.upstream_model,
            output_cap=self._output_cap,
            default_cap=self._default_cap,
            cap_field=channel.provider.cap_field,
            quirks=channel.provider.quirks,
        )
        large = len(request.body) > LARGE_BODY
        written = await asyncio.to_thread(spoken.write_ask, ask, target) if large else spoken.write_ask(ask, target)
        url = channel.endpoints[spoken.name].url(candidate.upstream_model, stream=request.stream)
        headers = {name: value for name, value in written.headers.items() if name not in channel.fixed_headers}
        converted = spoken is not self._client
        return ChatSending(self, spoken, channel, url, written.body, headers, converted, written.dropped)

    async def _read(self) -> Ask:
        """Raises GatewayError 400 naming a field that can't be converted."""
        if self._ask is None:
            large = len(self.request.body) > LARGE_BODY
            read = self._client.read_ask
            self._ask = await asyncio.to_thread(read, self.request) if large else read(self.request)
        return self._ask

    async def keep(self, pick: Pick, ids: Sequence[str], usage: Usage | None, *, unfinished: bool) -> None:
        """Before the client hears the id of an answer that the upstream keeps: from now on it is known whose it is."""
        tokens = None if usage is None else usage.input_tokens + usage.output_tokens
        await self._remember(pick.model, pick.channel.id, pick.key.number, ids, tokens=tokens, unfinished=unfinished)

    @property
    def stream_type(self) -> bytes:
        return self._client.stream_types[self.request.framing]

    def open_tap(self, sending: ChatSending) -> Tap:
        """What follows the upstream's stream, and makes the client's out of it."""
        quirks = sending.channel.provider.quirks
        if not sending.converted:
            return self._client.open_tap(self.request, quirks)
        writer = self._client.open_writer(self.request, self.ask, self.stamp)
        custom = custom_names(self.ask)
        unwrapper = Unwrapper(custom) if custom else None
        return Converter(sending.format.open_reader(quirks), writer, unwrapper, comments=self._client.comments)

    async def convert_answer(self, sending: ChatSending, answer: bytes) -> bytes:
        """A whole answer in the client's format. Raises UpstreamError for what is no answer."""
        large = len(answer) > LARGE_BODY
        convert = self._convert_answer
        return await asyncio.to_thread(convert, sending, answer) if large else convert(sending, answer)

    def _convert_answer(self, sending: ChatSending, answer: bytes) -> bytes:
        quirks = sending.channel.provider.quirks
        read = unwrap_answer(sending.format.read_answer(answer, quirks), custom_names(self.ask))
        return self._client.write_answer(read, self.request, self.ask, self.stamp)

    def estimate(self, tap: Tap | None, produced: str) -> Usage:
        """Tokens of the text and the images that went in, and of the text that came out."""
        if tap is not None and tap.opening is not None:  # what went in, by the upstream's own count
            return replace(tap.opening, output_tokens=max(count_long_text(produced), tap.opening.output_tokens))
        prompt = self._client.read_prompt(self.request.body)
        return Usage(
            input_tokens=prompt.count(),
            output_tokens=count_long_text(produced),
            input_image_tokens=prompt.image_tokens,
        )


def passed_headers(format: Format, exchange: Exchange, channel: Channel) -> Mapping[str, str] | None:
    """What of a client's headers goes on to an upstream of its own format."""
    names = format.passed_headers
    if not names:
        return None
    found: dict[str, str] = {}
    for name, value in exchange.scope["headers"]:
        if name in names and (known := name.decode()) not in channel.fixed_headers:
            text = value.decode("latin-1")
            found[known] = f"{found[known]},{text}" if known in found else text
    return found or None


def dropped_header(names: tuple[str, ...]) -> tuple[bytes, bytes]:
    """`x-relaygate-dropped`: which advisory fields of a request its upstream wasn't told."""
    # A path may hold a key of the client's own object: nothing but visible ASCII may stand in a header.
    text = "".join(c if " " <= c <= "~" else "?" for c in ", ".join(dict.fromkeys(names)))
    return b"x-relaygate-dropped", text.encode()[:MAX_DROPPED]
