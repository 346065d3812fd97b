"""What an upstream received, out of the demo's journal: one reader for each format, into one normal form."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from tests.matrix.talk import Picture, Replay, Results, Said, Talk, User, canonical

Part: TypeAlias = tuple[object, ...]
"""("text", words), ("image", place), ("file", base64), ("call", name, arguments) or ("result", function, words, failed)."""

REASONING = ("reasoning_details", "reasoning_content", "reasoning")
PDF = "data:application/pdf;base64,"
SNAKE = re.compile("_([a-z])")
NAMED: Mapping[str, str] = MappingProxyType({"required": "any", "ANY": "any", "NONE": "none"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request. `choice` is None where the model may choose; `thoughts` counts what came back of earlier reasoning."""

    turns: tuple[tuple[str, tuple[Part, ...]], ...]
    system: str = ""
    tools: tuple[tuple[str, str, str], ...] = ()
    choice: str | None = None
    one_call: bool = False
    schema: str | None = None
    json: bool = False
    stop: tuple[str, ...] = ()
    cap: int | None = None
    temperature: float | None = None
    thinks: bool = False
    thoughts: int = 0


def expect(talk: Talk, *, says_failure: bool) -> Received:
    """What an upstream ought to receive of this; of earlier reasoning the test knows more than the request."""
    turns: list[tuple[str, list[Part]]] = []
    for turn in talk.turns:
        match turn:
            case User(text, pictures, pdf):
                shown: list[Part] = [("image", picture.place) for picture in pictures]
                turns.append(("user", [("text", text), *shown, *([] if pdf is None else [("file", pdf)])]))
            case Said(text):
                turns.append(("assistant", [("text", text)]))
            case Replay(seen):
                calls: list[Part] = [("call", call.name, canonical(call.arguments)) for call in seen.calls]
                turns.append(("assistant", [*([("text", seen.text)] if seen.text else []), *calls]))
            case Results(results):
                told: list[Part] = [
                    ("result", result.call.name, result.text, result.failed and says_failure) for result in results
                ]
                turns.append(("user", told))
    return Received(
        turns=_join(turns),
        system=talk.system or "",
        tools=tuple(_tool(tool.name, tool.description, tool.schema) for tool in talk.tools),
        choice=None if talk.choice == "auto" else talk.choice,
        one_call=talk.one_call,
        schema=None if talk.schema is None else canonical(talk.schema),
        json=talk.json,
        stop=talk.stop,
        cap=talk.cap,
        temperature=talk.temperature,
        thinks=talk.thinks or talk.effort,
    )


def read_received(format: str, body: Mapping[str, Any]) -> Received:
    """A journaled body in the format's words."""
    return READERS[format](body)


def _read_chat(body: Mapping[str, Any]) -> Received:
    system: list[str] = []
    turns: list[tuple[str, list[Part]]] = []
    names: dict[str, str] = {}
    thoughts = 0
    for message in body["messages"]:
        match message["role"]:
            case "system" | "developer":
                system += _texts(message["content"])
            case "tool":
                text = "".join(_texts(message["content"]))
                turns.append(("user", [("result", names[message["tool_call_id"]], text, False)]))
            case role:
                parts = [_read_chat_part(part) for part in _as_parts(message.get("content"))]
                for call in message.get("tool_calls") or ():
                    names[call["id"]] = call["function"]["name"]
                    parts.append(("call", call["function"]["name"], _loads(call["function"]["arguments"])))
                thoughts += any(message.get(name) for name in REASONING)
                turns.append((role, parts))
    shape = body.get("response_format") or {}
    return Received(
        turns=_join(turns),
        system="\n\n".join(system),
        tools=tuple(_chat_tool(tool["function"]) for tool in body.get("tools", ())),
        choice=_choice(body.get("tool_choice"), lambda choice: str(choice["function"]["name"])),
        one_call=body.get("parallel_tool_calls") is False,
        schema=canonical(shape["json_schema"]["schema"]) if "json_schema" in shape else None,
        json=shape.get("type") == "json_object",
        stop=tuple([stop] if isinstance(stop := body.get("stop") or [], str) else stop),
        cap=body.get("max_completion_tokens", body.get("max_tokens")),
        temperature=body.get("temperature"),
        thinks=_chat_thinks(body),
        thoughts=thoughts,
    )


