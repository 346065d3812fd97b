"""The detour of the relay that makes videos: one task a request, told of as it goes on, billed by itself alone."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from app.accounts.principals import Principal
from app.catalog.catalog import Catalog
from app.catalog.snapshot import Model, Snapshot
from app.core.media import KIND_BY_SCOPE, Scope, Status
from app.errors import GatewayError, Kind
from app.formats.base import Format, Request
from app.logs import get_log
from app.media.chat.cues import FAMILY, is_of_family
from app.media.chat.reply import ALIVE, Reply, open_reply
from app.media.chat.request import name_place, read_wanted
from app.media.chat.words import Teller, failure_of, tell_success
from app.media.live import LiveTasks
from app.media.task import Source, Task
from app.media.view import View
from app.relay.exchange import Exchange
from app.relay.sending import JSON
from app.relay.stream import EVENT_STREAM

log = get_log("relaygate.media")

FORMAT = "openai_chat"
LARGE_BODY = 1 << 18
"""Bytes above which a request is read in a thread: pictures in base64 take their time."""


class ChatVideo:
    """See `app.relay.pipeline.Detour`."""

    def __init__(self, catalog: Catalog, tasks: LiveTasks, view: View) -> None:
        self._catalog = catalog
        self._tasks = tasks
        self._view = view

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
                await self._tasks.write(exchange, format.write_stream_error(error, request.framing), more=False)
            raise

    async def _submit(self, exchange: Exchange, principal: Principal, request: Request) -> Task:
        large = len(request.body) > LARGE_BODY
        wanted = await asyncio.to_thread(read_wanted, request) if large else read_wanted(request)
        exact = request.model in self._catalog.snapshot.models
        route = FAMILY if is_of_family(request.model) and not exact else None
        try:
            return await self._tasks.submit(exchange, principal, wanted.job, source=Source.CHAT, route=route)
        except GatewayError as error:
            name_place(error, wanted.places)
            raise

    async def _answer(self, exchange: Exchange, reply: Reply, task: Task) -> None:
        teller = Teller()
        text = ""
        async with aclosing(self._tasks.states(exchange, task)) as states:
            async for state in states:
                text += "" if state is None else self._tell(teller, state)
        await self._tasks.answer(exchange, reply.whole(text), JSON)

    async def _stream(self, exchange: Exchange, reply: Reply, task: Task) -> None:
        await self._tasks.start(exchange, EVENT_STREAM)
        teller = Teller()
        out = reply.first()
        async with aclosing(self._tasks.states(exchange, task)) as states:
            async for state in states:
                if state is not None:
                    text = self._tell(teller, state)
                    out += reply.text(text) if text else b""
                    if state.status.final:
                        break
                await self._tasks.write(exchange, out or ALIVE, more=True)
                out = b""
        await self._tasks.write(exchange, out + reply.end(), more=False)

    def _tell(self, teller: Teller, task: Task) -> str:
        """What a state adds to the answer. Raises GatewayError if it is a failure."""
        if task.status is Status.FAILURE:
            raise failure_of(task)
        if task.status is Status.SUCCESS:
            return teller.tell(task) + tell_success(self._view.output_urls(task))
        return teller.tell(task)
