"""Usage as Gemini's generateContent reports it (`usageMetadata`), in the gateway's one shape.

Source: google-genai's `GenerateContentResponseUsageMetadata`: cached content stands inside promptTokenCount; what tools fed
back and what the model thought stand beside promptTokenCount and candidatesTokenCount. Counts of zero are left out, as
protocol buffers do in JSON. Chunks of a stream repeat the report: the last one counts.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.core.usage import MAX_PLAUSIBLE_TOKENS, Usage, read_addend, read_count, read_part


def read_usage(value: object) -> Usage | None:
    """A `usageMetadata` object, or None if it is absent or can't be believed. Without promptTokenCount it isn't one."""
    if not isinstance(value, dict):
        return None
    prompt, fed_back = read_count(value, "promptTokenCount"), read_addend(value, "toolUsePromptTokenCount")
    answer, thoughts = read_addend(value, "candidatesTokenCount"), read_addend(value, "thoughtsTokenCount")
    if prompt is None or fed_back is None or answer is None or thoughts is None:
        return None
    inside, outside = prompt + fed_back, answer + thoughts
    if max(inside, outside) > MAX_PLAUSIBLE_TOKENS:
        return None
    heard = _of_modality(value, "promptTokensDetails", "AUDIO") + _of_modality(
        value, "toolUsePromptTokensDetails", "AUDIO"
    )
    seen = _of_modality(value, "promptTokensDetails", "IMAGE") + _of_modality(
        value, "toolUsePromptTokensDetails", "IMAGE"
    )
    cached = read_part(value, "cachedContentTokenCount", prompt)
    return Usage(
        input_tokens=inside,
        output_tokens=outside,
        cache_read_tokens=cached,
        reasoning_tokens=thoughts,
        input_audio_tokens=min(heard, inside),
        cache_audio_read_tokens=min(_of_modality(value, "cacheTokensDetails", "AUDIO"), cached, heard),
        output_audio_tokens=min(_of_modality(value, "candidatesTokensDetails", "AUDIO"), outside),
        input_image_tokens=min(seen, inside),
        output_image_tokens=min(_of_modality(value, "candidatesTokensDetails", "IMAGE"), outside),
    )


def write_usage(usage: Usage) -> dict[str, object]:
    """A `usageMetadata` object: the counts exactly, in Google's own arithmetic, zeros left out as Google does.

    What an upstream wrote to a cache, its tier and searches have no place there.
    """
    report: dict[str, object] = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    if usage.reasoning_tokens:
        report["thoughtsTokenCount"] = usage.reasoning_tokens
    if usage.cache_read_tokens:
        report["cachedContentTokenCount"] = usage.cache_read_tokens
    for name, audio, image in (
        ("promptTokensDetails", usage.input_audio_tokens, usage.input_image_tokens),
        ("cacheTokensDetails", usage.cache_audio_read_tokens, 0),
        ("candidatesTokensDetails", usage.output_audio_tokens, usage.output_image_tokens),
    ):
        counts = (("AUDIO", audio), ("IMAGE", image))
        details = [{"modality": modality, "tokenCount": count} for modality, count in counts if count]
        if details:
            report[name] = details
    return report


def _of_modality(value: Mapping[str, object], name: str, modality: str) -> int:
    """The tokens of one modality in a list of `{modality, tokenCount}`."""
    details = value.get(name)
    found = [entry for entry in details if isinstance(entry, dict)] if isinstance(details, list) else []
    return sum(read_count(entry, "tokenCount") or 0 for entry in found if entry.get("modality") == modality)
