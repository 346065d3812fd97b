"""How clients of each format ask, and what they may take for a whole answer, for an error, and for neither."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

OUTPUT_CAP = 200


class Verdict(StrEnum):
    """RIGHT: all of the answer, and no other. ERROR: an error in place of an answer. BROKEN: an error in the middle of a
    stream, told as the format tells it. WRONG: anything else, such as half an answer that ends as if it were whole.
    """

    RIGHT = "right"
    ERROR = "error"
    BROKEN = "broken"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Dialect:
    """One format, streamed or not. `read` gives the text and whether the answer says that it is whole; KeyError and the like
    for what isn't one. `has_error` looks at one JSON value.
    """

    name: str
    stream: bool
    path: str
    body: Callable[[str, str], dict[str, Any]]
    read: Callable[[list[Any]], tuple[str, bool]]
    has_error: Callable[[Any], bool]

    def judge(self, status: int, data: bytes, wanted: str) -> tuple[Verdict, str | None]:
        """The verdict, and the error's code or what is wrong."""
        try:
            values = self._values(data)
            if not values:
                return Verdict.WRONG, "nothing"
            if self.has_error(values[-1]):
                verdict = Verdict.ERROR if status != 200 else Verdict.BROKEN if self.stream else Verdict.WRONG
                return verdict, _code(values[-1])
            text, whole = self.read(values)
        except (ValueError, LookupError, TypeError) as error:
            return Verdict.WRONG, f"{type(error).__name__}: {data[-200:]!r}"
        if status == 200 and whole and text == wanted:
            return Verdict.RIGHT, None
        return Verdict.WRONG, f"{status}, {'whole' if whole else 'torn'}, {text!r}"

    def _values(self, data: bytes) -> list[Any]:
        if not data.lstrip().startswith((b"data:", b"event:", b":")):
            return [json.loads(data)]
        *frames, rest = data.decode().replace("\r\n", "\n").split("\n\n")
        if rest:
            raise ValueError("a frame without an end")
        lines = [line[5:].strip() for frame in frames for line in frame.split("\n") if line.startswith("data:")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


def _code(value: Mapping[str, Any]) -> str:
    error = value["error"]
    match error.get("details"):
        case {"error_code": str(code)}:  # Anthropic's
            return code
        case [{"reason": str(reason)}, *_]:  # Google's
            return reason.lower()
    return str(error["code"])


def _has_error(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("error"), dict)


def _chat(model: str, text: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": OUTPUT_CAP, **more}


def _read_chat(values: list[Any]) -> tuple[str, bool]:
    choice = values[0]["choices"][0]
    return choice["message"]["content"], choice["finish_reason"] == "stop"


def _read_chat_stream(values: list[Any]) -> tuple[str, bool]:
    *chunks, last = values
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    return text, last == "[DONE]" and choices[-1]["finish_reason"] == "stop"


def _read_messages(values: list[Any]) -> tuple[str, bool]:
    return values[0]["content"][0]["text"], values[0]["stop_reason"] == "end_turn"


def _read_messages_stream(values: list[Any]) -> tuple[str, bool]:
    deltas = [value["delta"] for value in values if value["type"] == "content_block_delta"]
    return "".join(delta["text"] for delta in deltas), values[-1]["type"] == "message_stop"


def _responses(model: str, text: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "input": text, "store": False, "max_output_tokens": OUTPUT_CAP, **more}


def _read_response(values: list[Any]) -> tuple[str, bool]:
    return values[0]["output"][-1]["content"][0]["text"], values[0]["status"] == "completed"


def _read_responses_stream(values: list[Any]) -> tuple[str, bool]:
    text = "".join(value["delta"] for value in values if value["type"] == "response.output_text.delta")
    return text, values[-1]["type"] == "response.completed"


def _responses_error(value: Any) -> bool:
    return _has_error(value) or (isinstance(value, dict) and value.get("type") == "error")


def _gemini(model: str, text: str) -> dict[str, Any]:
    contents = [{"role": "user", "parts": [{"text": text}]}]
    return {"contents": contents, "generationConfig": {"maxOutputTokens": OUTPUT_CAP}}


def _read_gemini(values: list[Any]) -> tuple[str, bool]:
    candidates = [candidate for value in values for candidate in value.get("candidates", [])]
    parts = [part for candidate in candidates for part in candidate.get("content", {}).get("parts", [])]
    return "".join(part.get("text", "") for part in parts), candidates[-1].get("finishReason") == "STOP"


def _streamed(body: Callable[..., dict[str, Any]]) -> Callable[[str, str], dict[str, Any]]:
    return lambda model, text: body(model, text, stream=True)


CHAT = Dialect("chat", False, "/v1/chat/completions", _chat, _read_chat, _has_error)
CHAT_STREAM = Dialect("chat", True, "/v1/chat/completions", _streamed(_chat), _read_chat_stream, _has_error)
MESSAGES = Dialect("messages", False, "/v1/messages", _chat, _read_messages, _has_error)
MESSAGES_STREAM = Dialect("messages", True, "/v1/messages", _streamed(_chat), _read_messages_stream, _has_error)
RESPONSES = Dialect("responses", False, "/v1/responses", _responses, _read_response, _responses_error)
RESPONSES_STREAM = Dialect(
    "responses", True, "/v1/responses", _streamed(_responses), _read_responses_stream, _responses_error
)
GEMINI = Dialect("gemini", False, "/v1beta/models/{model}:generateContent", _gemini, _read_gemini, _has_error)
GEMINI_STREAM = Dialect(
    "gemini", True, "/v1beta/models/{model}:streamGenerateContent?alt=sse", _gemini, _read_gemini, _has_error
)
MIX = (
    *(CHAT_STREAM, CHAT, CHAT_STREAM, MESSAGES_STREAM, CHAT, RESPONSES_STREAM),
    *(CHAT_STREAM, GEMINI_STREAM, MESSAGES, GEMINI, RESPONSES),
)
"""What a crowd asks, in turn: as clients do, chat above all, and streams more often than not."""
