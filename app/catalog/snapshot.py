"""The catalogue in memory: what routing looks at, replaced as a whole when the database announces a change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any

from multidict import CIMultiDict
from sqlalchemy import RowMapping, select, union
from sqlalchemy.ext.asyncio import AsyncConnection
from yarl import URL

from app.catalog.endpoints import Endpoint, SurfaceEndpoint, open_endpoints, open_surfaces
from app.catalog.prices import FREE, PPM, Price, ceiling, read_price
from app.catalog.variants import PriceError
from app.catalog.vault import Vault
from app.core.wildcards import STAR, Wildcard, fill_in, may_match, read_wildcard
from app.db.tables.catalog import aliases, channel_models, channels, model_groups, models, prices
from app.errors import GatewayError
from app.logs import get_log
from app.providers.base import Provider
from app.providers.media import Site

log = get_log("relaygate.catalog")

KEYS_BETWEEN = "\n"
"""What stands between several keys of a channel: none of them holds a line break."""

MAX_MATCHED = 1_000
"""Names that are remembered to match a wildcard."""


@dataclass(frozen=True, slots=True)
class ChannelKey:
    """One of a channel's keys at its upstream: its place among them, and the headers of a call that is signed with it."""

    number: int
    secret: str
    headers: CIMultiDict[str]


@dataclass(frozen=True, slots=True)
class Channel:
    """One way to an upstream, ready to be called: URLs by format and headers are made once, not for each request.

    `endpoints`: the formats that it speaks, the preferred one first; `surfaces`: what it serves beside chat.
    `fixed_headers`: those that the operator has set, in small letters: no client's header replaces them. `keys`: at least
    one; `secret` and `headers` are those of the first.
    `concurrency`, `rpm` and `tpm` cap what it is given, over all processes. `label`: what clients are told of it. `lacks`:
    what its models can't do there.
    """

    id: int
    name: str
    provider: Provider
    endpoints: Mapping[str, Endpoint]
    headers: CIMultiDict[str]
    fixed_headers: frozenset[str]
    secret: str
    priority: int
    weight: int
    site: Site
    connect_timeout: float | None = None
    first_byte_timeout: float | None = None
    idle_timeout: float | None = None
    keys: tuple[ChannelKey, ...] = ()
    concurrency: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    label: str = ""
    lacks: frozenset[str] = frozenset()
    surfaces: Mapping[str, SurfaceEndpoint] = field(default_factory=dict)

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(key.secret for key in self.keys if key.secret)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A channel that serves a model, under the upstream's name for it.

    `price` is what clients pay when this channel answers, the model's own unless the channel has one. `cost` is what the
    operator pays the vendor; None: unknown. `filled`: the name holds what a client wrote where the operator has a star, so
    there may be no such model.
    """

    channel: Channel
    upstream_model: str
    price: Price
    price_id: int | None
    cost: Price | None
    cost_id: int | None
    filled: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """A model that clients may name. `price` None: it has none of its own; `candidates` are only those that are priced.

    `dearest` is no cheaper than any candidate's price: what a hold assumes. It is `price` itself where no channel has a price
    of its own, and None where nothing is priced: then the model is refused. `group_ppm` is the model group's ratio.
    `task_timeout`: seconds that a media task of it may take; None: what its kind is given. `fallbacks`: the models that
    answer where it can't. `lacks`: what it can't do (`app.relay.needs`). `pattern`: the wildcard that its name has matched.
    """

    name: str
    kind: str
    created: int
    context_window: int | None
    max_output_tokens: int | None
    task_timeout: int | None
    price: Price | None
    price_id: int | None
    dearest: Price | None
    group_ppm: int
    candidates: tuple[Candidate, ...]
    fallbacks: tuple[str, ...] = ()
    first_byte_timeout: float | None = None
    idle_timeout: float | None = None
    max_attempts: int | None = None
    lacks: frozenset[str] = frozenset()
    pattern: str | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it can be called at all: a channel serves it at a price that is known."""
        return bool(self.candidates)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`models` holds aliases too, pointing at the model they stand for; `wildcards` those with a star, the longest first, and
    `matched` what they have been found to mean. `channels` are all that there are, by id, disabled
    ones too: what was begun over one is ended over it.
    """

    models: Mapping[str, Model]
    channels: Mapping[int, Channel]
    wildcards: Sequence[tuple[Wildcard, Model]] = ()
    matched: dict[str, Model] = field(default_factory=dict, compare=False, repr=False)

    def find(self, name: str) -> Model | None:
        """The model that a client means: by its name or an alias, else by the wildcard with the longest fixed part."""
        model = self.models.get(name)
        if model is None and self.wildcards:
            model = self.matched.get(name) or self._match(name)
        return model

    def _match(self, name: str) -> Model | None:
        if not may_match(name):
            return None
        for wildcard, model in self.wildcards:
            star = wildcard.match(name)
            if star is None:
                continue
            if model.pattern is not None:  # the star of an alias may lead to a model without one
                filled = tuple(
                    replace(
                        candidate,
                        upstream_model=fill_in(candidate.upstream_model, star),
                        filled=STAR in candidate.upstream_model,
                    )
                    for candidate in model.candidates
                )
                model = replace(model, name=fill_in(model.pattern, star), candidates=filled)
            if len(self.matched) >= MAX_MATCHED:
                self.matched.clear()
            self.matched[name] = model
            return model
        return None


EMPTY = Snapshot({}, {})

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
    return Snapshot(known, loaded, wildcards)


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
