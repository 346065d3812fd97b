"""The openai SDK's responses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai

from tests.matrix.clients.openai_chat import ERRORS, read_openai_failure
from tests.matrix.talk import Call, Counts, Failure, Finish, Picture, Replay, Results, Said, Seen, Talk, Tool, User


class ResponsesClient:
    """See `tests.matrix.talk.Client`."""

    name = "responses"
    format = "openai_responses"
    lacks = frozenset({"stop"})
    says_failure = False
    error: type[Exception] = openai.APIError
    errors = ERRORS

    def __init__(self, url: str, key: str, http: httpx2.Client) -> None:
        self._sdk: Any = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, http_client=http)

    def ask(self, model: str, talk: Talk) -> Seen:
        return _read(self._sdk.responses.create(**write(model, talk)))

    def stream(self, model: str, talk: Talk) -> Seen:
        pieces = 0
        with self._sdk.responses.stream(**write(model, talk)) as stream:
            for event in stream:
                pieces += event.type == "response.output_text.delta"
                if event.type in ("response.completed", "response.incomplete"):
                    final = event.response
            return _read(final, pieces)

    @contextmanager
    def deltas(self, model: str, talk: Talk) -> Iterator[Iterator[str]]:
        with self._sdk.responses.create(**write(model, talk), stream=True) as stream:
            yield _read_deltas(stream)

    def count(self, model: str, text: str) -> int:
        counted: int = self._sdk.responses.input_tokens.count(model=model, input=text).input_tokens
        return counted

    def read_failure(self, error: Exception) -> Failure:
        return read_openai_failure(error)


def write(model: str, talk: Talk) -> dict[str, Any]:
    """The arguments of `create`."""
    body: dict[str, Any] = {"model": model, "input": list(_write_input(talk))}
    if talk.tools:
        body["tools"] = [_write_tool(tool) for tool in talk.tools]
    if talk.choice is not None:
        named: Any = {"type": "function", "name": talk.choice}
        body["tool_choice"] = {"auto": "auto", "none": "none", "any": "required"}.get(talk.choice, named)
    if talk.one_call:
        body["parallel_tool_calls"] = False
    if talk.schema is not None:
        body["text"] = {"format": {"type": "json_schema", "name": "answer", "schema": talk.schema, "strict": True}}
    if talk.json:
        body["text"] = {"format": {"type": "json_object"}}
    given = {"instructions": talk.system, "max_output_tokens": talk.cap, "temperature": talk.temperature}
    body |= {name: value for name, value in given.items() if value is not None}
    if talk.effort:
        body["reasoning"] = {"effort": "medium"}
    if talk.thinks:
        body |= {"reasoning": {"effort": "medium", "summary": "auto"}, "store": False}
        body["include"] = ["reasoning.encrypted_content"]
    return body


def _write_input(talk: Talk) -> Iterator[Any]:
    for turn in talk.turns:
        match turn:
            case User(text, (), None):
                yield {"role": "user", "content": text}
            case User(text, pictures, pdf):
                shown = [*map(_write_picture, pictures), *([] if pdf is None else [_write_pdf(pdf)])]
                yield {"role": "user", "content": [{"type": "input_text", "text": text}, *shown]}
            case Said(text):
                yield {"role": "assistant", "content": text}
            case Replay(seen):
                yield from seen.raw
            case Results(results):
                for result in results:
                    yield {"type": "function_call_output", "call_id": result.call.id, "output": result.text}


def _write_picture(picture: Picture) -> dict[str, Any]:
    return {"type": "input_image", "image_url": picture.place, "detail": "auto"}


def _write_pdf(pdf: str) -> dict[str, Any]:
    return {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{pdf}"}


def _write_tool(tool: Tool) -> dict[str, Any]:
    named = {"type": "function", "name": tool.name, "description": tool.description}
    return {**named, "parameters": tool.schema, "strict": True}


def _read_deltas(stream: Any) -> Iterator[str]:
    for event in stream:
        if event.type == "response.output_text.delta":
            yield event.delta
        # The SDK raises on neither: whoever iterates over events is told by one.
        elif event.type == "response.failed":
            error = event.response.error
            raise openai.APIError(error.message, httpx2.Request("POST", "http://gateway"), body={"code": error.code})
        elif event.type == "error":
            raise openai.APIError(event.message, httpx2.Request("POST", "http://gateway"), body={"code": event.code})


def _read(response: Any, pieces: int = 1) -> Seen:
    thoughts = [item for item in response.output if item.type == "reasoning"]
    calls = [item for item in response.output if item.type == "function_call"]
    parts = [part for item in response.output if item.type == "message" for part in item.content]
    finish, usage = _read_finish(response, calls=bool(calls)), response.usage
    return Seen(
        text=response.output_text,
        reasoning="\n\n".join(part.text for item in thoughts for part in item.summary),
        signed=any(item.encrypted_content for item in thoughts),
        calls=tuple(Call(call.call_id, call.name, json.loads(call.arguments)) for call in calls),
        finish=finish,
        usage=None if usage is None else _read_usage(usage),
        raw=response.output,
        pieces=pieces,
        refused=finish == "filtered" or any(part.type == "refusal" for part in parts),
    )


def _read_finish(response: Any, *, calls: bool) -> Finish:
    if response.status == "incomplete":
        return "length" if response.incomplete_details.reason == "max_output_tokens" else "filtered"
    assert response.status == "completed"
    return "calls" if calls else "stop"


def _read_usage(usage: Any) -> Counts:
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    cached, reasoning = usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens
    return Counts(usage.input_tokens, usage.output_tokens, cached, reasoning)
