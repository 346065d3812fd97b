"""What a client of each format can make sense of, by the types of its official SDK: answers, streams and errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, get_args

from anthropic.types import ErrorResponse, Message, RawMessageStreamEvent
from google.genai.errors import APIError
from google.genai.types import GenerateContentResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.shared import ErrorObject
from pydantic import BaseModel, ValidationError

from tests.fuzz.seeds import CHAT, GENERATE, MESSAGES, RESPONSES
from tests.fuzz.wire import Answer


def _by_type(union: Any) -> dict[str, type[BaseModel]]:
    """The classes of a union of events (which may be annotated), by the one type that each has."""
    first, *_ = get_args(union)
    classes = get_args(first) or get_args(union)
    return {kind: each for each in classes for kind in get_args(each.model_fields["type"].annotation)}


_WHOLE: Mapping[str, type[BaseModel]] = MappingProxyType(
    {CHAT: ChatCompletion, RESPONSES: Response, MESSAGES: Message, GENERATE: GenerateContentResponse}
)
_EVENTS: Mapping[str, Mapping[str, type[BaseModel]]] = MappingProxyType(
    {RESPONSES: _by_type(ResponseStreamEvent), MESSAGES: _by_type(RawMessageStreamEvent)}
)
_CHUNKS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {CHAT: ChatCompletionChunk, GENERATE: GenerateContentResponse}
)
_ENDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        RESPONSES: ("response.completed", "response.incomplete", "response.failed"),
        MESSAGES: ("message_stop",),
    }
)


def check_error(format: str, answer: Answer) -> None:
    """A refusal, told as the format tells it: an SDK finds status, kind and words."""
    assert answer.headers.get("content-type", "").startswith("application/json"), answer
    _check_error_body(format, json.loads(answer.body), answer.status)


def check_answer(format: str, answer: Answer, *, strict: bool) -> None:
    """A whole answer. `strict`: it was made by the gateway, so the SDK's types must take it; else it is the upstream's."""
    assert answer.headers["content-type"].startswith("application/json"), answer
    body = _load(answer.body)
    assert isinstance(body, dict), answer
    if strict:
        _validate(_WHOLE[format], body)


def check_stream(format: str, answer: Answer, *, strict: bool, array: bool = False) -> str | None:
    """A stream that came to its proper end, or ended with an error, which nothing follows. Returns the error's words."""
    events = list(_array(answer) if array else _events(answer))
    assert events, "a stream of nothing"
    end = events[-1]
    for event in events[:-1]:
        assert not _is_error(format, event), f"an error in the middle: {event}"
        assert event != "[DONE]"
    if _is_error(format, end):
        _check_stream_error(format, end)
        return str(end)
    if format == CHAT:
        assert end == "[DONE]", end
        events.pop()
    elif format in _ENDS:
        assert end["type"] in _ENDS[format], end
    else:
        assert any(_finished(event) for event in events), events
    if strict:
        for event in events:
            _check_event(format, event)
    return None


def _check_event(format: str, event: Mapping[str, Any]) -> None:
    if format in _CHUNKS:
        _validate(_CHUNKS[format], event)
    elif event["type"] != "ping":  # which Anthropic's types leave out
        _validate(_EVENTS[format][event["type"]], event)


def _validate(kind: type[BaseModel], value: Any) -> None:
    """Upstreams' names for tiers of service are handed on, new ones too: SDKs take them for what they are, a string."""
    try:
        kind.model_validate(value)
    except ValidationError as error:
        if any(fault["type"] != "literal_error" or "service_tier" not in fault["loc"] for fault in error.errors()):
            raise


def _load(body: bytes) -> Any:
    """JSON with numbers of any length, which Python's own reader doesn't bear."""
    return json.loads(body, parse_int=float)


def _events(answer: Answer) -> Iterator[Any]:
    assert answer.headers["content-type"].startswith("text/event-stream"), answer
    text = answer.body.decode()
    assert text.endswith(("\n\n", "\r\n\r\n", "\r\r")), text[-200:]
    for frame in text.replace("\r\n", "\n").replace("\r", "\n").split("\n\n"):
        data = "\n".join(line[5:].removeprefix(" ") for line in frame.split("\n") if line.startswith("data:"))
        if data:
            yield data if data == "[DONE]" else json.loads(data)


def _array(answer: Answer) -> Iterator[Any]:
    assert answer.headers["content-type"].startswith("application/json"), answer
    body = json.loads(answer.body)
    assert isinstance(body, list)
    yield from body


def _finished(event: Any) -> bool:
    blocked = (event.get("promptFeedback") or {}).get("blockReason")
    return bool(blocked) or any(candidate.get("finishReason") for candidate in event.get("candidates") or ())


def _is_error(format: str, event: Any) -> bool:
    if not isinstance(event, dict):
        return False
    return event.get("type") == "error" if format in (RESPONSES, MESSAGES) else "error" in event


def _check_stream_error(format: str, event: Mapping[str, Any]) -> None:
    if format == RESPONSES:
        assert isinstance(event["message"], str)
        assert event["message"]
        return
    _check_error_body(format, event, None)


def _check_error_body(format: str, body: Any, status: int | None) -> None:
    _ERRORS[format](body, status)


def _openai(body: Any, _status: int | None) -> None:
    error = ErrorObject.model_validate(body["error"])
    assert error.message
    assert error.type


_UNTYPED = ("request_too_large", "conflict_error")
"""Kinds of errors on Anthropic's page of errors that its SDK has no class for: it goes by their status."""


def _anthropic(body: Any, _status: int | None) -> None:
    if body["error"]["type"] not in _UNTYPED:
        ErrorResponse.model_validate(body)
    assert body["type"] == "error"
    assert body["error"]["message"]


def _google(body: Any, status: int | None) -> None:
    error = APIError(status or 0, body)
    assert isinstance(error.message, str)
    assert error.message
    assert isinstance(error.status, str)
    assert body["error"]["code"] == (status or body["error"]["code"])


_ERRORS: Mapping[str, Callable[[Any, int | None], None]] = MappingProxyType(
    {CHAT: _openai, RESPONSES: _openai, MESSAGES: _anthropic, GENERATE: _google}
)
