"""What a request used, in one shape for every vendor and every kind of model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

MAX_PLAUSIBLE_TOKENS = 20_000_000
"""Above any model's context. A larger count in an upstream's report is a fault of the upstream: believed, it would empty
a customer's account, so such a report counts as missing and is estimated."""

MAX_PLAUSIBLE_MILLISECONDS = 7 * 24 * 3600 * 1000
"""A week: longer than any audio or video that one call makes or hears."""

ORDINARY_TIERS = frozenset({"default", "standard", "auto", "on_demand"})
"""What vendors call the tier that costs the list price; an entry and a price name only the others."""

MAX_NAME = 64

_NO_TRAITS: Mapping[str, str] = MappingProxyType({})
_NO_DETAILS: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used. Tokens first; a chat model's usage has nothing else.

    `input_tokens` includes cached, cache-writing, audio and image input; `output_tokens` includes reasoning, audio and
    image output. `cache_write_tokens` includes the part kept for long, `cache_write_1h_tokens`: an hour at Anthropic, twelve
    at OpenAI. `cache_audio_read_tokens` is in both `cache_read_tokens` and `input_audio_tokens`. `milliseconds` is the length
    of audio or video made or heard. `search_units` are a reranker's, or searches of the web that the vendor bills.
    `service_tier` is the tier that the upstream says it served, None for the ordinary one (see `ORDINARY_TIERS`).
    `traits` are further facts that a price may depend on
    (`size`, `quality`, `resolution`, `duration`, `input`): names and values as clients write them.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    cache_audio_read_tokens: int = 0
    output_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_image_tokens: int = 0
    images: int = 0
    videos: int = 0
    milliseconds: int = 0
    characters: int = 0
    search_units: int = 0
    service_tier: str | None = None
    traits: Mapping[str, str] = field(default_factory=lambda: _NO_TRAITS)

    def counts(self) -> dict[str, Any]:
        """The two totals, and whatever else isn't zero or empty: as it stands on an entry."""
        counts: dict[str, Any] = {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}
        for name in _DETAILS:
            value = getattr(self, name)
            if value:
                counts[name] = value
        if self.traits:
            counts["traits"] = dict(self.traits)
        return counts


def sum_usage(one: Usage, other: Usage) -> Usage:
    """Both together; what a price depends on is the later one's."""
    counts = {name: getattr(one, name) + getattr(other, name) for name in _COUNTS}
    return replace(other, **counts)


_COUNTS = tuple(f.name for f in fields(Usage) if f.name not in ("service_tier", "traits"))
_DETAILS = tuple(f.name for f in fields(Usage) if f.name not in ("input_tokens", "output_tokens", "traits"))


def read_count(report: Mapping[str, object], name: str) -> int | None:
    """A token count of a vendor's report; None if it is missing or can't be (negative, no integer, beyond belief)."""
    count = report.get(name)
    if isinstance(count, bool) or not isinstance(count, int):
        return None
    return count if 0 <= count <= MAX_PLAUSIBLE_TOKENS else None


def read_addend(report: Mapping[str, object], name: str) -> int | None:
    """A count that is part of a sum: zero where it is missing or null; None where it can't be, so that the sum can't."""
    return 0 if report.get(name) is None else read_count(report, name)


def read_part(report: Mapping[str, object], name: str, whole: int) -> int:
    """A count that stands inside another: zero where it is missing or can't be, never more than the whole."""
    return min(read_count(report, name) or 0, whole)


def read_details(report: Mapping[str, object], name: str) -> Mapping[str, object]:
    """An object inside a report; empty where there is none."""
    details = report.get(name)
    return details if isinstance(details, dict) else _NO_DETAILS


def read_milliseconds(report: Mapping[str, object], name: str) -> int | None:
    """A length given in seconds, rounded up to the millisecond; None if it is missing or can't be."""
    seconds = report.get(name)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    # Written so that NaN fails too, and before the product, which a huge integer or infinity would not survive.
    if not 0 <= seconds <= MAX_PLAUSIBLE_MILLISECONDS / 1000:
        return None
    return math.ceil(round(seconds * 1000, 6))


def read_name(value: object) -> str | None:
    """A short plain word of a vendor's reply (a tier, a size, a quality); None for anything else: it goes into the ledger."""
    plain = isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isascii() and value.isprintable()
    return str(value) if plain else None


def read_tier(value: object) -> str | None:
    """The service tier of a reply, None for the ordinary one. OpenAI's `fast` is another word for `priority`."""
    tier = read_name(value)
    if tier is None or tier in ORDINARY_TIERS:
        return None
    return "priority" if tier == "fast" else tier
