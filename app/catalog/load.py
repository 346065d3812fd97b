"""Reads the catalogue from the database into a snapshot; a channel or price that can't be used is left out, and logged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any

from multidict import CIMultiDict
from sqlalchemy import RowMapping, select, union
from sqlalchemy.ext.asyncio import AsyncConnection
from yarl import URL

from app.catalog.endpoints import open_endpoints, open_surfaces
from app.catalog.families import read_passes
from app.catalog.prices import FREE, PPM, Price, ceiling, read_price
from app.catalog.snapshot import KEYS_BETWEEN, Candidate, Channel, ChannelKey, Model, Snapshot, family_model
from app.catalog.variants import PriceError
from app.catalog.vault import Vault
from app.core.wildcards import STAR, read_wildcard
from app.db.tables.catalog import aliases, channel_models, channels, model_groups, models, prices
from app.errors import GatewayError
from app.logs import get_log
from app.providers.base import Provider
from app.providers.media import Site

log = get_log("relaygate.catalog")

_SERVED = select(
    channel_models.c.model,
    channel_models.c.channel_id,
    channel_models.c.upstream_model,
    channel_models.c.price_id,
    channel_models.c.cost_id,
)
_Served = Sequence[Any]
"""The columns after the first. Tens of thousands of rows: one by one or as mappings they would take twice as long."""


@dataclass(slots=True)
class Opened:
    """What the last load has read from its rows, by id: most rows are the same in the next one, and needn't be read anew."""

    channels: dict[int, tuple[RowMapping, Channel]] = field(default_factory=dict)
    prices: dict[int, tuple[Any, Price]] = field(default_factory=dict)


async def load_snapshot(
    connection: AsyncConnection, providers: Mapping[str, Provider], vault: Vault, opened: Opened | None = None
) -> Snapshot:
    """Reads the whole catalogue. A channel that can't be used is logged and left out, never a reason to fail all.

    `opened`: of the load before, with the same providers and vault; it is then of this one.
    """
    opened = Opened() if opened is None else opened
    await _load_channels(connection, providers, vault, opened)
    await _load_prices(connection, opened)
    loaded = {id: channel for id, (_, channel) in opened.channels.items()}
    listed = {id: price for id, (_, price) in opened.prices.items()}
    open_ids = {id for id, (row, _) in opened.channels.items() if row["enabled"]}
    served: dict[str, list[_Served]] = {}
    for name, *item in (await connection.execute(_SERVED)).all():
        if item[0] in open_ids:
            served.setdefault(name, []).append(item)
    query = select(models, model_groups.c.ratio).outerjoin(model_groups, model_groups.c.name == models.c.model_group)
    known: dict[str, Model] = {}
    for row in (await connection.execute(query)).mappings():
        known[row["name"]] = _open_model(row, served.get(row["name"], ()), loaded, listed)
        await asyncio.sleep(0)  # hundreds of models with dozens of channels take a tenth of a second: streams go on
    for row in (await connection.execute(select(aliases))).mappings():
        model = known[row["model"]]
        if model.pattern is None or STAR in row["alias"]:  # else nothing would say what the model's star stands for
            known.setdefault(row["alias"], model)
    wildcards = [(wildcard, known.pop(name)) for name in list(known) if (wildcard := read_wildcard(name)) is not None]
    wildcards.sort(key=lambda item: item[0].rank)
    return Snapshot(known, loaded, wildcards, families=_families(loaded[id] for id in sorted(open_ids)))


def _families(channels: Iterable[Channel]) -> dict[str, Model]:
    """What these channels pass on, as models that have no row."""
    found: dict[str, list[Candidate]] = {}
    for channel in channels:
        for family, price in channel.passes.items():
            found.setdefault(family, []).append(Candidate(channel, family, price, None, None, None))
    return {family: family_model(family, candidates) for family, candidates in found.items()}


async def _load_channels(
    connection: AsyncConnection, providers: Mapping[str, Provider], vault: Vault, opened: Opened
) -> None:
    """Those that can be used, disabled ones too."""
    found: dict[int, tuple[RowMapping, Channel]] = {}
    for row in (await connection.execute(select(channels))).mappings():
        known = opened.channels.get(row["id"])
        try:
            if known is None or known[0] != row:
                known = row, open_channel(
                    row["id"], row["name"], providers, row["provider"], row["base_url"], vault.decrypt(row["secret"]),
                    row["priority"], row["weight"], row["options"],
                )  # fmt: skip
            found[row["id"]] = known
        except (GatewayError, KeyError, ValueError) as error:
            log.error("channel_unusable", channel=row["name"], error=str(error))
    opened.channels = found


async def _load_prices(connection: AsyncConnection, opened: Opened) -> None:
    """Every price that is in use. One that can't be read is logged and left out: nothing is served at it."""
    used = union(select(models.c.price_id), select(channel_models.c.price_id), select(channel_models.c.cost_id))
    found: dict[int, tuple[Any, Price]] = {}
    for row in (await connection.execute(select(prices).where(prices.c.id.in_(used)))).mappings():
        known = opened.prices.get(row["id"])
        try:
            if known is None or known[0] != row["body"]:
                known = row["body"], read_price(row["body"])
            found[row["id"]] = known
        except PriceError as error:
            log.error("price_unreadable", price_id=row["id"], model=row["model"], error=str(error))
    opened.prices = found


def _open_model(
    row: RowMapping, served: Iterable[_Served], loaded: Mapping[int, Channel], listed: Mapping[int, Price]
) -> Model:
    price = FREE if row["free"] else listed.get(row["price_id"])
    options: Mapping[str, Any] = row["options"]
    candidates: list[Candidate] = []
    for channel_id, upstream_model, price_id, cost_id in served:
        own = None if row["free"] else price_id
        paid = price if own is None else listed.get(own)
        if paid is not None:
            paid_id = row["price_id"] if own is None else own
            cost = listed.get(cost_id)
            candidates.append(Candidate(loaded[channel_id], upstream_model, paid, paid_id, cost, cost_id))
    candidates.sort(key=lambda candidate: (-candidate.channel.priority, candidate.channel.id))
    return Model(
        name=row["name"],
        kind=row["kind"],
        created=int(row["created_at"].timestamp()),
        context_window=row["context_window"],
        max_output_tokens=row["max_output_tokens"],
        task_timeout=row["task_timeout"],
        price=price,
        price_id=row["price_id"],
        dearest=ceiling(candidate.price for candidate in candidates) if candidates else price,
        group_ppm=PPM if row["ratio"] is None else int(row["ratio"] * PPM),
        candidates=tuple(candidates),
        fallbacks=tuple(options.get("fallbacks", ())),
        first_byte_timeout=options.get("first_byte_timeout"),
        idle_timeout=options.get("idle_timeout"),
        max_attempts=options.get("max_attempts"),
        lacks=frozenset(options.get("lacks", ())),
        pattern=None if read_wildcard(row["name"]) is None else row["name"],
    )


def open_channel(
    id: int,
    name: str,
    providers: Mapping[str, Provider],
    provider_name: str,
    base_url: str,
    secret: str,
    priority: int,
    weight: int,
    options: Mapping[str, Any],
) -> Channel:
    """A channel ready to be called. `secret` holds its keys, one a line.

    Raises KeyError for an unknown provider, ValueError for a URL that can't be one.
    """
    provider = providers[provider_name]
    base = read_base_url(base_url)
    extra = _texts(options.get("headers"))
    keys = tuple(
        ChannelKey(number, key, _headers(provider, key, extra)) for number, key in enumerate(secret.split(KEYS_BETWEEN))
    )
    timeouts = {
        field: float(value)
        for field in ("connect_timeout", "first_byte_timeout", "idle_timeout")
        if isinstance(value := options.get(field), int | float)
    }
    wanted, query = options.get("formats"), _texts(options.get("query"))
    endpoints = open_endpoints(provider, base, query, wanted if isinstance(wanted, Sequence) and wanted else None)
    site = Site(str(base).rstrip("/"), MappingProxyType(dict(options)))
    fixed = frozenset(field.lower() for field in extra)
    return Channel(
        id,
        name,
        provider,
        endpoints,
        keys[0].headers,
        fixed,
        keys[0].secret,
        priority,
        weight,
        site,
        timeouts.get("connect_timeout"),
        timeouts.get("first_byte_timeout"),
        timeouts.get("idle_timeout"),
        keys=keys,
        concurrency=options.get("concurrency"),
        rpm=options.get("rpm"),
        tpm=options.get("tpm"),
        label=options.get("class") or provider.name,
        lacks=frozenset(options.get("lacks", ())),
        surfaces=open_surfaces(provider, base, query),
        passes=read_passes(provider, options),
    )


def _headers(provider: Provider, key: str, extra: Mapping[str, str]) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict({**provider.headers, **provider.sign(key)})
    headers["content-type"] = "application/json"
    # Streams are relayed as they come: a compressed one would have to be unpacked before it could be read.
    headers["accept-encoding"] = "identity"
    headers.update(extra)
    return headers


def _texts(value: object) -> dict[str, str]:
    return {str(name): str(text) for name, text in value.items()} if isinstance(value, Mapping) else {}


def read_base_url(base_url: str) -> URL:
    """An absolute http(s) URL without credentials, query or fragment. Raises ValueError."""
    try:
        url = URL(base_url)
        host = url.host
    except ValueError as error:
        raise ValueError(f"base_url: not a URL ({error})") from error
    if url.scheme not in ("http", "https") or not host:
        raise ValueError("base_url: must be an absolute http:// or https:// URL")
    if url.user is not None or url.password is not None:
        raise ValueError("base_url: must not hold credentials; they go into api_key")
    if url.query_string or url.fragment:
        raise ValueError("base_url: must not hold a query or a fragment")
    if host.replace(".", "").isdigit():
        ip_address(host)
    return url
