"""Reading a request for Anthropic's Messages: strictly, then what of it shapes the answer, and its prompt tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from app.demo.anthropic_errors import Caller, Refusal, word_misfit
from app.demo.anthropic_shapes import count_shape, create_shape
from app.demo.anthropic_turns import blocks_of, check_breakpoints, check_leading_thought, check_turns
from app.demo.openai_request import LOW_IMAGE_TOKENS, TOKENS_FOR_REPLY, TOKENS_PER_MESSAGE
from app.demo.samples import objects_of
from app.demo.saying import SHOWN_REASONING_TOKENS, Tool
from app.demo.shapes import Misfit, Record

DOCUMENT_TOKENS = 1_000


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was found good; `body` holds its fields as they are."""

    body: dict[str, Any]
    tools: tuple[Tool, ...]
    forced: bool
    most_calls: int | None

    @property
    def thinking(self) -> dict[str, Any]:
        """The `thinking` field; empty when there is none."""
        found: dict[str, Any] = self.body.get("thinking", {})
        return found

    @property
    def thinks(self) -> int:
        """The reasoning tokens that are asked for."""
        return SHOWN_REASONING_TOKENS if self.thinking.get("type") in ("enabled", "adaptive", "between_tools") else 0

    @property
    def schema(self) -> dict[str, Any] | None:
        """The schema of a structured answer."""
        shape = (self.body.get("output_config") or {}).get("format")
        return None if shape is None else shape["schema"]

    @property
    def user_text(self) -> str:
        """The text of the last user message, its blocks joined."""
        for message in reversed(self.body["messages"]):
            if message["role"] == "user":
                return "".join(block["text"] for block in blocks_of(message["content"]) if block["type"] == "text")
        return ""

    @property
    def answered(self) -> bool:
        """Whether it ends with the results of tools."""
        last = self.body["messages"][-1]
        return last["role"] == "user" and any(block["type"] == "tool_result" for block in blocks_of(last["content"]))

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The documents of its messages."""
        blocks = (block for message in self.body["messages"] for block in blocks_of(message["content"]))
        return [block for block in blocks if block["type"] == "document"]


def read_question(raw: bytes, caller: Caller) -> Question:
    """Reads the body of `POST /v1/messages`; raises Refusal."""
    body = _read(raw, create_shape(modern=caller.modern, beta=bool(caller.betas)))
    for stop in body.get("stop_sequences", ()):
        if not stop.strip():
            raise Refusal(400, "stop_sequences: each stop sequence must contain non-whitespace")
    return _check(body, caller)


def read_counted(raw: bytes, caller: Caller) -> Question:
    """Reads the body of `POST /v1/messages/count_tokens`; raises Refusal."""
    return _check(_read(raw, count_shape(beta=bool(caller.betas))), caller)


def count_prompt(body: dict[str, Any], count: Callable[[str], int]) -> int:
    """The prompt tokens of a request: of its texts, calls, results and system prompt; images have a fixed price."""
    messages = sum(
        TOKENS_PER_MESSAGE + count(message["role"]) + _count_blocks(message["content"], count)
        for message in body["messages"]
    )
    system = body.get("system")
    return TOKENS_FOR_REPLY + messages + (TOKENS_PER_MESSAGE + _count_blocks(system, count) if system else 0)


def _count_blocks(content: Any, count: Callable[[str], int]) -> int:
    total = 0
    for block in blocks_of(content):
        match block:
            case {"type": "image"}:
                total += LOW_IMAGE_TOKENS
            case {"type": "document", "source": {"type": "text", "data": text}}:
                total += count(text)
            case {"type": "document"}:
                total += DOCUMENT_TOKENS
            case {"type": "text", "text": text} | {"type": "thinking", "thinking": text}:
                total += count(text)
            case {"type": "tool_use", "name": name, "input": arguments}:
                total += count(name) + count(orjson.dumps(arguments).decode())
            case {"type": "tool_result"}:
                total += _count_blocks(block.get("content"), count)
    return total


def _read(raw: bytes, shape: Record) -> dict[str, Any]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"The request body is not valid JSON: {error}") from error
    try:
        body: dict[str, Any] = shape.read(value, ())
    except Misfit as misfit:
        raise Refusal(400, word_misfit(misfit)) from misfit
    return body


def _check(body: dict[str, Any], caller: Caller) -> Question:
    check_turns(body["messages"], caller)
    check_breakpoints(body)
    if isinstance(body.get("system"), list) and not all(block["text"] for block in body["system"]):
        raise Refusal(400, "system: text content blocks must be non-empty")
    tools = _read_tools(body)
    choice = body.get("tool_choice", {"type": "auto"})
    if "tool_choice" in body and not body.get("tools"):
        raise Refusal(400, "tool_choice may only be specified while providing tools.")
    if choice["type"] == "tool":
        known = [tool for tool in tools if tool.name == choice["name"]]
        if not known:
            raise Refusal(400, f"Tool '{choice['name']}' not found in provided tools")
        tools = known
    forced = choice["type"] in ("any", "tool")
    _check_thinking(body, forced=forced)
    _check_schemas(body)
    most = 0 if choice["type"] == "none" else 1 if choice.get("disable_parallel_tool_use") else None
    return Question(body, tuple(tools), forced, most)


def _read_tools(body: dict[str, Any]) -> list[Tool]:
    names = [tool["name"] for tool in body.get("tools", ()) if "name" in tool]
    if len(set(names)) < len(names):
        raise Refusal(400, "tools: Tool names must be unique.")
    tools = [tool for tool in body.get("tools", ()) if "input_schema" in tool]
    for index, tool in enumerate(body.get("tools", ())):
        if "input_schema" in tool and tool["input_schema"].get("type") != "object":
            raise Refusal(400, f"tools.{index}.custom.input_schema.type: Field required")
    return [Tool(tool["name"], tool["input_schema"]) for tool in tools]


def _check_thinking(body: dict[str, Any], *, forced: bool) -> None:
    thinking = body.get("thinking", {"type": "disabled"})
    if thinking["type"] not in ("enabled", "adaptive"):
        return
    if forced:
        raise Refusal(400, "Thinking may not be enabled when tool_choice forces tool use.")
    if body.get("temperature", 1) != 1:
        raise Refusal(400, "`temperature` may only be set to 1 when thinking is enabled.")
    if "top_k" in body:
        raise Refusal(400, "`top_k` must be unset when thinking is enabled.")
    if thinking["type"] == "enabled":
        if "max_tokens" in body and thinking["budget_tokens"] >= body["max_tokens"]:
            raise Refusal(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
        check_leading_thought(body["messages"])


def _check_schemas(body: dict[str, Any]) -> None:
    """Schemas that are to be kept exactly must close their objects."""
    shape = (body.get("output_config") or {}).get("format")
    wanted = [("output_config.format.schema", shape["schema"])] if shape else []
    wanted += [
        (f"tools.{index}.custom", tool["input_schema"])
        for index, tool in enumerate(body.get("tools", ()))
        if tool.get("strict") and "input_schema" in tool
    ]
    for path, schema in wanted:
        if not all(node.get("additionalProperties") is False for node in objects_of(schema)):
            raise Refusal(400, f"{path}: For 'object' type, 'additionalProperties' must be explicitly set to false")
