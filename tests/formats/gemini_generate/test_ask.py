"""A client's request read into the canonical one: what is mapped, what is left out with notice, what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.conversation import (
    Ask,
    Audio,
    File,
    Image,
    Media,
    Message,
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
from app.formats.gemini_generate import FORMAT
from app.formats.gemini_generate.spelling import snake
from tests.formats.gemini_generate.shapes import ask

Fields = dict[str, Any]
PROOF = Signature("anthropic", "proof?>~")
SEALED = seal(PROOF, "google")
HIDDEN = seal(Signature("anthropic", "redacted:all"), "google")


def read(**fields: Any) -> Ask:
    return FORMAT.read_ask(ask(**fields))


def config(**fields: Any) -> Ask:
    return read(generationConfig=fields)


def read_parts(*parts: Fields, role: str = "user") -> tuple[Any, ...]:
    return read(contents=[{"role": role, "parts": list(parts)}]).messages[0].blocks


def refused(**fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        read(**fields)
    assert caught.value.status == 400
    assert caught.value.param is not None
    assert caught.value.param in caught.value.message
    return caught.value


def spelt(value: Any) -> Any:
    """The same with every name in snake case."""
    if isinstance(value, dict):
        return {snake(name): spelt(inner) for name, inner in value.items()}
    return [spelt(inner) for inner in value] if isinstance(value, list) else value


TOOL = {"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}}


@pytest.mark.parametrize("spelling", [lambda value: value, spelt], ids=["camelCase", "snake_case"])
@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"systemInstruction": {"parts": [{"text": "S"}, {"text": "T"}]}}, {"system": (Text("S"), Text("T"))}),
        ({"systemInstruction": {"role": "system", "parts": {"text": "S"}}}, {"system": (Text("S"),)}),
        ({"systemInstruction": "S"}, {"system": (Text("S"),)}),
        ({"tools": [{"functionDeclarations": [TOOL]}]}, {"tools": (Tool("f", "d", {"type": "object"}),)}),
        ({"tools": {"functionDeclarations": [{"name": "f"}]}}, {"tools": (Tool("f"),)}),
        ({"tools": [{"functionDeclarations": [TOOL]}], "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}}},
         {"tools": (Tool("f", "d", {"type": "object"}, strict=True),), "tool_choice": None}),
        ({"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}},
         {"tool_choice": ToolChoice("required", ("f",))}),
        ({"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}}, {"tool_choice": ToolChoice("none")}),
        ({"toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}}, {"tool_choice": None}),
        ({"serviceTier": "flex"}, {"service_tier": "flex"}),
        ({"serviceTier": "standard"}, {"service_tier": None}),
        ({"model": "models/other"}, {"model": "m"}),
        ({"generationConfig": {"maxOutputTokens": 9, "candidateCount": 2}}, {"output_cap": 9, "choices": 2}),
        ({"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": {"type": "array"}}},
         {"response_format": Schema({"type": "array"})}),
        ({"generationConfig": {"thinkingConfig": {"thinkingBudget": 5, "includeThoughts": True}}},
         {"reasoning": Reasoning(budget=5, show=True)}),
        ({"generationConfig": {"responseLogprobs": True, "logprobs": 3}}, {"logprobs": True, "top_logprobs": 3}),
    ],
)  # fmt: skip
def test_mapped(spelling: Any, fields: Fields, wanted: Fields) -> None:
    got = read(**spelling(fields))

    assert {name: getattr(got, name) for name in wanted} == wanted
    assert got.dropped == ()


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"temperature": 1}, {"temperature": 1.0}),
        ({"temperature": 0.5, "topP": 0.5, "topK": 40}, {"temperature": 0.5, "top_p": 0.5, "top_k": 40}),
        ({"topK": 40.0}, {"top_k": 40}),
        ({"presencePenalty": 0.5, "frequencyPenalty": -0.5}, {"presence_penalty": 0.5, "frequency_penalty": -0.5}),
        ({"seed": 7, "stopSequences": ["a", "b"]}, {"seed": 7, "stop": ("a", "b")}),
        ({"responseMimeType": "application/json"}, {"response_format": Schema(None)}),
        ({"responseModalities": ["TEXT", "IMAGE"]}, {"modalities": ("text", "image")}),
        ({"thinkingConfig": {"thinkingLevel": "XHIGH"}}, {"reasoning": Reasoning("xhigh", show=False)}),
        ({"thinkingConfig": {"thinkingLevel": "minimal"}}, {"reasoning": Reasoning("minimal", show=False)}),
        ({"thinkingConfig": {"thinkingBudget": 0}}, {"reasoning": Reasoning(budget=0, show=False)}),
        ({"thinkingConfig": {"includeThoughts": True}}, {"reasoning": Reasoning(show=True)}),
    ],
)
def test_the_configuration(fields: Fields, wanted: Fields) -> None:
    got = config(**fields)

    assert {name: getattr(got, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    "fields",
    [
        {"topP": 1, "presencePenalty": 0, "frequencyPenalty": 0.0, "candidateCount": 1, "responseLogprobs": False},
        {"responseMimeType": "text/plain", "responseModalities": ["TEXT"], "thinkingConfig": {}},
        {"thinkingConfig": {"includeThoughts": False}, "stopSequences": [], "seed": None, "speechConfig": None},
    ],
)
def test_what_asks_for_nothing_is_absent(fields: Fields) -> None:
    assert config(**fields) == read()


# -- turns ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ({"text": "a"}, Text("a")),
        ({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}, Image(Media("image/png", "AAAA"))),
        # google-genai encodes bytes in the URL-safe alphabet, which other vendors refuse.
        ({"inlineData": {"mimeType": "image/png", "data": "-_8="}}, Image(Media("image/png", "+/8="))),
        ({"inline_data": {"mime_type": "audio/wav", "data": "AAAA"}}, Audio(Media("audio/wav", "AAAA"))),
        ({"inlineData": {"mimeType": "application/pdf", "data": "AAAA", "displayName": "a.pdf"}},
         File(Media("application/pdf", "AAAA"), "a.pdf")),
        ({"fileData": {"mimeType": "image/png", "fileUri": "https://h/a"}}, Image(Media("image/png", url="https://h/a"))),
        ({"fileData": {"fileUri": "https://h/a.png?b"}}, Image(Media("image/png", url="https://h/a.png?b"))),
        ({"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a"}},
         File(Media(file_id="https://generativelanguage.googleapis.com/v1beta/files/a"))),
        ({"fileData": {"fileUri": "gs://b/a.png"}}, Image(Media("image/png", file_id="gs://b/a.png"))),
        ({"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}}, ToolCall("1", "f", '{"a":1}')),
        ({"function_call": {"name": "f"}}, ToolCall("call_1", "f", "{}")),
        ({"functionResponse": {"id": "1", "name": "f", "response": {"output": "o"}}},
         ToolResult("1", (Text("o"),), name="f")),
        ({"functionResponse": {"id": "1", "name": "f", "response": {"error": "e"}}},
         ToolResult("1", (Text("e"),), is_error=True, name="f")),
        ({"functionResponse": {"id": "1", "name": "f", "response": {"a": [1]}}},
         ToolResult("1", (Text('{"a":[1]}'),), name="f")),
        ({"functionResponse": {"id": "1", "name": "f"}}, ToolResult("1", (), name="f")),
        ({"functionResponse": {"id": "1", "name": "f", "response": {"result": 1},
                               "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}},
         ToolResult("1", (Text('{"result":1}'), Image(Media("image/png", "AAAA"))), name="f")),
    ],
)  # fmt: skip
def test_parts(part: Fields, block: object) -> None:
    assert read_parts(part) == (block,)


def test_turns() -> None:
    got = read(
        contents=[
            {"parts": [{"text": "a"}, {"text": "b"}]},
            {"role": "model", "parts": [{"text": "c"}]},
            {"role": "user", "parts": {"text": "d"}},
        ]
    )

    assert got.messages == (
        Message("user", (Text("a"), Text("b"))),
        Message("assistant", (Text("c"),)),
        Message("user", (Text("d"),)),
    )


def test_one_content_that_is_not_in_a_list() -> None:
    """So it stands in Google's own examples."""
    assert read(contents={"parts": {"text": "a"}}).messages == (Message("user", (Text("a"),)),)


