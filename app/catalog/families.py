"""What is passed on by its path alone: objects that upstreams keep, and whatever else an operator allows on a channel.

A family is how such paths begin: `files`, `vector_stores`, `fine_tuning/jobs`. Routing takes it for a model that some
channels serve, at a price by the call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from app.catalog.prices import FREE, Price
from app.core.money import read_amount
from app.providers.base import Provider

FAMILY = re.compile(r"[a-z0-9_]{1,60}(?:/[a-z0-9_]{1,60}){0,2}")

RESERVED = frozenset(
    {
        "audio",
        "chat",
        "completions",
        "embeddings",
        "images",
        "messages",
        "models",
        "moderations",
        "organization",
        "projects",
        "realtime",
        "rerank",
        "responses",
        "videos",
    }
)
"""Beginnings of paths that the gateway serves by itself, or that are about the operator's own account at a vendor."""

KIND = "object"
"""The kind of the models that families are to routing; no catalogue has it."""


def read_passes(provider: Provider, options: Mapping[str, Any]) -> Mapping[str, Price]:
    """What a channel passes on, by family: what its provider is known for, free of charge, and over it what the operator says
    (dollars a call, None for not at all). Raises ValueError for an amount that is none.
    """
    wanted: dict[str, Any] = dict.fromkeys(provider.objects, "0")
    said = options.get("passes")
    wanted |= said if isinstance(said, Mapping) else {}
    prices = {}
    for family, amount in wanted.items():
        if amount is not None and is_family(family):
            per_call = read_amount(amount)
            prices[family] = Price(per_call=per_call) if per_call else FREE
    return MappingProxyType(prices)


def is_family(name: str) -> bool:
    """Whether paths that are passed on may begin like this."""
    return FAMILY.fullmatch(name) is not None and name.partition("/")[0] not in RESERVED


def family_of(parts: Sequence[str], known: Mapping[str, object]) -> str | None:
    """The longest known family that a path, taken apart, begins with."""
    for length in (3, 2, 1):
        name = "/".join(parts[:length])
        if len(parts) >= length and name in known:
            return name
    return None
