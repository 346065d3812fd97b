"""The official SDK takes the demo for Anthropic, and the demo refuses what Anthropic would."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2 as httpx
import pytest
import tiktoken

from app.demo.answers import DEFAULT_TEXT, ENCODING
from tests.demo.process import DemoProcess
from tests.demo.wire import WireAnswer, call_path

encoding = tiktoken.get_encoding(ENCODING)

USER: dict[str, Any] = {"role": "user", "content": "hi"}
WEATHER: dict[str, Any] = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}
CLOCK: dict[str, Any] = {
    "name": "clock",
    "input_schema": {"type": "object", "properties": {"zone": {"type": "string"}}},
}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
HEADERS = {"x-api-key": "sk-test", "anthropic-version": "2023-06-01"}


@pytest.fixture(scope="module")
async def sdk(demo_process: DemoProcess) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=demo_process.url,
        api_key="sk-test",
        max_retries=0,
        http_client=httpx.AsyncClient(),
    ) as client:
        yield client


async def create(sdk: anthropic.AsyncAnthropic, options: str = "", **fields: Any) -> anthropic.types.Message:
    asked: dict[str, Any] = {"messages": [USER], "max_tokens": 4096, **fields}
    message: anthropic.types.Message = await sdk.messages.create(model=f"demo?{options}", **asked)
    return message


async def stream(sdk: anthropic.AsyncAnthropic, options: str = "", **fields: Any) -> anthropic.types.Message:
    asked: dict[str, Any] = {"messages": [USER], "max_tokens": 4096, **fields}
    async with sdk.messages.stream(model=f"demo?{options}", **asked) as events:
        return await events.get_final_message()


def post(demo: DemoProcess, body: dict[str, Any], path: str = "/v1/messages", **headers: str) -> WireAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return call_path(demo, path, body, {**HEADERS, **named})


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": "demo", "max_tokens": 4096, "messages": [USER], **fields}


def shown(message: anthropic.types.Message) -> dict[str, Any]:
    """What has to be the same of a whole and a streamed answer."""
    return message.model_dump(exclude={"id", "usage"}, exclude_none=True)


async def test_plain(sdk: anthropic.AsyncAnthropic) -> None:
    message = await create(sdk)

    assert message.content[0].text == DEFAULT_TEXT  # type: ignore[union-attr]
    assert (message.model, message.stop_reason, message.stop_sequence) == ("demo", "end_turn", None)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (8, 16)
    assert message._request_id is not None


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ("", {}),
        ("tokens=300", {"max_tokens": 40}),
        ("reply=one+two+STOP+three", {"stop_sequences": ["never", "STOP"]}),
        ("tool=1", {"tools": [WEATHER]}),
        ("tool=3&reply=Let+me+see", {"tools": [WEATHER, CLOCK]}),
        ("reasoning=12", {"thinking": {"type": "adaptive"}}),
        ("reasoning=12&tool=2", {"tools": [WEATHER, CLOCK], "thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ("", {"thinking": {"type": "adaptive", "display": "omitted"}}),
        ("redacted=1&reasoning=3", {}),
        ("refuse=1", {}),
        ("split=1&crlf=1", {}),
        ("comments=1&gzip=1", {}),
    ],
)
async def test_whole_and_streamed_answers_agree(
    sdk: anthropic.AsyncAnthropic, options: str, fields: dict[str, Any]
) -> None:
    whole, streamed = await create(sdk, options, **fields), await stream(sdk, options, **fields)

    assert shown(whole) == shown(streamed)
    assert whole.usage.output_tokens == streamed.usage.output_tokens
    assert whole.usage.input_tokens == streamed.usage.input_tokens


async def test_a_cap_ends_the_text(sdk: anthropic.AsyncAnthropic) -> None:
    message = await create(sdk, "tokens=300", max_tokens=40)

    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 40 == len(encoding.encode(message.content[0].text))  # type: ignore[union-attr]


async def test_a_stop_sequence_ends_the_text_before_it(sdk: anthropic.AsyncAnthropic) -> None:
    message = await create(sdk, "reply=one+two+STOP+three", stop_sequences=["three", "STOP"])

    assert message.content[0].text == "one two "  # type: ignore[union-attr]
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "STOP")


async def test_parallel_tools_are_called_and_answered(sdk: anthropic.AsyncAnthropic) -> None:
    message = await create(sdk, "tool=3", tools=[WEATHER, CLOCK])

    calls = [block for block in message.content if block.type == "tool_use"]
    assert message.stop_reason == "tool_use"
    assert [call.name for call in calls] == ["weather", "clock", "weather"]
    assert [call.input for call in calls] == [
        {"city": "demo", "days": 1},
        {"zone": "demo 2"},
        {"city": "demo 3", "days": 3},
    ]
    assert len({call.id for call in calls}) == 3

    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "fine"} for call in calls]
    turns = [USER, message.to_param(), {"role": "user", "content": [*results, {"type": "text", "text": "so?"}]}]
    answer = await create(sdk, "tool=3", tools=[WEATHER, CLOCK], messages=turns)
    assert answer.content[0].text == DEFAULT_TEXT  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"type": "any"}, ["weather"]),
        ({"type": "tool", "name": "clock"}, ["clock"]),
        ({"type": "none"}, []),
        ({"type": "auto", "disable_parallel_tool_use": True}, ["weather"]),
    ],
)
async def test_tool_choice(sdk: anthropic.AsyncAnthropic, choice: dict[str, Any], names: list[str]) -> None:
    options = "tool=2" if choice["type"] in ("none", "auto") else ""
    message = await create(sdk, options, tools=[WEATHER, CLOCK], tool_choice=choice)

    assert [block.name for block in message.content if block.type == "tool_use"] == names


async def test_thoughts_are_signed_and_come_back_untouched(sdk: anthropic.AsyncAnthropic) -> None:
    fields: dict[str, Any] = {"tools": [WEATHER], "thinking": {"type": "enabled", "budget_tokens": 1024}}
    message = await create(sdk, "tool=1&reasoning=9", **fields)

    thought, call = message.content
    assert thought.type == "thinking"
    assert len(encoding.encode(thought.thinking)) == 9
    assert message.usage.output_tokens_details is not None
    assert message.usage.output_tokens_details.thinking_tokens == 9
    assert call.type == "tool_use"
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]}
    answer = await create(sdk, "tool=1", messages=[USER, message.to_param(), result], **fields)
    assert answer.stop_reason == "end_turn"

    turn = {"role": "assistant", "content": [{**thought.model_dump(), "thinking": "something else"}, call.model_dump()]}
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature` in `thinking` block"):
        await create(sdk, "", messages=[USER, turn, result], **fields)
    turn = {"role": "assistant", "content": [call.model_dump()]}
    with pytest.raises(
        anthropic.BadRequestError, match="Expected `thinking` or `redacted_thinking`, but found `tool_use`"
    ):
        await create(sdk, "", messages=[USER, turn, result], **fields)


async def test_redacted_thoughts_come_back(sdk: anthropic.AsyncAnthropic) -> None:
    message = await create(sdk, "redacted=1&reasoning=3")
    assert message.content[0].type == "redacted_thinking"

    assert await create(sdk, "", messages=[USER, message.to_param(), USER])
    turn = {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "AAAA"}]}
    with pytest.raises(anthropic.BadRequestError, match="redacted_thinking"):
        await create(sdk, "", messages=[USER, turn, USER])


async def test_structured_answer(sdk: anthropic.AsyncAnthropic) -> None:
    point = {
        "type": "object",
        "properties": {"x": {"type": "number", "minimum": 3}, "tag": {"enum": ["a", "b"]}},
        "required": ["x", "tag"],
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "properties": {
            "at": {"$ref": "#/$defs/point"},
            "ways": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        },
        "required": ["at", "ways"],
        "additionalProperties": False,
        "$defs": {"point": point},
    }
    message = await create(sdk, "", output_config={"format": {"type": "json_schema", "schema": schema}})

    assert json.loads(message.content[0].text) == {"at": {"x": 3, "tag": "a"}, "ways": ["demo", "demo"]}  # type: ignore[union-attr]


async def test_refusal(sdk: anthropic.AsyncAnthropic) -> None:
    message = await create(sdk, "refuse=1")

    assert (message.stop_reason, message.content) == ("refusal", [])
    assert message.stop_details is not None
    assert message.stop_details.explanation


async def test_citations(sdk: anthropic.AsyncAnthropic) -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Demos are small and always ready."}
    document = {"type": "document", "source": source, "title": "Demos", "citations": {"enabled": True}}
    turn = {"role": "user", "content": [document, {"type": "text", "text": "why?"}]}
    whole, streamed = (
        await create(sdk, "citations=1", messages=[turn]),
        await stream(sdk, "citations=1", messages=[turn]),
    )

    cited = whole.content[0].citations  # type: ignore[union-attr]
    assert cited is not None
    assert (cited[0].type, cited[0].cited_text) == ("char_location", "Demos are small and ")
    assert shown(whole) == shown(streamed)


async def test_usage_leaves_the_cached_tokens_out_of_the_input(sdk: anthropic.AsyncAnthropic) -> None:
    usage = (await create(sdk, "cached=3&cache_written=2")).usage

    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (3, 3, 2)
    assert "usage" not in (await create(sdk, "usage=missing")).model_dump(exclude_unset=True)


async def test_count_tokens(sdk: anthropic.AsyncAnthropic) -> None:
    counted = await sdk.messages.count_tokens(model="demo", messages=[USER], system="Be brief.")  # type: ignore[list-item]

    assert counted.input_tokens == 8 + 3 + len(encoding.encode("Be brief."))
    answered = await create(sdk, "", system="Be brief.")
    assert answered.usage.input_tokens == counted.input_tokens


async def test_models(sdk: anthropic.AsyncAnthropic, demo: DemoProcess) -> None:
    assert "demo" in [model.id async for model in sdk.models.list()]


@pytest.mark.parametrize(
    ("options", "error", "kind"),
    [
        ("status=400", anthropic.BadRequestError, "invalid_request_error"),
        ("status=401", anthropic.AuthenticationError, "authentication_error"),
        ("status=402", anthropic.APIStatusError, "billing_error"),
        ("status=404", anthropic.NotFoundError, "not_found_error"),
        ("status=429&code=enforced_spend_limit_reached", anthropic.RateLimitError, "rate_limit_error"),
        ("status=500", anthropic.InternalServerError, "api_error"),
        ("status=529", anthropic.InternalServerError, "overloaded_error"),
    ],
)
@pytest.mark.parametrize("way", [create, stream])
async def test_errors(
    sdk: anthropic.AsyncAnthropic, options: str, error: type[anthropic.APIStatusError], kind: str, way: Any
) -> None:
    with pytest.raises(error) as caught:
        await way(sdk, options)

    body: Any = caught.value.body
    assert body["error"]["type"] == kind
    assert body["request_id"] == caught.value.request_id
    assert ("retry-after" in caught.value.response.headers) is False


async def test_a_stream_tells_of_an_error_in_its_middle(sdk: anthropic.AsyncAnthropic) -> None:
    texts = []
    with pytest.raises(anthropic.APIStatusError) as caught:  # noqa: PT012  (what came before it counts as well)
        async with sdk.messages.stream(model="demo?error_chunk=3", messages=[USER], max_tokens=99) as events:  # type: ignore[list-item]
            async for text in events.text_stream:
                texts.append(text)

    body: Any = caught.value.body
    assert body["error"] == {"type": "overloaded_error", "message": "Overloaded"}
    assert len(texts) == 3


@pytest.mark.parametrize("options", ["cut=2", "drop=1", "malformed=2"])
async def test_torn_streams(sdk: anthropic.AsyncAnthropic, options: str) -> None:
    with pytest.raises((anthropic.APIConnectionError, httpx.RemoteProtocolError, json.JSONDecodeError)):
        await stream(sdk, options)


def test_events_of_a_stream(demo: DemoProcess) -> None:
    body = ask(model="demo?tool=1&reply=ok&reasoning=1&chunks=1", tools=[WEATHER], stream=True)
    frames = [frame.split("\n") for frame in post(demo, body).body.decode().split("\n\n")[:-1]]

    names = [frame[0].removeprefix("event: ") for frame in frames]
    events = [json.loads(frame[1].removeprefix("data: ")) for frame in frames]
    assert names == [event["type"] for event in events]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    thought = ["content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"]
    assert names == ["message_start", "ping", *thought, *block, *block, "message_delta", "message_stop"]
    assert [event["index"] for event in events if "index" in event] == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert events[0]["message"]["content"] == []
    assert events[-2]["usage"]["input_tokens"] == events[0]["message"]["usage"]["input_tokens"] == 8
    assert events[-2]["usage"]["output_tokens"] > 3


ASSISTANT = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {}}]}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "fine"}
OPEN_SCHEMA = {
    "type": "object",
    "properties": {"x": {"type": "object", "properties": {}}},
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seed": 1}, "seed: Extra inputs are not permitted"),
        ({"max_tokens": None}, "max_tokens: Input should be a valid integer"),
        ({"messages": []}, "at least one message is required"),
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            "messages.0.role: Input should be 'user', 'assistant' or 'system'",
        ),
        ({"messages": [{**USER, "name": "bob"}]}, "messages.0.name: Extra inputs are not permitted"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "Input tag 'image_url' found"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0: all messages must have non-empty content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "must be non-empty"),
        ({"messages": [{"role": "user", "content": " "}]}, "must contain non-whitespace text"),
        ({"messages": [USER, {"role": "assistant", "content": "So "}]}, "cannot end with trailing whitespace"),
        ({"messages": [USER, ASSISTANT]}, "messages.1: `tool_use` ids were found without `tool_result` blocks"),
        ({"messages": [USER, ASSISTANT, USER]}, "without `tool_result` blocks immediately after: t1"),
        (
            {"messages": [{"role": "user", "content": [RESULT]}]},
            "unexpected `tool_use_id` found in `tool_result` blocks: t1",
        ),
        (
            {"messages": [USER, ASSISTANT, {"role": "user", "content": [{"type": "text", "text": "so"}, RESULT]}]},
            "without `tool_result` blocks immediately after: t1",
        ),
        ({"messages": [USER, ASSISTANT, {"role": "user", "content": [RESULT, RESULT]}]}, "must have a single result"),
        (
            {"messages": [USER, ASSISTANT, {"role": "user", "content": [{**RESULT, "content": "", "is_error": True}]}]},
            "content cannot be empty if `is_error` is true",
        ),
        (
            {"messages": [{"role": "user", "content": ASSISTANT["content"]}]},
            "`tool_use` blocks can only be in `assistant`",
        ),
        ({"tools": [WEATHER, WEATHER]}, "Tool names must be unique"),
        ({"tools": [{"name": "x", "parameters": {}}]}, "tools.0.parameters: Extra inputs are not permitted"),
        ({"tool_choice": {"type": "auto"}}, "tool_choice may only be specified while providing tools"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "clock"}}, "'clock' not found in provided tools"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "any"}, "thinking": {"type": "adaptive"}},
            "Thinking may not be enabled when tool_choice forces tool use",
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 100}},
            "thinking.enabled.budget_tokens: Input should be greater",
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "`max_tokens` must be greater than"),
        ({"temperature": 1.5}, "temperature: Input should be less than or equal to 1"),
        ({"stop_sequences": [" "]}, "each stop sequence must contain non-whitespace"),
        ({"output_config": {"effort": "extreme"}}, "output_config.effort: Input should be 'low'"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": OPEN_SCHEMA}}},
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
        ),
        (
            {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5},
            "A maximum of 4 blocks",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(demo: DemoProcess, fields: dict[str, Any], words: str) -> None:
    answer = post(demo, ask(**fields))

    assert answer.status == 400
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert words in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"type": "base64", "media_type": "image/png", "data": PNG}, None),
        ({"type": "url", "url": "https://example.com/x.png"}, None),
        ({"type": "url", "url": "http://example.com/x.png"}, "Only HTTPS URLs are supported."),
        ({"type": "base64", "media_type": "image/bmp", "data": PNG}, "media_type: Input should be 'image/jpeg'"),
        ({"type": "base64", "media_type": "image/jpeg", "data": PNG}, "image/jpeg media type"),
        ({"type": "base64", "media_type": "image/png", "data": "%%%"}, "Invalid base64 data"),
    ],
)
def test_images(demo: DemoProcess, source: dict[str, Any], words: str | None) -> None:
    answer = post(demo, ask(messages=[{"role": "user", "content": [{"type": "image", "source": source}]}]))

    assert answer.status == (200 if words is None else 400)
    if words is None:
        assert answer.json["usage"]["input_tokens"] == 3 + 3 + 1 + 85
    else:
        assert words in answer.json["error"]["message"]


DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 1.0},
        {"top_p": 0.9},
        {"top_k": 5},
        {"messages": [USER, {"role": "assistant", "content": [DOCUMENT]}, USER]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "citations": [{"type": "x"}]}]}]},
    ],
)
def test_newer_version_refuses_more(demo: DemoProcess, fields: dict[str, Any]) -> None:
    assert post(demo, ask(**fields)).status == 200
    assert post(demo, ask(**fields), anthropic_version="2026-10-21").status == 400


def test_betas_let_more_fields_in(demo: DemoProcess) -> None:
    fields = ask(context_management={"edits": []})

    assert "Extra inputs" in post(demo, fields).json["error"]["message"]
    assert post(demo, fields, anthropic_beta="context-management-2025-06-27").status == 200


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({"authorization": "Bearer sk-test", "anthropic-version": "2026-10-21"}, 200, None),
        ({"anthropic-version": "2023-06-01"}, 401, "authentication_error"),
        ({"x-api-key": "sk-bad", "anthropic-version": "2023-06-01"}, 401, "authentication_error"),
        ({"x-api-key": "sk-test"}, 400, "invalid_request_error"),
        ({"x-api-key": "sk-test", "anthropic-version": "2030-01-01"}, 400, "invalid_request_error"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/messages", "/anthropic/v1/messages", "/v1/messages/count_tokens"])
def test_key_and_version(demo: DemoProcess, path: str, headers: dict[str, str], status: int, kind: str | None) -> None:
    body = ask()
    if path.endswith("count_tokens"):
        del body["max_tokens"]
    answer = call_path(demo, path, body, headers)

    assert answer.status == status
    assert answer.headers["request-id"].startswith("req_demo_")
    assert (answer.json["error"]["type"] if kind else None) == kind
