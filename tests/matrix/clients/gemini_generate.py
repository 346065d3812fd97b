"""The google-genai SDK's generate_content."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2
from google import genai
from google.genai import errors, types

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

MODES = {"auto": "AUTO", "none": "NONE", "any": "ANY"}


class GeminiClient:
    """See `tests.matrix.talk.Client`."""

    name = "gemini"
    format = "gemini_generate"
    lacks = frozenset({"one_call"})
    says_failure = True
    error: type[Exception] = errors.APIError
    errors: Mapping[int, type[Exception]] = {
        400: errors.ClientError,
        429: errors.ClientError,
        500: errors.ServerError,
    }

    def __init__(self, url: str, key: str, http: httpx2.Client) -> None:
        options = types.HttpOptions(base_url=url, api_version="v1beta", httpx_client=http)
        self._sdk: Any = genai.Client(api_key=key, http_options=options)

    def ask(self, model: str, talk: Talk) -> Seen:
        return _read([self._sdk.models.generate_content(**write(model, talk))])

    def stream(self, model: str, talk: Talk) -> Seen:
        return _read(list(self._sdk.models.generate_content_stream(**write(model, talk))))

    @contextmanager
    def deltas(self, model: str, talk: Talk) -> Iterator[Iterator[str]]:
        stream = self._sdk.models.generate_content_stream(**write(model, talk))
        try:
            yield (text for chunk in stream for text in _texts(_parts([chunk])))
        finally:
            stream.close()

    def count(self, model: str, text: str) -> int:
        counted: int = self._sdk.models.count_tokens(model=model, contents=text).total_tokens
        return counted

    def read_failure(self, error: Exception) -> Failure:
        assert isinstance(error, errors.APIError)
        # There is no place of its own for the field: the message names it.
        return Failure(error.code, error.message or "", error.status, error.message or "")


def write(model: str, talk: Talk) -> dict[str, Any]:
    """The arguments of `generate_content`."""
    config: dict[str, Any] = {
        "system_instruction": talk.system,
        "stop_sequences": list(talk.stop) or None,
        "max_output_tokens": talk.cap,
        "temperature": talk.temperature,
        "automatic_function_calling": {"disable": True},
    }
    if talk.tools:
        config["tools"] = [{"function_declarations": [_write_tool(tool) for tool in talk.tools]}]
    if talk.choice is not None:
        calling: dict[str, Any] = {"mode": MODES.get(talk.choice, "ANY")}
        if talk.choice not in MODES:
            calling["allowed_function_names"] = [talk.choice]
        config["tool_config"] = {"function_calling_config": calling}
    if talk.schema is not None:
        config |= {"response_mime_type": "application/json", "response_json_schema": talk.schema}
    if talk.json:
        config["response_mime_type"] = "application/json"
    if talk.effort or talk.thinks:
        config["thinking_config"] = {"include_thoughts": talk.thinks or None, "thinking_level": "MEDIUM"}
    return {"model": model, "contents": [_write_turn(turn) for turn in talk.turns], "config": config}


def _write_turn(turn: Any) -> types.Content:
    match turn:
        case User(text, pictures, pdf):
            shown = [*map(_write_picture, pictures), *([] if pdf is None else [_write_pdf(pdf)])]
            return types.Content(role="user", parts=[types.Part(text=text), *shown])
        case Said(text):
            return types.Content(role="model", parts=[types.Part(text=text)])
        case Replay(seen):
            assert isinstance(seen.raw, types.Content)
            return seen.raw
        case Results(results):
            return types.Content(role="user", parts=[_write_result(result) for result in results])
    raise AssertionError(turn)


def _write_picture(picture: Picture) -> types.Part:
    if picture.png is None:
        return types.Part.from_uri(file_uri=picture.url or "", mime_type="image/png")
    return types.Part.from_bytes(data=base64.b64decode(picture.png), mime_type="image/png")


def _write_pdf(pdf: str) -> types.Part:
    return types.Part.from_bytes(data=base64.b64decode(pdf), mime_type="application/pdf")


def _write_result(result: Result) -> types.Part:
    response = {"error" if result.failed else "output": result.text}
    answered = types.FunctionResponse(id=result.call.id, name=result.call.name, response=response)
    return types.Part(function_response=answered)


def _write_tool(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters_json_schema": tool.schema}


def _parts(chunks: Sequence[Any]) -> list[types.Part]:
    contents = [chunk.candidates[0].content for chunk in chunks if chunk.candidates]
    return [part for content in contents if content is not None for part in content.parts or ()]


def _texts(parts: Sequence[types.Part]) -> list[str]:
    return [part.text for part in parts if part.text and not part.thought]


def _read(chunks: Sequence[Any]) -> Seen:
    parts, usage = _parts(chunks), chunks[-1].usage_metadata
    texts = _texts(parts)
    calls = [part.function_call for part in parts if part.function_call is not None]
    finish = _read_finish(chunks, calls=bool(calls))
    return Seen(
        text="".join(texts),
        reasoning="".join(part.text for part in parts if part.thought and part.text),
        signed=any(part.thought_signature for part in parts),
        calls=tuple(Call(call.id, call.name or "", call.args or {}) for call in calls),
        finish=finish,
        usage=None if usage is None else _read_usage(usage),
        raw=types.Content(role="model", parts=parts),
        pieces=len(texts),
        refused=finish == "filtered",
    )


def _read_finish(chunks: Sequence[Any], *, calls: bool) -> Finish:
    reasons = [chunk.candidates[0].finish_reason for chunk in chunks if chunk.candidates]
    reason = next(reason for reason in reversed(reasons) if reason is not None)
    match reason.value:
        case "STOP":
            return "calls" if calls else "stop"
        case "MAX_TOKENS":
            return "length"
    return "filtered"


def _read_usage(usage: Any) -> Counts:
    prompt = (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0)
    thoughts = usage.thoughts_token_count or 0
    output = (usage.candidates_token_count or 0) + thoughts
    assert usage.total_token_count == prompt + output
    return Counts(prompt, output, usage.cached_content_token_count or 0, thoughts)
