"""What a channel can be set to: the bodies of its endpoints, and the columns that they become."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from app.api.admin.channel_options import HeaderText, Options, OptionsOut, show_options
from app.api.admin.price_fields import PriceField, PriceOut
from app.api.admin.shapes import MAX_ITEMS, Flag, Name, Pattern, Shape, absent, refuse, refused
from app.catalog.defaults import today
from app.catalog.load import open_channel, read_base_url
from app.catalog.pricelist import Origin, PriceList, find_origin
from app.catalog.prices import write_price
from app.catalog.snapshot import KEYS_BETWEEN
from app.catalog.store import ChannelRow, ServedModel
from app.catalog.tiers import read_offer
from app.catalog.vault import Vault
from app.core.wildcards import STAR
from app.errors import GatewayError
from app.providers.base import Provider

MAX_RANK = 1_000_000
MAX_KEYS = 100


def _compact(value: object) -> object:
    """A key that is a JSON file, as Google's are, in one line."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return orjson.dumps(orjson.loads(value)).decode()
        except orjson.JSONDecodeError:
            refuse("begins like a JSON file, but isn't one")
    return value


def _check_url(value: str) -> str:
    if not value.isprintable() or " " in value:
        refuse("must not hold spaces or control characters")
    try:
        read_base_url(value)
    except ValueError as error:
        refuse(str(error).removeprefix("base_url: "))
    return value


def _check_models(values: list[ServedModelBody]) -> list[ServedModelBody]:
    names = [served.model for served in values]
    if len(set(names)) < len(names):
        refuse("a model stands twice")
    return values


def _check_keys(values: list[str]) -> list[str]:
    if len(set(values)) < len(values) or "" in values:
        refuse("a key stands twice, or is empty")
    return values


BaseUrl = Annotated[
    str,
    Field(max_length=2000, description="What the vendor's own SDK would take; null: the provider's default"),
    AfterValidator(_check_url),
]
ApiKey = Annotated[
    HeaderText,
    BeforeValidator(_compact),
    Field(description="Kept encrypted, never shown again. Vertex: the service account's JSON file"),
]


ApiKeys = Annotated[list[ApiKey], Field(min_length=1, max_length=MAX_KEYS), AfterValidator(_check_keys)]


