"""The request path, top to bottom: authenticate → read → plan → admit → attempt, failing over → stream → settle."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from app.accounts.principals import Principal, Principals
from app.catalog.catalog import Catalog
from app.catalog.snapshot import Model, Snapshot
from app.errors import Blame, GatewayError, Kind
from app.formats.base import Dialect, Format, Request
from app.ledger.waiting import WaitingRoom
from app.logs import get_log
from app.relay.admit import Admission, admit
from app.relay.attempt import Upstreams, interrupted
from app.relay.authenticate import authenticate
from app.relay.background import Background
from app.relay.bill import Bill, Cashier
from app.relay.body import read_body
from app.relay.chain import take_chain
from app.relay.count import Counter
from app.relay.exchange import LEDGER_PATIENCE, Exchange, Interrupt, Receive, Scope, Send, interruption_error
from app.relay.failover import Failover
from app.relay.ground import Grounds
from app.relay.inline import Fetch
from app.relay.kept import KeptAnswers
from app.relay.length import bound_input, within_context
from app.relay.observe import Observer
from app.relay.plan import Plan, make_plan
from app.relay.translate import Conversation
from app.relay.vision import check_pictures
from app.relay.watch import Watch
from app.routing.board import Board
from app.routing.retry_budget import RetryBudget
from app.routing.sticky import stickiness_of
from app.routing.trip import Trip
from app.settings import Settings

log = get_log("relaygate.relay")

SLOW_BODY = 0.5
"""Seconds to read a body after which it is asked once more whose key it is: a revoked key is dead within one."""


Admit = Callable[[Exchange], Awaitable[tuple[Bill, Trip] | None]]
"""Takes a request in: what it may cost is held, and which channels may answer it is known. None: it has been answered."""


class Detour(Protocol):
    """Serves requests for models of other kinds than chat, with money of its own: there is no bill for them."""

    def find(self, snapshot: Snapshot, name: str) -> Model | None:
        """What a name means that isn't in the catalogue itself."""

    async def serve(
        self, format: Format, exchange: Exchange, principal: Principal, request: Request, model: Model
    ) -> None:
        """Answers. Raises GatewayError; once an answer has begun, only after it has ended that itself."""


