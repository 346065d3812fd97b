"""The request path, top to bottom: authenticate → read → plan → admit → attempt, failing over → stream → settle."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from functools import partial
from typing import Protocol

from app.accounts.principals import Principal, Principals
from app.catalog.catalog import Catalog
from app.catalog.snapshot import Candidate, Channel, Model, Snapshot
from app.errors import Blame, GatewayError, Kind, UpstreamError
from app.formats.base import Format, Request
from app.ledger.waiting import WaitingRoom
from app.logs import get_log
from app.relay.admit import admit
from app.relay.answer import relay_answer
from app.relay.attempt import Upstreams, interrupted, redact
from app.relay.authenticate import authenticate
from app.relay.background import Background
from app.relay.bill import Bill, Cashier
from app.relay.body import read_body
from app.relay.count import Counter
from app.relay.exchange import LEDGER_PATIENCE, Exchange, Interrupt, Receive, Scope, Send, interruption_error
from app.relay.inline import Fetch
from app.relay.kept import KeptAnswers
from app.relay.observe import Observer
from app.relay.plan import make_plan
from app.relay.stream import relay_stream
from app.relay.translate import Conversation, Sending
from app.relay.vision import check_pictures
from app.relay.watch import Watch
from app.settings import Settings

log = get_log("relaygate.relay")


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
        background: Background,
        fetch: Fetch,
    ) -> None:
        self.principals = principals
        self.watch = watch
        self.detour: Detour | None = None
        self._settings = settings
        self._catalog = catalog
        self._waiting_room = waiting_room
        self._cashier = cashier
        self._upstreams = upstreams
        self._observer = observer
        self._formats = formats
        self._kept = kept
        self._background = background
        self._fetch = fetch
        self._counter = Counter(upstreams)

    async def serve(self, format: Format, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, errors included, in the client's format."""
        exchange = Exchange(scope, receive, send)
        if format.request_id_header is not None:
            exchange.extra_headers.append((format.request_id_header, exchange.label.encode()))
        self.watch.open.add(exchange)
        bill: Bill | None = None
        failure: GatewayError | None = None
        try:
            bill = await self._admit(format, exchange)
            if bill is not None:
                if exchange.waited:
                    await self._check_again(exchange)
                await self._deliver(exchange, bill)
        except GatewayError as error:
            failure = error
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
            await send_error(exchange, format, failure, framing)
        self._observer.record(exchange, format.name, bill, failure)

    async def _admit(self, format: Format, exchange: Exchange) -> Bill | None:
        """None: the request took the detour, or asked for a count, and has been answered."""
        settings = self._settings
        exchange.allow(LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        principal = await authenticate(exchange.scope, self.principals, settings.trusted_proxies)
        request, counting = await self._read(format, exchange)
        exchange.allow(LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        snapshot = await self._catalog.snapshot_for(request.model, self._find)
        model = self._find(snapshot, request.model)
        if model is not None and model.kind != "chat" and self.detour is not None:
            await self.detour.serve(format, exchange, principal, request, model)
            return None
        ground = await self._kept.ground(principal, request.builds_on) if request.builds_on else None
        plan = make_plan(snapshot, principal, request, format.name, ground)
        if counting:
            await self._counter.serve(format, exchange, request, plan)
            return None
        exchange.allow(LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        admission = await admit(
            self._waiting_room,
            principal,
            plan,
            request,
            exchange,
            format=format.name,
            default_cap=settings.default_max_output_tokens,
        )
        conversation = Conversation(
            format,
            request,
            exchange,
            self._formats,
            output_cap=admission.output_cap,
            default_cap=plan.model.max_output_tokens or settings.default_max_output_tokens,
            remember=partial(self._kept.remember, principal, plan.model),
            fetch=self._fetch,
        )
        return Bill(format, request, plan, admission, conversation)

    async def _read(self, format: Format, exchange: Exchange) -> tuple[Request, bool]:
        """The request, and whether it only asks for a count."""
        settings = self._settings
        body = await read_body(exchange, settings.max_body_bytes, settings.body_timeout)
        exchange.body_read = True
        path, query = exchange.scope["path"], exchange.scope.get("query_string", b"")
        if format.counts(path):
            return format.read_count(body, path, query), True
        request = format.read_request(body, path, query)
        await check_pictures(request, format.name)
        return request, False

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
        return self.detour.find(snapshot, name) if model is None and self.detour is not None else model

    async def _check_again(self, exchange: Exchange) -> None:
        """After a wait in line: the key may have been revoked meanwhile, and the client may have gone."""
        if exchange.gone:
            raise interruption_error(Interrupt.CLIENT_GONE)
        exchange.allow(LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        await authenticate(exchange.scope, self.principals, self._settings.trusted_proxies)

    async def _deliver(self, exchange: Exchange, bill: Bill) -> None:
        """Tries the candidates in order until one begins to answer. Raises the last one's error.

        A candidate whose upstream can't be told all that was asked is passed over; where none can, the first one's reason
        is the answer.
        """
        failure: UpstreamError | None = None
        untold: GatewayError | None = None
        for candidate in bill.plan.candidates:
            channel = candidate.channel
            try:
                bill.sending = sending = await self._prepare(exchange, bill, candidate)
            except GatewayError as error:
                if error.kind is not Kind.INVALID or exchange.gone:
                    raise
                untold = untold or error
                continue
            bill.candidate = candidate
            bill.attempts += 1
            try:
                if bill.request.stream:
                    await relay_stream(exchange, self._upstreams, channel, bill, sending)
                else:
                    limit = self._settings.max_answer_bytes
                    await relay_answer(exchange, self._upstreams, channel, bill, sending, limit)
                return
            except UpstreamError as error:
                failure = redact(error, channel)
                self._note_failure(exchange, bill, channel, failure)
                if exchange.committed or not error.retryable:
                    break
        if failure is not None:
            raise failure
        assert untold is not None
        raise untold

    async def _prepare(self, exchange: Exchange, bill: Bill, candidate: Candidate) -> Sending:
        exchange.allow(self._upstreams.timeouts.first_byte, Interrupt.FIRST_BYTE_TIMEOUT)
        try:
            return await bill.conversation.send_to(candidate)
        except asyncio.CancelledError as error:
            raise interrupted(exchange, error) from error

    def _note_failure(self, exchange: Exchange, bill: Bill, channel: Channel, error: UpstreamError) -> None:
        bill.failed.append((channel.name, error.code))
        log.warning(
            "attempt_failed",
            request_id=exchange.label,
            channel=channel.name,
            error=error.code,
            upstream_status=error.upstream_status,
        )


async def send_error(exchange: Exchange, format: Format, error: GatewayError, framing: str | None = None) -> None:
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
