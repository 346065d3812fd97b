"""A canonical request, written for servers that speak Chat Completions, and the same request through the format and back."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.conversation import (
    Ask,
    Audio,
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
from app.formats.openai_chat import FORMAT
from tests.formats.openai_chat.conversions import USER, body_of, foreign, read, target, write

PNG = Image(Media("image/png", "AAAA"))
PNG_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
ANTHROPIC = Signature("anthropic", "sig")
GOOGLE = Signature("google", "sig")
TOOL = Tool("f", "does f", {"type": "object"})


def messages(*turns: Message, quirks: tuple[str, ...] = (), **fields: Any) -> list[Any]:
    written = write(foreign(*turns, **fields), *quirks)["messages"]
    assert isinstance(written, list)
    return written


def assistant(*blocks: Any, quirks: tuple[str, ...] = ()) -> dict[str, Any]:
    written = messages(Message("assistant", blocks), quirks=quirks)
    return dict(written[0])


# -- a client of another format ----------------------------------------------------------------------------------------


def test_text_is_a_string_whatever_it_was_made_of() -> None:
    system = (Text("A", cache=Cache("5m")), Text("B"))
    written = FORMAT.write_ask(foreign(Message("user", (Text("x"), Text("y"))), system=system), target())

    assert body_of(written)["messages"] == [
        {"role": "system", "content": "A\n\nB"},
        {"role": "user", "content": "x\n\ny"},
    ]
    assert written.dropped == ("cache_point",)


def test_an_instruction_midway_is_a_system_message() -> None:
    assert messages(Message("user", (Text("x"),)), Message("system", (Text("y"),)))[1] == {
        "role": "system",
        "content": "y",
    }


def test_pictures_files_and_sound() -> None:
    pdf = File(Media("application/pdf", "AAAA"), "a.pdf")
    plain = File(Media("text/plain", b64encode("né".encode()).decode()))
    inline = File(Media("text/plain", "as it is", text=True), "a.txt")
    sound = Audio(Media("audio/mpeg", "AAAA"))
    (written,) = messages(Message("user", (Text("x"), PNG, pdf, plain, inline, sound)))

    assert written["content"] == [
        {"type": "text", "text": "x"},
        PNG_PART,
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
        {"type": "text", "text": "né"},
        {"type": "text", "text": "a.txt\n\nas it is"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
    ]


def test_tool_results_come_first_and_their_pictures_after_all_of_them() -> None:
    first = ToolResult("call_1", (Text("one"), PNG), is_error=True)
    second = ToolResult("call_2", (PNG,))
    written = FORMAT.write_ask(foreign(Message("user", (first, second, Text("and?")))), target())

    assert body_of(written)["messages"] == [
        {"role": "tool", "tool_call_id": "call_1", "content": "one"},
        {"role": "tool", "tool_call_id": "call_2", "content": "The result is in the next message."},
        {"role": "user", "content": [PNG_PART, PNG_PART, {"type": "text", "text": "and?"}]},
    ]
    assert written.dropped == ("tool_result_error",)


def test_an_assistants_turn() -> None:
    call = ToolCall("toolu_1", "f", "")
    cited = Text("one", (Citation("https://x"),))

    assert assistant(cited, Text("two"), call, Text("three"), Refusal("No.")) == {
        "role": "assistant",
        "content": "onetwo\n\nthree\n\nNo.",
        "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    assert assistant(call)["content"] is None


def test_a_turn_that_says_nothing_is_left_out() -> None:
    said = (Message("assistant", (Thinking("x"),)), Message("user", ()), Message("user", (Text("x"),)))
    written = FORMAT.write_ask(foreign(*said), target())

    assert body_of(written)["messages"] == [{"role": "user", "content": "x"}]
    assert written.dropped == ("thinking",)


THOUGHTS = (Thinking("t", ANTHROPIC), Thinking("u"))
CALL = ToolCall("call_1", "f", "{}")


@pytest.mark.parametrize(
    ("blocks", "quirks", "fields", "dropped"),
    [
        pytest.param((*THOUGHTS, Text("x")), (), {}, ("thinking",), id="openai"),
        pytest.param((*THOUGHTS, CALL), ("replays_reasoning",), {"reasoning_content": "t\n\nu"}, (), id="deepseek"),
        pytest.param((CALL,), ("replays_reasoning",), {"reasoning_content": ""}, (), id="deepseek, nothing known"),
        pytest.param((*THOUGHTS, Text("x")), ("replays_reasoning",), {}, ("thinking",), id="deepseek, no call"),
        pytest.param(
            (*THOUGHTS, Thinking("", GOOGLE), CALL),
            ("reasoning_details",),
            {
                "reasoning": "t\n\nu",
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "text": "t",
                        "signature": "sig",
                        "format": "anthropic-claude-v1",
                        "index": 0,
                    },
                    {"type": "reasoning.text", "text": "u", "index": 1},
                    {
                        "type": "reasoning.encrypted",
                        "data": "sig",
                        "format": "google-gemini-v1",
                        "id": "call_1",
                        "index": 2,
                    },
                ],
            },
            (),
            id="openrouter",
        ),
        pytest.param((Thinking("", GOOGLE), CALL), (), {}, ("thinking",), id="a call signed by google, elsewhere"),
        pytest.param((Thinking("", GOOGLE), CALL), ("google_signatures",), {}, (), id="gemini"),
    ],
)
def test_thoughts_go_where_they_are_taken(
    blocks: tuple[Any, ...], quirks: tuple[str, ...], fields: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    written = FORMAT.write_ask(foreign(Message("assistant", blocks)), target(*quirks))
    (message,) = body_of(written)["messages"]
    names = ("reasoning_content", "reasoning", "reasoning_details")

    assert {name: message[name] for name in names if name in message} == fields
    assert written.dropped == dropped
    signed = {"google": {"thought_signature": "sig"}}
    for call in message.get("tool_calls", ()):
        assert call.get("extra_content") == (signed if "google_signatures" in quirks else None)


@pytest.mark.parametrize(
    ("quirk", "id", "expected"),
    [
        (None, "call_1", "call_1"),
        (None, "x" * 41, None),
        ("short_call_ids", "abcDEF123", "abcDEF123"),
        ("short_call_ids", "toolu_01A", None),
    ],
)
def test_ids_of_calls_fit_and_are_the_same_in_the_result(quirk: str | None, id: str, expected: str | None) -> None:
    turns = (Message("assistant", (ToolCall(id, "f", "{}"),)), Message("user", (ToolResult(id, (Text("x"),)),)))
    call, result = messages(*turns, quirks=() if quirk is None else (quirk,))
    written = call["tool_calls"][0]["id"]

    assert result["tool_call_id"] == written
    if expected is not None:
        assert written == expected
    else:
        assert written != id
        assert len(written) == (9 if quirk else 29)


@pytest.mark.parametrize(
    ("fields", "quirks", "expected"),
    [
        ({"temperature": 1.0, "top_p": 0.5, "seed": 7}, (), {"temperature": 1.0, "top_p": 0.5, "seed": 7}),
        ({"choices": 3, "logprobs": True, "top_logprobs": 2}, (), {"n": 3, "logprobs": True, "top_logprobs": 2}),
        ({"stop": ("a", "b")}, (), {"stop": ["a", "b"]}),
        ({"response_format": Schema(None)}, (), {"response_format": {"type": "json_object"}}),
        (
            {"response_format": Schema({"type": "object"}, strict=True)},
            (),
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
                }
            },
        ),
        (
            {"user": "u", "cache_key": "k", "verbosity": "low"},
            (),
            {"user": "u", "prompt_cache_key": "k", "verbosity": "low"},
        ),
        ({"service_tier": "flex"}, (), {"service_tier": "flex"}),
        ({"service_tier": "standard"}, (), {}),
        ({"modalities": ("text",)}, (), {}),
        # Reasoning, in each server's words.
        ({"reasoning": Reasoning("xhigh", show=True)}, (), {"reasoning_effort": "xhigh"}),
        ({"reasoning": Reasoning(budget=1024)}, (), {"reasoning_effort": "low"}),
        ({"reasoning": Reasoning(budget=8192)}, (), {"reasoning_effort": "medium"}),
        ({"reasoning": Reasoning(budget=8193)}, (), {"reasoning_effort": "high"}),
        ({"reasoning": Reasoning(budget=0)}, (), {"reasoning_effort": "none"}),
        ({"reasoning": Reasoning(budget=-1)}, (), {}),
        ({"reasoning": Reasoning(adaptive=True, show=True)}, (), {}),
        ({"reasoning": Reasoning("none")}, ("thinking_switch",), {"thinking": {"type": "disabled"}}),
        (
            {"reasoning": Reasoning("medium")},
            ("thinking_switch",),
            {"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
        ),
        ({"reasoning": Reasoning(adaptive=True)}, ("thinking_switch",), {"thinking": {"type": "enabled"}}),
        ({"reasoning": Reasoning("none")}, ("enable_thinking",), {"enable_thinking": False}),
        ({"reasoning": Reasoning(budget=700)}, ("enable_thinking",), {"enable_thinking": True, "thinking_budget": 700}),
        ({"reasoning": Reasoning("low")}, ("enable_thinking",), {"enable_thinking": True, "thinking_budget": 2048}),
        ({"reasoning": Reasoning("high")}, ("enable_thinking",), {"enable_thinking": True}),
        ({"reasoning": Reasoning("high")}, ("no_stop_with_reasoning",), {"reasoning_effort": "high"}),
        ({"stop": ("x",)}, ("no_stop_with_reasoning",), {"stop": ["x"]}),
        # Tools.
        (
            {"tools": (TOOL, Tool("g", custom=True, grammar={"type": "grammar", "syntax": "lark", "definition": "x"}))},
            (),
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "f", "description": "does f", "parameters": {"type": "object"}},
                    },
                    {
                        "type": "custom",
                        "custom": {
                            "name": "g",
                            "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}},
                        },
                    },
                ]
            },
        ),
        (
            {"tools": (Tool("f"),), "tool_choice": ToolChoice("required", ("f",)), "parallel_tool_calls": False},
            (),
            {
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
                "parallel_tool_calls": False,
            },
        ),
        (
            {"tools": (Tool("f"), Tool("g"), Tool("h")), "tool_choice": ToolChoice("required", ("f", "h"))},
            (),
            {
                "tools": [{"type": "function", "function": {"name": name}} for name in ("f", "h")],
                "tool_choice": "required",
            },
        ),
        ({"tools": (Tool("f"),), "tool_choice": ToolChoice("none")}, ("no_tool_choice",), {}),
        ({"tool_choice": ToolChoice("none"), "parallel_tool_calls": False}, (), {}),
    ],
)
def test_a_wish(fields: dict[str, Any], quirks: tuple[str, ...], expected: dict[str, Any]) -> None:
    written = FORMAT.write_ask(foreign(**fields), target(*quirks))

    assert body_of(written) == {"model": "up", "messages": [USER], **expected}
    assert written.dropped == ()


@pytest.mark.parametrize(
    ("fields", "quirks", "dropped"),
    [
        ({"dropped": ("thread",), "metadata": {"a": "b"}, "cache": Cache()}, (), ("thread", "metadata", "cache")),
        ({"stop": tuple("abcde"), "fields": {"stop": "stop_sequences"}}, (), ("stop_sequences",)),
        ({"service_tier": "batch"}, (), ("service_tier",)),
        ({"reasoning": Reasoning(show=True), "fields": {"reasoning": "thinking"}}, (), ("thinking",)),
        ({"reasoning": Reasoning("none")}, ("no_stop_with_reasoning",), ("reasoning",)),
        ({"user": "u", "cache_key": "k", "verbosity": "low"}, ("strict_fields",), ("user", "cache_key", "verbosity")),
    ],
)
def test_what_is_advisory_is_left_out_by_name(
    fields: dict[str, Any], quirks: tuple[str, ...], dropped: tuple[str, ...]
) -> None:
    assert FORMAT.write_ask(foreign(**fields), target(*quirks)).dropped == dropped


def said(*blocks: Any) -> dict[str, Any]:
    return {"messages": (Message("user", blocks),)}


@pytest.mark.parametrize(
    ("fields", "quirks", "param"),
    [
        ({"top_k": 40, "fields": {"top_k": "generationConfig.topK"}}, (), "generationConfig.topK"),
        ({"modalities": ("text", "audio")}, (), "modalities"),
        ({"tools": (Opaque("anthropic_messages", "tools[0].type", {}),)}, (), "tools[0].type"),
        (
            said(Opaque("anthropic_messages", "messages[0].content[0].search_result", {})),
            (),
            "messages[0].content[0].search_result",
        ),
        (said(Image(Media(url="gs://bucket/x"))), (), "image_url"),
        (said(Image(Media(url="https://x/a.png"))), ("no_image_urls",), "image_url"),
        (said(Image(Media(file_id="file-1"))), (), "file_id"),
        (said(File(Media(file_id="file-1"))), (), "file_id"),
        (said(File(Media(url="https://x/a.pdf"))), (), "file_url"),
        (said(Audio(Media(url="https://x/a.wav"))), (), "audio_url"),
        (said(File(Media("text/plain", "!"))), (), "file"),
        ({"messages": (Message("assistant", (PNG,)),)}, (), "image"),
        ({"messages": (Message("assistant", (Audio(Media("audio/wav", "AAAA")),)),)}, (), "audio"),
        ({"choices": 2}, ("no_choices",), "choices"),
        ({"tools": (TOOL,), "tool_choice": ToolChoice("required")}, ("no_tool_choice",), "tool_choice"),
        ({"reasoning": Reasoning("low"), "stop": ("x",)}, ("no_stop_with_reasoning",), "stop"),
        ({"reasoning": Reasoning("low"), "presence_penalty": 1.0}, ("no_stop_with_reasoning",), "presence_penalty"),
    ],
)
def test_what_is_refused_by_name(fields: dict[str, Any], quirks: tuple[str, ...], param: str) -> None:
    turns = fields.pop("messages", ())
    with pytest.raises(GatewayError) as caught:
        FORMAT.write_ask(foreign(*turns, **fields), target(*quirks))

    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    ("asked", "paid", "written"), [(None, None, None), (100, None, 100), (None, 50, 50), (100, 50, 50), (10, 50, 10)]
)
def test_the_cap_is_what_is_paid_for(asked: int | None, paid: int | None, written: int | None) -> None:
    place = target(output_cap=paid, cap_field="max_completion_tokens")

    assert body_of(FORMAT.write_ask(foreign(output_cap=asked), place)).get("max_completion_tokens") == written


def test_a_stream_tells_its_usage() -> None:
    assert write(foreign(stream=True))["stream_options"] == {"include_usage": True}


def test_text_that_readers_of_lines_stumble_over_is_escaped() -> None:
    written = FORMAT.write_ask(foreign(Message("user", (Text("\ud83d \u2028"),))), target()).body

    assert b"\\ud83d \\u2028" in written


# -- a client of this format -------------------------------------------------------------------------------------------

Parts = st.SearchStrategy[dict[str, Any]]
words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
names = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
marks: Parts = st.one_of(
    st.just({}),
    st.sampled_from(["30m", "12h"]).map(lambda ttl: {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": ttl}}),
)


def marked(part: Parts) -> Parts:
    return st.builds(lambda one, mark: {**one, **mark}, part, marks)


text_parts = marked(words.map(lambda text: {"type": "text", "text": text}))
image_urls = st.sampled_from(["https://x/a.png", "data:image/png;base64,AAAA"])
image_parts = marked(
    st.builds(
        lambda url, detail: {"type": "image_url", "image_url": {"url": url, **detail}},
        image_urls,
        st.sampled_from([{}, {"detail": "low"}, {"detail": "high"}]),
    )
)
audio_parts = st.sampled_from(["wav", "mp3"]).map(
    lambda format: {"type": "input_audio", "input_audio": {"data": "AAAA", "format": format}}
)
file_parts = marked(
    st.sampled_from(
        [
            {"file_id": "file-1"},
            {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
            {"file_data": "data:text/plain;base64,AAAA", "filename": "a.txt"},
        ]
    ).map(lambda file: {"type": "file", "file": file})
)
text_content = st.one_of(words, st.lists(text_parts, min_size=1, max_size=3))
content = st.one_of(
    words, st.lists(st.one_of(text_parts, image_parts, audio_parts, file_parts), min_size=1, max_size=3)
)
named: Parts = st.one_of(st.just({}), names.map(lambda name: {"name": name}))
calls = st.builds(
    lambda id, name, text, custom, signed: {
        "id": f"call_{id}",
        **(
            {"type": "custom", "custom": {"name": name, "input": text}}
            if custom
            else {"type": "function", "function": {"name": name, "arguments": text}}
        ),
        **({"extra_content": {"google": {"thought_signature": "sig"}}} if signed else {}),
    },
    names,
    names,
    words,
    st.booleans(),
    st.booleans(),
)
thoughts = st.sampled_from(
    [
        {},
        {"reasoning_content": "t"},
        {
            "reasoning_content": "t",
            "reasoning_details": [
                {"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1", "index": 0},
                {"type": "reasoning.encrypted", "data": "b", "format": "openai-responses-v1", "id": "rs_1", "index": 1},
            ],
        },
    ]
)
assistants = st.builds(
    lambda told, made, thought, name: {"role": "assistant", "content": told, **made, **thought, **name},
    st.one_of(words, st.lists(text_parts, min_size=2, max_size=3)),
    st.one_of(
        st.just({}),
        st.lists(calls, min_size=1, max_size=2, unique_by=lambda call: str(call["id"])).map(
            lambda made: {"tool_calls": made}
        ),
    ),
    thoughts,
    named,
)
results = st.builds(lambda id, said: {"role": "tool", "tool_call_id": id, "content": said}, names, text_content)
users = st.builds(lambda said, name: {"role": "user", "content": said, **name}, content, named)
conversations = st.tuples(
    st.one_of(st.just([]), text_content.map(lambda said: [{"role": "system", "content": said}])),
    users,
    st.lists(
        st.one_of(users, assistants, results, words.map(lambda said: {"role": "system", "content": said})), max_size=4
    ),
).map(lambda parts: [*parts[0], parts[1], *parts[2]])
tools = st.lists(
    st.one_of(
        st.builds(
            lambda name, more: {"type": "function", "function": {"name": name, **more}},
            names,
            st.fixed_dictionaries(
                {}, optional={"description": words, "strict": st.booleans(), "parameters": st.just({"a": 1})}
            ),
        ),
        names.map(lambda name: {"type": "custom", "custom": {"name": name, "description": "d"}}),
        st.just(
            {
                "type": "custom",
                "custom": {
                    "name": "g",
                    "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "x"}},
                },
            }
        ),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda tool: str(tool[tool["type"]]["name"]),
)
wishes = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0.1, 0.9),
        "top_k": st.integers(1, 9),
        "presence_penalty": st.floats(0.1, 2),
        "frequency_penalty": st.floats(0.1, 2),
        "seed": st.integers(),
        "stop": st.lists(words, min_size=1, max_size=4),
        "n": st.integers(2, 4),
        "max_tokens": st.integers(1, 99),
        "logprobs": st.just(True),
        "top_logprobs": st.integers(1, 20),
        "response_format": st.sampled_from(
            [
                {"type": "json_object"},
                {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "description": "d", "schema": {"a": 1}, "strict": False},
                },
            ]
        ),
        "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
        "verbosity": st.sampled_from(["low", "high"]),
        "service_tier": st.sampled_from(["default", "flex", "priority"]),
        "metadata": st.dictionaries(names, words, min_size=1, max_size=2),
        "modalities": st.just(["text", "audio"]),
        "prompt_cache_key": words,
        "prompt_cache_options": st.just({"ttl": "30m"}),
        "safety_identifier": words,
        "parallel_tool_calls": st.just(False),
        "tools": tools,
    },
)
choices = st.sampled_from(["none", "required", "named", "allowed"])


def choose(request: dict[str, Any], choice: str) -> dict[str, Any]:
    """A choice among the request's tools, where it has some."""
    if "tools" not in request or choice in ("none", "required"):
        return {"tool_choice": choice} if "tools" in request else {}
    named = [{"type": tool["type"], tool["type"]: {"name": tool[tool["type"]]["name"]}} for tool in request["tools"]]
    if choice == "named":
        return {"tool_choice": named[0]}
    return {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": named}}}


def plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message without what means the same: one plain text for a string, details where a call's signature tells it."""
    said = message["content"]
    if isinstance(said, list) and len(said) == 1 and said[0].keys() == {"type", "text"}:
        message = {**message, "content": said[0]["text"]}
    if "reasoning_details" in message:
        kept = [entry for entry in message["reasoning_details"] if entry.get("format") != "google-gemini-v1"]
        message = {**message, "reasoning_details": kept}
        if not kept:
            del message["reasoning_details"]
    return message


@given(conversations, wishes, choices)
def test_the_same_request_comes_out(said: list[dict[str, Any]], wished: dict[str, Any], choice: str) -> None:
    request = {"messages": said, **wished, **choose(wished, choice)}
    ask = read(**json.loads(json.dumps(request)))
    written = FORMAT.write_ask(ask, target())
    body = body_of(written)

    assert written.dropped == ()
    expected = {**request, "model": "up", "messages": [plain(message) for message in said]}
    assert {**body, "messages": [plain(message) for message in body["messages"]]} == expected
    again = FORMAT.read_ask(FORMAT.read_request(written.body))
    assert again == Ask(**{**{name: getattr(ask, name) for name in Ask.__struct_fields__}, "model": "up"})
