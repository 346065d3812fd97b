"""The request path of objects: whose it is, which channel keeps it. What makes something is charged, a look is free."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import parse_qsl

from app.accounts.principals import Principal, Principals
from app.catalog.catalog import Catalog
from app.catalog.snapshot import Candidate, Model, Snapshot, family_model
from app.errors import GatewayError, Kind, invalid_request
from app.ledger.waiting import WaitingRoom
from app.providers.base import OPENAI_OBJECTS
from app.relay.admit import admit_surface
from app.relay.authenticate import authenticate
from app.relay.bill import Bill
from app.relay.body import read_body
from app.relay.exchange import LEDGER_PATIENCE, Exchange, Interrupt, Receive, Scope, Send
from app.relay.objects.look import Looks, keeper_of
from app.relay.objects.paths import ObjectPath, read_path
from app.relay.objects.references import references_in
from app.relay.objects.sending import ObjectDispatch, ObjectRequest, passed_headers
from app.relay.objects.store import KeptObject, ObjectStore, no_such_object
from app.relay.pipeline import Relay
from app.relay.plan import Plan, no_channel
from app.relay.upload import is_form, read_form
from app.routing.board import Board
from app.routing.tiers import make_tiers
from app.routing.trip import Leg, Pin, Trip
from app.settings import Settings
from app.surfaces.base import NOTHING, OpenAISurface, SurfaceRequest
from app.surfaces.form import Form, FormBody, Part

KNOWN: Mapping[str, None] = MappingProxyType(dict.fromkeys(OPENAI_OBJECTS))
MAX_QUERY = 4000
MAX_BODY = 16 * 1024 * 1024
"""Bytes of JSON about an object, all of which is looked through for ids."""

LARGE = 256 * 1024
"""Bytes of it above which that is done in a thread."""

METHODS = frozenset({"GET", "POST", "DELETE"})
MODEL_HEADER = b"x-relaygate-model"
"""Names a model: what is made belongs where that model is served."""


class Batches(Protocol):
    """Batches, which have money of their own."""

    async def prepare(self, principal: Principal, form: Form) -> tuple[Part, Mapping[str, Any], Sequence[Candidate]]:
        """The file of a form that is meant for a batch as it goes on, what is kept beside it, and where it may go."""

    async def create(self, exchange: Exchange, principal: Principal, body: bytes, named: Sequence[KeptObject]) -> None:
        """Answers with a new batch."""


class FamilyDialect(OpenAISurface):
    """How clients are told of errors; the name stands on entries."""

    def __init__(self, family: str) -> None:
        self.name = f"openai_{family.replace('/', '_')}"


def find_object_path(snapshot: Snapshot, method: str, path: str) -> ObjectPath | None:
    """Whether a path is one of OpenAI's families, or of those that a channel passes on."""
    return read_path(path, {**KNOWN, **snapshot.families}) if method in METHODS else None