class ServedModelBody(Shape):
    """A model that the channel serves, and what the upstream calls it if that is different."""

    model: Pattern
    upstream_model: Pattern | None = None
    price: PriceField = Field(None, description="What clients pay when this channel answers; null: the model's price")
    cost: PriceField = Field(
        None, description="What the vendor takes. Absent: what the price catalogue says, if it knows. null: unknown"
    )

    @field_validator("upstream_model")
    @classmethod
    def _check_upstream_model(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and STAR in value and STAR not in info.data.get("model", STAR):
            refuse(f"a {STAR} here stands for what that of the model stands for, and the model has none")
        return value


Models = Annotated[list[ServedModelBody], Field(min_length=1, max_length=MAX_ITEMS), AfterValidator(_check_models)]
Rank = Annotated[int, Field(strict=True, ge=-MAX_RANK, le=MAX_RANK)]
Weight = Annotated[int, Field(strict=True, ge=1, le=MAX_RANK)]


_EXAMPLE: dict[str, Any] = {
    "name": "openai-main",
    "provider": "openai",
    "models": [{"model": "gpt-small", "upstream_model": "gpt-small-2030-01-31"}],
    "priority": 10,
    "weight": 1,
    "enabled": True,
    "options": {"first_byte_timeout": 60, "headers": {"openai-organization": "org-1"}},
}


class NewChannel(Shape):
    """A way to an upstream: a vendor, an address, a secret, and the models that are served there."""

    name: Name
    provider: Name
    base_url: BaseUrl | None = None
    api_key: ApiKey | None = None
    api_keys: ApiKeys | None = Field(None, description="Several, used in turn; instead of `api_key`")
    models: Models
    priority: Rank = Field(0, description="The highest is tried first")
    weight: Weight = Field(1, description="Share among channels of one priority")
    enabled: Flag = True
    options: Options = Field(default_factory=Options)

    model_config = ConfigDict(json_schema_extra={"examples": [{**_EXAMPLE, "api_key": "your-key-of-this-vendor"}]})


class ChannelChanges(Shape):
    """What is given is changed. `base_url: null` goes back to the provider's default; `options` is replaced whole."""

    name: Name = absent()
    provider: Name = absent()
    base_url: BaseUrl | None = absent()
    api_key: ApiKey | None = absent()
    api_keys: ApiKeys = absent()
    models: Models = absent()
    priority: Rank = absent()
    weight: Weight = absent()
    enabled: Flag = absent()
    options: Options = absent()

    model_config = ConfigDict(json_schema_extra={"examples": [{"priority": 20, "enabled": False}]})


class ServedModelOut(Shape):
    """A model that the channel serves, under both names."""

    model: str
    upstream_model: str
    price: PriceOut | None = Field(description="What clients pay when this channel answers; null: the model's price")
    cost: PriceOut | None = Field(description="What the vendor takes; null: unknown")
    cost_ref: str | None = Field(description="The entry of the price catalogue that the cost was taken from")


class ChannelBody(Shape):
    """A channel without its secret."""

    id: int
    name: str
    provider: str
    base_url: str
    has_api_key: bool
    api_key_count: int
    models: list[ServedModelOut]
    priority: int
    weight: int
    enabled: bool
    options: OptionsOut
    created_at: datetime

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    **_EXAMPLE,
                    "models": [{**_EXAMPLE["models"][0], "price": None, "cost": None, "cost_ref": None}],
                    "base_url": "https://api.openai.com/v1",
                    "has_api_key": True,
                    "api_key_count": 1,
                    "created_at": "2030-01-31T12:00:00Z",
                }
            ]
        }
    )


def new_columns(body: NewChannel, providers: Mapping[str, Provider], vault: Vault) -> dict[str, Any]:
    """The row of a new channel. Raises GatewayError 422 naming the field that the provider can't work with."""
    provider = get_provider(providers, body.provider)
    columns = {
        "name": body.name,
        "provider": provider.name,
        "base_url": _base_url(body.base_url, provider),
        "secret": vault.encrypt(_secret(_given_keys(body), provider)),
        "priority": body.priority,
        "weight": body.weight,
        "enabled": body.enabled,
        "options": body.options.column(),
    }
    _try_out(columns, providers)
    return columns


def changed_columns(
    body: ChannelChanges, row: ChannelRow, providers: Mapping[str, Provider], vault: Vault
) -> dict[str, Any]:
    """The columns that change. Raises GatewayError 422 naming the field that doesn't fit the rest of the channel."""
    given = body.model_fields_set
    provider = get_provider(providers, body.provider if "provider" in given else row.provider)
    columns: dict[str, Any] = {
        name: getattr(body, name) for name in ("name", "provider", "priority", "weight", "enabled") if name in given
    }
    if "base_url" in given:
        columns["base_url"] = _base_url(body.base_url, provider)
    if "api_key" in given or "api_keys" in given:
        columns["secret"] = vault.encrypt(_secret(_given_keys(body), provider))
    else:
        _check_kept_secret(columns, row, provider, vault)
    if "options" in given:
        columns["options"] = body.options.column()
    merged = {"name": row.name, "base_url": row.base_url, "options": row.options, "provider": row.provider, **columns}
    _try_out(merged, providers)
    return columns