def _chat_thinks(body: Mapping[str, Any]) -> bool:
    """Whatever a dialect calls it."""
    effort = body.get("reasoning_effort") or (body.get("reasoning") or {}).get("effort")
    switch = (body.get("thinking") or {}).get("type")
    return effort not in (None, "none") or switch == "enabled" or body.get("enable_thinking") is True


def _read_chat_part(part: Mapping[str, Any]) -> Part:
    match part:
        case {"type": "image_url", "image_url": {"url": place}}:
            return ("image", place)
        case {"type": "file", "file": {"file_data": data}}:
            return ("file", data.removeprefix(PDF))
    return ("text", part["text"])


def _chat_tool(function: Mapping[str, Any]) -> tuple[str, str, str]:
    return _tool(function["name"], function["description"], function["parameters"])


def _read_responses(body: Mapping[str, Any]) -> Received:
    system = [body["instructions"]] if body.get("instructions") else []
    turns: list[tuple[str, list[Part]]] = []
    names: dict[str, str] = {}
    thoughts = 0
    items = body["input"]
    for item in [{"role": "user", "content": items}] if isinstance(items, str) else items:
        match item:
            case {"type": "reasoning"}:
                thoughts += 1
            case {"type": "function_call"}:
                names[item["call_id"]] = item["name"]
                turns.append(("assistant", [("call", item["name"], _loads(item["arguments"]))]))
            case {"type": "function_call_output"}:
                text = "".join(_texts(item["output"]))
                turns.append(("user", [("result", names[item["call_id"]], text, False)]))
            case {"role": "system" | "developer"}:
                system += _texts(item["content"])
            case _:
                turns.append((item["role"], [_read_responses_part(part) for part in _as_parts(item["content"])]))
    shape = (body.get("text") or {}).get("format") or {}
    return Received(
        turns=_join(turns),
        system="\n\n".join(system),
        tools=tuple(_chat_tool(tool) for tool in body.get("tools", ())),
        choice=_choice(body.get("tool_choice"), lambda choice: str(choice["name"])),
        one_call=body.get("parallel_tool_calls") is False,
        schema=canonical(shape["schema"]) if "schema" in shape else None,
        json=shape.get("type") == "json_object",
        cap=body.get("max_output_tokens"),
        temperature=body.get("temperature"),
        thinks=(body.get("reasoning") or {}).get("effort") not in (None, "none"),
        thoughts=thoughts,
    )


def _read_responses_part(part: Mapping[str, Any]) -> Part:
    match part:
        case {"type": "input_image", "image_url": place}:
            return ("image", place)
        case {"type": "input_file", "file_data": data}:
            return ("file", data.removeprefix(PDF))
    return ("text", part["text"])


def _read_anthropic(body: Mapping[str, Any]) -> Received:
    turns: list[tuple[str, list[Part]]] = []
    names: dict[str, str] = {}
    thoughts = 0
    for message in body["messages"]:
        parts: list[Part] = []
        for block in _as_parts(message["content"]):
            match block:
                case {"type": "thinking" | "redacted_thinking"}:
                    thoughts += 1
                case {"type": "tool_use"}:
                    names[block["id"]] = block["name"]
                    parts.append(("call", block["name"], canonical(block["input"])))
                case {"type": "tool_result"}:
                    text = "".join(_texts(block["content"]))
                    parts.append(("result", names[block["tool_use_id"]], text, bool(block.get("is_error"))))
                case {"type": "image"}:
                    source = block["source"]
                    place = Picture(source.get("url"), source.get("data")).place
                    parts.append(("image", place))
                case {"type": "document", "source": source}:
                    parts.append(("file", source["data"]))
                case _:
                    parts.append(("text", block["text"]))
        turns.append((message["role"], parts))
    choice = body.get("tool_choice") or {}
    config = body.get("output_config") or {}
    return Received(
        turns=_join(turns),
        system="\n\n".join(_texts(body.get("system") or [])),
        tools=tuple(_tool(tool["name"], tool["description"], tool["input_schema"]) for tool in body.get("tools", ())),
        choice=choice.get("name", None if choice.get("type") == "auto" else choice.get("type")),
        one_call=bool(choice.get("disable_parallel_tool_use")),
        schema=canonical(config["format"]["schema"]) if "format" in config else None,
        stop=tuple(body.get("stop_sequences", ())),
        cap=body["max_tokens"],
        temperature=body.get("temperature"),
        thinks=(body.get("thinking") or {}).get("type") in ("enabled", "adaptive") or "effort" in config,
        thoughts=thoughts,
    )


