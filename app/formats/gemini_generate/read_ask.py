"""A client's generateContent request, read whole into the canonical one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from app.core.conversation import Ask, Reasoning, Schema
from app.formats.base import Request
from app.formats.body import decode_json
from app.formats.fields import cannot_carry, unknown_field
from app.formats.gemini_generate.fields import CLIENT_NAMES, DENIED, LEFT_OUT, NAME, TITLE
from app.formats.gemini_generate.read_contents import OTHERS, ContentReader, check_names, read_system
from app.formats.gemini_generate.read_tools import read_tool_config, read_tools
from app.formats.gemini_generate.schema import read_schema
from app.formats.gemini_generate.spelling import respell
from app.formats.values import (
    as_array,
    as_boolean,
    as_integer,
    as_number,
    as_object,
    as_string,
    find_boolean,
    find_string,
    wrong_value,
)

LEVELS = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high", "XHIGH": "xhigh"}
NO_LEVEL = "THINKING_LEVEL_UNSPECIFIED"
TIERS = {"standard": None, "flex": "flex", "priority": "priority"}
MODALITIES = ("TEXT", "IMAGE", "AUDIO")
JSON, TEXT = "application/json", "text/plain"


Found = dict[str, Any]
Read = Callable[[Any, str, Found, list[str]], None]


def read_ask(request: Request) -> Ask:
    """Raises GatewayError 400 naming a field that is wrong, unknown, or that no other format has."""
    value = decode_json(request.body)
    left_out: list[str] = []
    found: Found = {}
    _read_fields(respell(value), "", _TOP, found, left_out)
    strict = found.pop("strict", False)
    if strict and "tools" in found:
        found["tools"] = tuple(msgspec.structs.replace(tool, strict=True) for tool in found["tools"])
    schema, kind = found.pop("schema", None), found.pop("mime", TEXT)
    if schema is not None or kind == JSON:
        found["response_format"] = Schema(schema)
    return Ask(
        format=NAME,
        model=request.model,
        stream=request.stream,
        output_cap=request.output_cap,
        choices=request.choices,
        fields=CLIENT_NAMES,
        dropped=tuple(left_out),
        **found,
    )


def _read_fields(
    value: dict[str, Any], prefix: str, readers: Mapping[str, Read], found: Found, left_out: list[str]
) -> None:
    for name, given in value.items():
        path = prefix + name
        read = readers.get(name)
        if read is not None:
            read(given, path, found, left_out)
        elif path in LEFT_OUT:
            left_out.append(path)
        elif path in DENIED:
            raise cannot_carry(path, OTHERS, DENIED[path])
        else:
            raise unknown_field(path, TITLE)


def _known(value: Any, path: str, found: Found, left_out: list[str]) -> None:
    """What `Request` holds already."""


def _contents(value: Any, path: str, found: Found, left_out: list[str]) -> None:
    found["messages"] = ContentReader(left_out).read(value)


def _system(value: Any, path: str, found: Found, left_out: list[str]) -> None:
    found["system"] = read_system(value)


def _tools(value: Any, path: str, found: Found, left_out: list[str]) -> None:
    found["tools"] = read_tools(value, left_out)


def _tool_config(value: Any, path: str, found: Found, left_out: list[str]) -> None:
    found["tool_choice"], found["strict"] = read_tool_config(value, left_out)


def _service_tier(value: Any, path: str, found: Found, left_out: list[str]) -> None:
    tier = as_string(value, path).lower()
    if tier not in TIERS:
        raise wrong_value(path, "standard, flex or priority")
    found["service_tier"] = TIERS[tier]


def _config(value: Any, path: str, found: Found, left_out: list[str]) -> None:
    _read_fields(respell(as_object(value, path)), f"{path}.", _CONFIG, found, left_out)


def _number(attribute: str, idle: float | None = None) -> Read:
    """Reads a number; one that is `idle` asks for nothing."""

    def read(value: Any, path: str, found: Found, left_out: list[str]) -> None:
        number = as_number(value, path)
        if number != idle:
            found[attribute] = number

    return read


def _integer(attribute: str) -> Read:
    def read(value: Any, path: str, found: Found, left_out: list[str]) -> None:
        found[attribute] = as_integer(int(value) if isinstance(value, float) and value.is_integer() else value, path)

    return read


def _stop(value: Any, path: str, found: Found, left_out: list[str]) -> None:
    found["stop"] = tuple(as_string(entry, f"{path}[{n}]") for n, entry in enumerate(as_array(value, path)))


def _logprobs(value: Any, path: str, found: Found, left_out: list[str]) -> None:
    found["logprobs"] = as_boolean(value, path)


def _mime(value: Any, path: str, found: Found, left_out: list[str]) -> None:
    kind = as_string(value, path)
    if kind not in (JSON, TEXT, ""):
        raise cannot_carry(path, OTHERS, f"but for {TEXT} and {JSON}")
    found["mime"] = kind or TEXT


def _schema(value: Any, path: str, found: Found, left_out: list[str]) -> None:
    found["schema"] = read_schema(value, path)


def _json_schema(value: Any, path: str, found: Found, left_out: list[str]) -> None:
    found["schema"] = as_object(value, path)


def _modalities(value: Any, path: str, found: Found, left_out: list[str]) -> None:
    kinds = [as_string(kind, path).upper() for kind in as_array(value, path)]
    if any(kind not in MODALITIES for kind in kinds):
        raise wrong_value(path, "of " + ", ".join(MODALITIES))
    if kinds and kinds != ["TEXT"]:
        found["modalities"] = tuple(kind.lower() for kind in kinds)


def _thinking(value: Any, path: str, found: Found, left_out: list[str]) -> None:
    """Thoughts that weren't asked for aren't shown: that is Google's default."""
    config = respell(as_object(value, path))
    check_names(config, ("includeThoughts", "thinkingBudget", "thinkingLevel"), path)
    show = bool(find_boolean(config, "includeThoughts", path))
    level = (find_string(config, "thinkingLevel", path) or NO_LEVEL).upper()
    if level != NO_LEVEL and level not in LEVELS:
        raise wrong_value(f"{path}.thinkingLevel", ", ".join(LEVELS))
    budget = config.get("thinkingBudget")
    if budget is not None and as_integer(budget, f"{path}.thinkingBudget") < -1:
        raise wrong_value(f"{path}.thinkingBudget", "at least -1")
    if show or budget is not None or level in LEVELS:
        found["reasoning"] = Reasoning(LEVELS.get(level), budget, show=show)


_TOP: Mapping[str, Read] = MappingProxyType(
    {
        "model": _known,
        "contents": _contents,
        "systemInstruction": _system,
        "tools": _tools,
        "toolConfig": _tool_config,
        "serviceTier": _service_tier,
        "generationConfig": _config,
    }
)

_CONFIG: Mapping[str, Read] = MappingProxyType(
    {
        "temperature": _number("temperature"),
        "topP": _number("top_p", 1.0),
        "topK": _integer("top_k"),
        "candidateCount": _known,
        "maxOutputTokens": _known,
        "stopSequences": _stop,
        "presencePenalty": _number("presence_penalty", 0.0),
        "frequencyPenalty": _number("frequency_penalty", 0.0),
        "seed": _integer("seed"),
        "responseLogprobs": _logprobs,
        "logprobs": _integer("top_logprobs"),
        "responseMimeType": _mime,
        "responseSchema": _schema,
        "responseJsonSchema": _json_schema,
        "responseModalities": _modalities,
        "thinkingConfig": _thinking,
    }
)
