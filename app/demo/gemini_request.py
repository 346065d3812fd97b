"""Reading a request for Gemini: strictly, then what of it shapes the answer, and its prompt tokens."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from app.demo.gemini_errors import refuse_misfit
from app.demo.gemini_shapes import COUNT, GENERATE
from app.demo.gemini_turns import Contents, check_contents
from app.demo.media.desk import Trouble, read_object
from app.demo.openai_request import LOW_IMAGE_TOKENS, TOKENS_FOR_REPLY, TOKENS_PER_MESSAGE
from app.demo.saying import SHOWN_REASONING_TOKENS, Tool
from app.demo.shapes import Misfit, Record

FUNCTION_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
MAX_STOPS = 5
OTHER_MEDIA_TOKENS = 1_000


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was found good; `body` holds its fields in camelCase."""

    body: dict[str, Any]
    tools: tuple[Tool, ...]
    forced: bool
    most_calls: int | None

    @property
    def contents(self) -> Contents:
        """The conversation."""
        found: Contents = self.body["contents"]
        return found

    @property
    def config(self) -> dict[str, Any]:
        """The `generationConfig`; empty when there is none."""
        found: dict[str, Any] = self.body.get("generationConfig", {})
        return found

    @property
    def thinks(self) -> int:
        """The reasoning tokens that are asked for."""
        thinking = self.config.get("thinkingConfig")
        return 0 if thinking is None or thinking.get("thinkingBudget") == 0 else SHOWN_REASONING_TOKENS

    @property
    def shows_thought(self) -> bool:
        """Whether the text of the reasoning is wanted."""
        return bool(self.config.get("thinkingConfig", {}).get("includeThoughts"))

    @property
    def schema(self) -> dict[str, Any] | None:
        """The schema of a structured answer; None when text is wanted."""
        if self.config.get("responseMimeType", "text/plain") == "text/plain":
            return None
        found = self.config.get("responseJsonSchema") or self.config.get("responseSchema")
        return found if isinstance(found, dict) else {"type": "object"}

    @property
    def user_text(self) -> str:
        """The text of the last user content, its parts joined."""
        for content in reversed(self.contents):
            if content.get("role") != "model":
                return "".join(part.get("text", "") for part in content["parts"])
        return ""

    @property
    def answered(self) -> bool:
        """Whether it ends with the results of functions."""
        return any("functionResponse" in part for part in self.contents[-1]["parts"])


def read_question(raw: bytes) -> Question:
    """Reads the body of `:generateContent`; raises Trouble."""
    body = _read(raw, GENERATE)
    return _check(body)


def read_counted(raw: bytes) -> dict[str, Any]:
    """Reads the body of `:countTokens`; raises Trouble."""
    body = _read(raw, COUNT)
    inner: dict[str, Any] = body.get("generateContentRequest", body)
    if "contents" not in inner:
        raise Trouble(400, "* CountTokensRequest.contents: contents is not specified")
    check_contents(inner["contents"])
    return inner


def count_prompt(body: dict[str, Any], count: Callable[[str], int]) -> int:
    """The prompt tokens of a request: of its texts, calls and results; media have fixed prices."""
    contents = [*body["contents"], *([body["systemInstruction"]] if body.get("systemInstruction") else [])]
    total = TOKENS_FOR_REPLY
    for content in contents:
        total += TOKENS_PER_MESSAGE + count(content.get("role", "user"))
        total += sum(_count_part(part, count) for part in content.get("parts", ()))
    return total


def wants_images(raw: bytes) -> bool:
    """Whether images are wanted for an answer: that is the part of the demo that makes them."""
    if b"IMAGE" not in raw:
        return False
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    config = body.get("generationConfig") if isinstance(body, dict) else None
    modalities = config.get("responseModalities") if isinstance(config, dict) else None
    return isinstance(modalities, list) and "IMAGE" in modalities


def _count_part(part: dict[str, Any], count: Callable[[str], int]) -> int:
    match part:
        case {"text": text}:
            return count(text)
        case {"inlineData": {"mimeType": str(mime_type)}} | {"fileData": {"mimeType": str(mime_type)}}:
            return LOW_IMAGE_TOKENS if mime_type.startswith("image/") else OTHER_MEDIA_TOKENS
        case {"fileData": _}:
            return LOW_IMAGE_TOKENS
        case {"functionCall": call}:
            return count(call["name"]) + count(orjson.dumps(call.get("args", {})).decode())
        case {"functionResponse": result}:
            text = count(result["name"]) + count(orjson.dumps(result.get("response", {})).decode())
            return text + sum(_count_part(inner, count) for inner in result.get("parts", ()))
        case _:
            return 0


