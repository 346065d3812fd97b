"""What becomes of each field when a request changes format: mapped, dropped with notice, or refused by name.

A format that a client speaks lists its fields (`Field`), each with the attribute of `Ask` that it is read into, or with its
fate where no other format has anything like it. A format that an upstream speaks says what becomes of each attribute. The
two lists together are docs/formats.md, and the code that converts asks them, so that the page can't say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.core.conversation import Ask
from app.errors import GatewayError, invalid_request


class Verdict(StrEnum):
    """MAPPED: it is carried. DROPPED: it is advisory, left out, and named in `x-relaygate-dropped`. REFUSED: 400."""

    MAPPED = "mapped"
    DROPPED = "dropped"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Fate:
    """`note`: what is lost or changed on the way, for the docs."""

    verdict: Verdict
    note: str = ""


MAPPED = Fate(Verdict.MAPPED)


def mapped(note: str) -> Fate:
    return Fate(Verdict.MAPPED, note)


def dropped(note: str = "") -> Fate:
    return Fate(Verdict.DROPPED, note)


def refused(note: str = "") -> Fate:
    return Fate(Verdict.REFUSED, note)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a client's request: a top-level name, or a path such as `messages[].content[].input_audio`.

    `attribute`: what it is read into; then `fate` is None and the upstream's format decides. Without an attribute `fate` says
    what becomes of it in every other format.
    """

    name: str
    attribute: str | None = None
    fate: Fate | None = None


ATTRIBUTES: tuple[str, ...] = (
    "model", "messages", "stream", "system", "tools", "tool_choice", "parallel_tool_calls", "output_cap", "temperature",
    "top_p", "top_k", "presence_penalty", "frequency_penalty", "seed", "stop", "choices", "logprobs", "top_logprobs",
    "response_format", "reasoning", "verbosity", "service_tier", "user", "metadata", "cache", "cache_key", "modalities",
    # Of messages: what a block or a part of one is.
    "text", "image", "image_url", "image_detail", "file", "file_url", "file_id", "audio", "audio_url", "thinking",
    "tool_call", "tool_result", "tool_result_error", "tool_result_media", "refusal", "citations", "cache_point", "name",
    "system_midway",
    # Of tools.
    "tool_strict", "tool_custom", "tool_choice_names", "json_schema", "json_object",
)  # fmt: skip
"""Every attribute that a format's `carries` must know: those of `Ask`, and those of its blocks and tools."""

TOP_LEVEL = (
    "parallel_tool_calls", "temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "seed", "stop",
    "logprobs", "top_logprobs", "verbosity", "service_tier", "user", "metadata", "cache", "cache_key", "modalities",
)  # fmt: skip
"""Attributes of `Ask` whose fate needs no look at their value."""


def check_fates(ask: Ask, carries: Mapping[str, Fate], title: str, *, without: Iterable[str] = ()) -> list[str]:
    """The client's names of what an upstream's format leaves out of the top-level attributes that are set.

    `without`: attributes that the caller decides on itself. Raises GatewayError 400 naming a field that it refuses.
    """
    left_out = list(ask.dropped)
    skipped = frozenset(without)
    for attribute in TOP_LEVEL:
        if attribute in skipped or not is_set(ask, attribute):
            continue
        fate = carries[attribute]
        if fate.verdict is Verdict.REFUSED:
            raise cannot_carry(ask.field(attribute), title, fate.note)
        if fate.verdict is Verdict.DROPPED:
            left_out.append(ask.field(attribute))
    return left_out


def is_set(ask: Ask, attribute: str) -> bool:
    """Whether the client asked for something by this attribute."""
    value = getattr(ask, attribute)
    if attribute == "logprobs":
        return bool(value)
    return value is not None and value != () and value != {}


def cannot_carry(field: str, title: str, why: str = "") -> GatewayError:
    """A 400 for a field that an upstream's format (`title`: "Anthropic's Messages API") has no place for."""
    reason = f": {why}" if why else ""
    return invalid_request(
        f"'{field}' can't be carried to this model's upstream, which speaks {title}{reason}.",
        field,
        "field_not_supported",
    )


def unknown_field(field: str, title: str) -> GatewayError:
    """A 400 for a field of a client's request that nothing is known of, where it would have to be converted."""
    return invalid_request(
        f"'{field}' is not a field that can be converted from {title}, and this model's upstream speaks another format.",
        field,
        "field_not_supported",
    )
