"""Tools and the choice among them, written for Anthropic."""

from __future__ import annotations

from typing import Any

from app.core.conversation import Ask, Opaque, Tool
from app.formats.anthropic_messages.fields import NAME, TITLE
from app.formats.anthropic_messages.write_messages import write_cache
from app.formats.fields import cannot_carry

NO_ARGUMENTS = {"type": "object", "properties": {}}


def write_tools(ask: Ask) -> dict[str, Any]:
    """The fields `tools` and `tool_choice`, as far as there are any. Raises GatewayError 400 naming another vendor's tool.

    A choice among some of several tools leaves the others out: this format knows only one tool or any.
    """
    choice = ask.tool_choice
    tools = [_write_tool(tool) for tool in ask.tools]
    if choice is not None and choice.names and not (choice.mode == "required" and len(choice.names) == 1):
        tools = [tool for tool in tools if tool.get("name") in choice.names]
    found: dict[str, Any] = {"tools": tools} if tools else {}
    wanted = _write_choice(ask)
    # Anthropic refuses a choice where there is nothing to choose; only one that demands a call is worth its refusal.
    if wanted is not None and (tools or wanted["type"] in ("any", "tool")):
        found["tool_choice"] = wanted
    return found


def _write_choice(ask: Ask) -> dict[str, Any] | None:
    choice = ask.tool_choice
    mode = "auto" if choice is None else choice.mode
    if mode == "none":
        return {"type": "none"}
    alone = ask.parallel_tool_calls is False
    if mode == "auto":
        return {"type": "auto", "disable_parallel_tool_use": True} if alone else None
    names = () if choice is None else choice.names
    wanted: dict[str, Any] = {"type": "tool", "name": names[0]} if len(names) == 1 else {"type": "any"}
    if alone:
        wanted["disable_parallel_tool_use"] = True
    return wanted


def _write_tool(tool: Tool | Opaque) -> dict[str, Any]:
    if isinstance(tool, Opaque):
        if tool.format != NAME:
            raise cannot_carry(tool.field, TITLE)
        return dict(tool.value)
    written: dict[str, Any] = {"name": tool.name, "input_schema": _schema(tool)}
    description = _description(tool)
    if description is not None:
        written["description"] = description
    if tool.strict is not None and not tool.custom:
        written["strict"] = tool.strict
    if tool.cache is not None:
        written["cache_control"] = write_cache(tool.cache)
    return written


def _schema(tool: Tool) -> dict[str, Any]:
    if tool.custom:
        return {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    if not tool.schema:
        return NO_ARGUMENTS
    # Others let a schema leave its type out; here it is required.
    return dict(tool.schema) if "type" in tool.schema else {"type": "object", **tool.schema}


def _description(tool: Tool) -> str | None:
    rule = tool.grammar.get("grammar", tool.grammar) if tool.grammar else None
    if not isinstance(rule, dict) or "definition" not in rule:
        return tool.description
    told = f"`input` must fit this {rule.get('syntax', '')} grammar:\n{rule['definition']}"
    return told if tool.description is None else f"{tool.description}\n\n{told}"
