"""`/admin/v1/channels`: the ways to upstreams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Query
from pydantic import ConfigDict, Field
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.admin.channel_fields import (
    ChannelBody,
    ChannelChanges,
    NewChannel,
    ServedModelBody,
    changed_columns,
    new_columns,
    served_models,
    wants_default_costs,
    write_channel,
)
from app.api.admin.guard import CONFLICT, NOT_FOUND, ActorDep, admin_router
from app.api.admin.paging import Page, PageQuery, page_of, read_id_cursor
from app.api.admin.probe import ProbeBody, probe
from app.api.admin.record import record, replaced, with_secrets
from app.api.admin.shapes import Name, PathId, Shape, refused
from app.api.context import ConnectionDep, ServicesDep
from app.catalog import store
from app.catalog.defaults import DefaultPrices
from app.catalog.load import open_channel
from app.catalog.snapshot import Channel
from app.catalog.store import ChannelRow, ServedModel
from app.catalog.vault import Vault
from app.core.wildcards import STAR, fill_in, may_match, read_wildcard
from app.db.tables.routing import outages
from app.providers.base import Provider

router = admin_router("/channels", "channels", "catalog")

MENDING = frozenset({"provider", "base_url", "api_key", "api_keys", "options", "enabled"})
"""Fields after whose change a channel is tried at once, whatever it was out for."""


class ChannelTest(Shape):
    """Which model to try."""

    model: Name | None = Field(None, description="One that the channel serves; absent: its first")

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "gpt-small"}]})


@router.post("", status_code=201, summary="Create a channel", responses=CONFLICT)
async def create_channel(
    body: NewChannel, services: ServicesDep, connection: ConnectionDep, actor: ActorDep
) -> ChannelBody:
    """Serves from the next moment on. The secret is kept encrypted and never returned."""
    columns = new_columns(body, services.providers, services.vault)
    served = await find_served(connection, services.catalog.defaults, body.models, columns)
    shown = write_channel(await store.create_channel(connection, columns, served), services.vault)
    await record(connection, actor, "channels.create", shown.id, None, shown)
    return shown


class ChannelQuery(PageQuery):
    """Which channels are listed."""

    model: Name | None = Field(None, description="Only those that list this model, by its own name")


@router.get("", summary="List channels")
async def list_channels(
    query: Annotated[ChannelQuery, Query()], services: ServicesDep, connection: ConnectionDep
) -> Page[ChannelBody]:
    """In the order in which they were made."""
    after = read_id_cursor(query.cursor) or 0
    found = await store.list_channels(connection, model=query.model, after=after, limit=query.limit + 1)
    return page_of(found, query.limit, lambda row: write_channel(row, services.vault), lambda row: row.id)


@router.get("/{channel_id}", summary="Get a channel", responses=NOT_FOUND)
async def get_channel(channel_id: PathId, services: ServicesDep, connection: ConnectionDep) -> ChannelBody:
    """The channel without its secret."""
    return write_channel(await store.get_channel(connection, channel_id), services.vault)


@router.patch("/{channel_id}", summary="Change a channel", responses={**NOT_FOUND, **CONFLICT})
async def change_channel(
    channel_id: PathId, body: ChannelChanges, services: ServicesDep, connection: ConnectionDep, actor: ActorDep
) -> ChannelBody:
    """Changes the fields that are given; without `api_key` the secret stays. Open requests end where they began."""
    row = await store.get_channel(connection, channel_id)
    columns = changed_columns(body, row, services.providers, services.vault)
    served = None
    if "models" in body.model_fields_set:
        place = {"provider": row.provider, "base_url": row.base_url, **columns}
        served = await find_served(connection, services.catalog.defaults, body.models, place)
    if body.model_fields_set & MENDING:
        await connection.execute(delete(outages).where(outages.c.channel_id == channel_id))
    changed = await store.update_channel(connection, channel_id, columns, served)
    before, after = write_channel(row, services.vault), write_channel(changed, services.vault)
    secrets = replaced(*body.model_fields_set & {"api_key", "api_keys"})
    if before.options == after.options and row.options != changed.options:
        secrets |= replaced("options")
    shown = with_secrets(before, secrets), with_secrets(after, secrets)
    await record(connection, actor, "channels.update", channel_id, *shown)
    return after


@router.delete("/{channel_id}", status_code=204, summary="Delete a channel", responses=NOT_FOUND)
async def delete_channel(channel_id: PathId, services: ServicesDep, connection: ConnectionDep, actor: ActorDep) -> None:
    """Its entries stay."""
    before = write_channel(await store.get_channel(connection, channel_id), services.vault)
    await store.delete_channel(connection, channel_id)
    await record(connection, actor, "channels.delete", channel_id, before)


@router.post("/{channel_id}/test", summary="Test a channel", responses=NOT_FOUND)
async def try_channel(
    channel_id: PathId, services: ServicesDep, actor: ActorDep, body: ChannelTest | None = None
) -> ProbeBody:
    """One short call for real, at most 30 s, charged to nobody here. A fault of the upstream is an answer, not an error."""
    # A connection of its own: the call to the upstream must not keep one from the pool.
    async with services.database.engine.connect() as connection:
        row = await store.get_channel(connection, channel_id)
    served = choose_model(row, None if body is None else body.model)
    channel = open_row(row, services.providers, services.vault)
    answer = await probe(services.upstreams, services.formats, channel, served.model, served.upstream_model)
    async with services.database.engine.begin() as connection:
        # Not what went wrong: those are an upstream's words.
        outcome = answer.model_dump(include={"ok", "status", "model"})
        await record(connection, actor, "channels.test", channel_id, None, outcome)
    return answer


async def find_served(
    connection: AsyncConnection,
    defaults: DefaultPrices,
    models: list[ServedModelBody],
    columns: Mapping[str, Any],
) -> list[ServedModel]:
    """The models of a channel with these columns; what they cost there comes out of the catalogue unless it was given."""
    prices = (await defaults.load(connection)).prices if wants_default_costs(models) else None
    return served_models(models, columns["provider"], columns["base_url"], prices)


def choose_model(row: ChannelRow, model: str | None) -> ServedModel:
    """What to try: the model of this name, or that its star stands for; None: the first whose name upstream is known.

    Raises GatewayError 422 for one that the channel doesn't serve.
    """
    for served in row.models:
        if STAR not in served.upstream_model and model in (None, served.model):
            return served
    if not row.models:
        raise refused("model", "the channel serves none")
    if model is None:
        raise refused("model", f"name one that a {STAR} of the channel stands for")
    patterns = [(wildcard, served) for served in row.models if (wildcard := read_wildcard(served.model)) is not None]
    for wildcard, served in sorted(patterns, key=lambda item: item[0].rank) if may_match(model) else ():
        if (star := wildcard.match(model)) is not None:
            return replace(served, model=model, upstream_model=fill_in(served.upstream_model, star))
    raise refused("model", "the channel doesn't serve it")


def open_row(row: ChannelRow, providers: Mapping[str, Provider], vault: Vault) -> Channel:
    """Raises GatewayError 500 when the secret was encrypted with a key that is gone."""
    secret = vault.decrypt(row.secret)
    return open_channel(
        row.id, row.name, providers, row.provider, row.base_url, secret, row.priority, row.weight, row.options
    )
