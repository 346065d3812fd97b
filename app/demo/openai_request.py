"""Reading and measuring an OpenAI chat request: the fields that shape an answer, and its prompt tokens."""

import functools
from collections.abc import Callable
from typing import Any

import msgspec

from app.demo.answers import Writer
from app.demo.openai_errors import Refusal
from app.demo.saying import Tool

# Prompts beyond this are counted afresh each time, to keep the memory of what was counted small.
MAX_REMEMBERED = 64 << 10
MAX_CHOICES = 128
# https://developers.openai.com/cookbook/examples/how_to_count_tokens_with_tiktoken
TOKENS_PER_MESSAGE = 3
TOKENS_PER_NAME = 1
TOKENS_FOR_REPLY = 3
# Images have fixed prices here: 85 for low detail, auto or none named; else that of a 1024 x 1024 one in high detail.
LOW_IMAGE_TOKENS = 85
HIGH_IMAGE_TOKENS = 765
NOTHING = msgspec.Raw()


class StreamOptions(msgspec.Struct):
    """The part of `stream_options` that matters here."""

    include_usage: bool | None = None


class ChatRequest(msgspec.Struct):
    """The fields of a chat request that shape the answer; the rest is accepted and ignored."""

    model: str | None = None
    messages: msgspec.Raw = NOTHING
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    tools: msgspec.Raw = NOTHING
    tool_choice: msgspec.Raw = NOTHING
    parallel_tool_calls: msgspec.Raw = NOTHING
    stop: msgspec.Raw = NOTHING
    response_format: msgspec.Raw = NOTHING
    presence_penalty: msgspec.Raw = NOTHING
    frequency_penalty: msgspec.Raw = NOTHING
    enable_thinking: msgspec.Raw = NOTHING

    @property
    def limit(self) -> int | None:
        """The cap on generated tokens of each choice."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def wants_usage(self) -> bool:
        """Whether a stream shall report usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


DECODER = msgspec.json.Decoder(ChatRequest)


def read_request(body: bytes) -> ChatRequest:
    """Reads a request body; raises Refusal as OpenAI would."""
    try:
        request = DECODER.decode(body)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$.")
        raise Refusal(400, f"Invalid request: {text}.", code="invalid_type", param=path.rstrip("`") or None) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, f"We could not parse the JSON body of your request: {error}") from error
    if not request.model:
        raise Refusal(400, "you must provide a model parameter", param="model")
    if not request.messages:
        raise Refusal(
            400,
            "Missing required parameter: 'messages'.",
            code="missing_required_parameter",
            param="messages",
        )
    if request.n is not None and not 1 <= request.n <= MAX_CHOICES:
        raise Refusal(400, f"'n' must be from 1 to {MAX_CHOICES}.", code="integer_out_of_range", param="n")
    if request.stream_options is not None and not request.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refusal(400, message, param="stream_options")
    _check_caps(request)
    return request


def _check_caps(request: ChatRequest) -> None:
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise Refusal(
            400,
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            code="invalid_parameter_combination",
            param="max_tokens",
        )
    if request.limit is not None and request.limit < 1:
        param = "max_tokens" if request.max_completion_tokens is None else "max_completion_tokens"
        raise Refusal(400, f"'{param}' must be at least 1.", code="integer_below_min_value", param=param)


def read_messages(raw: bytes) -> list[dict[str, Any]]:
    """The messages; raises Refusal when they are not a list of objects."""
    try:
        messages = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise Refusal(400, f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise Refusal(
            400,
            "Invalid type for 'messages': expected an array of objects.",
            code="invalid_type",
            param="messages",
        )
    if not messages:
        raise Refusal(400, "Invalid 'messages': empty array.", code="empty_array", param="messages")
    return messages


def last_user_text(messages: list[dict[str, Any]]) -> str:
    """The text of the last user message, its parts joined."""
    for message in reversed(messages):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            return "".join(part["text"] for part in _parts(content) if isinstance(part.get("text"), str))
    return ""


class PromptCounter:
    """Counts the prompt tokens of messages, remembering the recent ones by their bytes."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._remembered: Callable[[bytes], int] = functools.lru_cache(maxsize=512)(self._count)

    def count(self, raw: bytes) -> int:
        """The prompt tokens of the raw `messages` array; raises Refusal when it is not one."""
        return self._remembered(raw) if len(raw) <= MAX_REMEMBERED else self._count(raw)

    def _count(self, raw: bytes) -> int:
        return TOKENS_FOR_REPLY + sum(self._count_message(message) for message in read_messages(raw))

    def _count_message(self, message: dict[str, Any]) -> int:
        count = self._writer.count
        tokens = TOKENS_PER_MESSAGE
        for name in ("role", "name", "refusal", "content"):
            value = message.get(name)
            if isinstance(value, str):
                tokens += count(value) + (TOKENS_PER_NAME if name == "name" else 0)
        tokens += sum(self._count_part(part) for part in _parts(message.get("content")))
        for call in _parts(message.get("tool_calls")):
            function = call.get("function")
            if isinstance(function, dict):
                tokens += sum(count(value) for value in function.values() if isinstance(value, str))
        return tokens

    def _count_part(self, part: dict[str, Any]) -> int:
        match part:
            case {"type": "image_url", "image_url": {"detail": str(detail)}} if detail not in ("low", "auto"):
                return HIGH_IMAGE_TOKENS
            case {"type": "image_url"}:
                return LOW_IMAGE_TOKENS
            case {"text": str(text)} | {"refusal": str(text)}:
                return self._writer.count(text)
            case _:
                return 0


def read_raw(raw: bytes) -> Any:
    """The value of a field that is kept raw; None when there is none. Raises Refusal for a number beyond any bound."""
    try:
        return msgspec.json.decode(raw) if raw else None
    except msgspec.DecodeError as error:
        raise Refusal(400, f"We could not parse the JSON body of your request: {error}") from error


def read_function_tools(raw: bytes) -> list[Tool]:
    """The functions among the raw `tools`."""
    tools = []
    for tool in _parts(read_raw(raw)):
        match tool:
            case {"type": "function", "function": {"name": str(name), **rest}}:
                schema = rest.get("parameters")
                tools.append(Tool(name, schema if isinstance(schema, dict) else {}))
    return tools


def choose_tools(request: ChatRequest) -> tuple[list[Tool], bool]:
    """The functions that may be called, and whether one must be."""
    tools = read_function_tools(request.tools)
    match read_raw(request.tool_choice):
        case "none":
            return [], False
        case "required":
            return tools, True
        case {"type": "function", "function": {"name": name}}:
            return [tool for tool in tools if tool.name == name], True
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [*allowed]}}:
            names = {tool.name for tool in read_function_tools(msgspec.json.encode(allowed))}
            return [tool for tool in tools if tool.name in names], mode == "required"
        case _:
            return tools, False


def read_stops(raw: bytes) -> list[str]:
    """The stop sequences."""
    value = read_raw(raw)
    listed = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return [stop for stop in listed if isinstance(stop, str)]


def read_schema(raw: bytes) -> dict[str, Any] | None:
    """The schema of a structured answer, an empty object's for JSON of any kind; None when text is wanted."""
    match read_raw(raw):
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
        case {"type": "json_object"} | {"type": "json_schema"}:
            return {"type": "object"}
        case _:
            return None


def _parts(value: object) -> list[dict[str, Any]]:
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []
