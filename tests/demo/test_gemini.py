"""The official SDK takes the demo for Gemini, and the demo refuses what Gemini would."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
import pytest
import tiktoken
from google import genai
from google.genai import errors, types

from app.demo.answers import DEFAULT_TEXT, ENCODING
from tests.demo.process import DemoProcess
from tests.demo.test_anthropic import PNG
from tests.demo.wire import WireAnswer, call_path

encoding = tiktoken.get_encoding(ENCODING)

HI: dict[str, Any] = {"role": "user", "parts": [{"text": "hi"}]}
WEATHER: dict[str, Any] = {
    "name": "weather",
    "parametersJsonSchema": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}
CLOCK: dict[str, Any] = {
    "name": "clock",
    "parameters": {"type": "OBJECT", "properties": {"zone": {"type": "STRING"}}},
}
TOOLS: Any = [{"functionDeclarations": [WEATHER, CLOCK]}]
KEY = {"x-goog-api-key": "k-test"}


@pytest.fixture(scope="module")
async def sdk(demo_process: DemoProcess) -> AsyncIterator[Any]:
    http = httpx.AsyncClient()
    options = types.HttpOptions(base_url=demo_process.url, httpx_async_client=http)
    async with genai.Client(api_key="k-test", http_options=options).aio as client, http:
        yield client


async def generate(sdk: Any, options: str = "", contents: Any = "hi", **config: Any) -> types.GenerateContentResponse:
    model = quote(f"demo?{options}", safe="")
    answer: types.GenerateContentResponse = await sdk.models.generate_content(
        model=model, contents=contents, config=config
    )
    return answer


async def stream(
    sdk: Any, options: str = "", contents: Any = "hi", **config: Any
) -> list[types.GenerateContentResponse]:
    model = quote(f"demo?{options}", safe="")
    chunks = await sdk.models.generate_content_stream(model=model, contents=contents, config=config)
    return [chunk async for chunk in chunks]


def post(demo: DemoProcess, body: dict[str, Any], path: str = "/v1beta/models/demo:generateContent") -> WireAnswer:
    return call_path(demo, path, body, KEY)


def ask(**fields: Any) -> dict[str, Any]:
    return {"contents": [HI], **fields}


def parts_of(*answers: types.GenerateContentResponse) -> list[types.Part]:
    contents = [answer.candidates[0].content for answer in answers if answer.candidates]
    return [part for content in contents if content is not None for part in content.parts or ()]


def told(*answers: types.GenerateContentResponse) -> dict[str, Any]:
    """What has to be the same of a whole and a streamed answer."""
    parts, last = parts_of(*answers), answers[-1]
    candidate = last.candidates[0] if last.candidates else None
    return {
        "thought": "".join(part.text or "" for part in parts if part.thought),
        "text": "".join(part.text or "" for part in parts if not part.thought),
        "calls": [part.model_dump() for part in parts if part.function_call is not None],
        "signed": [part.thought_signature for part in parts if part.thought_signature and not part.function_call],
        "finish": None if candidate is None else candidate.finish_reason,
        "usage": last.usage_metadata,
        "blocked": last.prompt_feedback,
        "model": last.model_version,
    }


async def test_plain(sdk: Any) -> None:
    answer = await generate(sdk)

    assert answer.text == DEFAULT_TEXT
    assert answer.model_version == "demo"
    usage = answer.usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count) == (8, 16, 24)
    assert usage.thoughts_token_count is None


@pytest.mark.parametrize(
    ("options", "config"),
    [
        ("", {}),
        ("tokens=300", {"max_output_tokens": 40}),
        ("reply=one+two+STOP+three", {"stop_sequences": ["STOP"]}),
        ("tool=1", {"tools": TOOLS}),
        ("tool=3&reply=Let+me+see&call_ids=0", {"tools": TOOLS}),
        ("reasoning=12", {"thinking_config": {"include_thoughts": True}}),
        ("reasoning=12&tool=2", {"tools": TOOLS, "thinking_config": {"thinking_level": "HIGH"}}),
        ("refuse=1", {}),
        ("blocked=1", {}),
        ("finish=RECITATION", {}),
        ("cached=3&split=1", {"candidate_count": 2}),
        ("comments=1&gzip=1", {}),
    ],
)
async def test_whole_and_streamed_answers_agree(sdk: Any, options: str, config: dict[str, Any]) -> None:
    assert told(await generate(sdk, options, **config)) == told(*await stream(sdk, options, **config))


async def test_a_cap_ends_the_text(sdk: Any) -> None:
    answer = await generate(sdk, "tokens=300", max_output_tokens=40)

    assert answer.candidates is not None
    assert answer.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert len(encoding.encode(answer.text or "")) == 40


async def test_a_stop_sequence_ends_the_text_before_it(sdk: Any) -> None:
    answer = await generate(sdk, "reply=one+two+STOP+three", stop_sequences=["three", "STOP"])

    assert told(answer)["text"] == "one two "
    assert told(answer)["finish"] == types.FinishReason.STOP


async def test_thoughts_stand_beside_the_candidates(sdk: Any) -> None:
    answer = await generate(sdk, "reasoning=9", thinking_config={"include_thoughts": True})

    thought, text = parts_of(answer)
    assert len(encoding.encode(thought.text or "")) == 9
    assert text.thought_signature
    usage = answer.usage_metadata
    assert usage is not None
    assert (usage.candidates_token_count, usage.thoughts_token_count, usage.total_token_count) == (16, 9, 33)
    hidden = await generate(sdk, "reasoning=9")
    assert [part.thought for part in parts_of(hidden)] == [None]


async def test_parallel_functions_are_called_and_answered(sdk: Any) -> None:
    answer = await generate(sdk, "tool=3", tools=TOOLS)

    calls = answer.function_calls or []
    assert [(call.name, call.args) for call in calls] == [
        ("weather", {"city": "demo", "days": 1}),
        ("clock", {"zone": "demo 2"}),
        ("weather", {"city": "demo 3", "days": 3}),
    ]
    assert len({call.id for call in calls}) == 3
    assert told(answer)["finish"] == types.FinishReason.STOP
    assert [bool(part.thought_signature) for part in parts_of(answer)] == [True, False, False]
    assert answer.candidates is not None
    results = [types.Part.from_function_response(name=call.name or "", response={"output": "fine"}) for call in calls]
    turns: list[Any] = [HI, answer.candidates[0].content, types.Content(role="user", parts=results)]
    assert (await generate(sdk, "tool=3&strict_signatures=1", turns, tools=TOOLS)).text == DEFAULT_TEXT


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"mode": "ANY"}, ["weather"]),
        ({"mode": "ANY", "allowed_function_names": ["clock"]}, ["clock"]),
        ({"mode": "NONE"}, []),
        ({"mode": "AUTO"}, ["weather", "clock"]),
    ],
)
async def test_tool_config(sdk: Any, choice: dict[str, Any], names: list[str]) -> None:
    options = "tool=2" if choice["mode"] in ("NONE", "AUTO") else ""
    answer = await generate(sdk, options, tools=TOOLS, tool_config={"function_calling_config": choice})

    assert [call.name for call in answer.function_calls or []] == names


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        (None, "Function call is missing a thought_signature"),
        ("c2ln", "Corrupted thought signature"),
        ("skip_thought_signature_validator", None),
        ("another", "Corrupted thought signature"),
    ],
)
def test_signatures_are_checked_on_demand(demo: DemoProcess, signature: str | None, words: str | None) -> None:
    body = ask(tools=TOOLS)
    called = post(demo, body, "/v1beta/models/demo%3Ftool=2:generateContent").json["candidates"][0]["content"]
    genuine = called["parts"][0].pop("thoughtSignature")
    if signature == "another":  # of another call
        called["parts"][0]["functionCall"]["args"]["city"] = "Paris"
        called["parts"][0]["thoughtSignature"] = genuine
    elif signature is not None:
        called["parts"][0]["thoughtSignature"] = signature
    results: Any = [{"functionResponse": {"name": name, "response": {}}} for name in ("weather", "clock")]
    turns = {**body, "contents": [HI, called, {"role": "user", "parts": results}]}

    assert post(demo, turns).status == 200
    answer = post(demo, turns, "/v1beta/models/demo%3Fstrict_signatures=1:generateContent")
    assert answer.status == (200 if words is None else 400)
    if words is not None:
        assert words in answer.json["error"]["message"]
    # A turn that is over is not looked at.
    turns["contents"] += [{"role": "model", "parts": [{"text": "fine"}]}, HI]
    del called["parts"][0]["functionCall"]["args"]
    called["parts"][0].pop("thoughtSignature", None)
    assert post(demo, turns, "/v1beta/models/demo%3Fstrict_signatures=1:generateContent").status == 200


async def test_structured_answers(sdk: Any) -> None:
    schema = {"type": "object", "properties": {"kind": {"enum": ["a"]}, "n": {"type": "integer", "maximum": 0}}}
    answer = await generate(sdk, response_mime_type="application/json", response_json_schema=schema)
    assert json.loads(answer.text or "") == {"kind": "a", "n": 0}

    answer = await generate(sdk, response_mime_type="application/json", response_schema=CLOCK["parameters"])
    assert json.loads(answer.text or "") == {"zone": "demo"}
    assert json.loads((await generate(sdk, response_mime_type="application/json")).text or "") == {}


async def test_refusal_and_blocked_prompt(sdk: Any) -> None:
    refused, blocked = await generate(sdk, "refuse=1"), await generate(sdk, "blocked=1")

    assert (told(refused)["finish"], refused.text) == (types.FinishReason.SAFETY, None)
    assert blocked.candidates is None
    assert blocked.prompt_feedback is not None
    assert blocked.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT


async def test_count_tokens_and_models(sdk: Any) -> None:
    assert (await sdk.models.count_tokens(model="demo", contents="hi")).total_tokens == 8
    assert "models/demo" in [model.name async for model in await sdk.models.list()]
    assert (await sdk.models.get(model="demo")).name == "models/demo"


@pytest.mark.parametrize(
    ("options", "error", "status"),
    [
        ("status=400", errors.ClientError, "INVALID_ARGUMENT"),
        ("status=403", errors.ClientError, "PERMISSION_DENIED"),
        ("status=429", errors.ClientError, "RESOURCE_EXHAUSTED"),
        ("status=503", errors.ServerError, "UNAVAILABLE"),
        ("status=503&body=array_error", errors.ServerError, "UNAVAILABLE"),
    ],
)
@pytest.mark.parametrize("way", [generate, stream])
async def test_errors(sdk: Any, options: str, error: type[errors.APIError], status: str, way: Any) -> None:
    with pytest.raises(error) as caught:
        await way(sdk, options)

    assert caught.value.status == status


async def test_a_stream_tells_of_an_error_in_its_middle(sdk: Any) -> None:
    with pytest.raises(errors.ServerError) as caught:
        await stream(sdk, "error_chunk=3")

    assert (caught.value.code, caught.value.status) == (503, "UNAVAILABLE")


@pytest.mark.parametrize("options", ["cut=2", "drop=1", "malformed=2"])
async def test_torn_streams(sdk: Any, options: str) -> None:
    # What the SDK says of broken JSON is an error of its own that says no more than that.
    with pytest.raises((httpx.RemoteProtocolError, errors.UnknownApiResponseError)):
        await stream(sdk, options)


def test_without_sse_a_stream_is_an_array(demo: DemoProcess) -> None:
    path = "/v1beta/models/demo%3Ftokens=3{}:streamGenerateContent"
    whole, broken = post(demo, ask(), path.format("")), post(demo, ask(), path.format("&error_chunk=2"))

    assert whole.headers["content-type"] == "application/json"
    texts = [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in whole.json]
    assert texts == ["the", " demo", " upstream", ""]
    assert [chunk["usageMetadata"]["totalTokenCount"] for chunk in whole.json] == [9, 10, 11, 11]
    assert broken.json[2]["error"]["status"] == "UNAVAILABLE"


CALL = {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {}}}]}
RESPONSE = {"functionResponse": {"name": "weather", "response": {"output": "x"}}}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model_name": "x"}, 'Unknown name "model_name": Cannot find field.'),
        (
            {"generationConfig": {"max_tokens": 5}},
            "Unknown name \"max_tokens\" at 'generation_config': Cannot find field.",
        ),
        (
            {"generationConfig": {"maxOutputTokens": "5"}},
            "Invalid value at 'generation_config.max_output_tokens' (TYPE_INT32)",
        ),
        ({"contents": None}, "* GenerateContentRequest.contents: contents is not specified"),
        ({"contents": []}, "* GenerateContentRequest.contents: contents is not specified"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "Please use a valid role: user, model."),
        ({"contents": [{"role": "user", "parts": []}]}, "contents[0].parts: contents.parts must not be empty"),
        ({"contents": [{"parts": [{"thought": True}]}]}, "contents[0].parts[0].data: required oneof field"),
        (
            {"contents": [{"parts": [{"text": "x", "fileData": {"fileUri": "https://x"}}]}]},
            "oneof field 'data' is already set",
        ),
        ({"contents": [HI, CALL, {"parts": [{"functionResponse": {"response": {}}}]}]}, "name: Name cannot be empty"),
        (
            {"contents": [HI, CALL, HI]},
            "number of function response parts is equal to the number of function call parts",
        ),
        ({"contents": [HI, CALL, {"parts": [RESPONSE, RESPONSE]}]}, "number of function response parts is equal"),
        ({"contents": [{"parts": [RESPONSE]}]}, "function response turn comes immediately after a function call turn"),
        ({"contents": [CALL, {"parts": [RESPONSE]}]}, "function call turn comes immediately after a user turn"),
        ({"tools": [{"functionDeclarations": [{"name": "a b"}]}]}, "Invalid function name"),
        ({"tools": [{"functionDeclarations": [WEATHER, WEATHER]}]}, "Duplicate function declaration found: weather"),
        (
            {"tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {}}}]}]},
            "function_declarations[0].parameters.properties: should be non-empty for OBJECT type",
        ),
        (
            {"generationConfig": {"responseSchema": {"type": "OBJECT", "properties": {"a": {"$ref": "x"}}}}},
            "Unknown name \"$ref\" at 'generation_config.response_schema.properties[0].value'",
        ),
        (
            {"generationConfig": {"responseSchema": {"type": ["string", "null"]}}},
            "'generation_config.response_schema.type' is not repeating, cannot start list.",
        ),
        (
            {"generationConfig": {"responseJsonSchema": {"type": "object"}}},
            "needs the response mime type application/json",
        ),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": 5, "thinkingLevel": "LOW"}}},
            "only one of thinking budget and thinking level",
        ),
        ({"generationConfig": {"stopSequences": list("abcdef")}}, "stop_sequences"),
        (
            {
                "tools": TOOLS,
                "toolConfig": {"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["clock"]}},
            },
            "Allowed function names should be set only when function calling mode is ANY",
        ),
        (
            {"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "MAYBE"}]},
            "Invalid value at 'safety",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(demo: DemoProcess, fields: dict[str, Any], words: str) -> None:
    answer = post(demo, ask(**fields))

    assert answer.status == 400
    assert (answer.json["error"]["code"], answer.json["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert words in answer.json["error"]["message"]


def test_snake_case_is_as_good(demo: DemoProcess) -> None:
    body = {
        "contents": [{"role": "user", "parts": [{"inline_data": {"mime_type": "image/png", "data": PNG}}]}],
        "system_instruction": {"parts": [{"text": "Be brief."}]},
        "generation_config": {"max_output_tokens": 3, "thinking_config": {"thinking_budget": 0}},
        "tools": [{"function_declarations": [WEATHER]}],
    }
    answer = post(demo, body)

    assert answer.status == 200
    usage = answer.json["usageMetadata"]
    assert usage["promptTokenCount"] == 3 + (3 + 1 + 85) + (3 + 1 + len(encoding.encode("Be brief.")))
    assert usage["candidatesTokenCount"] == 3


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        ({"mimeType": "image/png", "data": PNG}, None),
        ({"mimeType": "image/gif", "data": PNG}, "Unsupported MIME type: image/gif"),
        ({"mimeType": "image/jpeg", "data": PNG}, "Unable to process input image"),
        ({"mimeType": "image/png", "data": "%%%"}, "Base64 decoding failed"),
        ({"data": PNG}, "MIME type is required"),
    ],
)
def test_images(demo: DemoProcess, blob: dict[str, Any], words: str | None) -> None:
    answer = post(demo, ask(contents=[{"parts": [{"inlineData": blob}]}]))

    assert answer.status == (200 if words is None else 400)
    assert words is None or words in answer.json["error"]["message"]


@pytest.mark.parametrize("version", ["v1", "v1beta"])
@pytest.mark.parametrize("query", ["key=k-test", "alt=sse"])
def test_keys(demo: DemoProcess, version: str, query: str) -> None:
    path = f"/{version}/models/demo:generateContent?{query}"
    answer = call_path(demo, path, ask(), {})

    if "key" in query:
        assert answer.status == 200
    else:
        assert (answer.status, answer.json["error"]["status"]) == (403, "PERMISSION_DENIED")


def test_images_are_still_made(demo: DemoProcess) -> None:
    body = ask(generationConfig={"responseModalities": ["TEXT", "IMAGE"]})
    answer = post(demo, body, "/v1beta/models/demo%3Fseconds=0:generateContent")

    assert answer.json["candidates"][0]["content"]["parts"][0]["inlineData"]["mimeType"] == "image/png"