class Relay:
    """Serves requests of one process. Holds no state of a request: that is in Exchange and Bill."""

    def __init__(
        self,
        settings: Settings,
        principals: Principals,
        catalog: Catalog,
        waiting_room: WaitingRoom,
        cashier: Cashier,
        upstreams: Upstreams,
        watch: Watch,
        observer: Observer,
        formats: Mapping[str, Format],
        kept: KeptAnswers,
        grounds: Grounds,
        background: Background,
        fetch: Fetch,
        board: Board,
    ) -> None:
        self.principals = principals
        self.watch = watch
        self.detour: Detour | None = None
        self._settings = settings
        self._catalog = catalog
        self._waiting_room = waiting_room
        self._cashier = cashier
        self._board = board
        self._failover = Failover(
            upstreams,
            board,
            RetryBudget(settings.retry_budget),
            max_attempts=settings.max_attempts,
            room_patience=settings.channel_patience,
        )
        self._observer = observer
        self._formats = formats
        self._kept = kept
        self._grounds = grounds
        self._background = background
        self._fetch = fetch
        self._counter = Counter(upstreams, board)

    async def serve(self, format: Format, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one chat request, errors included, in the client's format."""
        await self.run(format, Exchange(scope, receive, send), partial(self._admit, format))

    async def run(self, dialect: Dialect, exchange: Exchange, admit: Admit) -> None:
        """Admits one request, and has it answered and paid for; whatever goes wrong is told in the client's dialect."""
        if dialect.request_id_header is not None:
            exchange.extra_headers.append((dialect.request_id_header, exchange.label.encode()))
        self.watch.open.add(exchange)
        bill: Bill | None = None
        failure: GatewayError | None = None
        try:
            admitted = await admit(exchange)
            if admitted is not None:
                bill, trip = admitted
                if exchange.waited:
                    await self._check_again(exchange)
                await self._failover.deliver(exchange, bill, trip)
        except GatewayError as error:
            failure = error.with_traceback(None)  # else it and this frame keep each other, and the body, alive
        except asyncio.CancelledError as error:
            if bill is not None:
                bill.error = "gateway_stopped"  # what it is unless the watch gives another reason
            failure = interrupted(exchange, error)
        except Exception:
            log.exception("relay_bug", request_id=exchange.label)
            failure = GatewayError(Kind.INTERNAL, "internal_error", "The gateway failed.", blame=Blame.GATEWAY)
        finally:
            self.watch.open.discard(exchange)
            exchange.close()
            if bill is not None:
                if failure is not None:
                    bill.error = failure.code
                self._close(bill, exchange)
        if failure is not None:
            framing = None if bill is None or not bill.request.stream else bill.request.framing
            await send_error(exchange, dialect, failure, framing)
        self._observer.record(exchange, dialect.name, bill, failure)

    async def _admit(self, format: Format, exchange: Exchange) -> tuple[Bill, Trip] | None:
        """None: the request took the detour, or asked for a count, and has been answered."""
        settings = self._settings
        exchange.allow(LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        principal = await authenticate(exchange.scope, self.principals, settings.trusted_proxies)
        asked = exchange.seconds()
        request, chain, counting = await self._read(format, exchange)
        exchange.allow(LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        if exchange.seconds() - asked > SLOW_BODY:  # the key may have been revoked meanwhile
            principal = await authenticate(exchange.scope, self.principals, settings.trusted_proxies)
        snapshot = await self._catalog.snapshot_for(request.model, self._find)
        model = self._find(snapshot, request.model)
        if model is not None and model.kind != "chat" and self.detour is not None:
            await self.detour.serve(format, exchange, principal, request, model)
            return None
        ground = await self._grounds.find(principal, request)
        plan = make_plan(snapshot, self._board.book, principal, request, format.name, chain=chain, ground=ground)
        if counting:
            await self._counter.serve(format, exchange, request, plan)
            return None
        bound = await bound_input(format, request, plan)
        plan = await within_context(format, request, plan, bound)
        exchange.allow(LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        admission = await admit(
            self._waiting_room,
            principal,
            plan,
            request,
            exchange,
            format=format.name,
            bound=bound,
            default_cap=settings.default_max_output_tokens,
        )
        bill = self._open_bill(format, exchange, principal, request, plan, admission)
        place = None
        if plan.pin is None:
            place = stickiness_of(principal.account_id, request, exchange.scope["headers"])
        trip = Trip(
            self._board, plan.legs, stream=request.stream, tokens=admission.input_tokens, place=place, pin=plan.pin
        )
        return bill, trip

    def _open_bill(
        self,
        format: Format,
        exchange: Exchange,
        principal: Principal,
        request: Request,
        plan: Plan,
        admission: Admission,
    ) -> Bill:
        settings = self._settings
        conversation = Conversation(
            format,
            request,
            exchange,
            self._formats,
            output_cap=admission.output_cap,
            default_cap=settings.default_max_output_tokens,
            remember=partial(self._kept.remember, principal),
            fetch=self._fetch,
        )
        return Bill(
            format,
            request,
            plan,
            admission,
            conversation,
            empty_is_free=not settings.charge_empty_answers,
            tells=settings.answer_headers,
        )

    async def _read(self, format: Format, exchange: Exchange) -> tuple[Request, Sequence[str], bool]:
        """The request, the models that it names as stand-ins, and whether it only asks for a count."""
        settings = self._settings
        body = await read_body(exchange, settings.max_body_bytes, settings.body_timeout)
        exchange.body_read = True
        path, query = exchange.scope["path"], exchange.scope.get("query_string", b"")
        if format.counts(path):
            return format.read_count(body, path, query), (), True
        request, chain = take_chain(format.read_request(body, path, query))
        await check_pictures(request, format.name)
        return request, chain, False

    def _close(self, bill: Bill, exchange: Exchange) -> None:
        """Ends the hold, now or, for an answer that its upstream still works on, when that is done."""
        if bill.unfinished_id is not None and bill.answered:
            self._background.follow(bill, exchange)
        else:
            self._cashier.close(bill, exchange)
            if bill.request.background:
                self._background.finish(bill)

    def _find(self, snapshot: Snapshot, name: str) -> Model | None:
        model = snapshot.models.get(name)
        if model is None and self.detour is not None:
            model = self.detour.find(snapshot, name)
        return snapshot.find(name) if model is None else model

    async def _check_again(self, exchange: Exchange) -> None:
        """After a wait in line: the key may have been revoked meanwhile, and the client may have gone."""
        if exchange.gone:
            raise interruption_error(Interrupt.CLIENT_GONE)
        exchange.allow(LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        await authenticate(exchange.scope, self.principals, self._settings.trusted_proxies)


async def send_error(exchange: Exchange, format: Dialect, error: GatewayError, framing: str | None = None) -> None:
    """An error as a whole answer; nothing, where an answer has been ended already or nobody is there to read it.

    A bug in the middle of a stream ends it with an error frame: cut off, it might pass for whole.
    """
    status = format.status_of(error)
    if exchange.committed or exchange.gone:
        exchange.status = exchange.status or status
        if error.kind is Kind.INTERNAL and framing is not None and exchange.committed and not exchange.gone:
            await exchange.write(format.write_stream_error(error, framing), more=False)
        return
    headers = [(b"content-type", b"application/json")]
    if error.kind is Kind.QUOTA:
        headers.append((b"x-should-retry", b"false"))  # a 429 that no waiting cures; OpenAI's SDKs obey this header
    elif error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after))))
    elif error.kind is Kind.RATE_LIMIT:
        headers.append((b"retry-after", b"1"))
    await exchange.answer(status, format.write_error(error), headers)
