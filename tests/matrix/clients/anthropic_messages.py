"""The anthropic SDK's messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx2

from tests.matrix.talk import (
    Call,
    Counts,
    Failure,
    Finish,
    Picture,
    Replay,
    Result,
    Results,
    Said,
    Seen,
    Talk,
    Tool,
    User,
)

FINISHES: Mapping[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "calls",
    "refusal": "filtered",
}
DEFAULT_CAP = 2000
BUDGET = 1024


class AnthropicClient:
    """See `tests.matrix.talk.Client`."""

    name = "anthropic"
    format = "anthropic_messages"
    # Since version 2026-10-21, which the SDK asks for, there is no temperature.
    lacks = frozenset({"json", "temperature"})
    says_failure = True
    error: type[Exception] = anthropic.APIError
    errors: Mapping[int, type[Exception]] = {
        400: anthropic.BadRequestError,
        429: anthropic.RateLimitError,
        500: anthropic.InternalServerError,
    }

    def __init__(self, url: str, key: str, http: httpx2.Client) -> None:
        self._sdk: Any = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, http_client=http)

    def ask(self, model: str, talk: Talk) -> Seen:
        return _read(self._sdk.messages.create(**write(model, talk)))

    def stream(self, model: str, talk: Talk) -> Seen:
        pieces = 0
        with self._sdk.messages.stream(**write(model, talk)) as stream:
            for event in stream:
                pieces += event.type == "text"
            return _read(stream.get_final_message(), pieces)

    @contextmanager
    def deltas(self, model: str, talk: Talk) -> Iterator[Iterator[str]]:
        with self._sdk.messages.stream(**write(model, talk)) as stream:
            yield stream.text_stream

    def count(self, model: str, text: str) -> int:
        turns = [{"role": "user", "content": text}]
        counted: int = self._sdk.messages.count_tokens(model=model, messages=turns).input_tokens
        return counted

    def read_failure(self, error: Exception) -> Failure:
        assert isinstance(error, anthropic.APIError)
        body: Any = error.body
        told: Any = body["error"] if isinstance(body, dict) else {"type": None, "message": error.message}
        # There is no place of its own for the field: the message names it.
        return Failure(getattr(error, "status_code", None), told["message"], told["type"], told["message"])


def write(model: str, talk: Talk) -> dict[str, Any]:
    """The arguments of `create`."""
    body: dict[str, Any] = {"model": model, "max_tokens": talk.cap or DEFAULT_CAP, "messages": list(_write(talk))}
    if talk.system is not None:
        body["system"] = talk.system
    if talk.tools:
        body["tools"] = [_write_tool(tool) for tool in talk.tools]
    if talk.choice is not None or talk.one_call:
        choice = talk.choice or "auto"
        named = {"type": "tool", "name": choice}
        body["tool_choice"] = {"type": choice} if choice in ("auto", "none", "any") else named
        if talk.one_call:
            body["tool_choice"]["disable_parallel_tool_use"] = True
    if talk.schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": talk.schema}}
    if talk.stop:
        body["stop_sequences"] = list(talk.stop)
    if talk.effort:
        body["output_config"] = {"effort": "medium"}
    if talk.thinks:
        body["thinking"] = {"type": "enabled", "budget_tokens": BUDGET, "display": "summarized"}
    return body


def _write(talk: Talk) -> Iterator[dict[str, Any]]:
    for turn in talk.turns:
        match turn:
            case User(text, (), None):
                yield {"role": "user", "content": text}
            case User(text, pictures, pdf):
                shown = [*map(_write_picture, pictures), *([] if pdf is None else [_write_pdf(pdf)])]
                yield {"role": "user", "content": [{"type": "text", "text": text}, *shown]}
            case Said(text):
                yield {"role": "assistant", "content": text}
            case Replay(seen):
                yield {"role": "assistant", "content": seen.raw}
            case Results(results):
                yield {"role": "user", "content": [_write_result(result) for result in results]}


def _write_picture(picture: Picture) -> dict[str, Any]:
    if picture.url is not None:
        return {"type": "image", "source": {"type": "url", "url": picture.url}}
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture.png}}


def _write_pdf(pdf: str) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": pdf}}


def _write_result(result: Result) -> dict[str, Any]:
    failed = {"is_error": True} if result.failed else {}
    return {"type": "tool_result", "tool_use_id": result.call.id, "content": result.text, **failed}


def _write_tool(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "input_schema": tool.schema}


def _read(message: Any, pieces: int = 1) -> Seen:
    blocks = message.content
    calls = [block for block in blocks if block.type == "tool_use"]
    thoughts = [block for block in blocks if block.type == "thinking"]
    sealed = [block for block in blocks if block.type == "redacted_thinking"]
    return Seen(
        text="".join(block.text for block in blocks if block.type == "text"),
        reasoning="".join(block.thinking for block in thoughts),
        signed=bool(sealed) or any(block.signature for block in thoughts),
        calls=tuple(Call(call.id, call.name, call.input) for call in calls),
        finish=FINISHES[message.stop_reason],
        usage=None if message.usage is None else _read_usage(message.usage),
        raw=blocks,
        pieces=pieces,
        refused=message.stop_reason == "refusal",
    )


def _read_usage(usage: Any) -> Counts:
    cached = usage.cache_read_input_tokens or 0
    written = usage.cache_creation_input_tokens or 0
    details = usage.output_tokens_details
    reasoning = details.thinking_tokens if details is not None else 0
    return Counts(usage.input_tokens + cached + written, usage.output_tokens, cached, reasoning)
