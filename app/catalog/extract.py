"""A program of its own: reads genai-prices, the bundled data or a published file on stdin, and writes the price list.

Loading that library takes 30 MB, so gateways never do: they run this for the moment in which an operator asks for prices.
    python -m app.catalog.extract              the data that came with the library
    python -m app.catalog.extract --published  a file as the library's own updater fetches it
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from genai_prices.data import providers as bundled
from genai_prices.types import (
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
    _providers_from_raw,
)
from genai_prices.update_prices import DEFAULT_UPDATE_URL

Constraint = StartDateConstraint | TimeOfDateConstraint | None

MIN_PROVIDERS = 5
MIN_MODELS = 100
"""Below, a published file is no list of prices, whatever else it is. Today's has 47 and 2,300."""


def main() -> None:
    """Writes JSON that `app.catalog.pricelist` reads. Ends with 1 and one line on stderr for what isn't a price list."""
    if sys.argv[1:] == ["--published"]:
        try:
            providers = read_published(sys.stdin.buffer.read())
        except ValueError as error:  # pydantic's and json's are ValueErrors
            sys.exit(" ".join(str(error).split())[:300])
    else:
        providers = bundled
    body = {
        "library": version("genai-prices"),
        "update_url": DEFAULT_UPDATE_URL,
        "providers": [_write_provider(provider) for provider in providers],
    }
    sys.stdout.write(json.dumps(body, separators=(",", ":")))


def read_published(text: bytes) -> list[Provider]:
    """A published file through the library's own reader. Raises ValueError."""
    raw = json.loads(text)
    if not isinstance(raw, list):
        raise ValueError("the file isn't a list of providers")
    providers = _providers_from_raw(raw)
    if len(providers) < MIN_PROVIDERS or sum(len(provider.models) for provider in providers) < MIN_MODELS:
        raise ValueError("the file holds too few prices to be the whole list")
    for pattern in _patterns(providers):
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"a pattern can't be read: {error}") from error
    return providers


def _patterns(providers: list[Provider]) -> Iterator[str]:
    for provider in providers:
        yield provider.api_pattern
        for clause in (provider.model_match, *(model.match for model in provider.models)):
            yield from _patterns_of(_write_clause(clause))


def _patterns_of(clause: Any) -> Iterator[str]:
    for name, value in (clause or {}).items():
        if name == "regex":
            yield value
        elif isinstance(value, list):
            for part in value:
                yield from _patterns_of(part)


def _write_provider(provider: Provider) -> dict[str, Any]:
    return {
        "id": provider.id,
        "name": provider.name,
        "api_pattern": provider.api_pattern,
        "model_match": _write_clause(provider.model_match),
        "fallback": provider.fallback_model_providers or [],
        "pricing_url": provider.pricing_urls[0] if provider.pricing_urls else None,
        "models": [_write_model(model) for model in provider.models],
    }


def _write_model(model: ModelInfo) -> dict[str, Any]:
    prices = model.prices
    dated = (
        [_write_dated(each.prices, each.constraint) for each in prices]
        if isinstance(prices, list)
        else [_write_dated(prices, None)]
    )
    return {
        "id": model.id,
        "name": model.name,
        "match": _write_clause(model.match),
        "context_window": model.context_window,
        "prices": dated,
        "variants": [_write_variant(variant) for variant in model.price_variants or ()],
    }


def _write_variant(variant: PriceVariant) -> dict[str, Any]:
    return {"when": variant.when, **_write_dated(variant.prices, variant.constraint)}


def _write_dated(prices: ModelPrice, constraint: Constraint) -> dict[str, Any]:
    since = constraint.start_date.isoformat() if isinstance(constraint, StartDateConstraint) else None
    amounts = {name: _write_amount(value) for name, value in vars(prices).items() if value is not None}
    return {"since": since, "hours": isinstance(constraint, TimeOfDateConstraint), "amounts": amounts}


def _write_amount(value: Decimal | TieredPrices) -> dict[str, Any]:
    if isinstance(value, TieredPrices):
        return {"base": str(value.base), "tiers": [[tier.start, str(tier.price)] for tier in value.tiers]}
    return {"base": str(value)}


def _write_clause(clause: Any) -> dict[str, Any] | None:
    """`{"starts_with": "gpt-"}`, `{"or": [...]}`: the form in which the library publishes them."""
    if clause is None:
        return None
    (only,) = fields(clause)
    value = getattr(clause, only.name)
    if isinstance(value, list):
        return {only.name.rstrip("_"): [_write_clause(part) for part in value]}
    return {only.name: value}


if __name__ == "__main__":
    main()
