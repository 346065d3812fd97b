"""OpenAI's own SDK takes the gateway for OpenAI: answers, streams, and every error of the contract."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from app.demo.answers import DEFAULT_TEXT
from tests.demo.process import DemoProcess
from tests.gateway import Customer, Gateway, Operator, free_port
from tests.relay.calls import demo_model, received, serve_model, upstream_name

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}


@pytest.fixture(scope="module")
def customer(operator: Operator) -> Customer:
    return operator.customer()


@pytest.fixture(scope="module")
def model(operator: Operator) -> str:
    return demo_model(operator, "")


class Sent:
    """Counts what an SDK's client really sends."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []

    async def note(self, request: httpx2.Request) -> None:
        self.requests.append(request)


def sdk_for(
    gateway: Gateway, key: str, *, retries: int = 0, sent: Sent | None = None, base_url: str | None = None
) -> openai.AsyncOpenAI:
    hooks: Any = {"request": [] if sent is None else [sent.note]}
    return openai.AsyncOpenAI(
        base_url=base_url or gateway.base_url,
        api_key=key,
        max_retries=retries,
        http_client=httpx2.AsyncClient(event_hooks=hooks),
    )


@pytest.fixture(scope="module")
async def sdk(gateway: Gateway, customer: Customer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk_for(gateway, customer.key) as client:
        yield client


@pytest.fixture(scope="module")
def plain_sdk(gateway: Gateway, customer: Customer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=gateway.base_url, api_key=customer.key, max_retries=0, http_client=httpx2.Client()
    ) as client:
        yield client


# -- answers -----------------------------------------------------------------------------------------------------------


def test_a_chat(plain_sdk: openai.OpenAI, model: str) -> None:
    completion = plain_sdk.chat.completions.create(model=model, messages=MESSAGES)

    assert completion.choices[0].message.content == DEFAULT_TEXT
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (8, 16)
    assert completion._request_id is not None
    assert completion._request_id.startswith("req_")


def test_a_stream(plain_sdk: openai.OpenAI, model: str) -> None:
    chunks = list(plain_sdk.chat.completions.create(model=model, messages=MESSAGES, stream=True))

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == DEFAULT_TEXT
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert {chunk.usage for chunk in chunks} == {None}


async def test_a_stream_with_usage(sdk: openai.AsyncOpenAI, model: str) -> None:
    stream = await sdk.chat.completions.create(
        model=model, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == DEFAULT_TEXT
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 24


async def test_a_tool_call(sdk: openai.AsyncOpenAI, operator: Operator, demo: DemoProcess) -> None:
    upstream = upstream_name("tool=1")
    model = serve_model(operator, {"upstream_model": upstream})
    completion = await sdk.chat.completions.create(
        model=model, messages=MESSAGES, tools=[TOOL], tool_choice="auto", parallel_tool_calls=False
    )
    (call,) = completion.choices[0].message.tool_calls or []
    (request,) = received(demo, upstream)

    assert completion.choices[0].finish_reason == "tool_calls"
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "demo", "days": 1})
    assert request["body"] == {
        "model": upstream, "messages": MESSAGES, "tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False
    }  # fmt: skip


async def test_a_streamed_tool_call_and_its_result(sdk: openai.AsyncOpenAI, operator: Operator) -> None:
    model = demo_model(operator, "tool=1&split=7")
    async with sdk.chat.completions.stream(model=model, messages=MESSAGES, tools=[TOOL]) as stream:
        completion = await stream.get_final_completion()
    (call,) = completion.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "demo", "days": 1}

    follow_up: list[Any] = [
        *MESSAGES,
        {
            "role": "assistant",
            "tool_calls": [{"id": call.id, "type": "function", "function": call.function.model_dump()}],
        },
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    answer = await sdk.chat.completions.create(model=model, messages=follow_up, tools=[TOOL])
    assert answer.choices[0].message.content == DEFAULT_TEXT


async def test_vision(sdk: openai.AsyncOpenAI, operator: Operator, demo: DemoProcess) -> None:
    upstream = upstream_name()
    model = serve_model(operator, {"upstream_model": upstream})
    parts: list[Any] = [
        {"type": "text", "text": "what is it"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo/" * 50}},
    ]
    completion = await sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}])
    (request,) = received(demo, upstream)

    assert completion.choices[0].message.content == DEFAULT_TEXT
    assert request["body"] == {"model": upstream, "messages": [{"role": "user", "content": parts}]}


