"""What becomes of each field of a Chat Completions request in other formats, and of what other formats ask of this one.

Source of the names: OpenAI's API reference, `completion_create_params.py` and the message types of its SDK; further on, what
compatible servers document beside them (OpenRouter, DeepSeek, Qwen).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app.formats.fields import ATTRIBUTES, MAPPED, Fate, Field, Verdict, dropped, mapped, refused

NAME = "openai_chat"
TITLE = "OpenAI's Chat Completions"
VENDOR = "openai"
"""Whose signatures an unmarked sealed thought holds; see `app.core.signatures`."""

FIELDS: tuple[Field, ...] = (
    Field("model", "model"),
    Field("messages", "messages"),
    Field("stream", "stream"),
    Field("stream_options.include_usage", None, mapped("heeded by the gateway")),
    Field("stream_options.include_obfuscation", None, dropped()),
    Field("max_completion_tokens", "output_cap"),
    Field("max_tokens", "output_cap"),
    Field("n", "choices"),
    Field("temperature", "temperature"),
    Field("top_p", "top_p"),
    Field("top_k", "top_k"),
    Field("presence_penalty", "presence_penalty"),
    Field("frequency_penalty", "frequency_penalty"),
    Field("seed", "seed"),
    Field("stop", "stop"),
    Field("logprobs", "logprobs"),
    Field("top_logprobs", "top_logprobs"),
    Field("response_format: json_object", "json_object"),
    Field("response_format: json_schema", "json_schema"),
    Field("reasoning_effort", "reasoning"),
    Field("reasoning", "reasoning"),
    Field("thinking", "reasoning"),
    Field("enable_thinking", "reasoning"),
    Field("thinking_budget", "reasoning"),
    Field("verbosity", "verbosity"),
    Field("tools", "tools"),
    Field("tools[].function.strict", "tool_strict"),
    Field("tools[].custom", "tool_custom"),
    Field("tools[].cache_control", "cache_point"),
    Field("tool_choice", "tool_choice"),
    Field("tool_choice: allowed_tools", "tool_choice_names"),
    Field("parallel_tool_calls", "parallel_tool_calls"),
    Field("service_tier", "service_tier"),
    Field("user", "user"),
    Field("safety_identifier", "user"),
    Field("metadata", "metadata"),
    Field("modalities", "modalities"),
    Field("prompt_cache_key", "cache_key"),
    Field("prompt_cache_options", "cache"),
    Field("prompt_cache_retention", None, dropped()),
    Field("store", None, dropped("nothing is stored")),
    Field("audio", None, refused("no other format names a voice in such a way")),
    Field("logit_bias", None, refused("its tokens are one tokenizer's")),
    Field("prediction", None, refused()),
    Field("moderation", None, refused()),
    Field("web_search_options", None, refused()),
    Field("functions", None, refused("deprecated: use `tools`")),
    Field("function_call", None, refused("deprecated: use `tool_choice`")),
    Field("messages[].role: developer, system", "system"),
    Field("messages[].role: developer, system, after others", "system_midway"),
    Field("messages[].role: function", None, refused("deprecated: use role `tool`")),
    Field("messages[].name", "name"),
    Field("messages[].content[].text", "text"),
    Field("messages[].content[].image_url", "image"),
    Field("messages[].content[].image_url.url: https", "image_url"),
    Field("messages[].content[].image_url.detail", "image_detail"),
    Field("messages[].content[].input_audio", "audio"),
    Field("messages[].content[].file", "file"),
    Field("messages[].content[].file.file_data: https", "file_url"),
    Field("messages[].content[].file.file_id", "file_id"),
    Field("messages[].content[].refusal", "refusal"),
    Field("messages[].content[].prompt_cache_breakpoint", "cache_point"),
    Field("messages[].content[].cache_control", "cache_point"),
    Field("messages[].refusal", "refusal"),
    Field("messages[].annotations", "citations"),
    Field("messages[].audio", None, refused("the sound lives at OpenAI")),
    Field("messages[].function_call", None, refused("deprecated: use `tool_calls`")),
    Field("messages[].tool_calls", "tool_call"),
    Field("messages[].tool_calls[].extra_content.google.thought_signature", "thinking"),
    Field("messages[].reasoning_details", "thinking"),
    Field("messages[].reasoning_content", "thinking"),
    Field("messages[].reasoning", "thinking"),
    Field("messages[].role: tool", "tool_result"),
    Field("messages[].role: tool, content[].image_url, file", "tool_result_media"),
)  # fmt: skip

_CHANGED: Mapping[str, Fate] = {
    "messages": mapped("an assistant's turn is told in this order: thoughts, text, tool calls"),
    "system": mapped("as one message of role system"),
    "system_midway": mapped("as a message of role system"),
    "output_cap": mapped("as `max_completion_tokens` or `max_tokens`, whichever the server takes"),
    "choices": mapped("refused where the server gives one answer (Ollama)"),
    "top_k": refused("it has no such field"),
    "stop": mapped("the first four; the others are dropped"),
    "presence_penalty": mapped("refused by models of xAI that think"),
    "frequency_penalty": mapped("refused by models of xAI that think"),
    "reasoning": mapped("as an effort: a budget of at most 2048 tokens is low, of at most 8192 medium, else high"),
    "user": mapped("as `user`, which all servers know"),
    "metadata": dropped("it belongs to answers that are stored"),
    "modalities": refused("it answers in text"),
    "cache": dropped("its servers cache by themselves"),
    "cache_point": dropped("its servers cache by themselves"),
    "cache_key": mapped("as `prompt_cache_key`"),
    "service_tier": mapped("the tiers that OpenAI has; others are dropped"),
    "image_url": mapped("http and https"),
    "file": mapped("PDF and others as a file, plain text as text"),
    "file_url": refused("files are sent as data"),
    "file_id": mapped("OpenAI's own; another vendor's is refused"),
    "audio": mapped("in the user's turn"),
    "audio_url": refused("sound is sent as data"),
    "thinking": mapped(
        "where the server takes thoughts back (DeepSeek in words, OpenRouter and Gemini signed); dropped elsewhere"
    ),
    "tool_result_error": dropped("the words of the result tell"),
    "tool_result_media": mapped("in a user's message after the results"),
    "refusal": mapped("as text"),
    "citations": dropped("of earlier answers; in answers they are annotations"),
    "tool_choice_names": mapped("one as a demand for it; of several, the other tools are left out"),
    "tool_choice": mapped("refused where the server heeds none (Ollama), but for `none` and a choice of some tools"),
    "json_schema": mapped("named `answer` where the client names none"),
}  # fmt: skip

CARRIES: Mapping[str, Fate] = MappingProxyType({name: _CHANGED.get(name, MAPPED) for name in ATTRIBUTES})

DENIED: Mapping[str, str] = MappingProxyType(
    {
        field.name: field.fate.note
        for field in FIELDS
        if field.fate is not None and field.fate.verdict is Verdict.REFUSED
    }
)
"""Fields that no other format has, with the reason."""

LEFT_OUT = frozenset(field.name for field in FIELDS if field.fate is not None and field.fate.verdict is Verdict.DROPPED)
"""Advisory fields that no other format has."""

CLIENT_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "output_cap": "max_completion_tokens",
        "choices": "n",
        "reasoning": "reasoning_effort",
        "json_schema": "response_format",
        "json_object": "response_format",
        "cache_key": "prompt_cache_key",
        "cache": "prompt_cache_options",
        "tool_choice_names": "tool_choice",
        "tool_strict": "tools[].function.strict",
        "tool_custom": "tools[].custom",
        "system": "messages[].role",
        "system_midway": "messages[].role",
        "name": "messages[].name",
        "text": "messages[].content",
        "image": "messages[].content[].image_url",
        "image_url": "messages[].content[].image_url",
        "image_detail": "messages[].content[].image_url.detail",
        "audio": "messages[].content[].input_audio",
        "audio_url": "messages[].content[].input_audio",
        "file": "messages[].content[].file",
        "file_url": "messages[].content[].file.file_data",
        "file_id": "messages[].content[].file.file_id",
        "refusal": "messages[].refusal",
        "citations": "messages[].annotations",
        "cache_point": "messages[].content[].prompt_cache_breakpoint",
        "thinking": "messages[].reasoning_details",
        "tool_call": "messages[].tool_calls",
        "tool_result": "messages[].content",
        "tool_result_media": "messages[].content",
    }
)
"""A client's own names, by the attribute they are read into; one that isn't here has the same name."""