class ObjectRelay:
    """Serves the families of one process."""

    def __init__(
        self,
        settings: Settings,
        relay: Relay,
        principals: Principals,
        catalog: Catalog,
        waiting_room: WaitingRoom,
        board: Board,
        store: ObjectStore,
        looks: Looks,
        batches: Batches,
    ) -> None:
        self._settings = settings
        self._relay = relay
        self._principals = principals
        self._catalog = catalog
        self._waiting_room = waiting_room
        self._board = board
        self._store = store
        self._looks = looks
        self._batches = batches

    async def serve(self, path: ObjectPath, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, errors included, as OpenAI would."""
        forms: list[Form] = []
        try:
            admit = partial(self._admit, path, forms)
            await self._relay.run(FamilyDialect(path.family), Exchange(scope, receive, send), admit)
        finally:
            for form in forms:
                form.close()

    async def _admit(self, path: ObjectPath, forms: list[Form], exchange: Exchange) -> tuple[Bill, Trip] | None:
        exchange.allow(LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        principal = await authenticate(exchange.scope, self._principals, self._settings.trusted_proxies)
        query = _read_query(exchange)
        owner = None if path.id is None else await self._store.get(principal.account_id, path.family, path.id)
        if exchange.scope["method"] != "POST":
            await self._looks.serve(exchange, principal, path, owner, query)
            return None
        body, form = await self._read(exchange, forms)
        exchange.allow(LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        large = len(body) > LARGE
        ids = await asyncio.to_thread(references_in, body, form) if large else references_in(body, form)
        named = await self._named(principal, ids, owner)
        if path == ObjectPath("batches"):
            await self._batches.create(exchange, principal, body, named)
            return None
        model, pin = self._find_model(self._catalog.snapshot, path, named, _model_of(exchange))
        memo: Mapping[str, Any] | None = None
        if path == ObjectPath("files") and form is not None and form.text("purpose") == "batch":
            file, memo, candidates = await self._batches.prepare(principal, form)
            form = form.with_file(file)
            forms.append(Form((file,)))
            model = family_model("files", [replace(each, price=each.channel.passes["files"]) for each in candidates])
        request = ObjectRequest(
            path, body if form is None else FormBody(form), passed_headers(exchange.scope["headers"]), query, memo
        )
        return await self._bill(exchange, principal, model, pin, request)

    async def _bill(
        self, exchange: Exchange, principal: Principal, model: Model, pin: Pin | None, request: ObjectRequest
    ) -> tuple[Bill, Trip]:
        plan = Plan(model, (Leg(model, make_tiers(model.candidates, None)),), pin)
        dialect = FamilyDialect(request.path.family)
        asked = SurfaceRequest(model.name, NOTHING, NOTHING)
        admission = await admit_surface(self._waiting_room, principal, plan, asked, exchange, format=dialect.name)
        dispatch = ObjectDispatch(self._store, principal, request)
        bill = Bill(dialect, request, plan, admission, dispatch, tells=self._settings.answer_headers)
        # What an account makes belongs together: a batch can't use a file that lies elsewhere.
        place = None if pin is not None else _place_of(principal.account_id)
        return bill, Trip(self._board, plan.legs, stream=False, tokens=0, place=place, pin=pin)

    async def _read(self, exchange: Exchange, forms: list[Form]) -> tuple[bytes, Form | None]:
        settings = self._settings
        if is_form(exchange):
            folder = settings.data_dir / "uploads"
            form = await read_form(exchange, folder, settings.max_upload_bytes, settings.body_timeout)
            forms.append(form)
            exchange.body_read = True
            return b"", form
        body = await read_body(exchange, min(MAX_BODY, settings.max_body_bytes), settings.body_timeout)
        exchange.body_read = True
        return body, None

    async def _named(self, principal: Principal, ids: Sequence[str], owner: KeptObject | None) -> list[KeptObject]:
        """What a call is about. Raises GatewayError 404 for an id that isn't the account's."""
        found = await self._store.find(principal.account_id, ids)
        missing = set(ids) - {kept.id for kept in found}
        if missing:
            raise no_such_object(min(missing))
        return found if owner is None else [owner, *found]

    def _find_model(
        self, snapshot: Snapshot, path: ObjectPath, named: Sequence[KeptObject], wanted: str | None
    ) -> tuple[Model, Pin | None]:
        """The family's channels: the one that keeps what the call names, else those that serve the model it names."""
        places = {kept.pin for kept in named}
        if len(places) > 1:
            message = "The request names objects that lie at different upstreams."
            raise invalid_request(message, code="objects_apart")
        if places:
            pin = places.pop()
            return family_model(path.family, [_keeper(snapshot, path.family, pin)]), pin
        model = snapshot.families.get(path.family)
        if model is None:
            message = f"No channel passes /v1/{path.family} on."
            raise GatewayError(Kind.NOT_FOUND, "not_found", message)
        if wanted is None:
            return model, None
        served = snapshot.find(wanted)
        ids = set() if served is None else {candidate.channel.id for candidate in served.candidates}
        candidates = [candidate for candidate in model.candidates if candidate.channel.id in ids]
        if not candidates:
            raise no_channel(wanted)
        return family_model(path.family, candidates), None


def _keeper(snapshot: Snapshot, family: str, pin: Pin) -> Candidate:
    """The channel that keeps something, though it may be disabled by now. Raises GatewayError 503."""
    channel = keeper_of(snapshot.channels, family, pin)
    return Candidate(channel, family, channel.passes[family], None, None, None)


def _model_of(exchange: Exchange) -> str | None:
    for name, value in exchange.scope["headers"]:
        if name == MODEL_HEADER:
            return bytes(value).decode("latin-1").strip() or None
    return None


def _read_query(exchange: Exchange) -> list[tuple[str, str]]:
    """Without a key in it. Raises GatewayError 400."""
    raw: bytes = exchange.scope.get("query_string", b"")
    if len(raw) > MAX_QUERY:
        raise invalid_request("The query is too long.")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=100)
    except ValueError as error:
        raise invalid_request("The query can't be read.") from error
    return [(name, value) for name, value in pairs if name != "key"]


def _place_of(account_id: int) -> float:
    digest = hashlib.blake2b(b"objects\0%d" % account_id, digest_size=8).digest()
    return int.from_bytes(digest) / 2.0**64
