"""A client's request, read for conversion: every item and field, and every way to be wrong."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.conversation import (
    Audio,
    Block,
    Cache,
    Citation,
    File,
    Image,
    Media,
    Message,
    Reasoning,
    Refusal,
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
from app.formats.openai_responses import FORMAT
from tests.formats.openai_responses.examples import ask, body, call, message, text, thought

PNG = "data:image/png;base64,AAAA"


def user(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def refused(**fields: Any) -> tuple[str, str | None]:
    with pytest.raises(GatewayError) as caught:
        ask(**fields)
    assert caught.value.status == 400
    return caught.value.code, caught.value.param


# -- messages ----------------------------------------------------------------------------------------------------------


def test_a_string_is_a_user_s_text() -> None:
    assert ask(input="hi").messages == (Message("user", (Text("hi"),)),)


def test_leading_instructions_are_the_system() -> None:
    asked = ask(
        instructions="one",
        input=[
            {"role": "developer", "content": "two"},
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "three"}]},
            {"role": "user", "content": "hi"},
            {"role": "developer", "content": "four"},
        ],
    )

    assert asked.system == (Text("one"), Text("two"), Text("three"))
    assert asked.messages == (Message("user", (Text("hi"),)), Message("system", (Text("four"),)))


PARTS: dict[str, tuple[dict[str, Any], Block]] = {
    "text": ({"type": "input_text", "text": "a"}, Text("a")),
    "cache point": (
        {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}},
        Text("a", (), Cache("12h")),
    ),
    "inline image": ({"type": "input_image", "image_url": PNG, "detail": "auto"}, Image(Media("image/png", "AAAA"))),
    "image by address": (
        {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "high"},
        Image(Media(url="https://x.test/a.png"), "high"),
    ),
    "image by id": ({"type": "input_image", "file_id": "file_1", "image_url": None}, Image(Media(file_id="file_1"))),
    "inline file": (
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="},
        File(Media("application/pdf", "QQ=="), "a.pdf"),
    ),
    "bare base64": (
        {"type": "input_file", "filename": "a.txt", "file_data": "QQ=="},
        File(Media("text/plain", "QQ=="), "a.txt"),
    ),
    "file by address": ({"type": "input_file", "file_url": "https://x.test/a"}, File(Media(url="https://x.test/a"))),
    "file by id": ({"type": "input_file", "file_id": "file_1"}, File(Media(file_id="file_1"))),
    "sound": (
        {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}},
        Audio(Media("audio/wav", "QQ==")),
    ),
}


@pytest.mark.parametrize(("part", "block"), PARTS.values(), ids=PARTS)
def test_parts(part: dict[str, Any], block: Block) -> None:
    asked = ask(input=[user(part)])

    assert asked.messages == (Message("user", (block,)),)
    assert asked.dropped == ()


def test_an_assistant_s_turn_is_one_message_whatever_its_items() -> None:
    source = {"type": "url_citation", "url": "https://x.test", "title": "X", "start_index": 0, "end_index": 2}
    asked = ask(
        input=[
            {"role": "user", "content": "hi"},
            thought("hm", "so"),
            message(text("ok", annotations=[source]), {"type": "refusal", "refusal": "no"}),
            call("{}", "c1"),
            {"type": "custom_tool_call", "call_id": "c2", "name": "grep", "input": "a|b"},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {
                "type": "custom_tool_call_output",
                "call_id": "c2",
                "output": [{"type": "input_text", "text": "two"}, {"type": "input_image", "image_url": PNG}],
            },
            {"role": "user", "content": "go on"},
        ]
    )

    assert asked.messages == (
        Message("user", (Text("hi"),)),
        Message(
            "assistant",
            (
                Thinking("hm\n\nso", Signature("openai", "gAAA"), id="rs_1"),
                Text("ok", (Citation("https://x.test", "X", 0, 2),)),
                Refusal("no"),
                ToolCall("c1", "look", "{}"),
                ToolCall("c2", "grep", "a|b", custom=True),
            ),
        ),
        Message(
            "user",
            (
                ToolResult("c1", (Text("one"),)),
                ToolResult("c2", (Text("two"), Image(Media("image/png", "AAAA"))), custom=True),
            ),
        ),
        Message("user", (Text("go on"),)),
    )


@pytest.mark.parametrize(
    ("item", "block"),
    [
        (thought("hm"), Thinking("hm", Signature("openai", "gAAA"), id="rs_1")),
        (thought(), Thinking("", Signature("openai", "gAAA"), redacted=True, id="rs_1")),
        (thought("hm", encrypted=None), Thinking("hm", id="rs_1")),
        (
            {**thought(encrypted=None), "content": [{"type": "reasoning_text", "text": "hm"}]},
            Thinking("hm", id="rs_1"),
        ),
        (
            thought("hm", encrypted=seal(Signature("anthropic", "sig"), "openai")),
            Thinking("hm", Signature("anthropic", "sig"), id="rs_1"),
        ),
        (
            thought(encrypted=seal(Signature("google", "sig"), "openai")),
            Thinking("", Signature("google", "sig"), id="rs_1"),
        ),
    ],
    ids=["summary", "sealed", "unsigned", "vllm: words", "anthropic's", "google's, of what follows"],
)
def test_thoughts(item: dict[str, Any], block: Thinking) -> None:
    assert ask(input=[item]).messages == (Message("assistant", (block,)),)


def test_a_thought_by_its_id_alone_is_dropped_by_name() -> None:
    asked = ask(input=[thought(encrypted=None), message(text("a"))])

    assert asked.messages == (Message("assistant", (Text("a"),)),)
    assert asked.dropped == ("input[].reasoning",)


def test_a_picture_that_was_made_is_seen_again() -> None:
    asked = ask(input=[{"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AAAA"}])

    assert asked.messages == (Message("assistant", (Image(Media("image/png", "AAAA")),)),)


# -- everything else ---------------------------------------------------------------------------------------------------


ATTRIBUTES: list[tuple[dict[str, Any], str, Any]] = [
    ({"temperature": 1}, "temperature", 1.0),
    ({"top_p": 1}, "top_p", None),
    ({"top_p": 0.5}, "top_p", 0.5),
    ({"parallel_tool_calls": True}, "parallel_tool_calls", None),
    ({"parallel_tool_calls": False}, "parallel_tool_calls", False),
    ({"include": ["message.output_text.logprobs"]}, "logprobs", True),
    ({"top_logprobs": 3}, "top_logprobs", 3),
    ({"top_logprobs": 3}, "logprobs", True),
    ({"top_logprobs": 0}, "logprobs", False),
    ({"reasoning": {"effort": "low"}}, "reasoning", Reasoning("low")),
    ({"reasoning": {"summary": "detailed"}}, "reasoning", Reasoning(show=True)),
    ({"reasoning": {"effort": None, "mode": "standard", "context": "auto"}}, "reasoning", None),
    ({"text": {"verbosity": "low"}}, "verbosity", "low"),
    ({"text": {"verbosity": "medium", "format": {"type": "text"}}}, "verbosity", None),
    ({"text": {"format": {"type": "json_object"}}}, "response_format", Schema(None)),
    (
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}}},
        "response_format",
        Schema({"type": "object"}, "n", None, True),
    ),
    ({"service_tier": "auto"}, "service_tier", None),
    ({"service_tier": "flex"}, "service_tier", "flex"),
    ({"user": "u"}, "user", "u"),
    ({"safety_identifier": "s"}, "user", "s"),
    ({"metadata": {"a": "b"}}, "metadata", {"a": "b"}),
    ({"prompt_cache_key": "k"}, "cache_key", "k"),
    ({"prompt_cache_options": {"mode": "implicit", "ttl": "30m"}}, "cache", None),
    ({"prompt_cache_options": {"ttl": "12h"}}, "cache", Cache("12h")),
    ({"max_output_tokens": 5}, "output_cap", 5),
    ({"stream": True}, "stream", True),
    ({"tool_choice": "auto"}, "tool_choice", None),
    ({"tool_choice": "none"}, "tool_choice", ToolChoice("none")),
    ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice", ToolChoice("required", ("f",))),
    ({"tool_choice": {"type": "custom", "name": "f"}}, "tool_choice", ToolChoice("required", ("f",))),
    (
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}},
        "tool_choice",
        ToolChoice("auto", ("f",)),
    ),
    (
        {"tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"a": 1}, "strict": False}]},
        "tools",
        (Tool("f", "d", {"a": 1}, False),),
    ),
    ({"tools": [{"type": "function", "name": "f", "parameters": None, "strict": None}]}, "tools", (Tool("f"),)),
    ({"tools": [{"type": "custom", "name": "f", "format": {"type": "text"}}]}, "tools", (Tool("f", custom=True),)),
    ({"truncation": "disabled", "store": False, "background": False, "context_management": []}, "dropped", ()),
    ({"stream_options": {"include_obfuscation": False}, "include": ["reasoning.encrypted_content"]}, "dropped", ()),
    ({"user": "u", "safety_identifier": "s"}, "dropped", ("user",)),
    ({"safety_identifier": "s", "user": "u"}, "dropped", ("user",)),
    ({"tools": [{"type": "function", "name": "f", "defer_loading": True}]}, "dropped", ("tools[].defer_loading",)),
    ({"input": [{**message(text("a")), "phase": "commentary"}]}, "dropped", ("input[].phase",)),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "attribute", "value"), ATTRIBUTES, ids=str)
def test_attributes(fields: dict[str, Any], attribute: str, value: Any) -> None:
    assert getattr(ask(**fields), attribute) == value


def test_null_is_absent() -> None:
    names = {field.name for field in FORMAT.fields if field.name.isidentifier()} - {"model", "input"}

    assert ask(**dict.fromkeys(names)) == ask()


def test_half_a_character_in_a_history() -> None:
    assert ask(input="a\ud83d", instructions="\ud83d").messages == (Message("user", (Text("a\ud83d"),)),)


def test_fields_are_told_by_the_client_s_own_names() -> None:
    assert ask(user="u").field("user") == "user"
    assert ask(safety_identifier="u").field("user") == "safety_identifier"
    assert ask().field("output_cap") == "max_output_tokens"


UNSUPPORTED: list[tuple[dict[str, Any], str]] = [
    *(
        ({"input": [user(), {"type": kind, "id": "x_1"}]}, "input[1].type")
        for kind in (
            "web_search_call", "file_search_call", "computer_call", "computer_call_output", "code_interpreter_call",
            "local_shell_call", "local_shell_call_output", "shell_call", "shell_call_output", "apply_patch_call",
            "apply_patch_call_output", "mcp_call", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response",
            "tool_search_call", "tool_search_output", "program", "program_output", "additional_tools", "compaction",
            "item_reference", "configuration_update", "something_new",
        )
    ),
    ({"input": [{"id": "msg_1"}]}, "input[0]"),
    ({"input": [user({"type": "input_video"})]}, "input[0].content[0].type"),
    ({"input": [{"role": "system", "content": [{"type": "input_image", "image_url": PNG}]}]}, "input[0].content[0].type"),
    ({"input": [{**call(), "namespace": "n"}]}, "input[0].namespace"),
    ({"input": [{**call(), "caller": {"type": "program", "caller_id": "p"}}]}, "input[0].caller"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools[0].type"),
    ({"tools": [{"type": "function", "name": "f", "allowed_callers": ["programmatic"]}]}, "tools[0].allowed_callers"),
    ({"tools": [{"type": "custom", "name": "f", "async": True}]}, "tools[0].async"),
    ({"tool_choice": {"type": "web_search_preview"}}, "tool_choice.type"),
    ({"include": ["web_search_call.action.sources"]}, "include[0]"),
    ({"something_new": 1}, "something_new"),
    ({"reasoning": {"something_new": 1}}, "reasoning.something_new"),
    ({"text": {"something_new": 1}}, "text.something_new"),
    ({"text": {"\ud83d": 1}}, "text"),
    ({"input": [{"role": "user", "content": "x", "a\nb": 1}]}, "input[]"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param"), UNSUPPORTED, ids=str)
def test_what_no_other_format_has_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields) == ("field_not_supported", param)


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"input": [5]}, "invalid_type", "input[0]"),
    ({"input": [{}]}, "missing_required_parameter", "input[0].type"),
    ({"input": [{"role": "tool", "content": "x"}]}, "invalid_value", "input[0].role"),
    ({"input": [{"role": "user"}]}, "missing_required_parameter", "input[0].content"),
    ({"input": [{"role": "user", "content": 5}]}, "invalid_type", "input[0].content"),
    ({"input": [{"role": "user", "content": ["x"]}]}, "invalid_type", "input[0].content[0]"),
    ({"input": [user({"type": "input_text"})]}, "missing_required_parameter", "input[0].content[0].text"),
    ({"input": [user({"type": "input_text", "text": 5})]}, "invalid_type", "input[0].content[0].text"),
    ({"input": [user({"type": "input_image"})]}, "missing_required_parameter", "input[0].content[0].image_url"),
    (
        {"input": [user({"type": "input_image", "image_url": "data:image/png,x"})]},
        "invalid_value",
        "input[0].content[0].image_url",
    ),
    (
        {"input": [user({"type": "input_image", "image_url": PNG, "detail": "x"})]},
        "invalid_value",
        "input[0].content[0].detail",
    ),
    ({"input": [user({"type": "input_file"})]}, "missing_required_parameter", "input[0].content[0].file_data"),
    (
        {"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]},
        "missing_required_parameter",
        "input[0].call_id",
    ),
    (
        {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]},
        "invalid_type",
        "input[0].arguments",
    ),
    ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "missing_required_parameter", "input[0].output"),
    ({"input": [{"type": "reasoning", "summary": "x"}]}, "invalid_type", "input[0].summary"),
    ({"input": [{"type": "reasoning", "summary": [{"text": 5}]}]}, "invalid_type", "input[0].summary[0].text"),
    ({"input": None}, "missing_required_parameter", "input"),
    ({"instructions": ["x"]}, "invalid_type", "instructions"),
    ({"temperature": "1"}, "invalid_type", "temperature"),
    ({"temperature": True}, "invalid_type", "temperature"),
    ({"top_logprobs": 21}, "invalid_value", "top_logprobs"),
    ({"include": "x"}, "invalid_type", "include"),
    ({"include": [5]}, "invalid_type", "include[0]"),
    ({"reasoning": "low"}, "invalid_type", "reasoning"),
    ({"reasoning": {"effort": "huge"}}, "invalid_value", "reasoning.effort"),
    ({"reasoning": {"summary": "x"}}, "invalid_value", "reasoning.summary"),
    ({"text": {"verbosity": "x"}}, "invalid_value", "text.verbosity"),
    ({"text": {"format": {"type": "xml"}}}, "invalid_value", "text.format.type"),
    ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "missing_required_parameter", "text.format.schema"),
    ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "missing_required_parameter", "text.format.name"),
    ({"tools": {}}, "invalid_type", "tools"),
    ({"tools": [{}]}, "missing_required_parameter", "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].name"),
    ({"tools": [{"type": "function", "name": "f", "parameters": []}]}, "invalid_type", "tools[0].parameters"),
    ({"tools": [{"type": "function", "name": "f", "strict": "yes"}]}, "invalid_type", "tools[0].strict"),
    ({"tool_choice": "any"}, "invalid_value", "tool_choice"),
    ({"tool_choice": 5}, "invalid_type", "tool_choice"),
    ({"tool_choice": {}}, "missing_required_parameter", "tool_choice.type"),
    ({"tool_choice": {"type": "allowed_tools", "mode": "x", "tools": []}}, "invalid_value", "tool_choice.mode"),
    ({"metadata": {"\ud83d": 5}}, "invalid_type", "metadata"),
    ({"user": 5}, "invalid_type", "user"),
]


@pytest.mark.parametrize(("fields", "code", "param"), WRONG, ids=str)
def test_what_is_wrong_is_named(fields: dict[str, Any], code: str, param: str) -> None:
    assert refused(**fields) == (code, param)


def test_what_is_nested_too_deeply() -> None:
    raw = body().replace(b'"hi"', b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(GatewayError) as caught:
        FORMAT.read_ask(FORMAT.read_request(raw))

    assert caught.value.code == "invalid_json"
