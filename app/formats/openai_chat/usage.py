"""Usage as OpenAI-compatible upstreams report it, in the gateway's one shape.

Source: OpenAI's `completion_usage.py`: cached tokens stand inside prompt_tokens, reasoning inside completion_tokens.
Deviations: xAI's completion_tokens leave out the reasoning; DeepSeek counts cache hits in a field of its own.
"""

from __future__ import annotations

from app.core.usage import MAX_PLAUSIBLE_TOKENS, Usage

_NOTHING: dict[str, object] = {}

REASONING_OUTSIDE = "reasoning_outside_completion"
"""Quirk of xAI: total_tokens = prompt + completion + reasoning."""


def read_usage(value: object, quirks: frozenset[str] = frozenset()) -> Usage | None:
    """A usage object, or None if it is absent or can't be believed (wrong types, negative, beyond any context).

    Zero counts are believed: zero means zero, only missing usage is estimated.
    """
    if not isinstance(value, dict):
        return None
    prompt, completion = _count(value, "prompt_tokens"), _count(value, "completion_tokens")
    if prompt is None or completion is None:
        return None
    inside = _details(value, "prompt_tokens_details")
    outside = _details(value, "completion_tokens_details")
    reasoning = _count(outside, "reasoning_tokens") or 0
    if _reasoning_is_outside(value, prompt, completion, reasoning, quirks):
        completion += reasoning
    cached = _count(inside, "cached_tokens")
    if cached is None:
        cached = _count(value, "prompt_cache_hit_tokens")
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        cache_read_tokens=min(cached or 0, prompt),
        cache_write_tokens=min(_count(inside, "cache_write_tokens") or 0, prompt),
        reasoning_tokens=min(reasoning, completion),
        input_audio_tokens=min(_count(inside, "audio_tokens") or 0, prompt),
        output_audio_tokens=min(_count(outside, "audio_tokens") or 0, completion),
    )


def _reasoning_is_outside(
    value: dict[str, object], prompt: int, completion: int, reasoning: int, quirks: frozenset[str]
) -> bool:
    if not reasoning or REASONING_OUTSIDE not in quirks:
        return False
    # The total tells: should the vendor move the reasoning inside one day, nobody is charged for it twice.
    return _count(value, "total_tokens") != prompt + completion


def _details(value: dict[str, object], name: str) -> dict[str, object]:
    details = value.get(name)
    return details if isinstance(details, dict) else _NOTHING


def _count(value: dict[str, object], name: str) -> int | None:
    count = value.get(name)
    if isinstance(count, bool) or not isinstance(count, int):
        return None
    return count if 0 <= count <= MAX_PLAUSIBLE_TOKENS else None
