"""The request path, top to bottom: authenticate → read → plan → admit → attempt, failing over → stream → settle."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from app.accounts.principals import Principal, Principals
from app.catalog.catalog import Catalog
from app.catalog.snapshot import Model, Snapshot
from app.errors import Blame, GatewayError, Kind, UpstreamError
from app.formats.base import Format, Request
from app.ledger.waiting import WaitingRoom
from app.logs import get_log
from app.relay.admit import admit
from app.relay.answer import relay_answer
from app.relay.attempt import Upstreams, interrupted, redact
from app.relay.authenticate import authenticate
from app.relay.bill import Bill, Cashier
from app.relay.body import read_body
from app.relay.exchange import LEDGER_PATIENCE, Exchange, Interrupt, Receive, Scope, Send, interruption_error
from app.relay.observe import Observer
from app.relay.plan import make_plan
from app.relay.stream import relay_stream
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

    async def serve(self, format: Format, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, errors included, in the client's format."""
        exchange = Exchange(scope, receive, send)
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
                self._cashier.close(bill, exchange)
        if failure is not None:
            await send_error(exchange, format, failure)
        self._observer.record(exchange, format.name, bill, failure)

    async def _admit(self, format: Format, exchange: Exchange) -> Bill | None:
        """None: the request took the detour, and has been answered."""
        settings = self._settings
        exchange.allow(LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        principal = await authenticate(exchange.scope, self.principals, settings.trusted_proxies)
        body = await read_body(exchange, settings.max_body_bytes, settings.body_timeout)
        exchange.body_read = True
        request = format.read_request(body)
        exchange.allow(LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        snapshot = self._catalog.snapshot
        model = self._find(snapshot, request.model)
        if model is None or not model.is_ready:  # made, priced or given a channel just now, perhaps
            snapshot = await self._catalog.reloaded()
            model = self._find(snapshot, request.model)
        if model is not None and model.kind != "chat" and self.detour is not None:
            await self.detour.serve(format, exchange, principal, request, model)
            return None
        plan = make_plan(snapshot, principal, request, format.name)
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
        return Bill(format, request, plan, admission)

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
        """Tries the candidates in order until one begins to answer. Raises the last one's error."""
        failure: UpstreamError | None = None
        for candidate in bill.plan.candidates:
            channel = candidate.channel
            body = bill.format.write_request(
                bill.request,
                model=candidate.upstream_model,
                output_cap=bill.admission.output_cap,
                cap_field=channel.provider.cap_field,
            )
            bill.candidate = candidate
            bill.attempts += 1
            try:
                if bill.request.stream:
                    await relay_stream(exchange, self._upstreams, channel, bill, body)
                else:
                    limit = self._settings.max_answer_bytes
                    await relay_answer(exchange, self._upstreams, channel, bill, body, limit)
                return
            except UpstreamError as error:
                failure = redact(error, channel)
                bill.failed.append((channel.name, failure.code))
                log.warning(
                    "attempt_failed",
                    request_id=exchange.label,
                    channel=channel.name,
                    error=error.code,
                    upstream_status=error.upstream_status,
                )
                if exchange.committed or not error.retryable:
                    break
        assert failure is not None
        raise failure


async def send_error(exchange: Exchange, format: Format, error: GatewayError) -> None:
    """An error as a whole answer; nothing, where an answer has begun or nobody is there to read it."""
    if exchange.committed or exchange.gone:
        exchange.status = exchange.status or error.status
        return
    headers = [(b"content-type", b"application/json")]
    if error.kind is Kind.QUOTA:
        headers.append((b"x-should-retry", b"false"))  # a 429 that no waiting cures; OpenAI's SDKs obey this header
    elif error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after))))
    elif error.kind is Kind.RATE_LIMIT:
        headers.append((b"retry-after", b"1"))
    await exchange.answer(error.status, format.write_error(error), headers)
