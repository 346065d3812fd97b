"""The request path of what isn't chat: read → plan → admit, and then the same attempts and the same settling as chat's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from yarl import URL

from app.accounts.principals import Principal, Principals
from app.catalog.catalog import Catalog
from app.catalog.prices import TOKENS, Price
from app.catalog.snapshot import Model
from app.core.usage import Usage
from app.errors import GatewayError, Kind, UpstreamError
from app.formats.base import Reply, Tap
from app.ledger.waiting import WaitingRoom
from app.relay.admit import admit_surface
from app.relay.authenticate import authenticate
from app.relay.bill import Bill
from app.relay.body import read_body
from app.relay.exchange import LEDGER_PATIENCE, Exchange, Interrupt, Receive, Scope, Send
from app.relay.ground import Grounds, names_in
from app.relay.objects.references import references_in
from app.relay.pipeline import SLOW_BODY, Relay
from app.relay.plan import make_surface_plan
from app.relay.upload import is_form, read_form
from app.routing.board import Board, Pick
from app.routing.trip import Trip
from app.settings import Settings
from app.surfaces.base import Surface, SurfaceRequest, Wire
from app.surfaces.form import Form, FormBody

LARGE = 256 * 1024
"""Bytes above which a request or an answer is worked on in a thread: it takes milliseconds, which others would wait."""


class TaskDetour(Protocol):
    """Serves a surface by tasks, with money of their own: there is no bill for them."""

    def takes(self, surface: Surface, model: Model) -> bool:
        """Whether this is the only way that the model can answer."""

    async def serve(self, exchange: Exchange, principal: Principal, request: SurfaceRequest) -> None:
        """Answers. Raises GatewayError."""


class SurfaceRelay:
    """Serves the surfaces of one process."""

    def __init__(
        self,
        settings: Settings,
        relay: Relay,
        principals: Principals,
        catalog: Catalog,
        waiting_room: WaitingRoom,
        board: Board,
        grounds: Grounds,
        detour: TaskDetour,
    ) -> None:
        self._settings = settings
        self._relay = relay
        self._principals = principals
        self._catalog = catalog
        self._waiting_room = waiting_room
        self._board = board
        self._grounds = grounds
        self._detour = detour
        self._folder: Path = settings.data_dir / "uploads"

    async def serve(self, surface: Surface, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, errors included, as OpenAI would."""
        forms: list[Form] = []
        try:
            await self._relay.run(surface, Exchange(scope, receive, send), partial(self._admit, surface, forms))
        finally:
            for form in forms:
                form.close()

    async def _admit(self, surface: Surface, forms: list[Form], exchange: Exchange) -> tuple[Bill, Trip] | None:
        """None: the request took the detour, and has been answered."""
        settings = self._settings
        exchange.allow(LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        principal = await authenticate(exchange.scope, self._principals, settings.trusted_proxies)
        asked = exchange.seconds()
        request = await self._read(surface, forms, exchange)
        exchange.allow(LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        if exchange.seconds() - asked > SLOW_BODY:  # the key may have been revoked meanwhile
            principal = await authenticate(exchange.scope, self._principals, settings.trusted_proxies)
        snapshot = await self._catalog.snapshot_for(request.model)
        model = snapshot.find(request.model)
        if model is not None and model.kind in surface.kinds and self._detour.takes(surface, model):
            await self._detour.serve(exchange, principal, request)
            return None
        named = await names_in(request.body) if request.form is None else references_in(b"", request.form)
        pin = await self._grounds.find_named(principal, named)
        plan = make_surface_plan(snapshot, self._board.book, principal, request, surface, pin)
        admission = await admit_surface(
            self._waiting_room, principal, plan, request, exchange, format=f"openai_{surface.name}"
        )
        dispatch = SurfaceDispatch(surface, request)
        bill = Bill(surface, request, plan, admission, dispatch, tells=settings.answer_headers)
        tokens = admission.input_tokens
        return bill, Trip(self._board, plan.legs, stream=request.stream, tokens=tokens, pin=pin)

    async def _read(self, surface: Surface, forms: list[Form], exchange: Exchange) -> SurfaceRequest:
        settings, path = self._settings, exchange.scope["path"]
        if is_form(exchange) and surface.takes_form:
            form = await read_form(exchange, self._folder, settings.max_upload_bytes, settings.body_timeout)
            forms.append(form)
            exchange.body_read = True
            return await asyncio.to_thread(surface.read_form, form, path)
        if not surface.takes_json:
            message = f"{surface.title} takes multipart/form-data."
            raise GatewayError(Kind.UNSUPPORTED, "unsupported_content_type", message, param="content-type")
        body = await read_body(exchange, settings.max_body_bytes, settings.body_timeout)
        exchange.body_read = True
        read: Callable[[bytes, str], SurfaceRequest] = surface.read
        return await asyncio.to_thread(read, body, path) if len(body) > LARGE else read(body, path)


@dataclass(frozen=True, slots=True)
class SurfaceDispatch:
    """See `app.relay.bill.Dispatch`: a request that is no conversation."""

    surface: Surface
    request: SurfaceRequest

    async def send_to(self, pick: Pick) -> SurfaceSending:
        candidate, surface = pick.candidate, self.surface
        endpoint = pick.channel.surfaces[surface.name]
        wire = surface.wires[endpoint.dialect]
        model = candidate.upstream_model
        large = len(self.request.body) > LARGE
        body = await asyncio.to_thread(wire.write, self.request, model) if large else wire.write(self.request, model)
        return SurfaceSending(
            surface,
            self.request,
            wire,
            endpoint.url(model),
            body,
            candidate.price,
            converted=endpoint.dialect != self.request.wire,
            dropped=wire.dropped(self.request),
        )

    async def keep(self, pick: Pick, ids: object, usage: Usage | None, *, unfinished: bool) -> None:
        """No answer of a surface is kept by its upstream."""


@dataclass(slots=True)
class SurfaceSending:
    """See `app.relay.sending.Sending`. `partial`: what the upstream has told, where the price asks for more."""

    surface: Surface
    request: SurfaceRequest
    wire: Wire
    url: URL
    body: bytes | FormBody
    price: Price
    headers: Mapping[str, str] | None = None
    converted: bool = False
    dropped: tuple[str, ...] = ()
    partial: Usage = field(default_factory=Usage)

    @property
    def read_error(self) -> Callable[[int, bytes], UpstreamError]:
        return self.wire.read_error

    def answer_type(self, said: str) -> bytes:
        return self.wire.answer_type(self.request, said)

    def read_reply(self, answer: bytes) -> Reply:
        reply = self.wire.read_reply(self.request, answer)
        return replace(reply, usage=self._completed(reply.usage))

    async def write_answer(self, answer: bytes) -> bytes:
        write = self.wire.write_answer
        large = self.converted and len(answer) > LARGE
        return await asyncio.to_thread(write, self.request, answer) if large else write(self.request, answer)

    def stream_type(self, said: str) -> bytes | None:
        return self.wire.stream_type(self.request, said)

    def comes_whole(self, said: str) -> bool:
        return self.wire.comes_whole(self.request, said)

    def open_tap(self) -> Tap:
        return self.wire.open_tap(self.request)

    def usage_of(self, tap: Tap) -> Usage | None:
        return self._completed(tap.usage)

    def estimate(self, tap: Tap | None, answer: bytes) -> Usage:
        """What was told goes before what is guessed."""
        guess, told = self.surface.estimate(self.request, tap, answer), self.partial
        names = [name for name in _PIECE_COUNTS if getattr(told, name)]
        if told.input_tokens or told.output_tokens:
            names += _TOKEN_COUNTS
        counted = {name: getattr(told, name) for name in names}
        return replace(guess, traits=told.traits, service_tier=told.service_tier, **counted)

    def _completed(self, told: Usage | None) -> Usage | None:
        """What is charged; None: the price asks for counts that nobody has told, so they are estimated."""
        request, usage = self.request, told or Usage()
        # The request's own size and quality count where the answer says nothing of them.
        traits = {**request.most.traits, **usage.traits}
        self.partial = usage = replace(usage, characters=usage.characters or request.told.characters, traits=traits)
        return usage if all(_has(usage, count) for count in self.price.counts()) else None


_TOKEN_COUNTS = [name for name in Usage.__slots__ if name.endswith("_tokens")]
_PIECE_COUNTS = ["images", "videos", "milliseconds", "characters", "search_units"]


def _has(usage: Usage, count: str) -> bool:
    if count == TOKENS:
        return bool(usage.input_tokens or usage.output_tokens)
    return bool(getattr(usage, count))
