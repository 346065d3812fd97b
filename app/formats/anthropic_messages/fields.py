"""What becomes of each field of a Messages request in other formats, and of what other formats ask of this one.

Source of the names: Anthropic's API reference, and `message_create_params.py` of its SDK, beta fields included.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app.formats.fields import ATTRIBUTES, MAPPED, Fate, Field, Verdict, dropped, mapped, refused

NAME = "anthropic_messages"
TITLE = "Anthropic's Messages API"
VENDOR = "anthropic"
"""Whose signatures these are; see `app.core.signatures`."""

FIELDS: tuple[Field, ...] = (
    Field("model", "model"),
    Field("messages", "messages"),
    Field("max_tokens", "output_cap"),
    Field("system", "system"),
    Field("stream", "stream"),
    Field("tools", "tools"),
    Field("tool_choice", "tool_choice"),
    Field("tool_choice.disable_parallel_tool_use", "parallel_tool_calls"),
    Field("thinking", "reasoning"),
    Field("output_config.effort", "reasoning"),
    Field("output_config.format", "response_format"),
    Field("stop_sequences", "stop"),
    Field("temperature", "temperature"),
    Field("top_p", "top_p"),
    Field("top_k", "top_k"),
    Field("metadata.user_id", "user"),
    Field("cache_control", "cache"),
    Field("service_tier", "service_tier"),
    Field("speed", "service_tier"),
    Field("diagnostics", None, dropped("tells of cache misses")),
    Field("context_management", None, dropped("nothing is cleared from the conversation")),
    Field("compaction", None, dropped("nothing is summarised")),
    Field("inference_geo", None, refused()),
    Field("container", None, refused()),
    Field("mcp_servers", None, refused()),
    Field("fallbacks", None, refused()),
    Field("fallback_credit_token", None, refused()),
    Field("billing_policy", None, refused()),
    Field("thread", None, refused("the earlier turns live at Anthropic")),
    # Parameters of the SDK that it sends as headers (`anthropic-user-profile-id`, `anthropic-workspace-id`).
    Field("user_profile_id", None, refused("as a header it isn't passed on either: it is the operator's workspace")),
    Field("workspace_id", None, refused("as a header it isn't passed on either: it is the operator's workspace")),
    Field("messages[].role: system", "system_midway"),
    Field("messages[].content[].text", "text"),
    Field("messages[].content[].text.citations", "citations"),
    Field("messages[].content[].cache_control", "cache_point"),
    Field("messages[].content[].image", "image"),
    Field("messages[].content[].image.source.url", "image_url"),
    Field("messages[].content[].image.source.file_id", "file_id"),
    Field("messages[].content[].image.transformations", None, dropped()),
    Field("messages[].content[].document", "file"),
    Field("messages[].content[].document.source.url", "file_url"),
    Field("messages[].content[].document.source.file_id", "file_id"),
    Field("messages[].content[].document.source.content", None, mapped("its texts and images, as blocks")),
    Field("messages[].content[].document.context", None, mapped("as a text before the document")),
    Field("messages[].content[].document.citations", None, dropped("the answer cites nothing")),
    Field("messages[].content[].search_result", None, refused()),
    Field("messages[].content[].thinking", "thinking"),
    Field("messages[].content[].redacted_thinking", "thinking"),
    Field("messages[].content[].tool_use", "tool_call"),
    Field("messages[].content[].tool_use.caller", None, refused("but for `direct`, the default")),
    Field("messages[].content[].tool_use.toolset_name", None, refused()),
    Field("messages[].content[].tool_result", "tool_result"),
    Field("messages[].content[].tool_result.is_error", "tool_result_error"),
    Field("messages[].content[].tool_result.content[].image", "tool_result_media"),
    Field("messages[].content[].tool_result.content[].document", "tool_result_media"),
    Field("messages[].content[].tool_result.content[].search_result", None, refused()),
    Field("messages[].content[].tool_result.content[].tool_reference", None, refused()),
    Field("messages[].content[].tool_result.content[].browser_state", None, refused()),
    Field("messages[].content[].tool_result.toolset_name", None, refused()),
    Field("messages[].content[].server_tool_use", None, refused("and results of server tools: they are Anthropic's own")),
    Field("messages[].content[].container_upload", None, refused()),
    Field("tools[].strict", "tool_strict"),
    Field("tools[].cache_control", "cache_point"),
    Field("tools[].defer_loading", None, dropped("the tool is always there")),
    Field("tools[].eager_input_streaming", None, dropped()),
    Field("tools[].input_examples", None, dropped()),
    Field("tools[].allowed_callers", None, refused("but for `direct`, the default")),
    Field("tools[].type", None, refused("of server tools and toolsets: they are Anthropic's own")),
)  # fmt: skip

_NO_PLACE = refused("it has no such field")

_CHANGED: Mapping[str, Fate] = {
    "system_midway": mapped("as a message of role system; in the user's turn under API version 2023-06-01"),
    "tool_choice_names": mapped("the other tools are left out"),
    "output_cap": mapped("required here: the model's or the gateway's own cap where the client names none"),
    "temperature": mapped("under API version 2023-06-01, at most 1; 1, the default, is left out under 2026-10-21"),
    "top_p": mapped("under API version 2023-06-01"),
    "top_k": mapped("under API version 2023-06-01"),
    "reasoning": mapped("`minimal` is told as low; a budget is at least 1024 and below `max_tokens`"),
    "service_tier": mapped("default, fast and priority; others are dropped"),
    "metadata": dropped("its `metadata` knows a user alone"),
    "user": mapped("as `metadata.user_id`"),
    "cache": mapped("30m and 12h are told as 1h"),
    "cache_point": mapped("30m and 12h are told as 1h"),
    "cache_key": dropped(),
    "seed": dropped(),
    "verbosity": dropped(),
    "name": dropped(),
    "image": mapped("PNG, JPEG, GIF and WEBP"),
    "image_detail": dropped(),
    "file": mapped("PDF and text; not in an assistant's turn"),
    "file_url": mapped("PDF"),
    "file_id": refused("it lives at another vendor"),
    "thinking": mapped("with Anthropic's own signature; another vendor's is of no use here, and dropped"),
    "refusal": mapped("as text"),
    "citations": dropped("of earlier answers; in answers web search results keep their addresses"),
    "tool_custom": mapped("as a tool of one text, `input`; a grammar is told in its description, not enforced"),
    "json_schema": mapped("its name, description and `strict` are left out: it is always enforced"),
    "json_object": refused("it takes a JSON schema only"),
    "presence_penalty": _NO_PLACE,
    "frequency_penalty": _NO_PLACE,
    "logprobs": _NO_PLACE,
    "top_logprobs": _NO_PLACE,
    "choices": refused("it gives one answer"),
    "modalities": refused("it answers in text"),
    "audio": _NO_PLACE,
    "audio_url": _NO_PLACE,
}  # fmt: skip

CARRIES: Mapping[str, Fate] = MappingProxyType({name: _CHANGED.get(name, MAPPED) for name in ATTRIBUTES})

LEFT_OUT = frozenset(field.name for field in FIELDS if field.fate is not None and field.fate.verdict is Verdict.DROPPED)
DENIED: Mapping[str, str] = MappingProxyType(
    {
        field.name: field.fate.note
        for field in FIELDS
        if field.fate is not None and field.fate.verdict is Verdict.REFUSED
    }
)
"""Fields that no other format has: the advisory ones, and the others with the reason."""

CLIENT_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "output_cap": "max_tokens",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
        "reasoning": "thinking",
        "response_format": "output_config.format",
        "json_schema": "output_config.format",
        "stop": "stop_sequences",
        "user": "metadata.user_id",
        "cache": "cache_control",
        "tool_choice_names": "tool_choice.name",
        "tool_strict": "tools[].strict",
        "system_midway": "messages[].role",
        "text": "messages[].content[].text",
        "citations": "messages[].content[].citations",
        "cache_point": "messages[].content[].cache_control",
        "image": "messages[].content[].source",
        "image_url": "messages[].content[].source.url",
        "file": "messages[].content[].source",
        "file_url": "messages[].content[].source.url",
        "file_id": "messages[].content[].source.file_id",
        "thinking": "messages[].content[].thinking",
        "tool_call": "messages[].content[].tool_use",
        "tool_result": "messages[].content[].tool_result",
        "tool_result_error": "messages[].content[].is_error",
        "tool_result_media": "messages[].content[].tool_result.content",
    }
)
"""A client's own names, by the attribute they are read into; one that isn't here has the same name."""
