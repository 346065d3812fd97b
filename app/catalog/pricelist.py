"""The default catalogue: what vendors charge, as genai-prices lists it, and how its entries are found by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from app.core.wildcards import STAR

Clause = Mapping[str, Any]
"""How names are matched: one of `{"equals": "gpt-4o"}`, starts_with, ends_with, contains, regex, and `or` / `and` of more."""


VENDORS = {"xai": "x-ai", "moonshot": "moonshotai", "gemini": "google", "vertex": "google", "bedrock": "aws"}
"""Our providers that genai-prices calls otherwise. What stands in neither list (`openai_compatible`) is no vendor."""


class Listed(msgspec.Struct, frozen=True):
    """An amount: dollars as a decimal string, and others from so many input tokens on, as (threshold, dollars)."""

    base: str
    tiers: tuple[tuple[int, str], ...] = ()


class ListedPrice(msgspec.Struct, frozen=True):
    """Amounts that apply from a date on (ISO, UTC; None: always), or for some hours of each day."""

    since: str | None
    hours: bool
    amounts: Mapping[str, Listed]


class ListedVariant(ListedPrice, frozen=True):
    """Amounts that differ for requests of a kind, such as `{"processing": "batch"}`."""

    when: Mapping[str, str]


class ListedModel(msgspec.Struct, frozen=True):
    """A vendor's model. Of the prices the last that is in force counts."""

    id: str
    name: str | None
    match: Clause
    context_window: int | None
    prices: tuple[ListedPrice, ...]
    variants: tuple[ListedVariant, ...]


class ListedProvider(msgspec.Struct, frozen=True, dict=True):
    """A vendor. Its models are read when they are first looked at: most of the list never is."""

    id: str
    name: str
    api_pattern: str
    model_match: Clause | None
    fallback: tuple[str, ...]
    pricing_url: str | None
    models: msgspec.Raw

    @cached_property
    def shelf(self) -> Sequence[ListedModel]:
        return msgspec.json.decode(self.models, type=tuple[ListedModel, ...])

    def find_model(self, name: str) -> ListedModel | None:
        """By what the vendor calls it, or may: dates and suffixes that cost the same are matched as well."""
        lowered = name.lower()
        return next((model for model in self.shelf if matches(model.match, lowered)), None)


class PriceList(msgspec.Struct, frozen=True, dict=True):
    """The list whole, for one task: it grows by what is looked at. `library` is the version of genai-prices that read it."""

    library: str
    update_url: str
    providers: tuple[ListedProvider, ...]

    @cached_property
    def by_id(self) -> Mapping[str, ListedProvider]:
        return {provider.id: provider for provider in self.providers}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model is bought: our provider's name, the address that is called, and what the model is called there."""

    provider: str
    base_url: str
    model: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of one vendor; `ref` names it for good: `openai/gpt-4o`."""

    provider: ListedProvider
    model: ListedModel

    @property
    def ref(self) -> str:
        return f"{self.provider.id}/{self.model.id}"


def read_list(text: str | bytes) -> PriceList:
    """What `app.catalog.extract` wrote. Raises ValueError for anything else."""
    return msgspec.json.decode(text, type=PriceList)


def find_ref(prices: PriceList, ref: str) -> Entry | None:
    """The entry of exactly this name."""
    provider_id, _, model_id = ref.partition("/")
    provider = prices.by_id.get(provider_id)
    if provider is None:
        return None
    return next((Entry(provider, model) for model in provider.shelf if model.id == model_id), None)


def find_origin(prices: PriceList, origin: Origin) -> Entry | None:
    """The entry of a model where it is bought; where that vendor resells, the maker's own entry.

    None for a wildcard: what a star stands for may cost anything, whatever its fixed part resembles.
    """
    provider = None if STAR in origin.model else _provider_of(prices, origin)
    return None if provider is None else _find_in(prices, provider, origin.model)


def find_model(prices: PriceList, name: str, origins: Sequence[Origin]) -> Entry | None:
    """The entry of a model: of the first origin that has one, else of the vendor whose name stands before a slash, else of
    the vendor that makes models of such names."""
    for origin in origins:
        entry = find_origin(prices, origin)
        if entry is not None:
            return entry
    if STAR in name:
        return None
    vendor, slash, rest = name.partition("/")
    if slash and vendor in prices.by_id:
        return _find_in(prices, prices.by_id[vendor], rest)
    for provider in prices.providers:
        if provider.model_match is not None and matches(provider.model_match, name.lower()):
            model = provider.find_model(name)
            if model is not None:
                return Entry(provider, model)
    return None


def search(prices: PriceList, query: str) -> Iterator[Entry]:
    """Entries whose ref or name holds every word of the query, by provider and model."""
    words = query.lower().split()
    for provider in sorted(prices.providers, key=lambda provider: provider.id):
        for model in sorted(provider.shelf, key=lambda model: model.id):
            text = f"{provider.id}/{model.id} {provider.name} {model.name or ''}".lower()
            if all(word in text for word in words):
                yield Entry(provider, model)


def matches(clause: Clause, text: str) -> bool:
    """Whether a lower-case name meets the clause. One that this release doesn't know is met by nothing."""
    for kind, value in clause.items():
        match kind:
            case "or":
                return any(matches(part, text) for part in value)
            case "and":
                return all(matches(part, text) for part in value)
            case "regex":
                return re.search(value, text) is not None
            case "equals":
                return bool(text == value.lower())
            case "starts_with":
                return text.startswith(value.lower())
            case "ends_with":
                return text.endswith(value.lower())
            case "contains":
                return value.lower() in text
    return False


def _provider_of(prices: PriceList, origin: Origin) -> ListedProvider | None:
    """By the address if it is a vendor's own, else by name."""
    for provider in prices.providers:
        if re.match(provider.api_pattern, origin.base_url):
            return provider
    return prices.by_id.get(VENDORS.get(origin.provider, origin.provider))


def _find_in(prices: PriceList, provider: ListedProvider, name: str) -> Entry | None:
    for place in (provider.id, *provider.fallback):
        each = prices.by_id.get(place)
        model = None if each is None else each.find_model(name)
        if each is not None and model is not None:
            return Entry(each, model)
    return None
