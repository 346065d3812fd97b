"""The detour of the relay that makes videos: one task a request, told of as it goes on, billed by itself alone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.accounts.principals import Principal
from app.catalog.catalog import Catalog
from app.catalog.snapshot import Model, Snapshot
from app.core.media import KIND_BY_SCOPE, Scope, Status
from app.db.engine import DATABASE_ERRORS
from app.egress.client import Egress
from app.errors import GatewayError, Kind, invalid_request, unavailable
from app.formats.base import Format, Request
from app.logs import get_log
from app.media.chat.cues import FAMILY, is_of_family
from app.media.chat.reply import ALIVE, Reply, open_reply
from app.media.chat.request import name_place, read_wanted
from app.media.chat.words import Teller, failure_of, tell_success
from app.media.desk import TaskDesk
from app.media.follow import Follower
from app.media.rules.urls import check_urls
from app.media.task import Source, Task
from app.media.view import View
from app.relay.exchange import LEDGER_PATIENCE, Exchange, Interrupt, interruption_error
from app.relay.sending import JSON
from app.relay.stream import EVENT_STREAM

log = get_log("relaygate.media")

FORMAT = "openai_chat"
KEEP_ALIVE = 12.0
"""Seconds of silence after which a stream shows a sign of life: proxies cut connections that are silent for a minute."""

INPUT_PATIENCE = 60.0
"""Seconds for a submission with pictures: their addresses are looked up, their bytes go into storage."""

GRACE = 300.0
"""Seconds past its deadline within which a task surely is final: after that, no worker runs that could tell."""

LARGE_BODY = 1 << 18
"""Bytes above which a request is read in a thread: pictures in base64 take their time."""

_KEY = re.compile(rb"[!-~](?:[ -~]{0,253}[!-~])?")


class ChatVideo:
    """See `app.relay.pipeline.Detour`."""

    def __init__(
        self, catalog: Catalog, desk: TaskDesk, follower: Follower, view: View, egress: Egress, *, write_timeout: float
    ) -> None:
        self._catalog = catalog
        self._desk = desk
        self._follower = follower
        self._view = view
        self._egress = egress
        self._write_timeout = write_timeout

    def find(self, snapshot: Snapshot, name: str) -> Model | None:
        """A name of the family that isn't in the catalogue stands for the family's model, with its suffixes as wishes."""
        return snapshot.models.get(FAMILY) if is_of_family(name) else None

    async def serve(
        self, format: Format, exchange: Exchange, principal: Principal, request: Request, model: Model
    ) -> None:
        """One task. A client that hangs up gives up on hearing of it, and on nothing else.

        Raises GatewayError: what the desk refuses, what the request got wrong, and for a task that failed 400, 409, 502 or
        504 with its reason.
        """
        if model.kind != KIND_BY_SCOPE[Scope.VIDEOS] or format.name != FORMAT:
            message = f"The model '{request.model[:200]}' can't be called at this endpoint."
            raise GatewayError(Kind.NOT_FOUND, "model_not_found", message, param="model")
        task = await self._submit(exchange, principal, request)
        log.info("chat_video", request_id=exchange.label, task=task.id, account_id=task.account_id, model=task.model)
        exchange.extra_headers.append((b"x-relaygate-task-id", task.id.encode()))
        reply = open_reply(exchange.label, request, task)
        try:
            if request.stream:
                await self._stream(exchange, reply, task)
            else:
                await self._answer(exchange, reply, task)
        except GatewayError as error:
            # Official SDKs would try again by themselves: that were another task, minutes long, with the same fate.
            exchange.extra_headers.append((b"x-should-retry", b"false"))
            if exchange.committed and not exchange.gone:
                await self._write(exchange, format.write_stream_error(error, request.framing), more=False)
            raise

    async def _submit(self, exchange: Exchange, principal: Principal, request: Request) -> Task:
        large = len(request.body) > LARGE_BODY
        wanted = await asyncio.to_thread(read_wanted, request) if large else read_wanted(request)
        job = wanted.job
        exchange.allow(INPUT_PATIENCE if job.images else LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        exact = request.model in self._catalog.snapshot.models
        try:
            await check_urls(self._egress, job)
            return await self._desk.submit(
                principal,
                job,
                source=Source.CHAT,
                request_id=exchange.id,
                route=FAMILY if is_of_family(request.model) and not exact else None,
                idempotency_key=_idempotency_key(exchange),
            )
        except GatewayError as error:
            name_place(error, wanted.places)
            raise
        except DATABASE_ERRORS as error:
            raise unavailable("The gateway can't reach its database.") from error

    async def _answer(self, exchange: Exchange, reply: Reply, task: Task) -> None:
        teller = Teller()
        text = ""
        async with aclosing(self._states(exchange, task)) as states:
            async for state in states:
                text += "" if state is None else self._tell(teller, state)
        exchange.first_byte = asyncio.get_running_loop().time()
        exchange.allow(self._write_timeout, Interrupt.WRITE_TIMEOUT)
        await exchange.answer(200, reply.whole(text), [(b"content-type", JSON)])

    async def _stream(self, exchange: Exchange, reply: Reply, task: Task) -> None:
        exchange.allow(self._write_timeout, Interrupt.WRITE_TIMEOUT)
        exchange.first_byte = asyncio.get_running_loop().time()
        headers = [(b"content-type", EVENT_STREAM), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        await exchange.start(200, headers)
        teller = Teller()
        out = reply.first()
        async with aclosing(self._states(exchange, task)) as states:
            async for state in states:
                if state is not None:
                    text = self._tell(teller, state)
                    out += reply.text(text) if text else b""
                    if state.status.final:
                        break
                await self._write(exchange, out or ALIVE, more=True)
                out = b""
        await self._write(exchange, out + reply.end(), more=False)

    async def _write(self, exchange: Exchange, out: bytes, *, more: bool) -> None:
        exchange.allow(self._write_timeout, Interrupt.WRITE_TIMEOUT)
        await exchange.write(out, more=more)

    def _tell(self, teller: Teller, task: Task) -> str:
        """What a state adds to the answer. Raises GatewayError if it is a failure."""
        if task.status is Status.FAILURE:
            raise failure_of(task)
        if task.status is Status.SUCCESS:
            return teller.tell(task) + tell_success(self._view.output_urls(task))
        return teller.tell(task)

    async def _states(self, exchange: Exchange, task: Task) -> AsyncGenerator[Task | None, None]:
        """The task's states until the final one; None whenever nothing has changed for a while.

        Raises GatewayError 499 once the client is gone, 504 for a task that nobody brings to its end.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + (task.deadline_at - task.created_at).total_seconds() + GRACE
        async with aclosing(self._follower.follow(task)) as following:
            while clock() < until:
                if exchange.gone:  # where the gateway reads on after a hang-up there is nothing to read here
                    raise interruption_error(Interrupt.CLIENT_GONE)
                # Bounded, or a hang-up wouldn't be noticed; longer than any pause below.
                exchange.allow(2 * KEEP_ALIVE, Interrupt.IDLE_TIMEOUT)
                state: Task | None = None
                try:
                    async with asyncio.timeout(KEEP_ALIVE):
                        state = await anext(following)
                except TimeoutError:
                    pass
                except StopAsyncIteration:
                    break
                yield state
                if state is not None and state.status.final:
                    return
        message = f"The task {task.id} isn't finished yet; GET /v2/videos/generations/{task.id} tells how it goes on."
        raise GatewayError(Kind.TIMEOUT, "task_unfinished", message)


def _idempotency_key(exchange: Exchange) -> str | None:
    """Raises GatewayError 400 for a header that stands twice, or isn't 1 to 255 printable ASCII characters."""
    values = [value for name, value in exchange.scope["headers"] if name == b"idempotency-key"]
    if not values:
        return None
    if len(values) > 1 or _KEY.fullmatch(values[0]) is None:
        message = "Idempotency-Key: must stand once, with 1 to 255 printable ASCII characters."
        raise invalid_request(message, "Idempotency-Key")
    key: bytes = values[0]
    return key.decode("ascii")
