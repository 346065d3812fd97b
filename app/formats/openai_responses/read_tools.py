"""Tools of a request, and which of them may be called."""

from __future__ import annotations

from typing import Any

from app.core.conversation import Tool, ToolChoice
from app.formats.openai_responses.fields import TITLE
from app.formats.values import (
    as_array,
    as_boolean,
    as_object,
    as_optional_string,
    as_string,
    missing,
    note_others,
    refuse,
    wrong_type,
    wrong_value,
)

BUILT_IN = "OpenAI runs such a tool itself"

_FUNCTION = frozenset({"type", "name", "description", "parameters", "strict", "allowed_callers", "async"})
_CUSTOM = frozenset({"type", "name", "description", "format", "allowed_callers", "async"})


def read_tools(value: object, left_out: list[str]) -> tuple[Tool, ...]:
    """The client's own tools. Raises GatewayError 400 for one that OpenAI would run."""
    return tuple([_read_tool(tool, f"tools[{at}]", left_out) for at, tool in enumerate(as_array(value, "tools"))])


def _read_tool(value: object, path: str, left_out: list[str]) -> Tool:
    tool = as_object(value, path)
    kind = tool.get("type")
    if kind not in ("function", "custom"):
        raise missing(f"{path}.type") if kind is None else refuse(f"{path}.type", TITLE, BUILT_IN, value=kind)
    note_others(tool, _FUNCTION if kind == "function" else _CUSTOM, "tools[]", "tools[]", TITLE, left_out)
    _check_callers(tool, path)
    name = as_string(tool.get("name"), f"{path}.name")
    description = as_optional_string(tool.get("description"), f"{path}.description")
    if kind == "custom":
        grammar = tool.get("format")
        if grammar is not None and as_object(grammar, f"{path}.format").get("type") == "text":
            grammar = None
        return Tool(name, description, custom=True, grammar=grammar)
    schema, strict = tool.get("parameters"), tool.get("strict")
    return Tool(
        name,
        description,
        None if schema is None else as_object(schema, f"{path}.parameters"),
        None if strict is None else as_boolean(strict, f"{path}.strict"),
    )


def _check_callers(tool: dict[str, Any], path: str) -> None:
    callers = tool.get("allowed_callers")
    if callers is not None and as_array(callers, f"{path}.allowed_callers") != ["direct"]:
        raise refuse(f"{path}.allowed_callers", TITLE, "no program calls tools there")
    if tool.get("async"):
        raise refuse(f"{path}.async", TITLE)


def read_choice(value: Any) -> ToolChoice | None:
    """Which tools may be called; None for `auto`, the default."""
    match value:
        case "auto":
            return None
        case "none":
            return ToolChoice("none")
        case "required":
            return ToolChoice("required")
        case str():
            raise wrong_value("tool_choice", "auto, none, required or an object")
        case {"type": "function" | "custom"}:
            return ToolChoice("required", (as_string(value.get("name"), "tool_choice.name"),))
        case {"type": "allowed_tools"}:
            return _read_allowed(value)
        case {"type": kind}:
            raise refuse("tool_choice.type", TITLE, BUILT_IN, value=kind)
        case dict():
            raise missing("tool_choice.type")
        case _:
            raise wrong_type("tool_choice", "a string or an object")


def _read_allowed(value: dict[str, Any]) -> ToolChoice:
    mode, names = value.get("mode"), []
    for at, entry in enumerate(as_array(value.get("tools"), "tool_choice.tools")):
        path = f"tool_choice.tools[{at}]"
        kind = as_object(entry, path).get("type")
        if kind not in ("function", "custom"):
            raise refuse(f"{path}.type", TITLE, BUILT_IN, value=kind)
        names.append(as_string(entry.get("name"), f"{path}.name"))
    if mode == "required":
        return ToolChoice("required", tuple(names))
    if mode == "auto":
        return ToolChoice("auto", tuple(names))
    raise wrong_value("tool_choice.mode", "auto or required")