def test_an_answer_that_was_streamed_comes_back_as_one_turn() -> None:
    """google-genai's chats send back each chunk as a content of its own."""
    chunks = [
        {"text": "I ", "thought": True},
        {"text": "think", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": SEALED},
        {"text": "Hel"},
        {"text": "lo"},
        {"functionCall": {"name": "f"}, "thoughtSignature": "AAAA"},
        {"text": ""},
    ]

    got = read(contents=[{"role": "model", "parts": [chunk]} for chunk in chunks])

    assert got.messages == (
        Message(
            "assistant",
            (
                Thinking("I think", PROOF),
                Text("Hello"),
                Thinking("", Signature("google", "AAAA")),
                ToolCall("call_1", "f", "{}"),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("part", "blocks"),
    [
        ({"text": "a", "thought": True}, (Thinking("a"),)),
        ({"text": "a", "thought": True, "thoughtSignature": "AAAA"}, (Thinking("a", Signature("google", "AAAA")),)),
        ({"text": "a", "thoughtSignature": "AAAA"}, (Thinking("", Signature("google", "AAAA")), Text("a"))),
        ({"text": "", "thoughtSignature": "AAAA"}, (Thinking("", Signature("google", "AAAA")),)),
        ({"thoughtSignature": "AAAA"}, (Thinking("", Signature("google", "AAAA")),)),
        ({"text": "a", "thoughtSignature": SEALED}, (Thinking("", PROOF), Text("a"))),
        # google-genai decodes what it gets, and encodes it again in the URL-safe alphabet.
        ({"text": "a", "thoughtSignature": SEALED.replace("+", "-").replace("/", "_")}, (Thinking("", PROOF), Text("a"))),
        ({"text": "", "thought": True, "thoughtSignature": HIDDEN},
         (Thinking("", Signature("anthropic", "all"), redacted=True),)),
    ],
)  # fmt: skip
def test_thoughts_and_signatures(part: Fields, blocks: tuple[object, ...]) -> None:
    assert "+" in SEALED or "/" in SEALED
    assert read_parts(part, role="model") == blocks


def test_calls_and_results_without_ids_find_each_other() -> None:
    calls = [{"functionCall": {"name": name}} for name in ("f", "g", "f")]
    results = [{"functionResponse": {"name": name, "response": {"output": name}}} for name in ("g", "f", "f")]

    got = read(contents=[{"role": "model", "parts": calls}, {"role": "user", "parts": [{"text": "so"}, *results]}])

    assert [block.id for block in got.messages[0].blocks if isinstance(block, ToolCall)] == [
        "call_1",
        "call_2",
        "call_3",
    ]
    results_read = got.messages[1].blocks[:3]
    assert [block.call_id for block in results_read if isinstance(block, ToolResult)] == ["call_2", "call_1", "call_3"]
    assert got.messages[1].blocks[3] == Text("so")


# -- schemas -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"type": "STRING"}, {"type": "string"}),
        ({"type": "object"}, {"type": "object"}),
        ({"type": "INTEGER", "nullable": True}, {"type": ["integer", "null"]}),
        ({"type": "STRING", "enum": ["a"], "nullable": True}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"anyOf": [{"type": "STRING"}], "nullable": True}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"any_of": [{"type": "STRING"}]}, {"anyOf": [{"type": "string"}]}),
        ({"type": "ARRAY", "items": {"type": "NUMBER"}, "minItems": "2"},
         {"type": "array", "items": {"type": "number"}, "minItems": 2}),
        ({"type": "OBJECT", "properties": {"b": {"type": "STRING"}, "min_items": {"type": "STRING"}},
          "propertyOrdering": ["min_items", "b"], "required": ["b"]},
         {"type": "object", "properties": {"min_items": {"type": "string"}, "b": {"type": "string"}}, "required": ["b"]}),
        ({"type": "STRING", "example": "x", "format": "date", "title": "t"},
         {"type": "string", "examples": ["x"], "format": "date", "title": "t"}),
        ({"defs": {"A": {"type": "STRING"}}, "ref": "#/$defs/A"}, {"$defs": {"A": {"type": "string"}}, "$ref": "#/$defs/A"}),
        ({"type": "OBJECT", "additionalProperties": {"type": "STRING"}},
         {"type": "object", "additionalProperties": {"type": "string"}}),
        ({"type": "TYPE_UNSPECIFIED"}, {}),
    ],
)  # fmt: skip
def test_openapi_schemas_become_json_schema(schema: Fields, wanted: Fields) -> None:
    assert config(responseMimeType="application/json", responseSchema=schema).response_format == Schema(wanted)
    (tool,) = read(tools=[{"functionDeclarations": [{"name": "f", "parameters": schema}]}]).tools
    assert isinstance(tool, Tool)
    assert tool.schema == wanted
    assert list(tool.schema.get("properties", ())) == list(wanted.get("properties", ()))


