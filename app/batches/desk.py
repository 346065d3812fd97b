"""Where batches are asked for: their files read and held back until they can be paid, their money held while they run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
from sqlalchemy import insert, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.accounts.principals import Principal
from app.batches.lines import Targets, read_lines, write_lines
from app.catalog.catalog import Catalog
from app.catalog.snapshot import Candidate, Channel, Model, Snapshot
from app.core.usage import Usage
from app.db.engine import DATABASE_ERRORS
from app.db.tables.relay import batches
from app.errors import UpstreamError, bad_upstream_response, invalid_request, unavailable
from app.formats.refusals import load_json
from app.ledger.lasting import LastingAsk, LastingSettlement, Refused, hold, settle, terms_of
from app.ledger.shadow import ShadowRefusals
from app.ledger.wallets import lock_account
from app.relay.attempt import Upstreams, connection_error, interrupted, read_start, redact
from app.relay.exchange import LEDGER_PATIENCE, Exchange, Interrupt
from app.relay.limits import refusal_error
from app.relay.objects.look import keeper_of
from app.relay.objects.paths import ObjectPath
from app.relay.objects.sending import read_object_error, url_of
from app.relay.objects.store import KeptObject, ObjectStore, no_such_object
from app.relay.plan import in_order, may_call, model_not_allowed, model_not_priced, no_channel, unknown_model
from app.relay.sending import JSON, Question
from app.surfaces.form import Form, Part

FORMAT = "openai_batches"
TIER = "batch"
"""The service tier that a batch's price may have amounts of its own for."""

FIRST_LOOK = 0.5
LOST_AFTER = 60.0
"""Seconds, beyond those that an upstream is given to answer, after which a batch that was never heard of is looked for."""

MAX_ANSWER = 1024 * 1024


class BatchDesk:
    """See `app.relay.objects.serve.Batches`."""

    def __init__(
        self,
        engine: AsyncEngine,
        catalog: Catalog,
        upstreams: Upstreams,
        store: ObjectStore,
        shadow: ShadowRefusals,
        targets: Targets,
        folder: Path,
    ) -> None:
        self._engine = engine
        self._catalog = catalog
        self._upstreams = upstreams
        self._store = store
        self._shadow = shadow
        self._targets = targets
        self._folder = folder

    # -- files ---------------------------------------------------------------------------------------------------------

    async def prepare(self, principal: Principal, form: Form) -> tuple[Part, Mapping[str, Any], Sequence[Candidate]]:
        """The file of a form that is meant for a batch, with the upstream's name of its model; what is kept beside it; and
        the channels that it may go to. Raises GatewayError: 400 naming the line, 403, 404, 503.
        """
        files = form.files("file")
        if len(files) != 1:
            raise invalid_request("'file' must be one file.", "file", "missing_required_parameter")
        lines = await asyncio.to_thread(read_lines, files[0], self._targets)
        others = await self._store.are_others(principal.account_id, lines.named)
        if others:
            raise no_such_object(min(others))
        snapshot = await self._catalog.snapshot_for(lines.model)
        model = _model_of(snapshot, principal, lines.model)
        candidates = [each for each in in_order(model.candidates) if _takes(each.channel, lines.wire)]
        if not candidates:
            raise no_channel(lines.model)
        upstream_model = candidates[0].upstream_model
        written = await asyncio.to_thread(write_lines, files[0], upstream_model, self._folder)
        alike = [candidate for candidate in candidates if candidate.upstream_model == upstream_model]
        return written, {"batch": lines.write()}, alike

    # -- batches -------------------------------------------------------------------------------------------------------

    async def create(self, exchange: Exchange, principal: Principal, body: bytes, named: Sequence[KeptObject]) -> None:
        """Answers with the new batch. Raises GatewayError: 400 naming the field, 403, 404, 429 for limits and quota, 503."""
        file, lines, model = self._check(principal, body, named)
        channel = keeper_of(self._catalog.snapshot.channels, "batches", file.pin)
        candidate = next((c for c in model.candidates if c.channel.id == channel.id), None)
        if candidate is None:
            raise no_channel(model.name)
        exchange.allow(LEDGER_PATIENCE, Interrupt.LEDGER_TIMEOUT)
        ask = _make_ask(exchange, principal, model, candidate, lines)
        patience = channel.first_byte_timeout or self._upstreams.timeouts.first_byte
        hold_id = await self._open(ask, file, lines, patience + LOST_AFTER)
        try:
            made = await self._call(exchange, channel, file.channel_key, body, patience)
        except UpstreamError as error:
            if error.upstream_status is not None:  # it has refused: nothing runs
                await self._release(principal.account_id, hold_id, channel.id, error.code)
            else:
                await self._note(principal.account_id, hold_id, None)
            raise redact(error, channel) from None
        except asyncio.CancelledError as error:
            await asyncio.shield(self._note(principal.account_id, hold_id, None))
            raise interrupted(exchange, error) from error
        await self._store.remember(principal, "batches", file.pin, load_json(made))
        await self._note(principal.account_id, hold_id, str(load_json(made)["id"]))
        exchange.allow(self._upstreams.timeouts.write, Interrupt.WRITE_TIMEOUT)
        await exchange.answer(200, made, [(b"content-type", JSON)])

    def _check(
        self, principal: Principal, body: bytes, named: Sequence[KeptObject]
    ) -> tuple[KeptObject, Mapping[str, Any], Model]:
        value = load_json(body)
        wanted = value.get("input_file_id") if isinstance(value, dict) else None
        file = next((kept for kept in named if kept.id == wanted and kept.family == "files"), None)
        if file is None:
            raise invalid_request("'input_file_id' must name a file.", "input_file_id", "missing_required_parameter")
        lines = (file.memo or {}).get("batch")
        if lines is None:
            message = "'input_file_id' must name a file that was uploaded with purpose batch."
            raise invalid_request(message, "input_file_id", "invalid_value")
        if value.get("endpoint") != lines["url"]:
            raise invalid_request(f"'endpoint' must be {lines['url']}, as in the file.", "endpoint", "invalid_value")
        return file, lines, _model_of(self._catalog.snapshot, principal, lines["model"])

    async def _open(self, ask: LastingAsk, file: KeptObject, lines: Mapping[str, Any], seconds: float) -> UUID:
        """Money, and the row that says what for, before the upstream hears of it. Raises GatewayError."""
        try:
            async with self._engine.begin() as connection:
                await lock_account(connection, ask.account_id)
                hold_id = await hold(connection, ask, self._shadow)
                if not isinstance(hold_id, Refused):
                    await connection.execute(_insert(ask, hold_id, file, lines, seconds))
        except DATABASE_ERRORS as error:
            raise unavailable("The gateway can't reach its database.") from error
        if isinstance(hold_id, Refused):
            raise refusal_error(hold_id.refusal, hold_id.standing, "this batch")
        return hold_id

    async def _call(self, exchange: Exchange, channel: Channel, key: int, body: bytes, patience: float) -> bytes:
        question = Question(url_of(channel, ObjectPath("batches"), ()), body, None, read_object_error)
        # Not again, whatever broke: a second batch would run for a day, and nobody would know of it.
        key_of = channel.keys[key]
        response = await self._upstreams.call_with(exchange, channel, key_of, question, patience, again=False)
        try:
            answer = await read_start(response.content, MAX_ANSWER)
        except (aiohttp.ClientError, OSError) as error:
            raise connection_error(error) from error
        finally:
            response.close()
        value = load_json(answer)
        if not isinstance(value, dict) or not isinstance(value.get("id"), str):
            raise bad_upstream_response("The upstream's answer is no batch.")
        return answer

    async def _note(self, account_id: int, hold_id: UUID, batch_id: str | None) -> None:
        """It is looked at soon; without an id it is looked for."""
        await self._execute(
            update(batches)
            .where(batches.c.account_id == account_id, batches.c.hold_id == hold_id)
            .values(batch_id=batch_id, due_at=_in(FIRST_LOOK))
        )

    async def _release(self, account_id: int, hold_id: UUID, channel_id: int, code: str) -> None:
        async with self._engine.begin() as connection:
            await lock_account(connection, account_id)
            await end_row(connection, account_id, hold_id, LastingSettlement(channel_id, None, error=code))

    async def _execute(self, query: Any) -> None:
        try:
            async with self._engine.begin() as connection:
                await connection.execute(query)
        except DATABASE_ERRORS as error:
            raise unavailable("The gateway can't reach its database.") from error


