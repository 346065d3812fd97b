"""`/v1/realtime`: the handshake, up to where frames flow, and what is left to do when they don't any more."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from prometheus_client import CollectorRegistry, Gauge

from app.accounts.principals import Principals
from app.catalog.catalog import Catalog
from app.core.ids import new_id, request_label
from app.core.money import NANO_PER_DOLLAR, write_amount
from app.core.usage import Usage
from app.errors import GatewayError, Kind, UpstreamError, invalid_request, unavailable
from app.formats.openai_errors import write_error
from app.ledger.waiting import WaitingRoom
from app.ledger.writer import LedgerWriter
from app.logs import get_log
from app.realtime.calls import Calls
from app.realtime.client_secrets import ClientSecret, ClientSecrets
from app.realtime.closing import FAILED, bug
from app.realtime.connect import Dialed, Dialer, open_session
from app.realtime.events import write_event
from app.realtime.identity import PROTOCOL, Identity, identify
from app.realtime.purse import Bank, Purse
from app.realtime.session import Bounds, Session
from app.realtime.way import FORMAT, Way, find_way
from app.relay.attempt import Upstreams
from app.relay.exchange import LEDGER_PATIENCE, Receive, Scope, Send
from app.relay.kept import KeptAnswers
from app.relay.observe import Metrics
from app.relay.plan import model_not_allowed
from app.routing.board import Board
from app.settings import Settings
from app.wire.websocket import STOPPING

log = get_log("relaygate.realtime")

PATHS = ("/v1/realtime", "/realtime")
MAX_FIELDS = 50


class Visit:
    """One handshake and what comes of it: filled in step by step."""

    __slots__ = ("began", "dialed", "first", "id", "label", "purse", "query", "secret", "way")

    purse: Purse
    way: Way

    def __init__(self, id: UUID) -> None:
        self.id = id
        self.label = request_label(id)
        self.began = time.monotonic()
        self.query: dict[str, str] = {}
        self.secret: ClientSecret | None = None
        self.dialed: Dialed | None = None
        self.first: str | None = None

    @property
    def has_purse(self) -> bool:
        return hasattr(self, "purse")


class Realtime:
    """Serves the sessions of one process."""

    def __init__(
        self,
        settings: Settings,
        principals: Principals,
        catalog: Catalog,
        ledger: LedgerWriter,
        waiting_room: WaitingRoom,
        board: Board,
        metrics: Metrics,
        registry: CollectorRegistry,
        secrets: ClientSecrets,
        kept: KeptAnswers,
    ) -> None:
        self.secrets = secrets
        self._settings = settings
        self._principals = principals
        self._catalog = catalog
        self._board = board
        self._metrics = metrics
        self._bank = Bank(ledger, waiting_room, principals, settings.realtime_slice_tokens, self._note_charge)
        self.calls = Calls(self._bank, catalog, board, kept)
        self._bounds = Bounds(
            settings.realtime_idle_timeout, settings.realtime_max_duration, settings.realtime_ping_interval
        )
        self._open = Gauge(
            "relaygate_realtime_sessions", "Realtime sessions that are open.", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self._dialer: Dialer | None = None
        self._rests: set[asyncio.Task[None]] = set()

    def start(self, upstreams: Upstreams) -> None:
        settings = self._settings
        self._session = open_session(settings.connect_timeout)
        self._dialer = Dialer(
            self._session,
            upstreams,
            self._board,
            max_attempts=settings.max_attempts,
            retry_budget=settings.retry_budget,
            max_frame=settings.realtime_max_frame_bytes,
        )

    @property
    def dialer(self) -> Dialer:
        assert self._dialer is not None, "services aren't started"
        return self._dialer

    async def stop(self) -> None:
        """Every session has been ended by then; their last settlements are with the ledger afterwards."""
        if self._rests:
            await asyncio.wait(set(self._rests), timeout=LEDGER_PATIENCE)
        await self._session.close()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one handshake, and relays until the session ends."""
        await receive()
        visit = Visit(new_id())
        failure: GatewayError | None = None
        session: Session | None = None
        try:
            await self._admit(visit, scope)
            await self._accept(visit, scope, send)
            stop = scope.get("extensions", {}).get(STOPPING) or asyncio.Event()
            assert visit.dialed is not None
            session = Session(receive, send, visit.dialed, visit.way, visit.purse, self._bounds, stop)
            self._open.inc()
            await session.run(visit.first)
        except GatewayError as error:
            failure = error.with_traceback(None)
        except OSError:  # the client has gone before it was answered
            failure = GatewayError(
                Kind.INVALID, "client_closed_request", "The client closed the connection.", status=499
            )
        except Exception:
            log.exception("realtime_bug", request_id=visit.label)
            failure = bug().error
        finally:
            if session is None:
                await self._abandon(visit, failure)
            else:
                self._open.dec()
                await self._end(visit, session)
        if failure is not None and session is None:
            await self._refuse(visit, send, failure)

    # -- the handshake -------------------------------------------------------------------------------------------------

    async def _admit(self, visit: Visit, scope: Scope) -> None:
        """Who it is, for which model, and the first slice of its money. Raises GatewayError."""
        try:
            async with asyncio.timeout(LEDGER_PATIENCE):
                identity = await identify(scope, self._principals, self.secrets, self._settings.trusted_proxies)
                visit.query = _read_query(scope)
                name = model_of(visit.query.pop("model", None), identity)
                visit.way = await find_way(self._catalog, identity.principal, name)
            visit.secret = identity.secret
            purse = Purse(self._bank, identity, visit.way, visit.id)
            async with asyncio.timeout(LEDGER_PATIENCE + self._settings.hold_patience):
                await purse.take()
            visit.purse = purse
        except TimeoutError as error:
            raise unavailable("The gateway can't reach its database.") from error

    async def _accept(self, visit: Visit, scope: Scope, send: Send) -> None:
        """The upstream's handshake, then the client's. Raises GatewayError, and OSError for a client that has gone."""
        visit.dialed = dialed = await self.dialer.dial(visit.way, scope, visit.query, visit.label)
        visit.purse.attempts = dialed.attempts
        visit.purse.start(dialed.pick.candidate)
        visit.first = _first(visit.secret, dialed)
        subprotocol = PROTOCOL if PROTOCOL in (scope.get("subprotocols") or ()) else None
        headers = [(b"x-request-id", visit.label.encode())]
        await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": headers})

    async def _abandon(self, visit: Visit, failure: GatewayError | None) -> None:
        if visit.has_purse:
            visit.purse.release("internal_error" if failure is None else failure.code)
        if visit.dialed is not None:
            await visit.dialed.socket.close()
            self._board.end(visit.dialed.pick, 0)

    async def _refuse(self, visit: Visit, send: Send, error: GatewayError) -> None:
        """The HTTP answer in the place of a WebSocket (ASGI's `websocket.http.response`)."""
        headers = [(b"content-type", b"application/json"), (b"x-request-id", visit.label.encode())]
        if error.kind is Kind.QUOTA:
            headers.append((b"x-should-retry", b"false"))
        elif error.retry_after is not None or error.kind is Kind.RATE_LIMIT:
            headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after or 1))))
        with suppress(OSError):
            await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
            await send({"type": "websocket.http.response.body", "body": write_error(error)})
        self._metrics.requests.labels(FORMAT, str(error.status), error.code[:64]).inc()
        log.info("realtime_refused", request_id=visit.label, status=error.status, error=error.code)

    # -- the end -------------------------------------------------------------------------------------------------------

    async def _end(self, visit: Visit, session: Session) -> None:
        """The money first, behind which nobody waits; then both sides are told."""
        rest = asyncio.create_task(self._close(visit, session))
        self._rests.add(rest)
        rest.add_done_callback(self._rests.discard)
        await asyncio.shield(rest)

    async def _close(self, visit: Visit, session: Session) -> None:
        end, dialed = session.end, visit.dialed
        assert end is not None
        assert dialed is not None
        board, pick = self._board, dialed.pick
        try:
            await session.settle_rest()
            await session.say_farewell()
        finally:
            if end.by == "upstream" and end.code == FAILED:
                board.failed(pick, UpstreamError(Kind.UPSTREAM, "upstream_disconnected", "It closed the session."))
            else:
                board.completed(pick)
            board.end(pick, None)
        code = end.word() or ""
        self._metrics.requests.labels(FORMAT, "101", code).inc()
        log.info(
            "realtime_session",
            request_id=visit.label,
            account_id=visit.purse.principal.account_id,
            model=visit.way.model.name,
            channel=pick.channel.name,
            ended_by=end.by,
            close_code=end.code,
            error=end.word(),
            turns=visit.purse.turns,
            frames_in=session.frames[0],
            frames_out=session.frames[1],
            charged=write_amount(visit.purse.charged),
            ms=int((time.monotonic() - visit.began) * 1000),
        )

    def _note_charge(self, model: str, usage: Usage, charge: int) -> None:
        self._metrics.tokens.labels(model, "input").inc(usage.input_tokens)
        self._metrics.tokens.labels(model, "output").inc(usage.output_tokens)
        self._metrics.charged.labels(model).inc(charge / NANO_PER_DOLLAR)


