"""Usage as Anthropic's Messages API reports it, in the gateway's one shape.

Source: Anthropic's `usage.py`: input_tokens are only what was neither read from a cache nor written to one; output_tokens
include thinking. A stream reports the input when it starts and cumulative counts in each `message_delta`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app.core.usage import (
    MAX_PLAUSIBLE_TOKENS,
    Usage,
    read_addend,
    read_count,
    read_details,
    read_name,
    read_part,
    read_tier,
)

FAST = "fast"
TIERS = ("priority", "batch")


def merge_usage(seen: Mapping[str, object], update: object) -> dict[str, object]:
    """The report of a stream so far: a later event's counts replace earlier ones, its nulls don't."""
    later = update if isinstance(update, dict) else {}
    return {**seen, **{name: value for name, value in later.items() if value is not None}}


def read_usage(value: object) -> Usage | None:
    """A usage object, or None if it is absent or can't be believed. Zero is believed.

    Summaries that Anthropic makes of a long conversation (`iterations` of type `compaction`) stand beside the totals, and
    are added.
    """
    usage = _read_counts(value)
    for entry in _compactions(value):
        counted = _read_counts(entry)
        if usage is None or counted is None:
            return None
        usage = replace(
            usage,
            input_tokens=usage.input_tokens + counted.input_tokens,
            output_tokens=usage.output_tokens + counted.output_tokens,
            cache_read_tokens=usage.cache_read_tokens + counted.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens + counted.cache_write_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens + counted.cache_write_1h_tokens,
        )
    return usage


def _compactions(value: object) -> list[object]:
    entries = value.get("iterations") if isinstance(value, dict) else None
    found = entries if isinstance(entries, list) else []
    return [entry for entry in found if isinstance(entry, dict) and entry.get("type") == "compaction"]


def _read_counts(value: object) -> Usage | None:
    if not isinstance(value, dict):
        return None
    plain, output = read_count(value, "input_tokens"), read_count(value, "output_tokens")
    read, written = read_addend(value, "cache_read_input_tokens"), _written(value)
    if plain is None or output is None or read is None or written is None:
        return None
    total = plain + read + written
    if total > MAX_PLAUSIBLE_TOKENS:
        return None
    return Usage(
        input_tokens=total,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=read_part(read_details(value, "cache_creation"), "ephemeral_1h_input_tokens", written),
        reasoning_tokens=read_part(read_details(value, "output_tokens_details"), "thinking_tokens", output),
        search_units=read_count(read_details(value, "server_tool_use"), "web_search_requests") or 0,
        service_tier=_tier(value),
    )


def write_usage(usage: Usage) -> dict[str, object]:
    """A usage object: the counts exactly, in Anthropic's own arithmetic.

    A tier that Anthropic doesn't have (OpenAI's `flex`) is null.
    """
    tier = usage.service_tier
    report: dict[str, object] = {
        "input_tokens": max(0, usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens - usage.cache_write_1h_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "service_tier": "standard" if tier in (None, FAST) else tier if tier in TIERS else None,
    }
    if tier == FAST:
        report["speed"] = FAST
    if usage.search_units:
        report["server_tool_use"] = {"web_search_requests": usage.search_units, "web_fetch_requests": 0}
    return report


def _written(value: Mapping[str, object]) -> int | None:
    if value.get("cache_creation_input_tokens") is not None:
        return read_count(value, "cache_creation_input_tokens")
    # The split alone says it as well.
    split = read_details(value, "cache_creation")
    short, long = read_addend(split, "ephemeral_5m_input_tokens"), read_addend(split, "ephemeral_1h_input_tokens")
    return None if short is None or long is None else short + long


def _tier(value: Mapping[str, object]) -> str | None:
    # Fast mode has prices of its own, whichever tier it ran in; it isn't what OpenAI calls fast.
    return FAST if read_name(value.get("speed")) == FAST else read_tier(value.get("service_tier"))
