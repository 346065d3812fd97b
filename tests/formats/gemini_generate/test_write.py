"""A canonical request written for Google: what is mapped, what is left out with notice, what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import types

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
from app.formats.base import Target, Written
from app.formats.gemini_generate import FORMAT
from app.formats.gemini_generate.thoughts import SKIP_SIGNATURE
from tests.formats.gemini_generate.shapes import TARGET

Fields = dict[str, Any]
HI = Message("user", (Text("hi"),))
GOOGLE, FOREIGN = Signature("google", "AAAA"), Signature("anthropic", "proof")


def write(target: Target = TARGET, **fields: Any) -> Written:
    return FORMAT.write_ask(Ask(**{"format": "openai_chat", "model": "m", "messages": (HI,), **fields}), target)


def sent(**fields: Any) -> Fields:
    """The body, which the SDK's types have to know every field of."""
    body: Fields = json.loads(write(**fields).body)
    for content in body["contents"]:
        types.Content.model_validate(content)
    config = {name: value for name, value in body.items() if name not in ("contents", "generationConfig")}
    types.GenerateContentConfig.model_validate({**config, **body.get("generationConfig", {})})
    return body


def turns(*messages: Message, **fields: Any) -> list[Fields]:
    contents: list[Fields] = sent(messages=messages, **fields)["contents"]
    return contents


def model_parts(*blocks: Block, **fields: Any) -> list[Fields]:
    parts: list[Fields] = turns(Message("assistant", blocks), **fields)[0]["parts"]
    return parts


def refused(**fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        write(**fields)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"system": (Text("a"), Text("b"))}, {"systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}]}}),
        ({"tools": (Tool("f", "d", {"type": "object"}),)},
         {"tools": [{"functionDeclarations": [{"name": "f", "description": "d",
                                               "parametersJsonSchema": {"type": "object"}}]}]}),
        ({"tools": (Tool("f"),), "tool_choice": ToolChoice("required", ("f",))},
         {"tools": [{"functionDeclarations": [{"name": "f"}]}],
          "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}}),
        ({"tools": (Tool("f"),), "tool_choice": ToolChoice("none")},
         {"tools": [{"functionDeclarations": [{"name": "f"}]}], "toolConfig": {"functionCallingConfig": {"mode": "NONE"}}}),
        ({"tools": (Tool("f", strict=True),)},
         {"tools": [{"functionDeclarations": [{"name": "f"}]}],
          "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}}}),
        ({"tools": (Tool("f"),), "tool_choice": ToolChoice("auto", ("f",))},
         {"tools": [{"functionDeclarations": [{"name": "f"}]}],
          "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}}}),
        ({"tool_choice": ToolChoice("none")}, {}),
        ({"service_tier": "fast"}, {"serviceTier": "priority"}),
        ({"service_tier": "flex"}, {"serviceTier": "flex"}),
        ({"service_tier": "default"}, {}),
        ({"stream": True}, {}),
    ],
)  # fmt: skip
def test_mapped(fields: Fields, wanted: Fields) -> None:
    assert sent(**fields) == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **wanted}
    assert write(**fields).dropped == ()


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"temperature": 1.0, "top_p": 0.5, "top_k": 3}, {"temperature": 1.0, "topP": 0.5, "topK": 3}),
        ({"presence_penalty": 0.5, "frequency_penalty": 1.0, "seed": 3},
         {"presencePenalty": 0.5, "frequencyPenalty": 1.0, "seed": 3}),
        ({"stop": ("a",), "choices": 2}, {"stopSequences": ["a"], "candidateCount": 2}),
        ({"logprobs": True, "top_logprobs": 2}, {"responseLogprobs": True, "logprobs": 2}),
        ({"output_cap": 7}, {"maxOutputTokens": 7}),
        ({"response_format": Schema(None)}, {"responseMimeType": "application/json"}),
        ({"response_format": Schema({"type": "object"}, "n", strict=True)},
         {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}}),
        ({"modalities": ("text", "audio")}, {"responseModalities": ["TEXT", "AUDIO"]}),
        ({"reasoning": Reasoning("none")}, {"thinkingConfig": {"thinkingBudget": 0}}),
        ({"reasoning": Reasoning(budget=0)}, {"thinkingConfig": {"thinkingBudget": 0}}),
        ({"reasoning": Reasoning("minimal")}, {"thinkingConfig": {"thinkingLevel": "MINIMAL", "includeThoughts": True}}),
        ({"reasoning": Reasoning("xhigh")}, {"thinkingConfig": {"thinkingLevel": "XHIGH", "includeThoughts": True}}),
        ({"reasoning": Reasoning("max", show=False)}, {"thinkingConfig": {"thinkingLevel": "XHIGH"}}),
        ({"reasoning": Reasoning(budget=500)}, {"thinkingConfig": {"thinkingBudget": 500, "includeThoughts": True}}),
        ({"reasoning": Reasoning("low", budget=500)}, {"thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True}}),
        ({"reasoning": Reasoning(adaptive=True)}, {"thinkingConfig": {"thinkingBudget": -1, "includeThoughts": True}}),
        ({"reasoning": Reasoning(show=True)}, {"thinkingConfig": {"includeThoughts": True}}),
    ],
)  # fmt: skip
def test_the_configuration(fields: Fields, wanted: Fields) -> None:
    assert sent(**fields)["generationConfig"] == wanted


def test_the_lower_cap_counts() -> None:
    target = Target("up", 5, 4096)

    assert json.loads(write(target, output_cap=9).body)["generationConfig"] == {"maxOutputTokens": 5}
    assert json.loads(write(target).body)["generationConfig"] == {"maxOutputTokens": 5}
    assert json.loads(write(target, output_cap=3).body)["generationConfig"] == {"maxOutputTokens": 3}


# -- turns ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (Image(Media("image/png", "AAAA"), "auto"), {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
        (
            Image(Media(url="https://h/a.webp?x=1")),
            {"fileData": {"mimeType": "image/webp", "fileUri": "https://h/a.webp?x=1"}},
        ),
        (Image(Media(url="https://h/a")), {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://h/a"}}),
        (Audio(Media("audio/wav", "AAAA")), {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}),
        (File(Media("application/pdf", "AAAA"), "n"), {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}}),
        (File(Media("text/plain", "ü", text=True)), {"inlineData": {"mimeType": "text/plain", "data": "w7w="}}),
        (File(Media(file_id="gs://b/a")), {"fileData": {"fileUri": "gs://b/a"}}),
    ],
)
def test_media(block: Block, part: Fields) -> None:
    assert turns(Message("user", (block,))) == [{"role": "user", "parts": [part]}]