def _read_query(scope: Scope) -> dict[str, str]:
    """What goes on to the upstream, and `model`. Raises GatewayError 400 for what isn't served."""
    try:
        fields = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise invalid_request("The query has too many fields.") from error
    if "call_id" in fields:
        message = "Calls can't be joined by WebSocket here: their media and events flow past the gateway."
        raise invalid_request(message, "call_id", "call_id_not_supported")
    found = {}
    for name in ("model", "intent"):
        values = fields.get(name, [])
        if len(values) > 1:
            raise invalid_request(f"{name} stands twice in the query.", name)
        if values:
            found[name] = values[0]
    if found.get("intent", "transcription") != "transcription":
        raise invalid_request("intent must be transcription, or be left out.", "intent")
    return found


def model_of(name: str | None, identity: Identity) -> str:
    """The model of the query, or the client secret's; both only if they are the same."""
    bound = None if identity.secret is None else identity.secret.model
    if name is not None and bound is not None and name != bound:
        raise model_not_allowed(name)
    if name is None and bound is None:
        raise invalid_request("Name a model in the query: /v1/realtime?model=...", "model", "missing_model")
    return name or bound or ""


def _first(secret: ClientSecret | None, dialed: Dialed) -> str | None:
    """The session that a client secret was made for, as the upstream's first event."""
    if secret is None or not secret.session:
        return None
    session: dict[str, Any] = {"type": "realtime", **secret.session}
    if "model" in session:
        session["model"] = dialed.pick.candidate.upstream_model
    return write_event({"type": "session.update", "session": session})
