"""A request of another format, written for an upstream that speaks Responses."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from app.core.conversation import (
    Ask,
    Audio,
    Block,
    Cache,
    Citation,
    File,
    Image,
    Media,
    Message,
    Opaque,
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
from app.formats.base import Target
from app.formats.openai_responses import FORMAT
from tests.formats.openai_responses.examples import TARGET, written

HI = (Message("user", (Text("hi"),)),)
NAMES = {
    "stop": "stop_sequences",
    "image": "contents[].parts[].inlineData",
    "thinking": "messages[].content[].thinking",
}


def asking(*messages: Message, **fields: Any) -> Ask:
    return Ask(**{"format": "x", "model": "m", "messages": messages or HI, "fields": NAMES, **fields})


def items(*blocks: Block, role: Any = "user") -> list[dict[str, Any]]:
    found = written(asking(Message(role, blocks)))["input"]
    assert isinstance(found, list)
    return found


def dropped(asked: Ask) -> tuple[str, ...]:
    return FORMAT.write_ask(asked, TARGET).dropped


def refused(asked: Ask) -> str | None:
    with pytest.raises(GatewayError) as caught:
        FORMAT.write_ask(asked, TARGET)
    assert (caught.value.status, caught.value.code) == (400, "field_not_supported")
    return caught.value.param


def test_a_plain_request() -> None:
    assert written(asking()) == {
        "model": "up",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "store": False,
    }


@pytest.mark.parametrize(
    ("asked", "paid", "sent"), [(None, None, None), (None, 50, 50), (100, 50, 50), (20, 50, 20), (20, None, 20)]
)
def test_the_cap(asked: int | None, paid: int | None, sent: int | None) -> None:
    assert written(asking(output_cap=asked), Target("up", paid, 4096)).get("max_output_tokens") == sent


def test_the_system() -> None:
    two = asking(system=(Text("be"), Text("nice")))

    assert written(asking(system=(Text("be nice"),)))["instructions"] == "be nice"
    assert "instructions" not in written(two)
    assert written(two)["input"][0] == {
        "type": "message",
        "role": "system",
        "content": [{"type": "input_text", "text": "be"}, {"type": "input_text", "text": "nice"}],
    }


def test_a_turn_with_tools() -> None:
    source = Citation("https://x.test", None, None, None)

    assert items(
        Thinking("hm", Signature("openai", "gAAA"), id="rs_1"),
        Text("ok", (source,)),
        Refusal("no"),
        ToolCall("c1", "look", ""),
        ToolCall("c2", "grep", "a|b", custom=True),
        role="assistant",
    ) == [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "gAAA",
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [
                {
                    "type": "output_text",
                    "text": "ok",
                    "annotations": [
                        {"type": "url_citation", "url": "https://x.test", "title": "", "start_index": 0, "end_index": 2}
                    ],
                },
                {"type": "refusal", "refusal": "no"},
            ],
        },
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "grep", "input": "a|b"},
    ]


def test_results_and_what_the_user_says_to_them() -> None:
    picture = Image(Media("image/png", "AAAA"))

    assert items(
        ToolResult("c1", (Text("one"),)),
        ToolResult("c2", (), custom=True),
        ToolResult("c3", (Text("three"), picture)),
        Text("go on"),
    ) == [
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": ""},
        {
            "type": "function_call_output",
            "call_id": "c3",
            "output": [
                {"type": "input_text", "text": "three"},
                {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,AAAA"},
            ],
        },
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go on"}]},
    ]


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (
            Image(Media(url="https://x.test/a"), "low"),
            {"type": "input_image", "detail": "low", "image_url": "https://x.test/a"},
        ),
        (
            File(Media("application/pdf", "QQ=="), "a.pdf"),
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="},
        ),
        (
            File(Media("application/pdf", "QQ==")),
            {"type": "input_file", "filename": "file.pdf", "file_data": "data:application/pdf;base64,QQ=="},
        ),
        (File(Media(url="https://x.test/a")), {"type": "input_file", "file_url": "https://x.test/a"}),
        (File(Media("text/plain", "words", text=True), "a"), {"type": "input_text", "text": "a\n\nwords"}),
    ],
)
def test_parts(block: Block, part: dict[str, Any]) -> None:
    assert items(block)[0]["content"] == [part]


@pytest.mark.parametrize(
    "thought",
    [Thinking("hm"), Thinking("hm", Signature("anthropic", "sig")), Thinking("", Signature("google", "sig"))],
    ids=["unsigned", "anthropic's", "google's"],
)
def test_another_vendor_s_thought_is_dropped_by_name(thought: Thinking) -> None:
    asked = asking(*HI, Message("assistant", (thought, Text("a"))))

    assert [item["type"] for item in written(asked)["input"]] == ["message", "message"]
    assert dropped(asked) == ("messages[].content[].thinking",)


@pytest.mark.parametrize(
    ("reasoning", "sent", "sealed"),
    [
        (Reasoning("low"), {"effort": "low"}, True),
        (Reasoning("high", show=True), {"effort": "high", "summary": "auto"}, True),
        (Reasoning("high", show=False), {"effort": "high"}, True),
        (Reasoning("none", show=True), {"effort": "none"}, False),
        (Reasoning(budget=0), {"effort": "none"}, False),
        (Reasoning(budget=2048), {"effort": "low"}, True),
        (Reasoning(budget=8192), {"effort": "medium"}, True),
        (Reasoning(budget=32000, show=True), {"effort": "high", "summary": "auto"}, True),
        (Reasoning(budget=-1), None, True),
        (Reasoning(adaptive=True), None, True),
        (Reasoning("max", adaptive=True), {"effort": "max"}, True),
        (None, None, False),
    ],
    ids=str,
)
def test_reasoning(reasoning: Reasoning | None, sent: dict[str, Any] | None, sealed: bool) -> None:
    body = written(asking(reasoning=reasoning))

    assert body.get("reasoning") == sent
    assert body.get("include") == (["reasoning.encrypted_content"] if sealed else None)


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"temperature": 0.2, "top_p": 0.3}, {"temperature": 0.2, "top_p": 0.3}),
        # google-genai's users always send it; OpenAI's reasoning models refuse the field, whatever its value.
        pytest.param({"temperature": 1.0, "top_p": 1.0}, {}, id="gemini clients: temperature 1"),
        ({"logprobs": True, "top_logprobs": 3}, {"include": ["message.output_text.logprobs"], "top_logprobs": 3}),
        ({"response_format": Schema(None)}, {"text": {"format": {"type": "json_object"}}}),
        (
            {"response_format": Schema({"a": 1}), "verbosity": "low"},
            {"text": {"format": {"type": "json_schema", "name": "answer", "schema": {"a": 1}}, "verbosity": "low"}},
        ),
        ({"user": "u", "cache_key": "k"}, {"safety_identifier": "u", "prompt_cache_key": "k"}),
        ({"cache": Cache("12h")}, {"prompt_cache_options": {"ttl": "12h"}}),
        ({"cache": Cache("5m")}, {}),
        ({"stream": True}, {"stream": True}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"service_tier": "flex"}, {"service_tier": "flex"}),
        ({"service_tier": "standard"}, {}),
        ({"modalities": ("text",)}, {}),
        ({"tool_choice": ToolChoice("none")}, {"tool_choice": "none"}),
        ({"tool_choice": ToolChoice("required", ("f",))}, {"tool_choice": {"type": "function", "name": "f"}}),
        (
            {"tool_choice": ToolChoice("auto", ("f",))},
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}},
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_wishes(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    plain = written(asking())

    assert {name: value for name, value in written(asking(**fields)).items() if name not in plain} == sent
    assert dropped(asking(**fields)) == ()


def test_tools() -> None:
    tools = (Tool("f", "d", {"a": 1}), Tool("g", strict=True), Tool("h", custom=True, grammar={"type": "grammar"}))
    body = written(asking(tools=tools, tool_choice=ToolChoice("required", ("h",))))

    assert body["tools"] == [
        # `strict` untold would make an ordinary schema strict here.
        {"type": "function", "name": "f", "description": "d", "parameters": {"a": 1}, "strict": False},
        {"type": "function", "name": "g", "parameters": None, "strict": True},
        {"type": "custom", "name": "h", "format": {"type": "grammar"}},
    ]
    assert body["tool_choice"] == {"type": "custom", "name": "h"}


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (asking(seed=1, metadata={"a": "b"}, service_tier="batch"), ("seed", "metadata", "service_tier")),
        (asking(dropped=("speed",)), ("speed",)),
        (asking(Message("user", (Text("a", cache=Cache("5m")),), name="Ann")), ("name", "cache_point")),
        (asking(system=(Text("a", cache=Cache()),)), ("cache_point",)),
        (asking(tools=(Tool("f", cache=Cache()),)), ("cache_point",)),
        (asking(Message("user", (ToolResult("c", (Text("oh"),), is_error=True),))), ("tool_result_error",)),
    ],
)
def test_what_is_advisory_is_dropped_by_name(asked: Ask, names: tuple[str, ...]) -> None:
    assert set(dropped(asked)) == set(names)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        (asking(choices=2), "choices"),
        (asking(stop=("x",)), "stop_sequences"),
        (asking(modalities=("text", "audio")), "modalities"),
        (asking(Message("user", (Audio(Media("audio/wav", "A")),))), "audio"),
        (asking(Message("user", (ToolResult("c", (Audio(Media("audio/wav", "A")),)),))), "audio"),
        (asking(Message("assistant", (Image(Media("image/png", "A")),))), "contents[].parts[].inlineData"),
        (asking(Message("user", (Image(Media(file_id="file_1")),))), "file_id"),
        (
            asking(Message("user", (Opaque("y", "messages[0].content[0].search_result", {}),))),
            "messages[0].content[0].search_result",
        ),
        (asking(tools=(Opaque("y", "tools[0].type", {}),)), "tools[0].type"),
    ],
)
def test_what_has_no_place_is_refused_by_the_client_s_name(asked: Ask, param: str) -> None:
    assert refused(asked) == param


@pytest.mark.parametrize("format", ["openai_chat", "openai_responses"])
def test_openai_s_files_are_the_same_in_its_formats(format: str) -> None:
    asked = replace(asking(Message("user", (Image(Media(file_id="file_1")),))), format=format)

    assert written(asked)["input"][0]["content"][0]["file_id"] == "file_1"


def test_half_a_character_goes_out_as_an_escape() -> None:
    assert b"\\ud83d" in FORMAT.write_ask(asking(Message("user", (Text("\ud83d"),))), TARGET).body
