"""Tools, and which of them may be called, as this format writes them: to an upstream, and back to a client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from app.core.conversation import Opaque, Schema, Tool, ToolChoice
from app.formats.fields import cannot_carry
from app.formats.openai_responses.fields import NAME, TITLE

INVENTED = "answer"
"""The name of a schema whose client gave it none: this format wants one."""


def write_tool(tool: Tool | Opaque) -> dict[str, Any]:
    """One tool. Raises GatewayError 400 for one that only another format knows.

    `strict` is always told: without it this API makes a function's schema strict by itself, fields that were optional
    mandatory, which no other format does. Source: OpenAI's guide to function calling.
    """
    if isinstance(tool, Opaque):
        if tool.format == NAME and isinstance(tool.value, dict):
            return tool.value
        raise cannot_carry(tool.field, TITLE)
    written: dict[str, Any] = {"type": "custom" if tool.custom else "function", "name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.custom:
        written["format"] = {"type": "text"} if tool.grammar is None else tool.grammar
    else:
        written["parameters"] = tool.schema
        written["strict"] = bool(tool.strict)
    return written


def write_choice(choice: ToolChoice, tools: Iterable[Tool | Opaque]) -> Any:
    """The `tool_choice` field."""
    if not choice.names or choice.mode == "none":
        return choice.mode
    custom = {tool.name for tool in tools if isinstance(tool, Tool) and tool.custom}
    named = [{"type": "custom" if name in custom else "function", "name": name} for name in choice.names]
    if len(named) == 1 and choice.mode == "required":
        return named[0]
    return {"type": "allowed_tools", "mode": choice.mode, "tools": named}


def write_schema(schema: Schema) -> dict[str, Any]:
    """The `text.format` field."""
    if schema.schema is None:
        return {"type": "json_object"}
    written: dict[str, Any] = {"type": "json_schema", "name": schema.name or INVENTED, "schema": schema.schema}
    if schema.description is not None:
        written["description"] = schema.description
    if schema.strict is not None:
        written["strict"] = schema.strict
    return written
