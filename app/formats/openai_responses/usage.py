"""Usage as OpenAI's Responses API reports it, from and into the gateway's one shape.

Source: OpenAI's `response_usage.py`: cached and cache-writing tokens stand inside input_tokens, reasoning inside
output_tokens. Streams report it in their terminal event alone.
"""

from __future__ import annotations

from typing import Any

from app.core.usage import Usage, read_count, read_details, read_part, read_tier


def read_usage(value: object, service_tier: object = None) -> Usage | None:
    """A usage object, or None if it is absent or can't be believed. `service_tier` is the response's own field."""
    if not isinstance(value, dict):
        return None
    inside, outside = read_count(value, "input_tokens"), read_count(value, "output_tokens")
    if inside is None or outside is None:
        return None
    details = read_details(value, "input_tokens_details")
    written = read_part(details, "cache_write_tokens", inside)
    by_retention = read_details(details, "cache_write_tokens_details")
    return Usage(
        input_tokens=inside,
        output_tokens=outside,
        cache_read_tokens=read_part(details, "cached_tokens", inside),
        cache_write_tokens=written,
        cache_write_1h_tokens=read_part(by_retention, "ttl_12h_tokens", written),
        reasoning_tokens=read_part(read_details(value, "output_tokens_details"), "reasoning_tokens", outside),
        service_tier=read_tier(service_tier),
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """The usage object. The service tier stands beside it; sound and images have no place in it."""
    inside: dict[str, Any] = {
        "cached_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
    }
    if usage.cache_write_1h_tokens:
        inside["cache_write_tokens_details"] = {
            "ttl_30m_tokens": usage.cache_write_tokens - usage.cache_write_1h_tokens,
            "ttl_12h_tokens": usage.cache_write_1h_tokens,
        }
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": inside,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
