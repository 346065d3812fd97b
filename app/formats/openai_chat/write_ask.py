"""A canonical request, written for a server that speaks Chat Completions, with the deviations of its provider."""

from __future__ import annotations

from typing import Any

from app.core.conversation import Ask
from app.formats.base import Target, Written
from app.formats.fields import cannot_carry, check_fates
from app.formats.framing import write_json
from app.formats.openai_chat.fields import CARRIES, NAME, TITLE
from app.formats.openai_chat.quirks import NO_CHOICES, NO_STOP_WITH_REASONING, STRICT_FIELDS
from app.formats.openai_chat.write_messages import MessageWriter
from app.formats.openai_chat.write_reasoning import write_reasoning
from app.formats.openai_chat.write_tools import write_schema, write_tools

MOST_STOPS = 4
TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})
PLAIN = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed")
"""Attributes that are called the same here."""

STOPPED = ("stop", "presence_penalty", "frequency_penalty")
ADVISORY = ("user", "cache_key", "verbosity", "service_tier")
"""What servers that refuse unknown fields aren't told."""

_HANDLED = ("stop", "service_tier", "modalities")


def write_ask(ask: Ask, target: Target) -> Written:
    """See `app.formats.base.Format.write_ask`."""
    quirks, same = target.quirks, ask.format == NAME
    left_out = list(ask.dropped) if same else check_fates(ask, CARRIES, TITLE, without=_HANDLED)
    if not same:  # a client of this format is told by the server itself, as where its request passes through
        _check(ask, quirks)
    messages = MessageWriter(ask, quirks)
    body: dict[str, Any] = {"model": target.model, "messages": messages.write()}
    _write_cap(ask, target, body)
    if ask.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    for name in PLAIN:
        value = getattr(ask, name)
        if value is not None:
            body[name] = value
    if ask.tools or ask.tool_choice is not None:
        body |= write_tools(ask, quirks)
    elif same and ask.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = ask.parallel_tool_calls
    _write_wishes(ask, quirks, body, left_out)
    _write_advice(ask, quirks, body, left_out)
    if same:
        _write_own(ask, body)
    return Written(write_json(body), tuple(dict.fromkeys([*left_out, *messages.left_out])))


def _check(ask: Ask, quirks: frozenset[str]) -> None:
    """Raises GatewayError 400 naming what the server can't be asked for."""
    if ask.modalities and set(ask.modalities) != {"text"}:
        raise cannot_carry(ask.field("modalities"), TITLE, CARRIES["modalities"].note)
    if ask.choices > 1 and NO_CHOICES in quirks:
        raise cannot_carry(ask.field("choices"), TITLE, "its server gives one answer")
    reasoning = ask.reasoning
    if NO_STOP_WITH_REASONING in quirks and reasoning is not None and reasoning.effort not in (None, "none"):
        for name in STOPPED:
            if getattr(ask, name):
                raise cannot_carry(ask.field(name), TITLE, "its models refuse it while they think")


def _write_cap(ask: Ask, target: Target, body: dict[str, Any]) -> None:
    cap = ask.output_cap
    if target.output_cap is not None:
        cap = target.output_cap if cap is None else min(cap, target.output_cap)
    if cap is not None:
        named = ask.format == NAME and ask.output_cap is not None
        body[ask.field("output_cap") if named else target.cap_field] = cap


def _write_wishes(ask: Ask, quirks: frozenset[str], body: dict[str, Any], left_out: list[str]) -> None:
    if ask.choices > 1:
        body["n"] = ask.choices
    if ask.stop:
        many = len(ask.stop) > MOST_STOPS and ask.format != NAME
        body["stop"] = ask.stop[:MOST_STOPS] if many else ask.stop
        if many:
            left_out.append(ask.field("stop"))
    if ask.logprobs:
        body["logprobs"] = True
    if ask.top_logprobs is not None:
        body["top_logprobs"] = ask.top_logprobs
    if ask.response_format is not None:
        body["response_format"] = write_schema(ask.response_format)
    if ask.reasoning is not None:
        told = write_reasoning(ask.reasoning, quirks)
        if told is None:
            left_out.append(ask.field("reasoning"))
        else:
            body |= told


def _write_advice(ask: Ask, quirks: frozenset[str], body: dict[str, Any], left_out: list[str]) -> None:
    tier = ask.service_tier
    for name in ADVISORY:
        value = getattr(ask, name)
        if value is None or (name == "service_tier" and tier == "standard"):
            continue
        if STRICT_FIELDS in quirks or (name == "service_tier" and tier not in TIERS and ask.format != NAME):
            left_out.append(ask.field(name))
        elif name == "cache_key":
            body["prompt_cache_key"] = value
        else:
            # `safety_identifier` is the newer name, which servers other than OpenAI's don't know.
            body[ask.field("user") if name == "user" and ask.format == NAME else name] = value


def _write_own(ask: Ask, body: dict[str, Any]) -> None:
    """What only a client of this very format is known to mean for its servers."""
    if ask.top_k is not None:
        body["top_k"] = ask.top_k
    if ask.metadata:
        body["metadata"] = ask.metadata
    if ask.modalities:
        body["modalities"] = ask.modalities
    if ask.cache is not None:
        body["prompt_cache_options"] = {} if ask.cache.ttl is None else {"ttl": ask.cache.ttl}
