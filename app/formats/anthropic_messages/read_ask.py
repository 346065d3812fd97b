"""A client's Messages request, read whole into the canonical one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from app.core.conversation import Ask, Opaque, Reasoning, Schema, Tool, ToolChoice
from app.formats.anthropic_messages.fields import CLIENT_NAMES, DENIED, LEFT_OUT, NAME, TITLE
from app.formats.anthropic_messages.read_messages import (
    check_names,
    read_cache,
    read_messages,
    read_strings,
    read_system,
)
from app.formats.base import Request
from app.formats.body import decode_json
from app.formats.fields import cannot_carry, unknown_field
from app.formats.values import (
    as_array,
    as_integer,
    as_number,
    as_object,
    as_string,
    find_boolean,
    find_string,
    missing,
    take_string,
    wrong_value,
)

ANY = "other formats"
"""Who can't carry what only Anthropic has."""

EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
DISPLAYS = MappingProxyType({None: None, "summarized": True, "omitted": False})


Found = dict[str, Any]


def read_ask(request: Request) -> Ask:
    """Raises GatewayError 400 naming a field that is wrong, unknown, or that no other format has."""
    value = decode_json(request.body)
    if request.output_cap == 0:
        raise cannot_carry("max_tokens", ANY, "0 fills a cache at Anthropic, and nothing elsewhere")
    left_out: list[str] = []
    found: Found = {"fields": CLIENT_NAMES}
    for name, given in value.items():
        if given is None:
            continue
        read = _READERS.get(name)
        if read is not None:
            read(given, found, left_out)
        elif name in LEFT_OUT:
            left_out.append(name)
        else:
            raise _refuse(name)
    return _whole(request, found, left_out)


def _refuse(name: str) -> Exception:
    if name in DENIED:
        return cannot_carry(name, ANY, DENIED[name])
    return unknown_field(name, TITLE)


def _whole(request: Request, found: Found, left_out: list[str]) -> Ask:
    leading, messages = found.pop("leading", []), found.pop("messages")
    return Ask(
        format=NAME,
        model=request.model,
        stream=request.stream,
        output_cap=request.output_cap,
        messages=tuple(messages),
        system=(*found.pop("system", ()), *leading),
        dropped=tuple(left_out),
        **found,
    )


def _messages(value: object, found: Found, left_out: list[str]) -> None:
    found["leading"], found["messages"] = read_messages(value, left_out)


def _system(value: object, found: Found, left_out: list[str]) -> None:
    found["system"] = read_system(value, left_out)


def _known(value: object, found: Found, left_out: list[str]) -> None:
    """What `Request` holds already."""


def _temperature(value: object, found: Found, left_out: list[str]) -> None:
    found["temperature"] = as_number(value, "temperature")


def _top_p(value: object, found: Found, left_out: list[str]) -> None:
    if (top_p := as_number(value, "top_p")) != 1.0:
        found["top_p"] = top_p


def _top_k(value: object, found: Found, left_out: list[str]) -> None:
    found["top_k"] = as_integer(value, "top_k")


def _stop(value: object, found: Found, left_out: list[str]) -> None:
    found["stop"] = read_strings(value, "stop_sequences")


def _metadata(value: object, found: Found, left_out: list[str]) -> None:
    metadata = as_object(value, "metadata")
    check_names(metadata, ("user_id",), "metadata")
    found["user"] = find_string(metadata, "user_id", "metadata")


def _cache(value: object, found: Found, left_out: list[str]) -> None:
    found["cache"] = read_cache({"cache_control": value}, "", left_out)


def _service_tier(value: object, found: Found, left_out: list[str]) -> None:
    tier = as_string(value, "service_tier")
    if tier not in ("auto", "standard_only"):
        raise wrong_value("service_tier", "auto or standard_only")
    if tier == "auto":
        return
    if "service_tier" in found:  # fast mode, which says more
        left_out.append("service_tier")
    else:
        found["service_tier"] = "default"


def _speed(value: object, found: Found, left_out: list[str]) -> None:
    speed = as_string(value, "speed")
    if speed not in ("standard", "fast"):
        raise wrong_value("speed", "standard or fast")
    if speed == "fast":
        if "service_tier" in found:
            left_out.append("service_tier")
        found["service_tier"] = "fast"
        found["fields"] = {**found["fields"], "service_tier": "speed"}


def _tool_choice(value: object, found: Found, left_out: list[str]) -> None:
    choice = as_object(value, "tool_choice")
    check_names(choice, ("type", "name", "disable_parallel_tool_use"), "tool_choice")
    match take_string(choice, "type", "tool_choice"):
        case "auto":
            pass
        case "any":
            found["tool_choice"] = ToolChoice("required")
        case "none":
            found["tool_choice"] = ToolChoice("none")
        case "tool":
            found["tool_choice"] = ToolChoice("required", (take_string(choice, "name", "tool_choice"),))
        case _:
            raise wrong_value("tool_choice.type", "auto, any, tool or none")
    if find_boolean(choice, "disable_parallel_tool_use", "tool_choice"):
        found["parallel_tool_calls"] = False


