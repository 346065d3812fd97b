"""A client's request read into the canonical one: what is mapped, what is left out with notice, what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.conversation import (
    Ask,
    Cache,
    Citation,
    File,
    Image,
    Media,
    Message,
    Opaque,
    Reasoning,
    Schema,
    Signature,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from app.core.signatures import seal
from app.errors import GatewayError
from app.formats.anthropic_messages import FORMAT
from app.formats.anthropic_messages.thoughts import UNSIGNED
from tests.formats.anthropic_messages.shapes import ask

Fields = dict[str, Any]


def read(**fields: Any) -> Ask:
    return FORMAT.read_ask(ask(**fields))


def read_user(*content: Fields) -> tuple[Any, ...]:
    return read(messages=[{"role": "user", "content": list(content)}]).messages[0].blocks


def refused(**fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        read(**fields)
    assert caught.value.status == 400
    assert caught.value.param is not None
    assert caught.value.param in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, {"output_cap": 100}),
        ({"system": "S"}, {"system": (Text("S"),)}),
        ({"system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
         {"system": (Text("S", cache=Cache("1h")),)}),
        ({"stream": True}, {"stream": True}),
        ({"temperature": 1}, {"temperature": 1.0}),
        ({"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {"temperature": 0.5, "top_p": 0.9, "top_k": 5}),
        ({"top_p": 1}, {}),
        ({"stop_sequences": ["A", "B"]}, {"stop": ("A", "B")}),
        ({"metadata": {"user_id": "u"}}, {"user": "u"}),
        ({"cache_control": {"type": "ephemeral"}}, {"cache": Cache()}),
        ({"service_tier": "auto"}, {}),
        ({"service_tier": "standard_only"}, {"service_tier": "default"}),
        ({"speed": "fast"}, {"service_tier": "fast"}),
        ({"speed": "standard"}, {}),
        ({"tool_choice": {"type": "auto"}}, {}),
        ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, {"parallel_tool_calls": False}),
        ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": False}}, {}),
        ({"tool_choice": {"type": "any"}}, {"tool_choice": ToolChoice("required")}),
        ({"tool_choice": {"type": "none"}}, {"tool_choice": ToolChoice("none")}),
        ({"tool_choice": {"type": "tool", "name": "f"}}, {"tool_choice": ToolChoice("required", ("f",))}),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, {"reasoning": Reasoning(budget=2048)}),
        ({"thinking": {"type": "adaptive", "display": "summarized"}},
         {"reasoning": Reasoning(adaptive=True, show=True)}),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, {"reasoning": Reasoning(adaptive=True, show=False)}),
        ({"thinking": {"type": "disabled"}}, {"reasoning": Reasoning("none")}),
        ({"output_config": {"effort": "high"}}, {"reasoning": Reasoning("high")}),
        ({"output_config": {"effort": "low"}, "thinking": {"type": "disabled"}}, {"reasoning": Reasoning("low", 0)}),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, {"reasoning": Reasoning("low", 0)}),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
         {"reasoning": Reasoning("max", adaptive=True)}),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
         {"response_format": Schema({"type": "object"})}),
        ({"tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True,
                     "cache_control": {"type": "ephemeral"}}]},
         {"tools": (Tool("f", "d", {"type": "object"}, True, cache=Cache()),)}),
        ({"tools": [{"type": "custom", "name": "f", "input_schema": {}, "allowed_callers": ["direct"]}]},
         {"tools": (Tool("f", schema={}),)}),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]},
         {"tools": (Opaque("anthropic_messages", "tools[0].type", {"type": "bash_20250124", "name": "bash"}),)}),
        (dict.fromkeys(("system", "tools", "tool_choice", "thinking", "metadata", "thread", "mcp_servers", "new"), None),
         {}),
    ],
)  # fmt: skip
def test_top_level(fields: Fields, wanted: Fields) -> None:
    got = read(**fields)
    plain = Ask(format="anthropic_messages", model="m", messages=())

    assert {name for name in Ask.__struct_fields__ if getattr(got, name) != getattr(plain, name)} - {"fields"} == {
        "output_cap",
        *wanted,
    }
    for name, value in wanted.items():
        assert getattr(got, name) == value


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        ({"type": "text", "text": "T"}, Text("T")),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "D"}},
         Image(Media("image/png", "D"))),
        ({"type": "image", "source": {"type": "url", "url": "https://x"}, "cache_control": {"type": "ephemeral"}},
         Image(Media(url="https://x"), cache=Cache())),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, Image(Media(file_id="f"))),
        ({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "D"}, "title": "t"},
         File(Media("application/pdf", "D"), "t")),
        ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "D"}},
         File(Media("text/plain", "D", text=True))),
        ({"type": "document", "source": {"type": "url", "url": "https://x"}},
         File(Media("application/pdf", url="https://x"))),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, File(Media(file_id="f"))),
        ({"type": "tool_result", "tool_use_id": "c"}, ToolResult("c", ())),
        ({"type": "tool_result", "tool_use_id": "c", "content": "no", "is_error": True},
         ToolResult("c", (Text("no"),), is_error=True)),
        ({"type": "tool_result", "tool_use_id": "c", "content": [
            {"type": "text", "text": "T"}, {"type": "image", "source": {"type": "url", "url": "https://x"}}]},
         ToolResult("c", (Text("T"), Image(Media(url="https://x"))))),
        ({"type": "tool_use", "id": "c", "name": "f", "input": {"a": [1]}, "caller": {"type": "direct"}},
         ToolCall("c", "f", '{"a":[1]}')),
        ({"type": "thinking", "thinking": "T", "signature": "s"}, Thinking("T", Signature("anthropic", "s"))),
        ({"type": "thinking", "thinking": "T", "signature": ""}, Thinking("T")),
        ({"type": "thinking", "thinking": "T", "signature": UNSIGNED}, Thinking("T")),
        ({"type": "thinking", "thinking": "", "signature": seal(Signature("google", "g"), "anthropic")},
         Thinking("", Signature("google", "g"))),
        ({"type": "redacted_thinking", "data": "d"}, Thinking("", Signature("anthropic", "d"), redacted=True)),
        ({"type": "redacted_thinking", "data": seal(Signature("openai", "o"), "anthropic")},
         Thinking("", Signature("openai", "o"), redacted=True)),
        ({"type": "text", "text": "T", "citations": [
            {"type": "web_search_result_location", "url": "https://x", "title": "t", "cited_text": "", "encrypted_index": ""},
            {"type": "char_location", "document_index": 0}]},
         Text("T", (Citation("https://x", "t"),))),
        ({"type": "server_tool_use", "id": "s"},
         Opaque("anthropic_messages", "messages[0].content[0].server_tool_use", {"type": "server_tool_use", "id": "s"})),
    ],
)  # fmt: skip
def test_blocks(block: Fields, wanted: object) -> None:
    assert read_user(block) == (wanted,)


def test_a_document_of_blocks_is_taken_apart() -> None:
    source = {"type": "content", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]}

    assert read_user({"type": "document", "source": source, "context": "C"}) == (Text("C"), Text("A"), Text("B"))


def test_turns_and_order() -> None:
    result = {"type": "tool_result", "tool_use_id": "c", "content": "R"}
    got = read(
        system="S",
        messages=[
            {"role": "system", "content": "also"},
            {"role": "user", "content": "U"},
            {"role": "assistant", "content": [{"type": "text", "text": "A"}]},
            {"role": "user", "content": [{"type": "text", "text": "and"}, result]},
            {"role": "system", "content": "M"},
        ],
    )

    assert got.system == (Text("S"), Text("also"))
    assert got.messages == (
        Message("user", (Text("U"),)),
        Message("assistant", (Text("A"),)),
        Message("user", (ToolResult("c", (Text("R"),)), Text("and"))),
        Message("system", (Text("M"),)),
    )


@pytest.mark.parametrize(
    ("fields", "left_out"),
    [
        ({"diagnostics": {"previous_message_id": None}}, "diagnostics"),
        ({"context_management": {"edits": []}}, "context_management"),
        ({"cache_control": {"type": "ephemeral", "scope": "global"}}, "cache_control.scope"),
        ({"service_tier": "standard_only", "speed": "fast"}, "service_tier"),
        ({"speed": "fast", "service_tier": "standard_only"}, "service_tier"),
        ({"tools": [{"name": "f", "input_schema": {}, "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tools": [{"name": "f", "input_schema": {}, "input_examples": [{}]}]}, "tools[0].input_examples"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "u"},
                                                    "transformations": {"oversized_image": "error"}}]}]},
         "messages[0].content[0].transformations"),
        ({"messages": [{"role": "user", "content": [{"type": "document", "citations": {"enabled": True},
                                                    "source": {"type": "url", "url": "u"}}]}]},
         "messages[0].content[0].citations"),
    ],
)  # fmt: skip
def test_what_is_advisory_is_left_out_with_notice(fields: Fields, left_out: str) -> None:
    assert read(**fields).dropped == (left_out,)


@pytest.mark.parametrize(
    "name",
    ["inference_geo", "container", "mcp_servers", "fallbacks", "fallback_credit_token", "billing_policy", "thread",
     "user_profile_id", "workspace_id", "brand_new"],
)  # fmt: skip
def test_what_only_anthropic_has_is_refused_by_name(name: str) -> None:
    error = refused(**{name: {"type": "create"} if name == "thread" else "x"})

    assert (error.param, error.code) == (name, "field_not_supported")


def user(block: Fields) -> Fields:
    return {"messages": [{"role": "user", "content": [block]}]}


IMAGE = {"type": "image", "source": {"type": "url", "url": "u"}}


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"messages": [7]}, "messages[0]", "invalid_type"),
        ({"messages": [{}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "user", "content": "x", "name": "n"}]}, "messages[0].name", "field_not_supported"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]", "invalid_type"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": [IMAGE]}]},
         "messages[1].content", "invalid_value"),
        (user({"text": "x"}), "messages[0].content[0].type", "missing_required_parameter"),
        (user({"type": "hologram"}), "messages[0].content[0].hologram", "field_not_supported"),
        (user({"type": "text"}), "messages[0].content[0].text", "missing_required_parameter"),
        (user({"type": "text", "text": 7}), "messages[0].content[0].text", "invalid_type"),
        (user({"type": "text", "text": "x", "new": 1}), "messages[0].content[0].new", "field_not_supported"),
        (user({"type": "image"}), "messages[0].content[0].source", "missing_required_parameter"),
        (user({"type": "image", "source": {"type": "base64", "data": "x"}}),
         "messages[0].content[0].source.media_type", "missing_required_parameter"),
        (user({"type": "image", "source": {"type": "carrier"}}),
         "messages[0].content[0].source.carrier", "field_not_supported"),
        (user({"type": "tool_use", "id": "c", "name": "f", "input": "{}"}),
         "messages[0].content[0].input", "invalid_type"),
        (user({"type": "tool_use", "id": "c", "name": "f", "input": {}, "toolset_name": "t"}),
         "messages[0].content[0].toolset_name", "field_not_supported"),
        (user({"type": "tool_result", "content": "x"}),
         "messages[0].content[0].tool_use_id", "missing_required_parameter"),
        (user({"type": "tool_result", "tool_use_id": "c", "is_error": "yes"}),
         "messages[0].content[0].is_error", "invalid_type"),
        (user({"type": "tool_result", "tool_use_id": "c", "content": [{"type": "tool_reference"}]}),
         "messages[0].content[0].content[0].tool_reference", "field_not_supported"),
        (user({"type": "tool_result", "tool_use_id": "c", "content": [{"type": "search_result"}]}),
         "messages[0].content[0].content[0].search_result", "field_not_supported"),
        (user({"type": "text", "text": "x", "cache_control": {"ttl": "30m"}}),
         "messages[0].content[0].cache_control.ttl", "invalid_value"),
        ({"system": 7}, "system", "invalid_type"),
        ({"system": [IMAGE]}, "system", "invalid_value"),
        ({"temperature": "1"}, "temperature", "invalid_type"),
        ({"temperature": True}, "temperature", "invalid_type"),
        ({"top_k": 1.5}, "top_k", "invalid_type"),
        ({"stop_sequences": "x"}, "stop_sequences", "invalid_type"),
        ({"stop_sequences": [7]}, "stop_sequences[0]", "invalid_type"),
        ({"metadata": {"user_id": 7}}, "metadata.user_id", "invalid_type"),
        ({"metadata": {"x": 7}}, "metadata.x", "field_not_supported"),
        ({"thinking": {"type": "between_tools"}}, "thinking.between_tools", "field_not_supported"),
        ({"thinking": {"type": "deep"}}, "thinking.type", "invalid_value"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens", "missing_required_parameter"),
        ({"thinking": {"type": "adaptive", "display": "loud"}}, "thinking.display", "invalid_value"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort", "invalid_value"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type", "invalid_value"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema", "missing_required_parameter"),
        ({"output_config": {"x": 1}}, "output_config.x", "field_not_supported"),
        ({"tool_choice": "auto"}, "tool_choice", "invalid_type"),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type", "invalid_value"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name", "missing_required_parameter"),
        ({"tools": {}}, "tools", "invalid_type"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema", "missing_required_parameter"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name", "missing_required_parameter"),
        ({"tools": [{"name": "f", "input_schema": {}, "new": 1}]}, "tools[0].new", "field_not_supported"),
        ({"service_tier": "priority"}, "service_tier", "invalid_value"),
        ({"speed": "ludicrous"}, "speed", "invalid_value"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(fields: Fields, param: str, code: str) -> None:
    error = refused(**fields)

    assert (error.param, error.code) == (param, code)


@pytest.mark.parametrize(
    ("fields", "attribute", "name"),
    [
        ({}, "stop", "stop_sequences"),
        ({}, "user", "metadata.user_id"),
        ({}, "output_cap", "max_tokens"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, "reasoning", "thinking"),
        ({"output_config": {"effort": "low"}, "thinking": {"type": "adaptive"}}, "reasoning", "thinking"),
        ({"output_config": {"effort": "low"}}, "reasoning", "output_config.effort"),
        ({"service_tier": "standard_only"}, "service_tier", "service_tier"),
        ({"speed": "fast"}, "service_tier", "speed"),
    ],
)
def test_fields_are_called_as_the_client_calls_them(fields: Fields, attribute: str, name: str) -> None:
    assert read(**fields).field(attribute) == name


def test_lone_surrogates_are_kept() -> None:
    request = FORMAT.read_request(b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"\\ud83d"}]}')

    assert FORMAT.read_ask(request).messages[0].blocks == (Text("\ud83d"),)