def _check_kept_secret(columns: Mapping[str, Any], row: ChannelRow, provider: Provider, vault: Vault) -> None:
    """A key goes only where it was given for: else whoever may change channels could have it sent to a server of theirs."""
    if "provider" in columns:
        _secret(vault.decrypt(row.secret).split(KEYS_BETWEEN), provider)
    url = columns.get("base_url", row.base_url)
    if read_base_url(url).origin() != read_base_url(row.base_url).origin() and _count_keys(row, vault):
        raise refused("api_key", "must be given anew with a base_url that leads elsewhere")


def wants_default_costs(models: list[ServedModelBody]) -> bool:
    return any("cost" not in served.model_fields_set for served in models)


def served_models(
    models: list[ServedModelBody], provider: str, base_url: str, prices: PriceList | None
) -> list[ServedModel]:
    """What a channel of this provider at this address serves; costs that weren't given are looked up in the price list."""
    found: list[ServedModel] = []
    for served in models:
        upstream = served.upstream_model or served.model
        cost, ref = served.cost, None
        if "cost" not in served.model_fields_set and prices is not None:
            entry = find_origin(prices, Origin(provider, base_url, upstream))
            cost = None if entry is None else read_offer(entry.model, today()).price
            ref = None if entry is None or cost is None else entry.ref
        found.append(ServedModel(served.model, upstream, served.price, cost, ref))
    return found


def get_provider(providers: Mapping[str, Provider], name: str) -> Provider:
    """Raises GatewayError 422 with the names that there are."""
    provider = providers.get(name)
    if provider is None:
        raise refused("provider", f"must be one of {', '.join(sorted(providers))}")
    return provider


def write_channel(row: ChannelRow, vault: Vault) -> ChannelBody:
    """A channel as operators see it."""
    return ChannelBody(
        id=row.id,
        name=row.name,
        provider=row.provider,
        base_url=row.base_url,
        has_api_key=(count := _count_keys(row, vault)) > 0,
        api_key_count=count,
        models=[_write_served(served) for served in row.models],
        priority=row.priority,
        weight=row.weight,
        enabled=row.enabled,
        options=show_options(row.options),
        created_at=row.created_at,
    )


def _write_served(served: ServedModel) -> ServedModelOut:
    return ServedModelOut(
        model=served.model,
        upstream_model=served.upstream_model,
        price=None if served.price is None else write_price(served.price),
        cost=None if served.cost is None else write_price(served.cost),
        cost_ref=served.cost_ref,
    )


def _count_keys(row: ChannelRow, vault: Vault) -> int:
    try:
        secret = vault.decrypt(row.secret)
    except GatewayError:
        return 1  # encrypted with a key that is gone: there is one, and the test of the channel says what's wrong
    return len(secret.split(KEYS_BETWEEN)) if secret else 0


def _base_url(given: str | None, provider: Provider) -> str:
    url = given or provider.base_url
    if url is None:
        raise refused("base_url", f"provider {provider.name} has no default; give one")
    return url


def _given_keys(body: NewChannel | ChannelChanges) -> list[str]:
    if body.api_keys is None:
        return [] if not body.api_key else [body.api_key]
    if body.api_key is not None:
        raise refused("api_keys", "give either api_key or api_keys")
    return body.api_keys


def _secret(given: list[str], provider: Provider) -> str:
    if provider.needs_secret and not any(given):
        raise refused("api_key", f"provider {provider.name} needs one")
    if provider.token is not None and len(given) > 1:
        raise refused("api_keys", f"provider {provider.name} takes one")
    return KEYS_BETWEEN.join(given)


def _try_out(columns: Mapping[str, Any], providers: Mapping[str, Provider]) -> None:
    """What a gateway does when it loads the channel, done now: what it can't open is refused, not stored."""
    try:
        open_channel(
            0,
            columns["name"],
            providers,
            columns["provider"],
            columns["base_url"],
            "",
            0,
            1,
            columns["options"],
        )
    except ValueError as error:
        reason = str(error)
        field = "options.formats" if reason.startswith("formats: ") else "base_url"
        raise refused(field, reason.removeprefix("formats: ").removeprefix("base_url: ")) from error
