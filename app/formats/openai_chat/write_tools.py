"""Tools, which of them may be called, and the schema of an answer, as a server that speaks Chat Completions takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from app.core.conversation import Ask, Opaque, Schema, Tool, ToolChoice
from app.formats.fields import cannot_carry
from app.formats.openai_chat.fields import NAME, TITLE
from app.formats.openai_chat.quirks import NO_TOOL_CHOICE

INVENTED = "answer"
"""The name of a schema whose client gave it none: this format wants one."""


def write_tools(ask: Ask, quirks: frozenset[str]) -> dict[str, Any]:
    """The fields `tools`, `tool_choice` and `parallel_tool_calls`, as far as there are any.

    Raises GatewayError 400 naming another vendor's tool, and a choice that the server wouldn't heed.
    """
    choice, tools = ask.tool_choice, ask.tools
    if choice is None or ask.format == NAME:
        pass
    elif NO_TOOL_CHOICE in quirks:
        if choice.mode == "required":
            raise cannot_carry(ask.field("tool_choice"), TITLE, "its server doesn't heed it")
        tools, choice = () if choice.mode == "none" else choose(tools, choice.names), None
    elif choice.mode == "auto" or len(choice.names) > 1:
        # `allowed_tools` is OpenAI's own word; a choice among fewer tools is known everywhere.
        tools, choice = choose(tools, choice.names), None if choice.mode == "auto" else ToolChoice(choice.mode)
    found: dict[str, Any] = {}
    if tools:
        found["tools"] = [write_tool(tool) for tool in tools]
    # OpenAI refuses a choice where there is nothing to choose; only one that demands a call is worth its refusal.
    if choice is not None and (tools or choice.mode == "required"):
        found["tool_choice"] = write_choice(choice, tools)
    if ask.parallel_tool_calls is not None and tools:
        found["parallel_tool_calls"] = ask.parallel_tool_calls
    return found


def choose(tools: Iterable[Tool | Opaque], names: tuple[str, ...]) -> tuple[Tool | Opaque, ...]:
    """The tools of these names; all, where none are named."""
    return tuple([tool for tool in tools if not names or (isinstance(tool, Tool) and tool.name in names)])


def write_tool(tool: Tool | Opaque) -> dict[str, Any]:
    """One tool. Raises GatewayError 400 for one that only another format knows."""
    if isinstance(tool, Opaque):
        raise cannot_carry(tool.field, TITLE)
    told: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        told["description"] = tool.description
    if tool.custom:
        if tool.grammar is not None:
            told["format"] = _write_grammar(tool.grammar)
        return {"type": "custom", "custom": told}
    if tool.schema is not None:
        told["parameters"] = tool.schema
    if tool.strict is not None:
        told["strict"] = tool.strict
    return {"type": "function", "function": told}


def _write_grammar(grammar: Mapping[str, Any]) -> Mapping[str, Any]:
    """With an inner object, which only this format has."""
    if "grammar" in grammar or grammar.get("type") != "grammar":
        return grammar
    return {"type": "grammar", "grammar": {name: value for name, value in grammar.items() if name != "type"}}


def write_choice(choice: ToolChoice, tools: Iterable[Tool | Opaque]) -> Any:
    """The `tool_choice` field."""
    if not choice.names or choice.mode == "none":
        return choice.mode
    custom = {tool.name for tool in tools if isinstance(tool, Tool) and tool.custom}
    named = [_write_named("custom" if name in custom else "function", name) for name in choice.names]
    if len(named) == 1 and choice.mode == "required":
        return named[0]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": named}}


def _write_named(kind: str, name: str) -> dict[str, Any]:
    return {"type": kind, kind: {"name": name}}


def write_schema(schema: Schema) -> dict[str, Any]:
    """The `response_format` field."""
    if schema.schema is None:
        return {"type": "json_object"}
    told: dict[str, Any] = {"name": schema.name or INVENTED}
    if schema.description is not None:
        told["description"] = schema.description
    told["schema"] = schema.schema
    if schema.strict is not None:
        told["strict"] = schema.strict
    return {"type": "json_schema", "json_schema": told}
