"""The openai SDK's chat completions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
import openai

from tests.matrix.talk import Call, Counts, Failure, Finish, Picture, Replay, Results, Said, Seen, Talk, Tool, User

FINISHES: Mapping[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "calls",
    "content_filter": "filtered",
}
ERRORS: Mapping[int, type[Exception]] = {
    400: openai.BadRequestError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
}


class ChatClient:
    """See `tests.matrix.talk.Client`."""

    name = "chat"
    format = "openai_chat"
    lacks = frozenset({"count"})
    says_failure = False
    error: type[Exception] = openai.APIError
    errors = ERRORS

    def __init__(self, url: str, key: str, http: httpx2.Client) -> None:
        self._sdk: Any = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, http_client=http)

    def ask(self, model: str, talk: Talk) -> Seen:
        return _read(self._sdk.chat.completions.create(**write(model, talk)))

    def stream(self, model: str, talk: Talk) -> Seen:
        pieces = 0
        with self._sdk.chat.completions.stream(**write(model, talk), stream_options={"include_usage": True}) as stream:
            try:
                for event in stream:
                    pieces += event.type == "content.delta"
                final = stream.get_final_completion()
            except openai.LengthFinishReasonError as cut:  # the helper's way to tell it
                final = cut.completion
            return _read(final, pieces)

    @contextmanager
    def deltas(self, model: str, talk: Talk) -> Iterator[Iterator[str]]:
        with self._sdk.chat.completions.create(**write(model, talk), stream=True) as stream:
            yield (text for chunk in stream if chunk.choices and (text := chunk.choices[0].delta.content))

    def count(self, model: str, text: str) -> int:
        raise NotImplementedError

    def read_failure(self, error: Exception) -> Failure:
        return read_openai_failure(error)


def read_openai_failure(error: Exception) -> Failure:
    """Both of OpenAI's formats have the same errors."""
    assert isinstance(error, openai.APIError)
    return Failure(getattr(error, "status_code", None), error.message, error.code, error.param or "")


def write(model: str, talk: Talk) -> dict[str, Any]:
    """The arguments of `create`."""
    body: dict[str, Any] = {"model": model, "messages": list(_write_messages(talk))}
    if talk.tools:
        body["tools"] = [_write_tool(tool) for tool in talk.tools]
    if talk.choice is not None:
        named: Any = {"type": "function", "function": {"name": talk.choice}}
        body["tool_choice"] = {"auto": "auto", "none": "none", "any": "required"}.get(talk.choice, named)
    if talk.one_call:
        body["parallel_tool_calls"] = False
    if talk.schema is not None:
        shape = {"name": "answer", "schema": talk.schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": shape}
    if talk.json:
        body["response_format"] = {"type": "json_object"}
    given = {"stop": list(talk.stop) or None, "max_completion_tokens": talk.cap, "temperature": talk.temperature}
    body |= {name: value for name, value in given.items() if value is not None}
    if talk.effort:
        body["reasoning_effort"] = "medium"
    if talk.thinks:
        # OpenAI's own chat never shows it; these are OpenRouter's words, as its users send them.
        body["extra_body"] = {"reasoning": {"effort": "medium"}}
    return body


def _write_messages(talk: Talk) -> Iterator[Any]:
    if talk.system is not None:
        yield {"role": "system", "content": talk.system}
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
                yield seen.raw
            case Results(results):
                for result in results:
                    yield {"role": "tool", "tool_call_id": result.call.id, "content": result.text}


def _write_picture(picture: Picture) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": picture.place}}


def _write_pdf(pdf: str) -> dict[str, Any]:
    return {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{pdf}"}}


def _write_tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema, "strict": True}
    return {"type": "function", "function": function}


def _read(completion: Any, pieces: int = 1) -> Seen:
    (choice,) = completion.choices
    message, usage = choice.message, completion.usage
    extra = message.model_extra or {}
    details = extra.get("reasoning_details") or []
    calls = message.tool_calls or []
    google = [(call.model_extra or {}).get("extra_content") for call in calls]
    return Seen(
        text=message.content or "",
        reasoning=extra.get("reasoning_content") or extra.get("reasoning") or "",
        signed=any(detail.get("signature") or detail.get("data") for detail in details) or any(google),
        calls=tuple(Call(call.id, call.function.name, json.loads(call.function.arguments)) for call in calls),
        finish=FINISHES[choice.finish_reason],
        usage=None if usage is None else _read_usage(usage),
        raw=message,
        pieces=pieces,
        refused=bool(message.refusal) or choice.finish_reason == "content_filter",
    )


def _read_usage(usage: Any) -> Counts:
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0
    reasoning = usage.completion_tokens_details.reasoning_tokens if usage.completion_tokens_details else 0
    # xAI counts reasoning beside the completion.
    assert usage.total_tokens - usage.prompt_tokens - usage.completion_tokens in (0, reasoning)
    return Counts(usage.prompt_tokens, usage.completion_tokens, cached or 0, reasoning or 0)
