"""Tools of a client's request, which of them may be called, and the schema that an answer must fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core.conversation import Schema, Tool, ToolChoice
from app.formats.openai_chat.fields import TITLE
from app.formats.openai_chat.read_parts import read_cache
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

_TOOL = frozenset({"type", "function", "custom", "cache_control"})
_FUNCTION = frozenset({"name", "description", "parameters", "strict"})
_CUSTOM = frozenset({"name", "description", "format"})
_SCHEMA = frozenset({"name", "description", "schema", "strict"})


def read_tools(value: object, left_out: list[str]) -> tuple[Tool, ...]:
    """The client's own tools. Raises GatewayError 400 for one that a vendor would run."""
    return tuple([_read_tool(tool, f"tools[{at}]", left_out) for at, tool in enumerate(as_array(value, "tools"))])


def _read_tool(value: object, path: str, left_out: list[str]) -> Tool:
    tool = as_object(value, path)
    kind = tool.get("type")
    if kind not in ("function", "custom"):
        raise (
            missing(f"{path}.type")
            if kind is None
            else refuse(f"{path}.type", TITLE, "its vendor runs such a tool itself")
        )
    note_others(tool, _TOOL, "tools[]", path, TITLE, left_out)
    path = f"{path}.{kind}"
    told = as_object(tool.get(kind), path)
    name = as_string(told.get("name"), f"{path}.name")
    description = as_optional_string(told.get("description"), f"{path}.description")
    cache = read_cache(tool, path)
    if kind == "custom":
        note_others(told, _CUSTOM, "tools[].custom", path, TITLE, left_out)
        return Tool(name, description, custom=True, grammar=_read_grammar(told.get("format"), path), cache=cache)
    note_others(told, _FUNCTION, "tools[].function", path, TITLE, left_out)
    schema, strict = told.get("parameters"), told.get("strict")
    return Tool(
        name,
        description,
        None if schema is None else as_object(schema, f"{path}.parameters"),
        None if strict is None else as_boolean(strict, f"{path}.strict"),
        cache=cache,
    )


def _read_grammar(value: object, path: str) -> Mapping[str, Any] | None:
    """As Responses has it: without the inner object that this format puts around it. Plain text is no grammar."""
    if value is None:
        return None
    format = as_object(value, f"{path}.format")
    if format.get("type") == "text":
        return None
    inner = format.get("grammar")
    return format if inner is None else {"type": "grammar", **as_object(inner, f"{path}.format.grammar")}


def read_choice(value: Any) -> ToolChoice | None:
    """Which tools may be called; None for `auto`, the default."""
    match value:
        case "auto":
            return None
        case "none":
            return ToolChoice("none")
        case "required" | "any":  # Mistral's word
            return ToolChoice("required")
        case str():
            raise wrong_value("tool_choice", "auto, none, required or an object")
        case {"type": "function" | "custom" as kind}:
            return ToolChoice("required", (_read_name(value, str(kind), "tool_choice"),))
        case {"type": "allowed_tools"}:
            return _read_allowed(value.get("allowed_tools"))
        case {"type": _}:
            raise refuse("tool_choice.type", TITLE)
        case dict():
            raise missing("tool_choice.type")
        case _:
            raise wrong_type("tool_choice", "a string or an object")


def _read_name(value: dict[str, Any], kind: str, path: str) -> str:
    path = f"{path}.{kind}"
    return as_string(as_object(value.get(kind), path).get("name"), f"{path}.name")


def _read_allowed(value: object) -> ToolChoice:
    path = "tool_choice.allowed_tools"
    allowed = as_object(value, path)
    names = []
    for at, entry in enumerate(as_array(allowed.get("tools"), f"{path}.tools")):
        place = f"{path}.tools[{at}]"
        kind = as_object(entry, place).get("type")
        if kind not in ("function", "custom"):
            raise refuse(f"{place}.type", TITLE, "its vendor runs such a tool itself")
        names.append(_read_name(entry, kind, place))
    mode = allowed.get("mode")
    if mode == "auto":
        return ToolChoice("auto", tuple(names))
    if mode == "required":
        return ToolChoice("required", tuple(names))
    raise wrong_value(f"{path}.mode", "auto or required")


def read_schema(value: object, left_out: list[str]) -> Schema | None:
    """The `response_format` field; None for text, the default."""
    format = as_object(value, "response_format")
    match format.get("type"):
        case "text":
            return None
        case "json_object":
            return Schema(None)
        case "json_schema":
            return _read_json_schema(format.get("json_schema"), left_out)
        case None:
            raise missing("response_format.type")
        case _:
            raise wrong_value("response_format.type", "text, json_object or json_schema")


def _read_json_schema(value: object, left_out: list[str]) -> Schema:
    path = "response_format.json_schema"
    told = as_object(value, path)
    note_others(told, _SCHEMA, path, path, TITLE, left_out)
    strict = told.get("strict")
    schema = told.get("schema")
    return Schema(
        {} if schema is None else as_object(schema, f"{path}.schema"),
        as_string(told.get("name"), f"{path}.name"),
        as_optional_string(told.get("description"), f"{path}.description"),
        None if strict is None else as_boolean(strict, f"{path}.strict"),
    )
