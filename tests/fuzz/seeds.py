"""Good requests of every format, which the others are bent out of: between them they have every field that is converted."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tests.matrix.pictures import PNG

CHAT, RESPONSES, MESSAGES, GENERATE = "openai_chat", "openai_responses", "anthropic_messages", "gemini_generate"
FORMATS = (CHAT, RESPONSES, MESSAGES, GENERATE)

MODEL = "the-model"
"""Stands for a model's name, which a test puts in its place."""

_SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "enum": ["Bern", "Rom"]}}, "required": ["city"]}
_DATA_URL = f"data:image/png;base64,{PNG}"
_PDF = "JVBERi0xLjQKJSVFT0Y="
_FUNCTION = {"name": "weather", "description": "The weather", "parameters": _SCHEMA}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}

_CHAT: tuple[dict[str, Any], ...] = (
    {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": "hi", "name": "ann"},
        ],
        "max_tokens": 20,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "seed": 7,
        "user": "u-1",
        "metadata": {"k": "v"},
        "n": 1,
        "stream_options": {"include_usage": True},
    },
    {
        "model": MODEL,
        "messages": [
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": "I'll look.", "tool_calls": [_CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "sun"}]},
            {"role": "user", "content": "and now?"},
        ],
        "tools": [{"type": "function", "function": {**_FUNCTION, "strict": False}}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": True,
        "max_completion_tokens": 30,
    },
    {
        "model": MODEL,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": _DATA_URL, "detail": "low"}},
                ],
            }
        ],
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": _SCHEMA, "strict": True}},
        "reasoning_effort": "low",
    },
)

_RESPONSES: tuple[dict[str, Any], ...] = (
    {
        "model": MODEL,
        "input": "hi",
        "instructions": "Be brief.",
        "max_output_tokens": 20,
        "temperature": 0.5,
        "top_p": 0.9,
        "metadata": {"k": "v"},
        "store": False,
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "text": {"format": {"type": "json_schema", "name": "a", "schema": _SCHEMA, "strict": True}, "verbosity": "low"},
    },
    {
        "model": MODEL,
        "store": False,
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "look"},
                    {"type": "input_image", "image_url": _DATA_URL, "detail": "low"},
                ],
            },
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "I see.", "annotations": []}],
            },
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Bern"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "sun"},
            {"role": "user", "content": "and now?"},
        ],
        "tools": [{"type": "function", **_FUNCTION, "strict": False}],
        "tool_choice": {"type": "function", "name": "weather"},
        "parallel_tool_calls": False,
        "max_output_tokens": 30,
    },
)

_MESSAGES: tuple[dict[str, Any], ...] = (
    {
        "model": MODEL,
        "max_tokens": 20,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
    },
    {
        "model": MODEL,
        "max_tokens": 2000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I'll look."},
                    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "content": [{"type": "text", "text": "sun"}],
                        "is_error": False,
                    },
                    {"type": "text", "text": "and now?"},
                ],
            },
        ],
        "tools": [{"name": "weather", "description": "The weather", "input_schema": _SCHEMA}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    },
    {
        "model": MODEL,
        "max_tokens": 30,
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "document",
                        "title": "a",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": _PDF},
                    },
                    {"type": "text", "text": "read"},
                ],
            }
        ],
        "output_config": {"format": {"type": "json_schema", "schema": _SCHEMA}, "effort": "low"},
    },
)

_GENERATE: tuple[dict[str, Any], ...] = (
    {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {
            "maxOutputTokens": 20,
            "temperature": 0.5,
            "topP": 0.9,
            "topK": 5,
            "stopSequences": ["END"],
            "seed": 7,
            "candidateCount": 1,
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 64},
        },
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    },
    {
        "contents": [
            {"role": "user", "parts": [{"text": "look"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}]},
            {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "weather", "args": {"city": "Bern"}}}]},
            {
                "role": "user",
                "parts": [{"functionResponse": {"id": "c1", "name": "weather", "response": {"output": "sun"}}}],
            },
        ],
        "tools": [{"functionDeclarations": [_FUNCTION]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
        "generationConfig": {"maxOutputTokens": 30},
    },
    {
        "contents": [{"parts": [{"text": "json"}]}],
        "generation_config": {"responseMimeType": "application/json", "responseJsonSchema": _SCHEMA},
    },
)

SEEDS: Mapping[str, tuple[dict[str, Any], ...]] = MappingProxyType(
    {CHAT: _CHAT, RESPONSES: _RESPONSES, MESSAGES: _MESSAGES, GENERATE: _GENERATE}
)

_PATHS = MappingProxyType({CHAT: "/v1/chat/completions", RESPONSES: "/v1/responses", MESSAGES: "/v1/messages"})
_COUNT_PATHS = MappingProxyType({RESPONSES: "/v1/responses/input_tokens", MESSAGES: "/v1/messages/count_tokens"})


def path_of(format: str, model: str, *, stream: bool = False, array: bool = False, count: bool = False) -> str:
    """Where a request goes. `array`: Gemini's other framing of streams. Chat has no counting: it is asked for an answer."""
    if format == GENERATE:
        method = "countTokens" if count else "streamGenerateContent" if stream else "generateContent"
        return f"/v1beta/models/{model}:{method}" + ("?alt=sse" if stream and not array else "")
    return _COUNT_PATHS.get(format, _PATHS[format]) if count else _PATHS[format]


def body_of(format: str, seed: int, model: str, *, stream: bool = False) -> dict[str, Any]:
    """The seed of that number (round again), for a model, streamed or not where its body says that."""
    found = SEEDS[format][seed % len(SEEDS[format])]
    if format == GENERATE:
        return dict(found)
    asked = {**found, "model": model, "stream": stream}
    if not stream:
        asked.pop("stream_options", None)
    return asked