def _thinking(value: object, found: Found, left_out: list[str]) -> None:
    thinking = as_object(value, "thinking")
    check_names(thinking, ("type", "budget_tokens", "display"), "thinking")
    effort = _effort_of(found)
    if effort is not None:  # both are set: the one that says more gives the name
        found["fields"] = {**found["fields"], "reasoning": "thinking"}
    display = find_string(thinking, "display", "thinking")
    if display not in DISPLAYS:
        raise wrong_value("thinking.display", "summarized or omitted")
    show = DISPLAYS[display]
    match take_string(thinking, "type", "thinking"):
        case "enabled":
            if thinking.get("budget_tokens") is None:
                raise missing("thinking.budget_tokens")
            budget = as_integer(thinking["budget_tokens"], "thinking.budget_tokens")
            if budget < 1:
                raise wrong_value("thinking.budget_tokens", "at least 1")
            found["reasoning"] = Reasoning(effort, budget, show=show)
        case "adaptive":
            found["reasoning"] = Reasoning(effort, adaptive=True, show=show)
        case "disabled":
            found["reasoning"] = Reasoning("none") if effort is None else Reasoning(effort, 0)
        case kind:
            raise (
                cannot_carry(f"thinking.{kind}", ANY)
                if kind == "between_tools"
                else wrong_value("thinking.type", "enabled, adaptive or disabled")
            )


def _effort_of(found: Found) -> str | None:
    reasoning: Reasoning | None = found.get("reasoning")
    return None if reasoning is None else reasoning.effort


def _output_config(value: object, found: Found, left_out: list[str]) -> None:
    config = as_object(value, "output_config")
    check_names(config, ("effort", "format"), "output_config")
    effort = find_string(config, "effort", "output_config")
    if effort is not None:
        if effort not in EFFORTS:
            raise wrong_value("output_config.effort", "low, medium, high, xhigh or max")
        _take_effort(effort, found)
    wanted = config.get("format")
    if wanted is not None:
        path = "output_config.format"
        check_names(as_object(wanted, path), ("type", "schema"), path)
        if take_string(wanted, "type", path) != "json_schema":
            raise wrong_value(f"{path}.type", "json_schema")
        schema = as_object(wanted.get("schema"), f"{path}.schema")
        # Anthropic always keeps to a schema. OpenAI does so if asked, for schemas that leave nothing open.
        found["response_format"] = Schema(schema, strict=True if is_closed(schema) else None)


def is_closed(schema: object) -> bool:
    """Whether a JSON Schema names all that its objects hold, and wants all of it: what OpenAI demands of a strict one."""
    if isinstance(schema, list):
        return all(is_closed(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, dict):
        names = set(properties) if isinstance(properties, dict) else set()
        required = schema.get("required")
        wanted = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
        if schema.get("additionalProperties") is not False or names != wanted:
            return False
    return all(is_closed(part) for part in schema.values())


def _take_effort(effort: str, found: Found) -> None:
    """Beside `thinking`, whichever of the two came first."""
    thinking: Reasoning | None = found.get("reasoning")
    if thinking is None:
        found["reasoning"] = Reasoning(effort)
        found["fields"] = {**found["fields"], "reasoning": "output_config.effort"}
    elif thinking.effort == "none":
        found["reasoning"] = Reasoning(effort, 0)
    else:
        found["reasoning"] = msgspec.structs.replace(thinking, effort=effort)


def _tools(value: object, found: Found, left_out: list[str]) -> None:
    tools: list[Tool | Opaque] = []
    for number, entry in enumerate(as_array(value, "tools")):
        path = f"tools[{number}]"
        tool = as_object(entry, path)
        kind = find_string(tool, "type", path)
        own = tool.get("allowed_callers") not in (None, [], ["direct"])
        if kind in (None, "custom") and not own:
            tools.append(_read_tool(tool, path, left_out))
        else:
            tools.append(Opaque(NAME, f"{path}.allowed_callers" if own else f"{path}.type", tool))
    found["tools"] = tuple(tools)


_ADVISORY = ("defer_loading", "eager_input_streaming", "input_examples")
_OF_TOOL = ("type", "name", "description", "input_schema", "strict", "cache_control", "allowed_callers", *_ADVISORY)


def _read_tool(tool: dict[str, Any], path: str, left_out: list[str]) -> Tool:
    check_names(tool, _OF_TOOL, path)
    left_out += [f"{path}.{name}" for name in _ADVISORY if tool.get(name)]
    if tool.get("input_schema") is None:
        raise missing(f"{path}.input_schema")
    return Tool(
        take_string(tool, "name", path),
        find_string(tool, "description", path),
        as_object(tool["input_schema"], f"{path}.input_schema"),
        find_boolean(tool, "strict", path),
        cache=read_cache(tool, path, left_out),
    )


_READERS: Mapping[str, Callable[[object, Found, list[str]], None]] = MappingProxyType(
    {
        "model": _known,
        "max_tokens": _known,
        "stream": _known,
        "messages": _messages,
        "system": _system,
        "temperature": _temperature,
        "top_p": _top_p,
        "top_k": _top_k,
        "stop_sequences": _stop,
        "metadata": _metadata,
        "cache_control": _cache,
        "service_tier": _service_tier,
        "speed": _speed,
        "tool_choice": _tool_choice,
        "tools": _tools,
        "thinking": _thinking,
        "output_config": _output_config,
    }
)
