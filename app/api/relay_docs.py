"""The relay's routes as OpenAPI shows them: documentation only, since requests branch off before FastAPI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_STATUSES = ("400", "401", "403", "404", "413", "415", "429", "502", "503", "504")
_SSE = "text/event-stream"

OPENAI_ERROR = {
    "error": {
        "message": "The model 'gpt-x' does not exist.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
}
_ANTHROPIC_ERROR = {"type": "error", "error": {"type": "not_found_error", "message": "The model 'x' does not exist."}}
_GOOGLE_ERROR = {"error": {"code": 404, "message": "The model 'x' does not exist.", "status": "NOT_FOUND"}}

_ROLE_AND_TEXT = [{"role": "user", "content": "Hello"}]
_CONTENTS = [{"role": "user", "parts": [{"text": "Hello"}]}]


def describe_operation(
    id: str,
    summary: str,
    description: str,
    *,
    required: tuple[str, ...],
    properties: Mapping[str, Any],
    example: Mapping[str, Any],
    error: Mapping[str, Any],
    answer: str,
    streams: bool = True,
    path_model: bool = False,
    tag: str = "chat",
    asks: Sequence[str] = ("application/json",),
    answers: str = "application/json",
) -> dict[str, Any]:
    """One POST. `properties`: the fields that the gateway itself reads; all others pass, or are converted. `asks`, `answers`:
    the content types of the request and the answer.
    """
    refusal = {"description": "See docs/errors.md for every code.", "content": {"application/json": {"example": error}}}
    schema = {
        "type": "object",
        "required": list(required),
        "properties": dict(properties),
        "additionalProperties": True,
    }
    content: dict[str, Any] = {answers: {}}
    if streams:
        content[_SSE] = {}
    operation: dict[str, Any] = {
        "tags": [tag],
        "summary": summary,
        "description": description,
        "operationId": id,
        "security": [{"key": []}],
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": schema, "example": dict(example)} for kind in asks},
        },
        "responses": {"200": {"description": answer, "content": content}, **dict.fromkeys(_STATUSES, refusal)},
    }
    if path_model:
        operation["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
    return {"post": operation}


_CHAT = describe_operation(
    "create_chat_completion",
    "Create a chat completion",
    "OpenAI's Chat Completions. `model` decides the upstream; unknown fields pass through as they came to an upstream of the "
    "same format, others are told in their own (docs/formats.md). With `stream: true` the answer is server-sent events that "
    "end with `data: [DONE]`.",
    required=("model", "messages"),
    properties={
        "model": {"type": "string"},
        "messages": {"type": "array", "items": {"type": "object"}},
        "stream": {"type": "boolean", "default": False},
        "stream_options": {"type": "object"},
        "max_completion_tokens": {"type": "integer", "minimum": 1},
        "max_tokens": {"type": "integer", "minimum": 1, "deprecated": True},
        "n": {"type": "integer", "minimum": 1, "maximum": 128, "default": 1},
    },
    example={"model": "demo", "messages": _ROLE_AND_TEXT},
    error=OPENAI_ERROR,
    answer="The completion, or a stream of chunks.",
)
_RESPONSES = describe_operation(
    "create_response",
    "Create a response",
    "OpenAI's Responses. Where the model's upstream speaks them too, `previous_response_id`, `background` and `store` work, "
    "and what is stored there can be had again by `GET /v1/responses/{id}`; elsewhere nothing is stored.",
    required=("model", "input"),
    properties={
        "model": {"type": "string"},
        "input": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]},
        "stream": {"type": "boolean", "default": False},
        "max_output_tokens": {"type": "integer", "minimum": 1},
        "previous_response_id": {"type": "string"},
        "store": {"type": "boolean", "default": True},
        "background": {"type": "boolean", "default": False},
    },
    example={"model": "demo", "input": "Hello"},
    error=OPENAI_ERROR,
    answer="The response, or a stream of its events.",
)
_MESSAGES = describe_operation(
    "create_message",
    "Create a message",
    "Anthropic's Messages. `anthropic-version` and `anthropic-beta` go on to upstreams of the same format.",
    required=("model", "messages", "max_tokens"),
    properties={
        "model": {"type": "string"},
        "messages": {"type": "array", "items": {"type": "object"}},
        "max_tokens": {"type": "integer", "minimum": 0},
        "stream": {"type": "boolean", "default": False},
    },
    example={"model": "demo", "max_tokens": 100, "messages": _ROLE_AND_TEXT},
    error=_ANTHROPIC_ERROR,
    answer="The message, or a stream of its events.",
)
_MESSAGES_COUNT = describe_operation(
    "count_message_tokens",
    "Count a message's input tokens",
    "Anthropic's count_tokens, free of charge. Where the model's upstream can't count, the gateway estimates, and says so in "
    "`x-relaygate-estimated`.",
    required=("model", "messages"),
    properties={"model": {"type": "string"}, "messages": {"type": "array", "items": {"type": "object"}}},
    example={"model": "demo", "messages": _ROLE_AND_TEXT},
    error=_ANTHROPIC_ERROR,
    answer="`input_tokens`.",
    streams=False,
)
_RESPONSES_COUNT = describe_operation(
    "count_response_tokens",
    "Count a response's input tokens",
    "OpenAI's input_tokens, free of charge. Where the model's upstream can't count, the gateway estimates, and says so in "
    "`x-relaygate-estimated`.",
    required=("model", "input"),
    properties={"model": {"type": "string"}, "input": {}},
    example={"model": "demo", "input": "Hello"},
    error=OPENAI_ERROR,
    answer="`input_tokens`.",
    streams=False,
)


def _google(method: str, summary: str, description: str, *, streams: bool) -> dict[str, Any]:
    return describe_operation(
        f"google_{method}",
        summary,
        description,
        required=("contents",),
        properties={
            "contents": {"type": "array", "items": {"type": "object"}},
            "generationConfig": {
                "type": "object",
                "properties": {"maxOutputTokens": {"type": "integer"}, "candidateCount": {"type": "integer"}},
            },
        },
        example={"contents": _CONTENTS},
        error=_GOOGLE_ERROR,
        answer="What Google's API would answer.",
        streams=streams,
        path_model=True,
    )


_PATHS: Mapping[str, dict[str, Any]] = {
    "/v1/chat/completions": _CHAT,
    "/v1/responses": _RESPONSES,
    "/v1/responses/input_tokens": _RESPONSES_COUNT,
    "/v1/messages": _MESSAGES,
    "/v1/messages/count_tokens": _MESSAGES_COUNT,
    "/v1beta/models/{model}:generateContent": _google(
        "generateContent", "Generate content", "Google's generateContent; below `/v1/models/` too.", streams=False
    ),
    "/v1beta/models/{model}:streamGenerateContent": _google(
        "streamGenerateContent",
        "Generate content, streamed",
        "Google's streamGenerateContent: server-sent events with `?alt=sse`, else one JSON array that grows.",
        streams=True,
    ),
    "/v1beta/models/{model}:countTokens": _google(
        "countTokens",
        "Count tokens",
        "Google's countTokens, free of charge; an estimate where the model's upstream can't count.",
        streams=False,
    ),
}


def document_relay(api: FastAPI, more: Mapping[str, dict[str, Any]]) -> None:
    """Adds the relay's paths, `more` of them, and the two kinds of credentials to `/openapi.json`."""

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            schema = get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes)
            for path, operations in {**_PATHS, **more}.items():
                schema["paths"].setdefault(path, {}).update(operations)
            schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
            schemes["key"] = {"type": "http", "scheme": "bearer", "description": "A key of the gateway (sk-...)"}
            schemes["admin"] = {"type": "http", "scheme": "bearer", "description": "The admin token"}
            for path, operations in schema["paths"].items():
                for operation in operations.values():
                    if path.startswith("/admin/"):
                        operation["security"] = [{"admin": []}]
                    elif path.startswith(("/v1/", "/v1beta/")):
                        operation["security"] = [{"key": []}]
            api.openapi_schema = schema
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]