async def end_row(connection: AsyncConnection, account_id: int, hold_id: UUID, settlement: LastingSettlement) -> None:
    """Settles a batch, once, in the caller's transaction, which has locked the account."""
    query = (
        update(batches)
        .where(batches.c.account_id == account_id, batches.c.hold_id == hold_id, batches.c.settled_at.is_(None))
        .values(settled_at=text("now()"))
        .returning(batches.c.hold_id)
    )
    if (await connection.execute(query)).one_or_none() is not None:
        await settle(connection, account_id, hold_id, await terms_of(connection, account_id, hold_id), settlement)


def _in(seconds: float) -> Any:
    """A time of the database's clock."""
    return text("now() + make_interval(secs => :due_in)").bindparams(due_in=seconds)


def _insert(ask: LastingAsk, hold_id: UUID, file: KeptObject, lines: Mapping[str, Any], seconds: float) -> Any:
    return insert(batches).values(
        account_id=ask.account_id,
        hold_id=hold_id,
        key_id=ask.key_id,
        input_file_id=file.id,
        channel_id=file.channel_id,
        channel_key=file.channel_key,
        model=ask.model,
        lines=dict(lines),
        due_at=_in(seconds),
    )


def _make_ask(
    exchange: Exchange, principal: Principal, model: Model, candidate: Candidate, lines: Mapping[str, Any]
) -> LastingAsk:
    most = replace(Usage(**lines["most"]), service_tier=TIER)
    fair = Usage(**lines["fair"])
    return LastingAsk(
        principal.account_id,
        principal.key_id,
        exchange.id,
        # Each request of it may be the dearest of its kind.
        candidate.price.worst_of(most, principal.ratio_ppm, model.group_ppm)
        + candidate.price.cost(Usage(), principal.ratio_ppm, model.group_ppm) * (int(lines["requests"]) - 1),
        model.name,
        FORMAT,
        candidate.price_id,
        principal.ratio_ppm,
        model.group_ppm,
        fair.input_tokens if principal.limited else None,
    )


def _model_of(snapshot: Snapshot, principal: Principal, name: str) -> Model:
    """Raises GatewayError 404, 403, 503."""
    model = snapshot.find(name)
    if model is None:
        raise unknown_model(name)
    if not may_call(principal, name, model):
        raise model_not_allowed(name)
    if model.dearest is None:
        raise model_not_priced(name, model)
    return model


def _takes(channel: Channel, wire: str) -> bool:
    """Whether a channel keeps files and batches, and its upstream answers such requests as they are."""
    if not {"files", "batches"} <= channel.passes.keys():
        return False
    surface = channel.surfaces.get(wire)
    return wire in channel.endpoints or (surface is not None and surface.dialect == "openai")
