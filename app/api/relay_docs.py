"""The relay's routes as OpenAPI shows them: documentation only, since requests branch off before FastAPI."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_ERROR = {
    "description": "An error in OpenAI's shape; see docs/errors.md for every code.",
    "content": {
        "application/json": {
            "example": {
                "error": {
                    "message": "The model 'gpt-x' does not exist.",
                    "type": "invalid_request_error",
                    "param": "model",
                    "code": "model_not_found",
                }
            }
        }
    },
}

_CHAT: dict[str, Any] = {
    "post": {
        "tags": ["chat"],
        "summary": "Create a chat completion",
        "description": "OpenAI's Chat Completions. `model` decides the upstream; unknown fields pass through as they "
        "came. With `stream: true` the answer is server-sent events that end with `data: [DONE]`.",
        "operationId": "create_chat_completion",
        "security": [{"key": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["model", "messages"],
                        "properties": {
                            "model": {"type": "string"},
                            "messages": {"type": "array", "items": {"type": "object"}},
                            "stream": {"type": "boolean", "default": False},
                            "stream_options": {"type": "object"},
                            "max_completion_tokens": {"type": "integer", "minimum": 1},
                            "max_tokens": {"type": "integer", "minimum": 1, "deprecated": True},
                            "n": {"type": "integer", "minimum": 1, "maximum": 128, "default": 1},
                        },
                        "additionalProperties": True,
                    },
                    "example": {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]},
                }
            },
        },
        "responses": {
            "200": {
                "description": "The completion, or a stream of chunks.",
                "content": {"application/json": {}, "text/event-stream": {}},
            },
            **dict.fromkeys(("400", "401", "403", "404", "413", "415", "429", "502", "503", "504"), _ERROR),
        },
    }
}


def document_relay(api: FastAPI) -> None:
    """Adds the relay's paths and the two kinds of credentials to `/openapi.json`."""

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            schema = get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes)
            schema["paths"]["/v1/chat/completions"] = _CHAT
            schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
            schemes["key"] = {"type": "http", "scheme": "bearer", "description": "A key of the gateway (sk-...)"}
            schemes["admin"] = {"type": "http", "scheme": "bearer", "description": "The admin token"}
            for path, operations in schema["paths"].items():
                for operation in operations.values():
                    if path.startswith("/admin/"):
                        operation["security"] = [{"admin": []}]
                    elif path.startswith("/v1/"):
                        operation["security"] = [{"key": []}]
            api.openapi_schema = schema
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]