# -- what doesn't cross --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"safetySettings": [{"category": "c", "threshold": "OFF"}]}, "safetySettings"),
        ({"safety_settings": []}, "safetySettings"),
        ({"labels": {"a": "b"}}, "labels"),
        ({"store": True}, "store"),
        ({"toolConfig": {"retrievalConfig": {}}}, "toolConfig.retrievalConfig"),
        ({"generationConfig": {"mediaResolution": "LOW"}}, "generationConfig.mediaResolution"),
        (
            {"tools": [{"functionDeclarations": [{"name": "f", "response": {}}]}]},
            "tools[0].functionDeclarations[0].response",
        ),
        (
            {"contents": [{"role": "model", "parts": [{"executableCode": {"code": "1"}}]}]},
            "contents[0].parts[0].executableCode",
        ),
        ({"contents": [{"parts": [{"text": "a", "partMetadata": {}}]}]}, "contents[0].parts[0].partMetadata"),
    ],
)
def test_left_out_with_notice(fields: Fields, dropped: str) -> None:
    assert read(**fields).dropped == (dropped,)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"cachedContent": "cachedContents/a"}, "cachedContent"),
        ({"continuation_token": "a"}, "continuationToken"),
        ({"unheardOf": 1}, "unheardOf"),
        ({"tools": [{"googleSearch": {}}]}, "tools[0].googleSearch"),
        ({"tools": [{"code_execution": {}}]}, "tools[0].codeExecution"),
        ({"tools": [{"newTool": {}}]}, "tools[0].newTool"),
        ({"tools": [{"functionDeclarations": [{"name": "f", "behavior": "NON_BLOCKING"}]}]},
         "tools[0].functionDeclarations[0].behavior"),
        ({"toolConfig": {"other": 1}}, "toolConfig.other"),
        ({"generationConfig": {"speechConfig": {}}}, "generationConfig.speechConfig"),
        ({"generationConfig": {"unheardOf": 1}}, "generationConfig.unheardOf"),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, "generationConfig.responseMimeType"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}}]}]},
         "contents[0].parts[0].inlineData"),
        ({"contents": [{"parts": [{"fileData": {"mimeType": "video/mp4", "fileUri": "https://h/a"}}]}]},
         "contents[0].parts[0].fileData"),
        ({"contents": [{"parts": [{"text": "a", "videoMetadata": {}}]}]}, "contents[0].parts[0].videoMetadata"),
        ({"contents": [{"parts": [{"functionResponse": {"name": "f", "willContinue": True}}]}]},
         "contents[0].parts[0].functionResponse.willContinue"),
        ({"contents": [{"parts": [{"new": 1}]}]}, "contents[0].parts[0].new"),
    ],
)  # fmt: skip
def test_refused_by_name(fields: Fields, param: str) -> None:
    error = refused(**fields)

    assert (error.code, error.param) == ("field_not_supported", param)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"contents": [1]}, "contents[0]"),
        ({"contents": [{"parts": "hi"}]}, "contents[0].parts"),
        ({"contents": [{"role": "bot", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"parts": [1]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"text": 1}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"text": "a", "functionCall": {"name": "f"}}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"functionCall": {}}]}]}, "contents[0].parts[0].functionCall.name"),
        ({"contents": [{"parts": [{"functionCall": {"name": "f", "args": "{}"}}]}]},
         "contents[0].parts[0].functionCall.args"),
        ({"contents": [{"parts": [{"functionResponse": {"name": "f", "response": "x"}}]}]},
         "contents[0].parts[0].functionResponse.response"),
        ({"contents": [{"parts": [{"inlineData": {"data": "AAAA"}}]}]}, "contents[0].parts[0].inlineData.mimeType"),
        ({"systemInstruction": {"parts": [{"inlineData": {}}]}}, "systemInstruction.parts[0]"),
        ({"tools": "f"}, "tools"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "SOME"}}}, "toolConfig.functionCallingConfig.mode"),
        ({"serviceTier": "fast"}, "serviceTier"),
        ({"generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
        ({"generationConfig": {"topK": 1.5}}, "generationConfig.topK"),
        ({"generationConfig": {"stopSequences": "a"}}, "generationConfig.stopSequences"),
        ({"generationConfig": {"responseModalities": ["SMELL"]}}, "generationConfig.responseModalities"),
        ({"generationConfig": {"thinkingConfig": {"thinkingLevel": "SOME"}}},
         "generationConfig.thinkingConfig.thinkingLevel"),
        ({"generationConfig": {"thinkingConfig": {"thinkingBudget": -2}}},
         "generationConfig.thinkingConfig.thinkingBudget"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(fields: Fields, param: str) -> None:
    assert refused(**fields).param == param
