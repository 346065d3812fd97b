"""The canonical request written for Anthropic: versions, sampling, thinking, and what it has no place for."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

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
from app.formats.anthropic_messages import FORMAT
from app.formats.base import Target, Written

Fields = dict[str, Any]
HELLO = Message("user", (Text("hi"),))
NAMES = {"stop": "stop", "reasoning": "reasoning_effort", "audio": "messages[].content[].input_audio"}


def written(*blocks: Block, target: Target | None = None, **fields: Any) -> Written:
    messages = (Message("user", blocks),) if blocks else (HELLO,)
    ask = Ask(**{"format": "openai_chat", "model": "m", "messages": messages, "fields": NAMES, **fields})
    return FORMAT.write_ask(ask, target or Target("up", None, 4096))


def sent(*blocks: Block, target: Target | None = None, **fields: Any) -> Fields:
    body: Fields = json.loads(written(*blocks, target=target, **fields).body)
    return body


def refused(*blocks: Block, target: Target | None = None, **fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        written(*blocks, target=target, **fields)
    assert caught.value.status == 400
    return caught.value


PLAIN = {"model": "up", "max_tokens": 4096, "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, {}),
        ({"output_cap": 7}, {"max_tokens": 7}),
        ({"system": (Text("S"),)}, {"system": "S"}),
        ({"system": (Text("S", cache=Cache("30m")), Text("T"), Text(""))},
         {"system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                     {"type": "text", "text": "T"}]}),
        ({"stream": True}, {"stream": True}),
        ({"stop": ("A",)}, {"stop_sequences": ["A"]}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"cache": Cache("12h")}, {"cache_control": {"type": "ephemeral", "ttl": "1h"}}),
        ({"response_format": Schema({"type": "object"}, "n", "d", True)},
         {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}),
        ({"reasoning": Reasoning("minimal")}, {"output_config": {"effort": "low"}}),
        ({"reasoning": Reasoning("xhigh")}, {"output_config": {"effort": "xhigh"}}),
        ({"reasoning": Reasoning("high", show=True)},
         {"output_config": {"effort": "high"}, "thinking": {"type": "adaptive", "display": "summarized"}}),
        ({"reasoning": Reasoning("none")}, {"thinking": {"type": "disabled"}}),
        ({"reasoning": Reasoning(budget=0)}, {"thinking": {"type": "disabled"}}),
        ({"reasoning": Reasoning(budget=-1)}, {"thinking": {"type": "adaptive"}}),
        ({"reasoning": Reasoning(budget=2000, show=False)},
         {"thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"}}),
        ({"reasoning": Reasoning(budget=100)}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ({"reasoning": Reasoning(budget=9000)}, {"thinking": {"type": "enabled", "budget_tokens": 3072}}),
        ({"service_tier": "auto"}, {}),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
        ({"service_tier": "priority"}, {"speed": "fast"}),
        ({"modalities": ("text",)}, {}),
    ],
)  # fmt: skip
def test_top_level(fields: Fields, wanted: Fields) -> None:
    got = written(**fields)

    assert json.loads(got.body) == {**PLAIN, **wanted}
    assert got.dropped == ()
    assert got.headers["anthropic-version"] == "2026-10-21"
    assert ("anthropic-beta" in got.headers) == ("speed" in wanted)


@pytest.mark.parametrize(
    ("cap", "held", "sent_cap"), [(None, None, 4096), (100, None, 100), (100, 50, 50), (None, 50, 50), (9000, 100, 100)]
)
def test_the_cap(cap: int | None, held: int | None, sent_cap: int) -> None:
    assert sent(output_cap=cap, target=Target("up", held, 4096))["max_tokens"] == sent_cap


def test_a_cap_too_small_for_any_budget() -> None:
    got = written(output_cap=500, reasoning=Reasoning(budget=2000))

    assert "thinking" not in json.loads(got.body)
    assert got.dropped == ("reasoning_effort",)


@pytest.mark.parametrize(
    ("fields", "version", "kept", "dropped"),
    [
        ({}, "2026-10-21", {}, ()),
        ({"temperature": 1.0}, "2026-10-21", {}, ("temperature",)),
        ({"temperature": 1.0, "top_p": 1.0}, "2026-10-21", {}, ("temperature", "top_p")),
        ({"temperature": 0.0}, "2023-06-01", {"temperature": 0.0}, ()),
        ({"top_k": 40}, "2023-06-01", {"top_k": 40}, ()),
        ({"top_p": 0.5, "temperature": 1.0}, "2023-06-01", {"top_p": 0.5, "temperature": 1.0}, ()),
    ],
)
def test_sampling_decides_the_version(fields: Fields, version: str, kept: Fields, dropped: tuple[str, ...]) -> None:
    got = written(**fields)

    assert got.headers == {"anthropic-version": version}
    assert json.loads(got.body) == {**PLAIN, **kept}
    assert got.dropped == dropped


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_an_upstream_of_the_new_version_alone_takes_no_sampling(name: str) -> None:
    new = Target("up", None, 4096, quirks=frozenset({"version_2026"}))

    assert refused(target=new, **{"temperature": 1.0, name: 0.5}).param == name
    assert written(target=new, temperature=1.0).dropped == ("temperature",)


def test_a_system_message_midway() -> None:
    turns = (HELLO, Message("assistant", (ToolCall("c", "f", ""),)), Message("system", (Text("S"),)),
             Message("user", (ToolResult("c", (Text("R"),)),)))  # fmt: skip

    assert [turn["role"] for turn in sent(messages=turns)["messages"]] == ["user", "assistant", "system", "user"]
    assert sent(messages=turns, temperature=0.5)["messages"][2:] == [
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c", "content": "R"}, {"type": "text", "text": "S"}],
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        (Text("T", cache=Cache()), {"type": "text", "text": "T", "cache_control": {"type": "ephemeral"}}),
        (Image(Media("image/webp", "D")),
         {"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": "D"}}),
        (Image(Media(url="https://x")), {"type": "image", "source": {"type": "url", "url": "https://x"}}),
        (File(Media("application/pdf", "D"), "a.pdf"),
         {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "D"},
          "title": "a.pdf"}),
        (File(Media("text/csv", b64encode("é,1".encode()).decode())),
         {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é,1"}}),
        (File(Media("text/plain", "as it is", text=True)),
         {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "as it is"}}),
        (File(Media(url="https://x/a.pdf")), {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}}),
        (ToolResult("c", ()), {"type": "tool_result", "tool_use_id": "c"}),
        (ToolResult("c", (Text("no"),), is_error=True),
         {"type": "tool_result", "tool_use_id": "c", "content": "no", "is_error": True}),
        (ToolResult("c", (Text("see"), Image(Media("image/png", "D")))),
         {"type": "tool_result", "tool_use_id": "c", "content": [
             {"type": "text", "text": "see"},
             {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "D"}}]}),
        (ToolCall("c", "f", '{"a": 1}'), {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}),
        (ToolCall("c", "f", ""), {"type": "tool_use", "id": "c", "name": "f", "input": {}}),
        (ToolCall("c", "f", "ls -l", custom=True),
         {"type": "tool_use", "id": "c", "name": "f", "input": {"input": "ls -l"}}),
        (ToolCall("c", "f", '{"a":"\\ud83d"}'), {"type": "tool_use", "id": "c", "name": "f", "input": {"a": "\ud83d"}}),
        (Thinking("T", Signature("anthropic", "s")), {"type": "thinking", "thinking": "T", "signature": "s"}),
        (Thinking("", Signature("anthropic", "s")), {"type": "thinking", "thinking": "", "signature": "s"}),
        (Thinking("", Signature("anthropic", "d"), redacted=True), {"type": "redacted_thinking", "data": "d"}),
    ],
)  # fmt: skip
def test_blocks(block: Block, wanted: Fields) -> None:
    got = written(block)

    assert json.loads(got.body)["messages"] == [{"role": "user", "content": [wanted]}]
    assert got.dropped == ()


def test_a_refusal_is_text_again() -> None:
    turns = (HELLO, Message("assistant", (Refusal("No."),)))

    assert sent(messages=turns)["messages"][1] == {"role": "assistant", "content": "No."}


@pytest.mark.parametrize(
    "thought",
    [Thinking("T"), Thinking("", Signature("google", "g")), Thinking("T", Signature("openai", "o")),
     Thinking("", Signature("openai", "o"), redacted=True)],
    ids=["unsigned (DeepSeek)", "of the next block (Gemini)", "OpenAI", "OpenAI, sealed"],
)  # fmt: skip
def test_thoughts_of_other_vendors_never_reach_anthropic(thought: Thinking) -> None:
    got = written(messages=(HELLO, Message("assistant", (thought, Text("so")))))

    assert json.loads(got.body)["messages"][1] == {"role": "assistant", "content": "so"}
    assert got.dropped == ("thinking",)


@pytest.mark.parametrize(
    ("block", "left_out"),
    [
        (Image(Media(url="https://x"), "low"), "image_detail"),
        (Text("T", (Citation("https://x"),)), "citations"),
    ],
)
def test_parts_of_blocks_that_are_left_out(block: Block, left_out: str) -> None:
    assert written(block).dropped == (left_out,)


@pytest.mark.parametrize(
    ("fields", "left_out"),
    [
        ({"seed": 7}, "seed"),
        ({"verbosity": "low"}, "verbosity"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"cache_key": "k"}, "cache_key"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"messages": (Message("user", (Text("x"),), name="Bob"),)}, "name"),
        ({"dropped": ("logit_bias",)}, "logit_bias"),
    ],
)
def test_what_is_advisory_is_left_out_with_notice(fields: Fields, left_out: str) -> None:
    assert written(**fields).dropped == (left_out,)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"choices": 2}, "choices"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"response_format": Schema(None)}, "response_format"),
        ({"modalities": ("text", "audio")}, "modalities"),
        ({"temperature": 1.5}, "temperature"),
        ({"tools": (Opaque("openai_chat", "web_search_options", {}),)}, "web_search_options"),
        ({"messages": (Message("assistant", (File(Media("application/pdf", "D")),)),)}, "file"),
        ({"messages": (Message("user", (Opaque("gemini_generate", "contents[0].parts[0].executableCode", {}),)),)},
         "contents[0].parts[0].executableCode"),
        ({"messages": (Message("user", (Audio(Media("audio/wav", "D")),)),)}, NAMES["audio"]),
        ({"messages": (Message("user", (Image(Media("image/tiff", "D")),)),)}, "image"),
        ({"messages": (Message("user", (Image(Media(url="gs://b/a.png")),)),)}, "image_url"),
        ({"messages": (Message("user", (Image(Media(file_id="f")),)),)}, "file_id"),
        ({"messages": (Message("user", (File(Media("application/zip", "D")),)),)}, "file"),
        ({"messages": (Message("user", (File(Media("text/html", url="https://x")),)),)}, "file_url"),
        ({"messages": (Message("user", (File(Media("application/pdf", file_id="f")),)),)}, "file_id"),
    ],
)  # fmt: skip
def test_what_has_no_place_is_refused_by_the_clients_name(fields: Fields, param: str) -> None:
    error = refused(**fields)

    assert (error.param, error.code) == (param, "field_not_supported")
    assert param in error.message


@pytest.mark.parametrize("arguments", ["{", "[1]", "7", '"x"', "NaN"])
def test_arguments_must_be_an_object(arguments: str) -> None:
    assert refused(ToolCall("c", "f", arguments)).param == "tool_call"


def test_text_in_base64_must_be_text() -> None:
    assert refused(File(Media("text/plain", "////"))).param == "file"


F, G = Tool("f", schema={"type": "object"}), Tool("g")
WF, WG = (
    {"name": "f", "input_schema": {"type": "object"}},
    {"name": "g", "input_schema": {"type": "object", "properties": {}}},
)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"tools": (F, G)}, {"tools": [WF, WG]}),
        ({"tools": (F,), "tool_choice": ToolChoice("auto")}, {"tools": [WF]}),
        ({"tools": (F,), "tool_choice": ToolChoice("none"), "parallel_tool_calls": False},
         {"tools": [WF], "tool_choice": {"type": "none"}}),
        ({"tools": (F,), "tool_choice": ToolChoice("required")}, {"tools": [WF], "tool_choice": {"type": "any"}}),
        ({"tools": (F, G), "tool_choice": ToolChoice("required", ("g",)), "parallel_tool_calls": False},
         {"tools": [WF, WG], "tool_choice": {"type": "tool", "name": "g", "disable_parallel_tool_use": True}}),
        ({"tools": (F, G, Tool("h")), "tool_choice": ToolChoice("required", ("f", "g"))},
         {"tools": [WF, WG], "tool_choice": {"type": "any"}}),
        ({"tools": (F, G), "tool_choice": ToolChoice("auto", ("g",))}, {"tools": [WG]}),
        ({"tools": (F,), "parallel_tool_calls": False},
         {"tools": [WF], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
        ({"parallel_tool_calls": False}, {}),
        ({"tools": (Tool("f", schema={"properties": {}}, strict=True, cache=Cache("5m")),)},
         {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}, "strict": True,
                     "cache_control": {"type": "ephemeral", "ttl": "5m"}}]}),
    ],
)  # fmt: skip
def test_tools(fields: Fields, wanted: Fields) -> None:
    assert sent(**fields) == {**PLAIN, **wanted}


def test_a_tool_that_takes_plain_text() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: WORD"}}
    (tool,) = sent(tools=(Tool("sh", "Runs.", custom=True, grammar=grammar),))["tools"]

    assert tool["input_schema"] == {
        "type": "object",
        "properties": {"input": {"type": "string"}},
        "required": ["input"],
    }
    assert tool["description"].startswith("Runs.")
    assert "lark" in tool["description"]
    assert "start: WORD" in tool["description"]


def test_ids_that_anthropic_would_refuse() -> None:
    turns = (
        HELLO,
        Message("assistant", (ToolCall("functions.f:0", "f", ""), ToolCall("functions.f.0", "f", ""))),
        Message("user", (ToolResult("functions.f:0", ()), ToolResult("functions.f.0", ()))),
    )
    _, calls, results = sent(messages=turns)["messages"]
    ids = [call["id"] for call in calls["content"]]

    assert ids == [result["tool_use_id"] for result in results["content"]]
    assert len(set(ids)) == 2
    assert all(id.replace("_", "").isalnum() and id.isascii() for id in ids)


def test_turns_of_one_role_are_one_turn_and_empty_ones_none() -> None:
    turns = (
        Message("user", (Text("a"),)),
        Message("assistant", (Text(""),)),
        Message("user", (Text("b"),)),
        Message("assistant", (Text(""), ToolCall("c", "f", ""))),
        Message("user", (ToolResult("c", ()),)),
    )

    got = sent(messages=turns)["messages"]

    assert [turn["role"] for turn in got] == ["user", "assistant", "user"]
    assert got[0]["content"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert [block["type"] for block in got[1]["content"]] == ["tool_use"]


def test_lone_surrogates_are_escaped() -> None:
    assert b'"\\ud83d"' in written(Text("\ud83d")).body