async def test_fields_that_the_gateway_has_never_heard_of(
    sdk: openai.AsyncOpenAI, operator: Operator, demo: DemoProcess
) -> None:
    upstream = upstream_name()
    model = serve_model(operator, {"upstream_model": upstream})
    fields = {"thinking": {"type": "enabled"}, "é": [None]}
    await sdk.chat.completions.create(model=model, messages=MESSAGES, temperature=1.0, seed=2**62, extra_body=fields)
    (request,) = received(demo, upstream)

    sent = {"model": upstream, "messages": MESSAGES, "temperature": 1.0, "seed": 2**62, **fields}
    assert json.loads(request["raw_body"]) == sent
    assert '"temperature":1.0' in request["raw_body"].replace(" ", "")


@pytest.mark.parametrize("dialect", ["deepseek", "vllm"])
async def test_reasoning(sdk: openai.AsyncOpenAI, operator: Operator, dialect: str) -> None:
    field = {"deepseek": "reasoning_content", "vllm": "reasoning"}[dialect]
    stream = await sdk.chat.completions.create(
        model=demo_model(operator, f"dialect={dialect}"), messages=MESSAGES, stream=True
    )
    thoughts = [getattr(chunk.choices[0].delta, field, None) or "" async for chunk in stream]

    assert "".join(thoughts).split()


async def test_both_base_urls(gateway: Gateway, customer: Customer, model: str) -> None:
    for base_url in (f"{gateway.url}/v1", gateway.url, f"{gateway.url}/v1/", f"{gateway.url}/"):
        async with sdk_for(gateway, customer.key, base_url=base_url) as sdk:
            completion = await sdk.chat.completions.create(model=model, messages=MESSAGES)
            listed = [listed.id async for listed in await sdk.models.list()]
            found = await sdk.models.retrieve(model)

        assert completion.choices[0].message.content == DEFAULT_TEXT
        assert model in listed
        assert found.id == model


async def test_models(sdk: openai.AsyncOpenAI, gateway: Gateway, customer: Customer, model: str) -> None:
    listed = await sdk.models.list()
    found = await sdk.models.retrieve(model)
    raw = httpx2.get(f"{gateway.base_url}/models", headers=customer.headers).json()

    assert [one for one in listed.data if one.id == model] == [found]
    assert (found.object, found.owned_by) == ("model", "custom")
    assert (raw["object"], raw["success"]) == ("list", True)
    (shown,) = [one for one in raw["data"] if one["id"] == model]
    assert shown == {
        "id": model, "object": "model", "created": found.created, "owned_by": "custom", "root": model, "parent": None,
        "permission": [{
            "id": shown["permission"][0]["id"], "object": "model_permission", "created": found.created,
            "allow_create_engine": True, "allow_sampling": True, "allow_logprobs": True, "allow_search_indices": False,
            "allow_view": True, "allow_fine_tuning": False, "organization": "*", "group": None, "is_blocking": False,
        }],
    }  # fmt: skip
    assert shown["permission"][0]["id"].startswith("modelperm-")
    with pytest.raises(openai.NotFoundError) as caught:
        await sdk.models.retrieve("no-such-model")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("place", ["authorization", "x-api-key", "api-key", "x-goog-api-key", "query"])