def _read_gemini(body: Mapping[str, Any]) -> Received:
    """In camelCase or in snake_case: Google's own SDK mixes the two."""
    body = _camel(body)
    turns: list[tuple[str, list[Part]]] = []
    thoughts = 0
    for content in body["contents"]:
        parts = [_camel(part) for part in content["parts"]]
        thoughts += sum(bool(part.get("thoughtSignature")) for part in parts)
        shown = [_read_gemini_part(part) for part in parts if not part.get("thought")]
        turns.append(("assistant" if content.get("role") == "model" else "user", shown))
    config = _camel(body.get("generationConfig") or {})
    thinking = _camel(config.get("thinkingConfig") or {})
    calling = _camel(_camel(body.get("toolConfig") or {}).get("functionCallingConfig") or {})
    schema = config.get("responseJsonSchema")
    declared = [_camel(tool) for tools in body.get("tools", ()) for tool in _camel(tools)["functionDeclarations"]]
    return Received(
        turns=_join(turns),
        system="\n\n".join(_texts((body.get("systemInstruction") or {}).get("parts", ()))),
        tools=tuple(_tool(tool["name"], tool["description"], tool["parametersJsonSchema"]) for tool in declared),
        choice=next(iter(calling.get("allowedFunctionNames", ())), NAMED.get(calling.get("mode", "AUTO"))),
        schema=None if schema is None else canonical(schema),
        json=schema is None and config.get("responseMimeType") == "application/json",
        stop=tuple(config.get("stopSequences", ())),
        cap=config.get("maxOutputTokens"),
        temperature=config.get("temperature"),
        thinks=bool(thinking) and thinking.get("thinkingBudget") != 0,
        thoughts=thoughts,
    )


def _read_gemini_part(part: Mapping[str, Any]) -> Part:
    match part:
        case {"functionCall": call}:
            return ("call", call["name"], canonical(call.get("args", {})))
        case {"functionResponse": {"name": name, "response": {"error": text}}}:
            return ("result", name, text, True)
        case {"functionResponse": {"name": name, "response": {"output": text}}}:
            return ("result", name, text, False)
        case {"inlineData": blob}:
            # The SDK writes base64 in the alphabet for URLs.
            blob, data = _camel(blob), blob["data"].replace("-", "+").replace("_", "/")
            return ("file", data) if blob["mimeType"] == "application/pdf" else ("image", Picture(png=data).place)
        case {"fileData": file}:
            return ("image", _camel(file)["fileUri"])
    return ("text", part["text"])


READERS: Mapping[str, Callable[[Mapping[str, Any]], Received]] = MappingProxyType(
    {
        "openai_chat": _read_chat,
        "openai_responses": _read_responses,
        "anthropic_messages": _read_anthropic,
        "gemini_generate": _read_gemini,
    }
)


def _tool(name: str, description: str, schema: Any) -> tuple[str, str, str]:
    return name, description, canonical(schema)


def _choice(value: Any, name: Callable[[Any], str]) -> str | None:
    if value is None or value == "auto":
        return None
    return NAMED.get(value, value) if isinstance(value, str) else name(value)


def _loads(arguments: str) -> str:
    return canonical(json.loads(arguments))


def _camel(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    return {SNAKE.sub(lambda match: match[1].upper(), name): value for name, value in fields.items()}


def _as_parts(content: Any) -> Sequence[Mapping[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) and content else content or []


def _texts(content: Any) -> list[str]:
    return [content] if isinstance(content, str) else [part["text"] for part in content]


def _join(turns: Sequence[tuple[str, Sequence[Part]]]) -> tuple[tuple[str, tuple[Part, ...]], ...]:
    """Turns of one role in a row are one turn: some formats demand it, others have a message for each result.

    So are texts: a streamed answer may be put back in pieces.
    """
    return tuple((role, tuple(_join_texts(parts))) for role, parts in _joined(turns))


def _join_texts(parts: Sequence[Part]) -> Iterator[Part]:
    for kind, group in itertools.groupby(parts, lambda part: part[0]):
        if kind == "text":
            words = "".join(str(part[1]) for part in group)
            yield from [("text", words)] if words else []
        else:
            yield from group


def _joined(turns: Sequence[tuple[str, Sequence[Part]]]) -> Iterator[tuple[str, tuple[Part, ...]]]:
    role = ""
    parts: list[Part] = []
    for next_role, more in turns:
        if next_role != role and parts:
            yield role, tuple(parts)
            parts = []
        role = next_role
        parts = [*parts, *more]
    if parts:
        yield role, tuple(parts)
