"""The official SDK takes the demo for OpenAI's Responses, and the demo refuses what OpenAI would."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx
import openai
import pytest
import tiktoken
from openai.types.responses import Response

from app.demo.answers import DEFAULT_TEXT, ENCODING
from tests.demo.process import DemoProcess
from tests.demo.test_anthropic import PNG
from tests.demo.wire import HEADERS, WireAnswer, call_path

encoding = tiktoken.get_encoding(ENCODING)

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}
CLOCK: dict[str, Any] = {
    "type": "function",
    "name": "clock",
    "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}},
}
TOOLS = [WEATHER, CLOCK]


@pytest.fixture(scope="module")
async def sdk(demo_process: DemoProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{demo_process.url}/v1",
        api_key="sk-test",
        max_retries=0,
        http_client=httpx.AsyncClient(),
    ) as client:
        yield client


async def create(sdk: openai.AsyncOpenAI, options: str = "", given: Any = "hi", **fields: Any) -> Response:
    response: Response = await sdk.responses.create(model=f"demo?{options}", input=given, **fields)
    return response


async def read_events(sdk: openai.AsyncOpenAI, options: str = "", given: Any = "hi", **fields: Any) -> list[Any]:
    stream = await sdk.responses.create(model=f"demo?{options}", input=given, stream=True, **fields)
    return [event async for event in stream]


async def stream(sdk: openai.AsyncOpenAI, options: str = "", given: Any = "hi", **fields: Any) -> Response:
    last = (await read_events(sdk, options, given, **fields))[-1]
    response: Response = last.response
    return response


def post(demo: DemoProcess, body: dict[str, Any], path: str = "/v1/responses") -> WireAnswer:
    return call_path(demo, path, body, HEADERS)


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": "demo", "input": "hi", **fields}


def shown(response: Response) -> dict[str, Any]:
    """What has to be the same of a whole and a streamed answer."""
    told = response.model_dump(exclude={"id", "created_at", "completed_at"}, exclude_unset=True)
    for item in told["output"]:
        del item["id"]
        item.pop("encrypted_content", None)
    return told


async def test_plain(sdk: openai.AsyncOpenAI) -> None:
    response = await create(sdk)

    assert (response.output_text, response.status, response.model) == (DEFAULT_TEXT, "completed", "demo")
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (8, 16, 24)
    assert response._request_id is not None


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ("", {"instructions": "Be brief.", "metadata": {"a": "b"}}),
        ("tokens=300", {"max_output_tokens": 40}),
        ("tool=1", {"tools": TOOLS}),
        ("tool=3&reply=Let+me+see", {"tools": TOOLS}),
        ("reasoning=12", {"reasoning": {"effort": "high", "summary": "auto"}}),
        ("reasoning=12&tool=2", {"tools": TOOLS}),
        ("refuse=1", {}),
        ("citations=1", {}),
        ("finish=content_filter", {}),
        ("split=1&crlf=1&cached=3", {}),
        ("comments=1&gzip=1&usage=huge", {}),
    ],
)
async def test_whole_and_streamed_answers_agree(sdk: openai.AsyncOpenAI, options: str, fields: dict[str, Any]) -> None:
    assert shown(await create(sdk, options, **fields)) == shown(await stream(sdk, options, **fields))


async def test_the_stream_helper_assembles_the_same(sdk: openai.AsyncOpenAI) -> None:
    tools: Any = TOOLS
    async with sdk.responses.stream(model="demo?tool=2&reply=ok&reasoning=3", input="hi", tools=tools) as events:
        final = await events.get_final_response()

    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]


async def test_events_of_a_stream(sdk: openai.AsyncOpenAI) -> None:
    asked: dict[str, Any] = {"tools": TOOLS, "reasoning": {"summary": "auto"}}
    events = await read_events(sdk, "tool=1&reply=ok&reasoning=1&chunks=1&citations=1", **asked)

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.annotation.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert [event.output_index for event in events if hasattr(event, "output_index")] == [0] * 6 + [1] * 7 + [2] * 4
    assert events[0].response.usage is None


async def test_a_cap_ends_the_text(sdk: openai.AsyncOpenAI) -> None:
    response = await create(sdk, "tokens=300&reasoning=5", max_output_tokens=40)

    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert len(encoding.encode(response.output_text)) == 35
    assert response.usage is not None
    assert (response.usage.output_tokens, response.usage.output_tokens_details.reasoning_tokens) == (40, 5)


@pytest.mark.parametrize("stored", [True, False])
async def test_parallel_functions_are_called_and_answered(sdk: openai.AsyncOpenAI, stored: bool) -> None:
    response = await create(sdk, "tool=3&reasoning=4", tools=TOOLS, store=stored)

    calls = [item for item in response.output if item.type == "function_call"]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("weather", {"city": "demo", "days": 1}),
        ("clock", {"zone": "demo 2"}),
        ("weather", {"city": "demo 3", "days": 3}),
    ]
    assert len({call.call_id for call in calls}) == 3
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "fine"} for call in calls]
    if stored:
        answer = await create(sdk, "tool=3", results, tools=TOOLS, previous_response_id=response.id)
        assert answer.usage is not None
        assert answer.usage.input_tokens > 8 + 9
    else:
        made = [item.model_dump(exclude_none=True) for item in response.output]
        answer = await create(sdk, "tool=3", [{"role": "user", "content": "hi"}, *made, *results], tools=TOOLS)
    assert answer.output_text == DEFAULT_TEXT


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", ["weather"]),
        ({"type": "function", "name": "clock"}, ["clock"]),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "clock"}]}, ["clock"]),
        ("none", []),
        ("auto", ["weather"]),
    ],
)
async def test_tool_choice(sdk: openai.AsyncOpenAI, choice: Any, names: list[str]) -> None:
    options = "tool=2" if choice in ("none", "auto") else ""
    response = await create(sdk, options, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False)

    assert [item.name for item in response.output if item.type == "function_call"] == names


async def test_reasoning_is_told_and_comes_back_untouched(sdk: openai.AsyncOpenAI) -> None:
    response = await create(sdk, "reasoning=9", reasoning={"summary": "auto"}, store=False)
    thought, text = (item.model_dump(exclude_none=True) for item in response.output)
    assert len(encoding.encode(thought["summary"][0]["text"])) == 9

    turns = [{"role": "user", "content": "hi"}, thought, text, {"role": "user", "content": "and?"}]
    assert (await create(sdk, "", turns)).output_text == DEFAULT_TEXT
    with pytest.raises(openai.BadRequestError, match="could not be verified") as caught:
        await create(sdk, "", [turns[0], {**thought, "encrypted_content": "gAAAAB"}, text])
    assert caught.value.code == "invalid_encrypted_content"
    with pytest.raises(openai.NotFoundError, match="Items are not persisted"):
        await create(sdk, "", [turns[0], {**thought, "encrypted_content": None}, text])
    with pytest.raises(openai.BadRequestError, match="without its required following item"):
        await create(sdk, "", [turns[0], thought, turns[3]])


async def test_structured_answers(sdk: openai.AsyncOpenAI) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 4}}, "required": ["n"]}
    shape: dict[str, Any] = {"type": "json_schema", "name": "n", "schema": {**schema, "additionalProperties": False}}
    assert json.loads((await create(sdk, text={"format": {**shape, "strict": True}})).output_text) == {"n": 4}
    assert (
        json.loads((await create(sdk, "", "JSON, please", text={"format": {"type": "json_object"}})).output_text) == {}
    )


async def test_refusal(sdk: openai.AsyncOpenAI) -> None:
    part = (await create(sdk, "refuse=1")).model_dump()["output"][0]["content"][0]

    assert part["type"] == "refusal"
    assert part["refusal"]


async def test_what_is_stored_can_be_had_again(sdk: openai.AsyncOpenAI, demo_process: DemoProcess) -> None:
    first = await create(sdk, "reply=one", "hi")
    second = await create(sdk, "reply=two&tokens=3", [{"role": "user", "content": "x"}], previous_response_id=first.id)

    again = await sdk.responses.retrieve(second.id)
    assert again.model_dump() == second.model_dump()
    assert [event.type async for event in await sdk.responses.retrieve(first.id, stream=True, starting_after=4)] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    items = [item.model_dump() async for item in sdk.responses.input_items.list(second.id)]
    assert [item["content"][0]["text"] for item in items] == ["x"]
    foreign = call_path(demo_process, f"/v1/responses/{first.id}", None, {"authorization": "Bearer sk-2"}, "GET")
    assert foreign.status == 404
    await sdk.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError, match="not found") as caught:
        await create(sdk, "", "x", previous_response_id=first.id)
    assert caught.value.code == "previous_response_not_found"
    unstored = await create(sdk, store=False)
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.retrieve(unstored.id)


async def test_background(sdk: openai.AsyncOpenAI) -> None:
    response = await create(sdk, "polls=2", background=True)

    assert (response.status, response.output) == ("queued", [])
    assert (await sdk.responses.retrieve(response.id)).status == "in_progress"
    done = await sdk.responses.retrieve(response.id)
    assert (done.status, done.output_text) == ("completed", DEFAULT_TEXT)
    assert (await sdk.responses.cancel(response.id)).status == "completed"

    other = await create(sdk, "polls=9", background=True)
    assert (await sdk.responses.cancel(other.id)).status == "cancelled"
    assert (await sdk.responses.retrieve(other.id)).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="Cannot cancel"):
        await sdk.responses.cancel((await create(sdk)).id)


async def test_count_tokens(sdk: openai.AsyncOpenAI) -> None:
    counted = await sdk.responses.input_tokens.count(model="demo", input="hi", instructions="Be brief.")

    assert counted.input_tokens == 8 + 3 + len(encoding.encode("Be brief."))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("status=400", openai.BadRequestError),
        ("status=401", openai.AuthenticationError),
        ("status=429&code=insufficient_quota", openai.RateLimitError),
        ("status=503", openai.InternalServerError),
        ("drop=1", openai.APIConnectionError),
    ],
)
@pytest.mark.parametrize("way", [create, stream])
async def test_errors(sdk: openai.AsyncOpenAI, options: str, error: type[openai.OpenAIError], way: Any) -> None:
    with pytest.raises(error):
        await way(sdk, options)


async def test_a_stream_tells_of_an_error_in_its_middle(sdk: openai.AsyncOpenAI) -> None:
    failed = (await read_events(sdk, "error_chunk=3"))[-1]
    assert (failed.type, failed.response.status) == ("response.failed", "failed")
    assert failed.response.error.code == "server_error"

    events = await read_events(sdk, "error_chunk=3&error_finish=1&code=rate_limit_exceeded")
    assert [event.type for event in events].count("response.output_text.delta") == 3
    assert (events[-1].type, events[-1].code) == ("error", "rate_limit_exceeded")


@pytest.mark.parametrize(
    ("options", "error"), [("cut=2", openai.APIConnectionError), ("malformed=2", json.JSONDecodeError)]
)
async def test_torn_streams(sdk: openai.AsyncOpenAI, options: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await stream(sdk, options)


CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "fine"}
LOOSE = {"type": "object", "properties": {"x": {"type": "string"}}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"messages": []}, "unknown_parameter", "messages"),
        ({"stop": ["x"]}, "unknown_parameter", "stop"),
        ({"model": None}, "missing_required_parameter", "model"),
        ({"input": None}, "missing_required_parameter", None),
        ({"input": 5}, "invalid_type", "input"),
        ({"max_output_tokens": 5}, "integer_below_min_value", "max_output_tokens"),
        ({"temperature": 3}, "integer_above_max_value", "temperature"),
        ({"input": [{"role": "tool", "content": "x"}]}, "invalid_value", "input[0].role"),
        ({"input": [{"type": "nonsense"}]}, "invalid_value", "input[0].type"),
        (
            {"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]},
            "invalid_value",
            "input[0].content[0].type",
        ),
        ({"input": [{"role": "user", "content": "x", "name": "bob"}]}, "unknown_parameter", "input[0].name"),
        ({"input": [RESULT]}, None, "input"),
        ({"input": [CALL]}, None, "input"),
        ({"input": [{**CALL, "id": "call_1"}, RESULT]}, "invalid_value", "input[0].id"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x.png"}]}]},
            "invalid_value",
            "input[0].content[0].image_url",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": {"url": "https://x"}}]}]},
            "invalid_type",
            "input[0].content[0].image_url",
        ),
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "missing_required_parameter", "tools[0].name"),
        ({"tools": [{**CLOCK, "strict": True}]}, "invalid_function_parameters", None),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": LOOSE, "strict": True}}},
            "invalid_json_schema",
            None,
        ),
        ({"text": {"format": {"type": "json_object"}}}, None, "input"),
        ({"reasoning": {"effort": "extreme"}}, "invalid_value", "reasoning.effort"),
        ({"previous_response_id": "resp_x"}, "previous_response_not_found", "previous_response_id"),
        ({"stream_options": {"include_obfuscation": False}}, None, "stream_options"),
        ({"background": True, "store": False}, None, "background"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    demo: DemoProcess, fields: dict[str, Any], code: str | None, param: str | None
) -> None:
    answer = post(demo, ask(**fields))

    assert answer.status == 400
    error = answer.json["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        ({"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}, 85),
        ({"type": "input_image", "image_url": "https://example.com/x.png", "detail": "high"}, 765),
        ({"type": "input_file", "filename": "x.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}, 1000),
    ],
)
def test_media_have_fixed_prices(demo: DemoProcess, part: dict[str, Any], tokens: int) -> None:
    answer = post(demo, ask(input=[{"role": "user", "content": [part]}]))

    assert answer.json["usage"]["input_tokens"] == 3 + 3 + 1 + tokens


@pytest.mark.parametrize("path", ["/responses", "/v1/responses", "/openai/v1/responses"])
def test_a_key_is_needed(demo: DemoProcess, path: str) -> None:
    assert call_path(demo, path, ask(), {"api-key": "k-test"}).status == 200
    refused = call_path(demo, path, ask(), {})
    assert (refused.status, refused.json["error"]["code"]) == (401, "invalid_api_key")