async def test_every_place_where_clients_put_a_key(
    sdk: openai.AsyncOpenAI, customer: Customer, model: str, place: str
) -> None:
    headers: dict[str, Any] = {"Authorization": openai.Omit(), place: customer.key}
    query = {"key": customer.key} if place == "query" else None
    if place == "authorization":
        headers = {}
    completion = await sdk.chat.completions.create(
        model=model, messages=MESSAGES, extra_headers=headers, extra_query=query
    )
    listed = await sdk.models.list(extra_headers=headers, extra_query=query)

    assert completion.choices[0].message.content == DEFAULT_TEXT
    assert model in [one.id for one in listed.data]


# -- errors ------------------------------------------------------------------------------------------------------------


async def refused(sdk: openai.AsyncOpenAI, model: str, *, stream: bool = False, **fields: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        await sdk.chat.completions.create(
            model=model, messages=fields.pop("messages", MESSAGES), stream=stream, **fields
        )
    assert caught.value.request_id is not None
    assert caught.value.message
    return caught.value


@pytest.mark.parametrize("key", ["sk-wrong", "wrong", "sk-" + "A" * 43])
async def test_a_wrong_key(gateway: Gateway, model: str, key: str) -> None:
    async with sdk_for(gateway, key) as sdk:
        error = await refused(sdk, model)

    assert type(error) is openai.AuthenticationError
    assert (error.code, error.type) == ("invalid_api_key", "authentication_error")
    assert "Incorrect API key provided." in error.message
    assert key not in str(error)


async def test_a_model_that_the_key_may_not_use(gateway: Gateway, operator: Operator, model: str) -> None:
    async with sdk_for(gateway, operator.customer(models=["another"]).key) as sdk:
        error = await refused(sdk, model)

    assert type(error) is openai.PermissionDeniedError
    assert (error.code, error.param) == ("model_not_allowed", "model")


async def test_an_address_that_the_key_may_not_be_used_from(gateway: Gateway, operator: Operator, model: str) -> None:
    async with sdk_for(gateway, operator.customer(ips=["10.0.0.0/8"]).key) as sdk:
        error = await refused(sdk, model)

    assert type(error) is openai.PermissionDeniedError
    assert error.code == "ip_not_allowed"


async def test_an_unknown_model(sdk: openai.AsyncOpenAI) -> None:
    error = await refused(sdk, "no-such-model")

    assert type(error) is openai.NotFoundError
    assert (error.code, error.param) == ("model_not_found", "model")
    assert "The model 'no-such-model' does not exist." in error.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"extra_body": {"n": "three"}}, "n"), ({"messages": "hi"}, "messages"), ({"max_tokens": 0}, "max_tokens")],
    ids=["a wrong type", "no array", "out of bounds"],
)
async def test_a_bad_request(sdk: openai.AsyncOpenAI, model: str, fields: dict[str, Any], param: str) -> None:
    error = await refused(sdk, model, **fields)

    assert type(error) is openai.BadRequestError
    assert (error.param, error.type) == (param, "invalid_request_error")


async def test_what_an_upstream_finds_wrong(sdk: openai.AsyncOpenAI, operator: Operator) -> None:
    error = await refused(sdk, demo_model(operator, "status=400&code=context_length_exceeded"), stream=True)

    assert type(error) is openai.BadRequestError
    assert error.code == "context_length_exceeded"


async def test_a_request_that_is_too_large(sdk: openai.AsyncOpenAI, model: str) -> None:
    error = await refused(sdk, model, messages=[{"role": "user", "content": "x" * 9_000_000}])

    assert (type(error), error.status_code, error.code) == (openai.APIStatusError, 413, "request_too_large")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_without_quota_the_sdk_tries_once(gateway: Gateway, operator: Operator, model: str, stream: bool) -> None:
    sent = Sent()
    async with sdk_for(gateway, operator.customer(grant=None).key, retries=2, sent=sent) as sdk:
        error = await refused(sdk, model, stream=stream)

    assert type(error) is openai.RateLimitError
    assert (error.code, error.type) == ("insufficient_quota", "insufficient_quota")
    assert "retry-after" not in error.response.headers
    assert len(sent.requests) == 1


