"""A request in the canonical model, written for an upstream that speaks the Responses format."""

from __future__ import annotations

from typing import Any

from app.core.conversation import Ask, Reasoning, Tool
from app.formats.base import Target, Written
from app.formats.efforts import effort_of
from app.formats.fields import cannot_carry, check_fates
from app.formats.framing import write_json
from app.formats.openai_responses.fields import CARRIES, TITLE
from app.formats.openai_responses.write_input import InputWriter
from app.formats.openai_responses.write_tools import write_choice, write_schema, write_tool

ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"

TIERS = frozenset({"default", "flex", "scale", "priority", "fast", "ultrafast"})


def write_ask(ask: Ask, target: Target) -> Written:
    """See `app.formats.base.Format.write_ask`. Nothing is stored at the upstream: a thought comes back sealed instead."""
    if ask.choices > 1:
        raise cannot_carry(ask.field("choices"), TITLE, CARRIES["choices"].note)
    left_out = check_fates(ask, CARRIES, TITLE, without=("modalities", "service_tier"))
    if set(ask.modalities) - {"text"}:
        raise cannot_carry(ask.field("modalities"), TITLE, CARRIES["modalities"].note)
    body: dict[str, Any] = {"model": target.model}
    _write_input(ask, body, left_out)
    cap = ask.output_cap
    if target.output_cap is not None:
        cap = target.output_cap if cap is None else min(cap, target.output_cap)
    if cap is not None:
        body["max_output_tokens"] = cap
    _write_tools(ask, body, left_out)
    _write_thinking(ask, body)
    _write_text(ask, body)
    _write_standing(ask, body, left_out)
    if ask.stream:
        body["stream"] = True
    body["store"] = False
    return Written(write_json(body), tuple(dict.fromkeys(left_out)))


def _write_input(ask: Ask, body: dict[str, Any], left_out: list[str]) -> None:
    writer = InputWriter(ask, left_out)
    body["input"] = writer.write()
    if len(ask.system) == 1:
        body["instructions"] = ask.system[0].text
        if ask.system[0].cache is not None:
            left_out.append(ask.field("cache_point"))
    elif ask.system:
        body["input"].insert(0, writer.write_system())


def _write_tools(ask: Ask, body: dict[str, Any], left_out: list[str]) -> None:
    if ask.tools:
        body["tools"] = [write_tool(tool) for tool in ask.tools]
        if any(isinstance(tool, Tool) and tool.cache is not None for tool in ask.tools):
            left_out.append(ask.field("cache_point"))
    if ask.tool_choice is not None:
        body["tool_choice"] = write_choice(ask.tool_choice, ask.tools)
    if ask.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = ask.parallel_tool_calls


def _write_thinking(ask: Ask, body: dict[str, Any]) -> None:
    """Sampling, reasoning, and what of them is to be seen in the answer."""
    if ask.temperature is not None and ask.temperature != 1:
        body["temperature"] = ask.temperature
    if ask.top_p is not None and ask.top_p != 1:
        body["top_p"] = ask.top_p
    if ask.reasoning is not None and (reasoning := write_reasoning(ask.reasoning)):
        body["reasoning"] = reasoning
    include = [ENCRYPTED] if _thinks(ask) else []
    if ask.logprobs:
        include.append(LOGPROBS)
        if ask.top_logprobs:
            body["top_logprobs"] = ask.top_logprobs
    if include:
        body["include"] = include


def _write_text(ask: Ask, body: dict[str, Any]) -> None:
    text: dict[str, Any] = {}
    if ask.response_format is not None:
        text["format"] = write_schema(ask.response_format)
    if ask.verbosity is not None:
        text["verbosity"] = ask.verbosity
    if text:
        body["text"] = text


def _write_standing(ask: Ask, body: dict[str, Any], left_out: list[str]) -> None:
    """Who asks, how urgently, and what may be kept in a cache."""
    if ask.service_tier in TIERS:
        body["service_tier"] = ask.service_tier
    elif ask.service_tier not in (None, "auto", "standard"):
        left_out.append(ask.field("service_tier"))
    if ask.user is not None:
        body["safety_identifier"] = ask.user
    if ask.cache_key is not None:
        body["prompt_cache_key"] = ask.cache_key
    if ask.cache is not None and ask.cache.ttl == "12h":
        body["prompt_cache_options"] = {"ttl": "12h"}


def _thinks(ask: Ask) -> bool:
    """Whether sealed thoughts are asked for. A model that doesn't think refuses the request for them."""
    wanted = ask.reasoning
    return wanted is not None and wanted.effort != "none" and wanted.budget != 0


def write_reasoning(reasoning: Reasoning) -> dict[str, Any]:
    """The `reasoning` field: an effort, and a summary where the thoughts shall be seen."""
    written: dict[str, Any] = {}
    effort = "none" if reasoning.budget == 0 else reasoning.effort  # switched off, whatever effort stands beside it
    if effort is None and reasoning.budget is not None and not reasoning.adaptive:
        effort = effort_of(reasoning.budget)
    if effort is not None:
        written["effort"] = effort
    if reasoning.show and effort != "none":
        written["summary"] = "auto"
    return written