def test_turns_of_one_role_are_one_and_results_go_first() -> None:
    got = turns(
        Message("user", (Text("a"),)),
        Message("system", (Text("now"),)),
        Message("assistant", (ToolCall("1", "f", "{}"), ToolCall("2", "g", ""))),
        Message("user", (Text("so"),)),
        Message("user", (ToolResult("1", (Text("x"),)), ToolResult("2", (Text("y"),)))),
        Message("user", ()),
        Message("assistant", (Text(""),)),
    )

    assert [turn["role"] for turn in got] == ["user", "model", "user"]
    assert got[0]["parts"] == [{"text": "a"}, {"text": "now"}]
    assert [list(part) for part in got[2]["parts"]] == [["functionResponse"], ["functionResponse"], ["text"]]


def test_system_alone_is_the_users_turn() -> None:
    got = sent(messages=(), system=(Text("a"),))

    assert got == {"contents": [{"role": "user", "parts": [{"text": "a"}]}]}


@pytest.mark.parametrize(
    ("result", "response"),
    [
        (ToolResult("1", (Text("22"),)), {"output": "22"}),
        (ToolResult("1", (Text('{"a": 1}'),)), {"a": 1}),
        (ToolResult("1", (Text("[1]"),)), {"output": "[1]"}),
        (ToolResult("1", (Text("a"), Text("b"))), {"output": "a\nb"}),
        (ToolResult("1", ()), {}),
        (ToolResult("1", (Text("no"),), is_error=True), {"error": "no"}),
        (ToolResult("1", (Text('{"a":1}'),), is_error=True), {"error": {"a": 1}}),
        (ToolResult("1", (), is_error=True), {"error": ""}),
    ],
)
def test_results(result: ToolResult, response: Fields) -> None:
    (_, user) = turns(Message("assistant", (ToolCall("1", "f", "{}"),)), Message("user", (result,)))

    assert user["parts"] == [{"functionResponse": {"id": "1", "name": "f", "response": response}}]


def test_pictures_in_results() -> None:
    result = ToolResult("1", (Text("see"), Image(Media("image/png", "AAAA"))), name="f")

    (user,) = turns(Message("user", (result,)))

    assert user["parts"][0]["functionResponse"]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]


def test_a_result_without_a_call() -> None:
    error = refused(
        messages=(Message("user", (ToolResult("9", (Text("x"),)),)),), fields={"tool_result": "messages[].tool"}
    )

    assert (error.param, error.code) == ("messages[].tool", "invalid_value")


@pytest.mark.parametrize("arguments", ["{", "[]", "1", '"a"'])
def test_arguments_must_be_an_object(arguments: str) -> None:
    error = refused(messages=(Message("assistant", (ToolCall("1", "f", arguments),)),))

    assert (error.param, error.code) == ("tool_call", "invalid_value")