async def test_an_upstreams_rate_limit(sdk: openai.AsyncOpenAI, operator: Operator) -> None:
    error = await refused(sdk, demo_model(operator, "status=429&retry_after=17"))

    assert type(error) is openai.RateLimitError
    assert (error.code, error.type) == ("upstream_rate_limited", "rate_limit_error")
    assert error.response.headers["retry-after"] == "17"


async def test_a_rate_limit_is_tried_again(
    gateway: Gateway, customer: Customer, operator: Operator, demo: DemoProcess
) -> None:
    upstream, sent = upstream_name(), Sent()
    demo.script(upstream, {"status": 429, "retry_after": "0.2"})
    model = serve_model(operator, {"upstream_model": upstream})
    async with sdk_for(gateway, customer.key, retries=2, sent=sent) as sdk:
        completion = await sdk.chat.completions.create(model=model, messages=MESSAGES)

    assert completion.choices[0].message.content == DEFAULT_TEXT
    assert len(sent.requests) == 2


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ("status=500", 502, "upstream_error"),
        ("status=401", 502, "upstream_refused_credentials"),
        ("body=html", 502, "upstream_bad_response"),
        ("drop=1", 502, "upstream_disconnected"),
        ("status=503", 503, "upstream_overloaded"),
        ("stall=headers", 504, "upstream_timeout"),
    ],
)
async def test_an_upstream_in_trouble(
    sdk: openai.AsyncOpenAI, operator: Operator, options: str, status: int, code: str
) -> None:
    model = demo_model(operator, options)
    for error in await asyncio.gather(refused(sdk, model), refused(sdk, model, stream=True)):
        assert type(error) is openai.InternalServerError
        assert (error.status_code, error.code) == (status, code)


async def test_an_upstream_that_is_not_there(sdk: openai.AsyncOpenAI, operator: Operator) -> None:
    error = await refused(sdk, serve_model(operator, {"base_url": f"http://127.0.0.1:{free_port()}/v1"}))

    assert (type(error), error.status_code, error.code) == (openai.InternalServerError, 502, "upstream_unreachable")


@pytest.mark.parametrize("fields", [{"price": None}, {}], ids=["no price", "no channel"])
async def test_a_model_that_is_not_ready(sdk: openai.AsyncOpenAI, operator: Operator, fields: dict[str, Any]) -> None:
    model = demo_model(operator, "", **fields) if fields else serve_model(operator)
    error = await refused(sdk, model)

    assert (type(error), error.status_code) == (openai.InternalServerError, 503)
    assert error.code == ("model_not_priced" if fields else "no_channel")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ("cut=3", "upstream_disconnected"),
        ("cut_clean=3", "upstream_truncated"),
        ("error_chunk=3&chunk_ms=30", "upstream_error"),
        ("error_chunk=3&chunk_ms=30&error_finish=1", "upstream_error"),
        ("stall=chunk:3", "upstream_stalled"),
    ],
)
async def test_a_stream_that_breaks_is_no_silence(
    sdk: openai.AsyncOpenAI, plain_sdk: openai.OpenAI, operator: Operator, options: str, code: str
) -> None:
    model = demo_model(operator, f"chunks=60&{options}")
    words: list[str] = []

    async def read() -> None:
        async for chunk in await sdk.chat.completions.create(model=model, messages=MESSAGES, stream=True):
            words.extend((chunk.choices[0].delta.content or "").split())

    def read_plainly() -> None:
        for _ in plain_sdk.chat.completions.create(model=model, messages=MESSAGES, stream=True):
            pass

    errors = await asyncio.gather(read(), asyncio.to_thread(read_plainly), return_exceptions=True)

    assert len(words) == 3
    for error in errors:
        assert isinstance(error, openai.APIError)
        assert error.code == code
        assert error.message
