"""Usage as OpenAI-compatible upstreams report it, in the gateway's one shape.

Source: OpenAI's `completion_usage.py`: cached and cache-writing tokens stand inside prompt_tokens, reasoning inside
completion_tokens. Deviations: xAI's completion_tokens leave out the reasoning; DeepSeek counts cache hits in a field of
its own; Alibaba's details name tokens written to its explicit cache as Anthropic does. OpenRouter's costs are its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.core.usage import (
    MAX_PLAUSIBLE_TOKENS,
    Usage,
    read_count,
    read_details,
    read_part,
    read_tier,
)

REASONING_OUTSIDE = "reasoning_outside_completion"
"""Quirk of xAI: total_tokens = prompt + completion + reasoning."""

OUTPUT_IN_TOTAL = "output_only_in_total"
"""Quirk of Gemini's OpenAI-compatible endpoint: thoughts are in total_tokens alone. Unverified: reported by users of it,
in no documentation of Google's. The total decides, so an endpoint that has them inside is read right as well."""


def read_usage(value: object, quirks: frozenset[str] = frozenset(), service_tier: object = None) -> Usage | None:
    """A usage object, or None if it is absent or can't be believed (wrong types, negative, beyond any context).

    Zero counts are believed: zero means zero, only missing usage is estimated. `service_tier` is the field of that name
    beside the usage object.
    """
    if not isinstance(value, dict):
        return None
    prompt, completion = read_count(value, "prompt_tokens"), read_count(value, "completion_tokens")
    if prompt is None or completion is None:
        return None
    inside = read_details(value, "prompt_tokens_details")
    outside = read_details(value, "completion_tokens_details")
    reasoning = read_count(outside, "reasoning_tokens") or 0
    left_out = _left_out(value, prompt, completion, reasoning, quirks)
    completion += left_out
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        cache_read_tokens=_cached(value, inside, prompt),
        cache_write_tokens=_written(inside, prompt),
        reasoning_tokens=min(max(reasoning, left_out), completion),
        input_audio_tokens=read_part(inside, "audio_tokens", prompt),
        output_audio_tokens=read_part(outside, "audio_tokens", completion),
        input_image_tokens=read_part(inside, "image_tokens", prompt),
        output_image_tokens=read_part(outside, "image_tokens", completion),
        service_tier=read_tier(service_tier),
    )


def write_usage(usage: Usage) -> dict[str, object]:
    """A usage object: the counts exactly, in OpenAI's arithmetic. The tier stands beside it, not in it."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "audio_tokens": usage.input_audio_tokens,
            "image_tokens": usage.input_image_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.output_audio_tokens,
            "image_tokens": usage.output_image_tokens,
        },
    }


def _cached(value: Mapping[str, object], inside: Mapping[str, object], prompt: int) -> int:
    if read_count(inside, "cached_tokens") is None:
        return read_part(value, "prompt_cache_hit_tokens", prompt)
    return read_part(inside, "cached_tokens", prompt)


def _written(inside: Mapping[str, object], prompt: int) -> int:
    if read_count(inside, "cache_write_tokens") is None:
        return read_part(inside, "cache_creation_input_tokens", prompt)
    return read_part(inside, "cache_write_tokens", prompt)


def _left_out(value: Mapping[str, object], prompt: int, completion: int, reasoning: int, quirks: frozenset[str]) -> int:
    """Output tokens that completion_tokens leave out.

    The total tells: should a vendor move them inside one day, nobody is charged for them twice.
    """
    total = read_count(value, "total_tokens")
    if REASONING_OUTSIDE in quirks and total != prompt + completion:
        return reasoning
    if OUTPUT_IN_TOTAL in quirks and total is not None and total <= MAX_PLAUSIBLE_TOKENS:
        return max(0, total - prompt - completion)
    return 0
