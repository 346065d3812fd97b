"""From an entry of the default catalogue to a price of ours: dates, context tiers, service tiers, other units."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal

from app.catalog.pricelist import Listed, ListedModel, ListedPrice, ListedVariant
from app.catalog.prices import AMOUNTS, Price
from app.catalog.variants import Condition, Variant
from app.core.money import MAX_NANO, NANO_PER_DOLLAR
from app.core.usage import MAX_PLAUSIBLE_TOKENS, ORDINARY_TIERS, read_tier

UNITS = {
    **{name: (name, 1) for name in AMOUNTS if name.endswith("_mtok")},
    "requests_kcount": ("per_call", 1000),
    "web_searches_kcount": ("per_search_unit", 1000),
    "input_mchars": ("per_kchar", 1000),
    "audio_hours": ("per_minute", 60),
    "input_audio_hours": ("per_minute", 60),
    "cache_write_5m_mtok": ("cache_write_mtok", 1),
    "input_text_mtok": ("input_mtok", 1),
    "output_text_mtok": ("output_mtok", 1),
}
"""The library's names: ours, and how many of our unit are one of theirs. Later ones yield to earlier ones."""

Amounts = dict[str, int]


@dataclass(frozen=True, slots=True)
class Offer:
    """An entry's price as it would be stored, None if it lists none; and what of it can't be charged for here."""

    price: Price | None
    left_out: tuple[str, ...]


def read_offer(model: ListedModel, today: date) -> Offer:
    """The price in force today. Of prices that change with the hour, the dearest of the day: a stored price has no clock."""
    offers = [_read_price(listed, model.variants, today) for listed in _in_force(model.prices, today)]
    if not offers:
        return Offer(None, ())
    return max(offers, key=_rank)


def _rank(offer: Offer) -> tuple[int, int]:
    if offer.price is None:
        return (-1, -1)
    return (offer.price.output_mtok or 0, offer.price.input_mtok or 0)


def _in_force(prices: tuple[ListedPrice, ...], today: date) -> Iterator[ListedPrice]:
    """The last that has begun, and those of some hours that stand after it. None has begun: the first."""
    for listed in reversed(prices):
        if listed.hours:
            yield listed
        elif _has_begun(listed, today):
            yield listed
            return
    yield from prices[:1]


def _has_begun(listed: ListedPrice, today: date) -> bool:
    return listed.since is None or date.fromisoformat(listed.since) <= today


def _read_price(listed: ListedPrice, variants: Iterable[ListedVariant], today: date) -> Offer:
    """Each variant names every amount that differs anywhere, so that the first that holds says it all."""
    left_out = sorted(name for name in listed.amounts if name not in UNITS)
    tiered: dict[str | None, Mapping[str, Listed]] = {None: listed.amounts}
    for variant in variants:
        if variant.hours or not _has_begun(variant, today):
            continue
        tier = _tier_of(variant.when)
        if tier is None:
            left_out.append("when " + ", ".join(f"{name}={value}" for name, value in sorted(variant.when.items())))
        elif tier not in tiered and tier not in ORDINARY_TIERS:
            tiered[tier] = {**listed.amounts, **variant.amounts}
    base = _amounts_at(listed.amounts, 0)
    if not base:
        return Offer(None, tuple(left_out))
    starts = {start for amounts in tiered.values() for amount in amounts.values() for start, _ in amount.tiers}
    cells = {
        Condition(tier, start or None): _amounts_at(amounts, start)
        for tier, amounts in tiered.items()
        for start in (*sorted(starts, reverse=True), 0)
        if start <= MAX_PLAUSIBLE_TOKENS
    }
    del cells[Condition()]
    differing = {name for cell in cells.values() for name in cell if cell[name] != base.get(name)}
    ordered = sorted(cells.items(), key=lambda item: item[0].service_tier is None)
    found = tuple(
        Variant(when, tuple((name, cell[name]) for name in AMOUNTS if name in differing and name in cell))
        for when, cell in ordered
    )
    return Offer(Price(**base, variants=found if differing else ()), tuple(left_out))


def _tier_of(when: Mapping[str, str]) -> str | None:
    """The service tier, as usage names it, that a variant of the library is about; None: it is about something else."""
    match dict(when):
        case {"processing": tier, **rest} if not rest:
            return tier
        case {"service_tier": tier, **rest} if not rest:
            return read_tier(tier) or tier
        case {"speed": tier, **rest} if not rest:
            return tier
    return None


def _amounts_at(amounts: Mapping[str, Listed], tokens: int) -> Amounts:
    """The amounts of a request with just more than so many input tokens (0: few). Rounded up to a nano-dollar."""
    found: Amounts = {}
    for name, (ours, count) in UNITS.items():
        listed = amounts.get(name)
        if listed is None or ours in found:
            continue
        dollars = listed.base
        for start, higher in listed.tiers:
            if tokens and start <= tokens:
                dollars = higher
        nano = (Decimal(dollars) * NANO_PER_DOLLAR / count).to_integral_value(ROUND_CEILING)
        found[ours] = min(int(nano), MAX_NANO)
    return {name: found[name] for name in AMOUNTS if name in found}