# -- signatures ----------------------------------------------------------------------------------------------------------


def test_googles_signatures_go_back_where_they_were() -> None:
    blocks = (
        Thinking("hm"),
        Thinking("", GOOGLE),
        ToolCall("1", "f", "{}"),
        ToolCall("2", "f", "{}"),
        Thinking("", GOOGLE),
    )

    assert model_parts(*blocks) == [
        {"text": "hm", "thought": True},
        {"functionCall": {"id": "1", "name": "f", "args": {}}, "thoughtSignature": "AAAA"},
        {"functionCall": {"id": "2", "name": "f", "args": {}}},
        {"text": "", "thoughtSignature": "AAAA"},
    ]
    assert model_parts(Thinking("hm", GOOGLE)) == [{"text": "hm", "thought": True, "thoughtSignature": "AAAA"}]
    assert model_parts(Thinking("", GOOGLE), Thinking("hm"), Text("a")) == [
        {"text": "", "thoughtSignature": "AAAA"},
        {"text": "hm", "thought": True},
        {"text": "a"},
    ]


@pytest.mark.parametrize("redacted", [False, True])
@pytest.mark.parametrize("words", ["", "hm"])
def test_google_is_never_given_anothers_signature(words: str, redacted: bool) -> None:
    blocks = (Thinking(words, FOREIGN, redacted=redacted), Text("a"), ToolCall("1", "f", "{}"))
    written = write(messages=(Message("assistant", blocks),), fields={"thinking": "reasoning_details"})

    assert json.loads(written.body)["contents"][0]["parts"] == [
        {"text": "a"},
        {"functionCall": {"id": "1", "name": "f", "args": {}}, "thoughtSignature": SKIP_SIGNATURE},
    ]
    assert written.dropped == ("reasoning_details",)


def test_a_call_that_no_gemini_made_is_marked_in_every_turn() -> None:
    call, result = ToolCall("1", "f", "{}"), Message("user", (ToolResult("1", (Text("x"),)),))
    got = turns(Message("assistant", (call, call)), result, Message("assistant", (call,)), result)

    assert [[part.get("thoughtSignature") for part in turn["parts"]] for turn in got if turn["role"] == "model"] == [
        [SKIP_SIGNATURE, None],
        [SKIP_SIGNATURE],
    ]


def test_googles_own_clients_sign_for_themselves() -> None:
    assert "thoughtSignature" not in model_parts(ToolCall("1", "f", "{}"), format="gemini_generate")[0]


# -- what can't be carried -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"user": "u"}, "user"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"verbosity": "low"}, "verbosity"),
        ({"cache": Cache()}, "cache"),
        ({"cache_key": "k"}, "cache_key"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"messages": (Message("user", (Text("a", cache=Cache()),)),)}, "cache_point"),
        ({"messages": (Message("user", (Text("a"),), "Ann"),)}, "name"),
        ({"messages": (Message("user", (Image(Media("image/png", "AAAA"), "low"),)),)}, "image_detail"),
        ({"messages": (HI, Message("assistant", (Text("a", (Citation("https://h"),)),)))}, "citations"),
        ({"messages": (HI, Message("assistant", (Opaque("openai_responses", "input[1]", {}), Text("a"))))}, "input[1]"),
        ({"dropped": ("logit_bias",)}, "logit_bias"),
    ],
)
def test_left_out_with_notice(fields: Fields, dropped: str) -> None:
    assert write(**fields).dropped == (dropped,)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": (Tool("f"),), "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tools": (Tool("f", custom=True),)}, "tool_custom"),
        ({"tools": (Opaque("anthropic_messages", "tools[0].type", {}),)}, "tools[0].type"),
        ({"modalities": ("text", "smell")}, "modalities"),
        ({"messages": (Message("user", (File(Media(file_id="file-1")),)),)}, "file_id"),
        ({"messages": (Message("user", (Opaque("anthropic_messages", "messages[0].x", {}),)),)}, "messages[0].x"),
        ({"messages": (Message("assistant", (ToolCall("1", "f", "text", custom=True),)),)}, "tool_custom"),
    ],
)
def test_refused_by_name(fields: Fields, param: str) -> None:
    error = refused(**fields)

    assert (error.code, error.param) == ("field_not_supported", param)


def test_no_switch_is_asked_for_where_there_are_no_tools() -> None:
    assert write(parallel_tool_calls=False).dropped == ()


def test_refusals_are_text_and_half_characters_stay_escaped() -> None:
    written = write(messages=(Message("assistant", (Refusal("No \ud83d\u2028"),)),))

    assert b"No \\ud83d\\u2028" in written.body