def _read(raw: bytes, shape: Record) -> dict[str, Any]:
    try:
        body: dict[str, Any] = shape.read(read_object(raw), ())
    except Misfit as misfit:
        raise refuse_misfit(misfit) from misfit
    return body


def _check(body: dict[str, Any]) -> Question:
    check_contents(body["contents"])
    config = body.get("generationConfig", {})
    _check_config(config)
    declared = _read_functions(body)
    choice = body.get("toolConfig", {}).get("functionCallingConfig", {})
    mode, allowed = choice.get("mode", "AUTO"), choice.get("allowedFunctionNames", [])
    if allowed and mode not in ("ANY", "VALIDATED"):
        raise Trouble(400, "Allowed function names should be set only when function calling mode is ANY.")
    unknown = [name for name in allowed if name not in {tool.name for tool in declared}]
    if unknown:
        raise Trouble(400, f"Allowed function name {unknown[0]} isn't among the function declarations.")
    if mode == "ANY" and not declared:
        raise Trouble(400, "Function calling config is set without function_declarations.")
    tools = tuple(tool for tool in declared if not allowed or tool.name in allowed)
    return Question(body, tools, forced=mode == "ANY", most_calls=0 if mode == "NONE" else None)


def _check_config(config: dict[str, Any]) -> None:
    """Settings that don't go together. The words are unverified, but for those on thinking."""
    thinking = config.get("thinkingConfig", {})
    if "thinkingBudget" in thinking and "thinkingLevel" in thinking:
        raise Trouble(400, "You can only set only one of thinking budget and thinking level.")
    if len(config.get("stopSequences", ())) > MAX_STOPS:
        raise Trouble(
            400, f"* GenerateContentRequest.generation_config.stop_sequences: at most {MAX_STOPS} are supported"
        )
    structured = "responseSchema" in config or "responseJsonSchema" in config
    if structured and config.get("responseMimeType", "text/plain") == "text/plain":
        raise Trouble(400, "A response schema needs the response mime type application/json.")
    if "responseSchema" in config and "responseJsonSchema" in config:
        raise Trouble(400, "Only one of response_schema and response_json_schema may be set.")
    if config.get("logprobs") is not None and not config.get("responseLogprobs"):
        raise Trouble(400, "logprobs may only be set when response_logprobs is true.")


def _read_functions(body: dict[str, Any]) -> list[Tool]:
    tools: list[Tool] = []
    for index, tool in enumerate(body.get("tools", ())):
        for place, declared in enumerate(tool.get("functionDeclarations", ())):
            path = f"GenerateContentRequest.tools[{index}].function_declarations[{place}]"
            name = declared.get("name", "")
            if not FUNCTION_NAME.fullmatch(name):
                raise Trouble(
                    400,
                    f"* {path}.name: Invalid function name. Must start with a letter or an underscore. Must be alphanumeric "
                    "(a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128.",
                )
            if name in {known.name for known in tools}:
                raise Trouble(400, f"Duplicate function declaration found: {name}")
            if "parameters" in declared and "parametersJsonSchema" in declared:
                raise Trouble(400, f"* {path}: parameters and parameters_json_schema are mutually exclusive.")
            for empty in _find_empty(declared.get("parameters", {}), f"{path}.parameters"):
                raise Trouble(400, f"* {empty}.properties: should be non-empty for OBJECT type")
            schema = declared.get("parametersJsonSchema") or declared.get("parameters") or {}
            tools.append(Tool(name, schema if isinstance(schema, dict) else {}))
    return tools


def _find_empty(schema: dict[str, Any], path: str) -> Iterator[str]:
    """Where an object has no properties, which Gemini's own schemas have to tell."""
    if schema.get("type", "").upper() == "OBJECT" and not schema.get("properties"):
        yield path
    for name, inner in schema.get("properties", {}).items():
        yield from _find_empty(inner, f"{path}.properties[{name}]")
    if "items" in schema:
        yield from _find_empty(schema["items"], f"{path}.items")
    for index, inner in enumerate(schema.get("anyOf", ())):
        yield from _find_empty(inner, f"{path}.any_of[{index}]")
