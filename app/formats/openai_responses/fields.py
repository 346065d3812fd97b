"""What becomes of each field of a Responses request in other formats, and of what other formats ask of this one.

Source of the names: OpenAI's API reference, and `response_create_params.py` and `response_input_item_param.py` of its SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app.formats.fields import ATTRIBUTES, MAPPED, Fate, Field, Verdict, dropped, mapped, refused

NAME = "openai_responses"
TITLE = "OpenAI's Responses API"

_STATE = refused("it lives at the upstream that made it")
_BUILT_IN = refused("but for functions and custom tools: OpenAI runs the others itself")
_CONTENT = "input[].content[]"

FIELDS: tuple[Field, ...] = (
    Field("model", "model"),
    Field("input", "messages"),
    Field("instructions", "system"),
    Field("stream", "stream"),
    Field("stream_options.include_obfuscation", None, dropped("nothing is padded")),
    Field("max_output_tokens", "output_cap"),
    Field("temperature", "temperature"),
    Field("top_p", "top_p"),
    Field("top_logprobs", "top_logprobs"),
    Field("include: message.output_text.logprobs", "logprobs"),
    Field("include: reasoning.encrypted_content", None, mapped("it is always given")),
    Field("include", None, refused("but for these two")),
    Field("tools", "tools"),
    Field("tools[].strict", "tool_strict"),
    Field("tools[].type: custom", "tool_custom"),
    Field("tools[].type", None, _BUILT_IN),
    Field("tools[].allowed_callers", None, refused("but for `direct`, the default")),
    Field("tools[].async", None, refused()),
    Field("tools[].defer_loading", None, dropped("the tool is always there")),
    Field("tools[].output_schema", None, dropped()),
    Field("tool_choice", "tool_choice"),
    Field("tool_choice.tools", "tool_choice_names"),
    Field("tool_choice.type", None, _BUILT_IN),
    Field("parallel_tool_calls", "parallel_tool_calls"),
    Field("max_tool_calls", None, dropped("it counts calls of OpenAI's own tools")),
    Field("reasoning.effort", "reasoning"),
    Field("reasoning.summary", "reasoning"),
    Field("reasoning.generate_summary", "reasoning"),
    Field("reasoning.context", None, dropped("but for `auto`, the default")),
    Field("reasoning.mode", None, refused("but for `standard`, the default")),
    Field("text.format: json_schema", "json_schema"),
    Field("text.format: json_object", "json_object"),
    Field("text.verbosity", "verbosity"),
    Field("service_tier", "service_tier"),
    Field("user", "user"),
    Field("safety_identifier", "user"),
    Field("metadata", "metadata"),
    Field("prompt_cache_key", "cache_key"),
    Field("prompt_cache_options.ttl", "cache"),
    Field("prompt_cache_options.mode", None, dropped()),
    Field("prompt_cache_options.comparison_response_id", None, dropped()),
    Field("prompt_cache_options.prewarm", None, refused()),
    Field("prompt_cache_retention", None, dropped()),
    Field("store", None, dropped("nothing is kept, and the answer says so")),
    Field("truncation", None, refused("but for `disabled`, the default")),
    Field("previous_response_id", None, _STATE),
    Field("conversation", None, _STATE),
    Field("prompt", None, _STATE),
    Field("background", None, refused()),
    Field("background_options", None, refused()),
    Field("context_management", None, refused()),
    Field("moderation", None, refused()),
    Field("access_programs", None, refused()),
    Field("image.context_compression", None, dropped()),
    Field("input[].role: system", "system_midway"),
    Field("input[].role: developer", "system_midway"),
    Field("input[].phase", None, dropped()),
    Field(f"{_CONTENT}.input_text", "text"),
    Field(f"{_CONTENT}.output_text", "text"),
    Field(f"{_CONTENT}.output_text.annotations", "citations"),
    Field(f"{_CONTENT}.output_text.logprobs", None, dropped()),
    Field(f"{_CONTENT}.refusal", "refusal"),
    Field(f"{_CONTENT}.input_image", "image"),
    Field(f"{_CONTENT}.input_image.image_url", "image_url"),
    Field(f"{_CONTENT}.input_image.file_id", "file_id"),
    Field(f"{_CONTENT}.input_image.detail", "image_detail"),
    Field(f"{_CONTENT}.input_file", "file"),
    Field(f"{_CONTENT}.input_file.file_url", "file_url"),
    Field(f"{_CONTENT}.input_file.file_id", "file_id"),
    Field(f"{_CONTENT}.input_file.detail", None, dropped("but for `auto`, the default")),
    Field(f"{_CONTENT}.input_audio", "audio"),
    Field(f"{_CONTENT}.prompt_cache_breakpoint", "cache_point"),
    Field("input[].reasoning", "thinking"),
    Field("input[].function_call", "tool_call"),
    Field("input[].function_call.namespace", None, refused()),
    Field("input[].function_call.caller", None, refused("but for `direct`, the default")),
    Field("input[].function_call_output", "tool_result"),
    Field("input[].function_call_output.output[]", "tool_result_media"),
    Field("input[].custom_tool_call", "tool_custom"),
    Field("input[].custom_tool_call_output", "tool_custom"),
    Field("input[].image_generation_call", "image"),
    Field("input[].item_reference", None, _STATE),
    Field("input[].type", None, refused("of every other item: they are OpenAI's own tools' work, and what it keeps")),
)

_NO_PLACE = refused("it has no such field")

_CHANGED: Mapping[str, Fate] = {
    "system": mapped("as `instructions`; of several texts, as a first message of role system"),
    "system_midway": mapped("as a message of role system"),
    "temperature": mapped("1, the default, is left out: reasoning models refuse the field itself"),
    "reasoning": mapped("a budget of 0 is effort none, up to 2048 low, up to 8192 medium, and above it high"),
    "logprobs": mapped("as `include`"),
    "user": mapped("as `safety_identifier`"),
    "cache": mapped("12h is told; anything shorter is what OpenAI does by itself"),
    "cache_point": dropped("OpenAI caches by itself; models before gpt-5.6 refuse a request with explicit points"),
    "metadata": dropped("it belongs to what is stored, and nothing is"),
    "seed": dropped(),
    "service_tier": mapped("other vendors' tiers are dropped"),
    "name": dropped(),
    "image": mapped("not in an assistant's turn"),
    "file": mapped("not in an assistant's turn"),
    "audio": refused("its messages hold texts, images and files"),
    "audio_url": refused("its messages hold texts, images and files"),
    "thinking": mapped("with OpenAI's own signature; others are of no use here, and dropped"),
    "tool_result_error": dropped("the result's own words tell"),
    "tool_strict": mapped("false where the client didn't say: this API would make a schema strict by itself"),
    "modalities": refused("it answers in text"),
    "choices": refused("it gives one answer"),
    "top_k": _NO_PLACE,
    "presence_penalty": _NO_PLACE,
    "frequency_penalty": _NO_PLACE,
    "stop": _NO_PLACE,
}

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
        "messages": "input",
        "system": "instructions",
        "output_cap": "max_output_tokens",
        "logprobs": "include",
        "response_format": "text.format",
        "json_schema": "text.format",
        "json_object": "text.format",
        "verbosity": "text.verbosity",
        "user": "safety_identifier",
        "cache": "prompt_cache_options",
        "cache_key": "prompt_cache_key",
        "tool_choice_names": "tool_choice.tools",
        "tool_strict": "tools[].strict",
        "tool_custom": "tools[].type",
        "system_midway": "input[].role",
        "text": f"{_CONTENT}.text",
        "citations": f"{_CONTENT}.annotations",
        "cache_point": f"{_CONTENT}.prompt_cache_breakpoint",
        "refusal": f"{_CONTENT}.refusal",
        "image": f"{_CONTENT}.input_image",
        "image_url": f"{_CONTENT}.image_url",
        "image_detail": f"{_CONTENT}.detail",
        "file": f"{_CONTENT}.input_file",
        "file_url": f"{_CONTENT}.file_url",
        "file_id": f"{_CONTENT}.file_id",
        "audio": f"{_CONTENT}.input_audio",
        "thinking": "input[].reasoning",
        "tool_call": "input[].function_call",
        "tool_result": "input[].function_call_output",
        "tool_result_media": "input[].output",
    }
)
"""A client's own names, by the attribute they are read into; one that isn't here has the same name."""

NAMES_WITH_USER: Mapping[str, str] = MappingProxyType({**CLIENT_NAMES, "user": "user"})
"""The same where the client used the older of two fields."""
