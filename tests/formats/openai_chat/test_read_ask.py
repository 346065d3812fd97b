"""A client's request, read into the canonical model: what it becomes, what is left out by name, what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.core.conversation import (
    Audio,
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
from app.errors import GatewayError
from app.formats.openai_chat import FORMAT
from tests.formats.openai_chat.conversions import USER, read

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def blocks(*messages: dict[str, Any]) -> tuple[Any, ...]:
    return read(list(messages)).messages[0].blocks


def part(**fields: Any) -> Any:
    (block,) = blocks({"role": "user", "content": [fields]})
    return block


def test_a_plain_request() -> None:
    ask = read(temperature=1, max_tokens=9, n=2, stream=True)

    assert (ask.format, ask.model, ask.stream, ask.output_cap, ask.choices) == ("openai_chat", "m", True, 9, 2)
    assert ask.messages == (Message("user", (Text("Hi"),)),)
    assert ask.temperature == 1.0
    assert ask.field("output_cap") == "max_tokens"
    assert ask.dropped == ()


def test_leading_instructions_are_the_system_and_later_ones_a_turn() -> None:
    ask = read(
        [
            {"role": "developer", "content": "A"},
            {"role": "system", "content": [{"type": "text", "text": "B"}]},
            USER,
            {"role": "system", "content": "C", "name": "n"},
        ]
    )

    assert ask.system == (Text("A"), Text("B"))
    assert ask.messages == (Message("user", (Text("Hi"),)), Message("system", (Text("C"),), "n"))


@pytest.mark.parametrize(
    ("given", "block"),
    [
        ({"type": "text", "text": "x"}, Text("x")),
        (
            {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
            Text("x", cache=Cache("30m")),
        ),
        ({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}, Text("x", cache=Cache())),
        (
            {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "low"}},
            Image(Media(url="https://x/a.png"), "low"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "auto"}},
            Image(Media(url="https://x/a.png")),
        ),
        ({"type": "image_url", "image_url": "https://x/a.png"}, Image(Media(url="https://x/a.png"))),
        ({"type": "image_url", "image_url": {"url": "data:image/PNG;base64,AAAA"}}, Image(Media("image/png", "AAAA"))),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, Audio(Media("audio/wav", "AAAA"))),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
            File(Media("application/pdf", "AAAA"), "a.pdf"),
        ),
        (
            {"type": "file", "file": {"file_data": "AAAA", "filename": "a.pdf"}},
            File(Media("application/pdf", "AAAA"), "a.pdf"),
        ),
        ({"type": "file", "file": {"file_data": "https://x/a.pdf"}}, File(Media(url="https://x/a.pdf"))),
        ({"type": "file", "file": {"file_id": "file-1"}}, File(Media(file_id="file-1"))),
    ],
)
def test_a_part(given: dict[str, Any], block: object) -> None:
    assert part(**given) == block


def test_an_assistants_turn_is_thoughts_then_text_then_calls() -> None:
    assert blocks(
        {
            "role": "assistant",
            "content": "Text",
            "tool_calls": [CALL, {"id": "call_2", "type": "custom", "custom": {"name": "g", "input": "plain"}}],
            "reasoning_content": "Thought",
            "annotations": [
                {
                    "type": "url_citation",
                    "url_citation": {"url": "https://x", "title": "X", "start_index": 0, "end_index": 4},
                }
            ],
        }
    ) == (
        Thinking("Thought"),
        Text("Text", (Citation("https://x", "X", 0, 4),)),
        ToolCall("call_1", "f", '{"a":1}'),
        ToolCall("call_2", "g", "plain", custom=True),
    )


def test_a_refusal() -> None:
    assert blocks({"role": "assistant", "content": None, "refusal": "No."}) == (Refusal("No."),)
    assert blocks({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}) == (Refusal("No."),)


def test_results_in_a_row_are_one_turn() -> None:
    ask = read(
        [
            {
                "role": "assistant",
                "tool_calls": [CALL, {"id": "c2", "type": "custom", "custom": {"name": "g", "input": ""}}],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
            USER,
        ]
    )

    assert ask.messages[1:] == (
        Message("user", (ToolResult("call_1", (Text("one"),)), ToolResult("c2", (Text("two"),), custom=True))),
        Message("user", (Text("Hi"),)),
    )


ANTHROPIC = Signature("anthropic", "sig")
GOOGLE = Signature("google", "sig")
OPENAI = Signature("openai", "blob")


@pytest.mark.parametrize(
    ("details", "thoughts"),
    [
        pytest.param(
            [{"type": "reasoning.text", "text": "t", "signature": "sig", "format": "anthropic-claude-v1", "index": 0}],
            (Thinking("t", ANTHROPIC),),
            id="anthropic",
        ),
        pytest.param(
            [
                {"type": "reasoning.text", "text": "t", "format": "anthropic-claude-v1", "index": 0},
                {"type": "reasoning.text", "text": "u", "format": "anthropic-claude-v1", "index": 0},
                {"type": "reasoning.text", "signature": "sig", "format": "anthropic-claude-v1", "index": 0},
            ],
            (Thinking("tu", ANTHROPIC),),
            id="anthropic in pieces, as a client may keep a stream's",
        ),
        pytest.param(
            [{"type": "reasoning.text", "text": "t", "signature": "sig"}], (Thinking("t", ANTHROPIC),), id="no format"
        ),
        pytest.param(
            [{"type": "reasoning.encrypted", "data": "sig", "format": "anthropic-claude-v1"}],
            (Thinking("", ANTHROPIC, redacted=True),),
            id="anthropic redacted",
        ),
        pytest.param(
            [
                {
                    "type": "reasoning.summary",
                    "summary": "s",
                    "format": "openai-responses-v1",
                    "id": "rs_1",
                    "index": 0,
                },
                {
                    "type": "reasoning.encrypted",
                    "data": "blob",
                    "format": "openai-responses-v1",
                    "id": "rs_1",
                    "index": 0,
                },
            ],
            (Thinking("s", OPENAI, id="rs_1"),),
            id="openai",
        ),
        pytest.param(
            [{"type": "reasoning.encrypted", "data": "blob", "format": "azure-openai-responses-v1", "id": "rs_1"}],
            (Thinking("", OPENAI, redacted=True, id="rs_1"),),
            id="azure",
        ),
        pytest.param(
            [{"type": "reasoning.encrypted", "data": "sig", "format": "google-gemini-v1", "index": 0}],
            (Thinking("", GOOGLE),),
            id="google, of the text",
        ),
        pytest.param(
            [
                {"type": "reasoning.text", "text": "one", "index": 0},
                {"type": "reasoning.text", "text": "two", "index": 1},
            ],
            (Thinking("one"), Thinking("two")),
            id="two thoughts",
        ),
    ],
)
def test_reasoning_details(details: list[dict[str, Any]], thoughts: tuple[Thinking, ...]) -> None:
    # The words beside them only repeat them, where there are any.
    repeated = "".join(thought.text for thought in thoughts) or None
    turn = {"role": "assistant", "content": "x", "reasoning_details": details, "reasoning": repeated}

    assert blocks(turn) == (*thoughts, Text("x"))


@pytest.mark.parametrize(
    "turn",
    [
        {
            "reasoning_details": [
                {"type": "reasoning.encrypted", "data": "sig", "format": "google-gemini-v1", "id": "call_1"}
            ]
        },
        {"tool_calls": [{**CALL, "extra_content": {"google": {"thought_signature": "sig"}}}]},
    ],
    ids=["openrouter", "gemini"],
)
def test_googles_signature_stands_before_its_call(turn: dict[str, Any]) -> None:
    message = {"role": "assistant", "content": "x", "tool_calls": [CALL], **turn}

    assert blocks(message) == (Text("x"), Thinking("", GOOGLE), ToolCall("call_1", "f", '{"a":1}'))


def test_a_signature_of_an_unknown_vendor_is_left_out_by_name() -> None:
    entry = {"type": "reasoning.encrypted", "data": "x", "format": "xai-responses-v1"}
    ask = read([USER, {"role": "assistant", "content": "x", "reasoning_details": [entry]}])

    assert ask.messages[1].blocks == (Text("x"),)
    assert ask.dropped == ("messages[].reasoning_details",)


@pytest.mark.parametrize(
    ("fields", "attribute", "value"),
    [
        ({"top_p": 0.5}, "top_p", 0.5),
        ({"top_p": 1}, "top_p", None),
        ({"presence_penalty": 0}, "presence_penalty", None),
        ({"frequency_penalty": -1.5}, "frequency_penalty", -1.5),
        ({"seed": 7}, "seed", 7),
        ({"top_k": 40}, "top_k", 40),
        ({"stop": "x"}, "stop", ("x",)),
        ({"stop": ["x", "y"]}, "stop", ("x", "y")),
        ({"logprobs": True, "top_logprobs": 3}, "top_logprobs", 3),
        ({"logprobs": False, "top_logprobs": 0}, "top_logprobs", None),
        ({"response_format": {"type": "text"}}, "response_format", None),
        ({"response_format": {"type": "json_object"}}, "response_format", Schema(None)),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"a": 1}, "strict": True},
                }
            },
            "response_format",
            Schema({"a": 1}, "n", strict=True),
        ),
        ({"reasoning_effort": "xhigh"}, "reasoning", Reasoning("xhigh")),
        ({"reasoning": {"effort": "low"}}, "reasoning", Reasoning("low", show=True)),
        ({"reasoning": {"max_tokens": 2000, "exclude": True}}, "reasoning", Reasoning(budget=2000, show=False)),
        ({"reasoning": {"enabled": True}}, "reasoning", Reasoning(adaptive=True, show=True)),
        ({"thinking": {"type": "disabled"}}, "reasoning", Reasoning("none")),
        ({"thinking": {"type": "enabled"}, "reasoning_effort": "max"}, "reasoning", Reasoning("max", show=True)),
        ({"enable_thinking": True, "thinking_budget": 500}, "reasoning", Reasoning(budget=500, show=True)),
        ({"enable_thinking": False, "thinking_budget": 500}, "reasoning", Reasoning("none")),
        ({"verbosity": "low"}, "verbosity", "low"),
        ({"verbosity": "medium"}, "verbosity", None),
        ({"service_tier": "auto"}, "service_tier", None),
        ({"service_tier": "flex"}, "service_tier", "flex"),
        ({"user": "u"}, "user", "u"),
        ({"user": "u", "safety_identifier": "s"}, "user", "s"),
        ({"metadata": {"a": "b"}}, "metadata", {"a": "b"}),
        ({"modalities": ["text"]}, "modalities", ()),
        ({"prompt_cache_key": "k"}, "cache_key", "k"),
        ({"prompt_cache_options": {"mode": "implicit", "ttl": "30m"}}, "cache", Cache("30m")),
        ({"parallel_tool_calls": True}, "parallel_tool_calls", None),
        ({"parallel_tool_calls": False}, "parallel_tool_calls", False),
        ({"tool_choice": "auto"}, "tool_choice", None),
        ({"tool_choice": "none"}, "tool_choice", ToolChoice("none")),
        ({"tool_choice": "required"}, "tool_choice", ToolChoice("required")),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            "tool_choice",
            ToolChoice("required", ("f",)),
        ),
        ({"tool_choice": {"type": "custom", "custom": {"name": "f"}}}, "tool_choice", ToolChoice("required", ("f",))),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
                }
            },
            "tool_choice",
            ToolChoice("auto", ("f",)),
        ),
        (
            {
                "tools": [
                    {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}
                ]
            },
            "tools",
            (Tool("f", None, {"type": "object"}, strict=True),),
        ),
        (
            {
                "tools": [
                    {
                        "type": "custom",
                        "custom": {
                            "name": "f",
                            "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}},
                        },
                    }
                ]
            },
            "tools",
            (Tool("f", custom=True, grammar={"type": "grammar", "syntax": "lark", "definition": "x"}),),
        ),
        ({"logit_bias": {}}, "seed", None),
        ({"functions": None}, "seed", None),
    ],
)
def test_a_field(fields: dict[str, Any], attribute: str, value: object) -> None:
    assert getattr(read(**fields), attribute) == value


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"store": False}, ()),
        ({"store": True}, ("store",)),
        ({"prompt_cache_retention": "24h"}, ("prompt_cache_retention",)),
        ({"prompt_cache_options": {"mode": "explicit"}}, ("prompt_cache_options",)),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, ("stream_options.include_obfuscation",)),
        ({"user": "a", "safety_identifier": "b"}, ("user",)),
        ({"messages": [{"role": "user", "content": "x", "prefix": True}]}, ("messages[].prefix",)),
        ({"messages": [{"role": "system", "content": "x", "name": "n"}]}, ("messages[].name",)),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "id": 1}]}]},
            ("messages[].content[].id",),
        ),
        ({"tools": [{"type": "function", "function": {"name": "f", "examples": [1]}}]}, ("tools[].function.examples",)),
    ],
)
def test_what_is_advisory_is_left_out_by_name(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    assert read(**{"messages": [USER], **fields}).dropped == dropped


def message(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x", **fields}]}


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"logit_bias": {"1": 2}}, "logit_bias", "field_not_supported"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction", "field_not_supported"),
        ({"moderation": {"model": "x"}}, "moderation", "field_not_supported"),
        ({"web_search_options": {"search_context_size": "low"}}, "web_search_options", "field_not_supported"),
        ({"audio": {"voice": "a", "format": "wav"}}, "audio", "field_not_supported"),
        ({"functions": [{"name": "f"}]}, "functions", "field_not_supported"),
        ({"function_call": "auto"}, "function_call", "field_not_supported"),
        ({"guided_json": {"a": 1}}, "guided_json", "field_not_supported"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "field_not_supported"),
        ({"tools": [{}]}, "tools[0].type", "missing_required_parameter"),
        ({"tools": {}}, "tools", "invalid_type"),
        ({"tools": [{"type": "function", "function": {"name": 1}}]}, "tools[0].function.name", "invalid_type"),
        ({"tool_choice": "some"}, "tool_choice", "invalid_value"),
        ({"tool_choice": 1}, "tool_choice", "invalid_type"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type", "field_not_supported"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"temperature": True}, "temperature", "invalid_type"),
        ({"stop": 1}, "stop", "invalid_type"),
        ({"stop": [1]}, "stop[0]", "invalid_type"),
        ({"seed": 1.5}, "seed", "invalid_type"),
        ({"top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "invalid_value"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "invalid_value"),
        ({"thinking": {"type": "loud"}}, "thinking.type", "invalid_value"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter"),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
        ({"messages": [1]}, "messages[0]", "invalid_type"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter"),
        (message(role="robot"), "messages[0].role", "invalid_value"),
        (message(role="function", name="f"), "messages[0].role", "field_not_supported"),
        (message(content=1), "messages[0].content", "invalid_type"),
        (message(content=[1]), "messages[0].content[0]", "invalid_type"),
        (message(content=[{}]), "messages[0].content[0].type", "missing_required_parameter"),
        (message(content=[{"type": "text"}]), "messages[0].content[0].text", "missing_required_parameter"),
        (
            message(content=[{"type": "video_url", "video_url": {"url": "x"}}]),
            "messages[0].content[0].video_url",
            "field_not_supported",
        ),
        (
            message(content=[{"type": "image_url", "image_url": {"url": "data:image/png,x"}}]),
            "messages[0].content[0].image_url.url",
            "invalid_value",
        ),
        (
            message(content=[{"type": "input_audio", "input_audio": {"data": "x"}}]),
            "messages[0].content[0].input_audio.format",
            "missing_required_parameter",
        ),
        (
            message(content=[{"type": "file", "file": {}}]),
            "messages[0].content[0].file.file_data",
            "missing_required_parameter",
        ),
        (message(role="tool"), "messages[0].tool_call_id", "missing_required_parameter"),
        (
            message(role="assistant", tool_calls=[{"id": "x"}]),
            "messages[0].tool_calls[0].function",
            "missing_required_parameter",
        ),
        (message(role="assistant", tool_calls={}), "messages[0].tool_calls", "invalid_type"),
        (message(role="assistant", audio={"id": "x"}), "messages[0].audio", "field_not_supported"),
        (message(role="assistant", function_call={"name": "f"}), "messages[0].function_call", "field_not_supported"),
        (message(role="assistant", reasoning_details="x"), "messages[0].reasoning_details", "invalid_type"),
        (message(role="assistant", reasoning_details=[{"text": 1}]), "messages[0].reasoning_details", "invalid_type"),
        (message(role="assistant", reasoning_content=1), "messages[0].reasoning_content", "invalid_type"),
        (message(**{"röle": 1}), "messages[0]", "field_not_supported"),
    ],
)
def test_what_is_refused_by_name(fields: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read(**{"messages": [USER], **fields})

    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)
    assert param in caught.value.message


@pytest.mark.parametrize(
    ("turn", "name"),
    [
        ({"reasoning_content": "t"}, "messages[].reasoning_content"),
        ({"reasoning": "t"}, "messages[].reasoning"),
        ({"reasoning_details": [{"type": "reasoning.text", "text": "t"}]}, "messages[].reasoning_details"),
        (
            {"tool_calls": [{**CALL, "extra_content": {"google": {"thought_signature": "sig"}}}]},
            "messages[].tool_calls[].extra_content",
        ),
    ],
)
def test_a_thought_goes_by_the_name_of_its_own_field(turn: dict[str, Any], name: str) -> None:
    assert read([{"role": "assistant", "content": "x", **turn}]).field("thinking") == name


def test_a_lone_surrogate_is_kept() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"\\ud83d"}]}'
    ask = FORMAT.read_ask(FORMAT.read_request(body))

    assert ask.messages[0].blocks == (Text("\ud83d"),)


def test_nulls_are_as_good_as_absent() -> None:
    names = [
        field.name for field in FORMAT.fields if field.name.isidentifier() and field.name not in ("model", "messages")
    ]
    ask = read(**dict.fromkeys(names))

    assert ask == read()
    assert len(names) > 30
    json.dumps(ask.dropped)
