"""A canonical request, written for Google.

Source: Google's API reference, and the `*_to_mldev` converters of google-genai. The model, and whether the answer streams,
are in the URL.
"""

from __future__ import annotations

from typing import Any

from app.core.conversation import Ask, Opaque, Reasoning, Tool
from app.formats.base import Target, Written
from app.formats.fields import cannot_carry, check_fates
from app.formats.framing import write_json
from app.formats.gemini_generate.fields import CARRIES, NAME, TITLE
from app.formats.gemini_generate.write_contents import ContentWriter

DECIDED_HERE = ("service_tier", "parallel_tool_calls", "modalities")

LEVELS = {
    "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH", "max": "XHIGH",
}  # fmt: skip
TIERS = {"default": None, "standard": None, "auto": None, "flex": "flex", "priority": "priority", "fast": "priority"}
MODALITIES = {"text": "TEXT", "image": "IMAGE", "audio": "AUDIO"}
MODES = {"none": "NONE", "required": "ANY"}
JSON = "application/json"

NUMBERS = (
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
    ("seed", "seed"),
)


def write_ask(ask: Ask, target: Target) -> Written:
    """Raises GatewayError 400 naming the client's field that can't be carried."""
    left_out = check_fates(ask, CARRIES, TITLE, without=DECIDED_HERE)
    contents = ContentWriter(ask)
    system = contents.system()
    turns = contents.write()
    if not turns and system:  # Google answers nobody who says nothing
        turns, system = [{"role": "user", "parts": system}], []
    body: dict[str, Any] = {"contents": turns}
    if system:
        body["systemInstruction"] = {"parts": system}
    body.update(_write_tools(ask, left_out))
    config = _write_config(ask, target)
    if config:
        body["generationConfig"] = config
    if ask.service_tier is not None:
        tier = TIERS.get(ask.service_tier)
        if tier is not None:
            body["serviceTier"] = tier
        elif ask.service_tier not in TIERS:
            left_out.append(ask.field("service_tier"))
    return Written(write_json(body), tuple(dict.fromkeys([*left_out, *contents.left_out])))


def _write_config(ask: Ask, target: Target) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for attribute, name in NUMBERS:
        value = getattr(ask, attribute)
        if value is not None:
            config[name] = value
    caps = [cap for cap in (ask.output_cap, target.output_cap) if cap is not None]
    if caps:
        config["maxOutputTokens"] = min(caps)
    if ask.stop:
        config["stopSequences"] = ask.stop
    if ask.choices > 1:
        config["candidateCount"] = ask.choices
    if ask.logprobs:
        config["responseLogprobs"] = True
    if ask.top_logprobs is not None:
        config["logprobs"] = ask.top_logprobs
    if ask.modalities:
        config["responseModalities"] = _write_modalities(ask)
    if ask.response_format is not None:
        config["responseMimeType"] = JSON
        if ask.response_format.schema is not None:
            config["responseJsonSchema"] = ask.response_format.schema
    thinking = None if ask.reasoning is None else _write_thinking(ask.reasoning)
    if thinking:
        config["thinkingConfig"] = thinking
    return config


def _write_modalities(ask: Ask) -> list[str]:
    if any(modality not in MODALITIES for modality in ask.modalities):
        raise cannot_carry(ask.field("modalities"), TITLE, CARRIES["modalities"].note)
    return [MODALITIES[modality] for modality in ask.modalities]


def _write_thinking(reasoning: Reasoning) -> dict[str, Any]:
    """The field `thinkingConfig`. Google takes a level or a budget, not both: where both were given, the level."""
    if reasoning.effort == "none" or reasoning.budget == 0:
        return {"thinkingBudget": 0}
    config: dict[str, Any] = {}
    if reasoning.effort is not None:
        config["thinkingLevel"] = LEVELS.get(reasoning.effort, "HIGH")
    elif reasoning.budget is not None:
        config["thinkingBudget"] = reasoning.budget
    elif reasoning.adaptive:
        config["thinkingBudget"] = -1
    if reasoning.show is not False:
        config["includeThoughts"] = True
    return config


def _write_tools(ask: Ask, left_out: list[str]) -> dict[str, Any]:
    declarations = [_write_tool(tool, ask) for tool in ask.tools if isinstance(tool, Tool)]
    entries: list[Any] = [{"functionDeclarations": declarations}] if declarations else []
    for tool in ask.tools:
        if isinstance(tool, Opaque):
            if tool.format != NAME:
                raise cannot_carry(tool.field, TITLE)
            entries.append(tool.value)
    if not entries:
        return {}
    if ask.parallel_tool_calls is False and declarations:
        raise cannot_carry(ask.field("parallel_tool_calls"), TITLE, CARRIES["parallel_tool_calls"].note)
    config = _write_choice(ask) if declarations else None
    return {"tools": entries} if config is None else {"tools": entries, "toolConfig": {"functionCallingConfig": config}}


def _write_tool(tool: Tool, ask: Ask) -> dict[str, Any]:
    if tool.custom:
        raise cannot_carry(ask.field("tool_custom"), TITLE, CARRIES["tool_custom"].note)
    declaration: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        declaration["description"] = tool.description
    if tool.schema is not None:
        declaration["parametersJsonSchema"] = tool.schema
    return declaration


def _write_choice(ask: Ask) -> dict[str, Any] | None:
    """Names are heeded beside ANY and VALIDATED alone, and only VALIDATED keeps a call that isn't forced to its schema."""
    choice = ask.tool_choice
    strict = any(isinstance(tool, Tool) and tool.strict for tool in ask.tools)
    if choice is None or choice.mode == "auto":
        if choice is not None and choice.names:
            return {"mode": "VALIDATED", "allowedFunctionNames": choice.names}
        return {"mode": "VALIDATED"} if strict else None
    config: dict[str, Any] = {"mode": MODES[choice.mode]}
    if choice.names and choice.mode == "required":
        config["allowedFunctionNames"] = choice.names
    return config
