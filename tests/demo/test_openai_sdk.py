"""The official SDK takes the demo for OpenAI."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx
import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from app.demo.answers import DEFAULT_TEXT
from tests.demo.process import DemoProcess
from tests.demo.test_openai_plain import TOOL

MESSAGES: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
async def sdk(demo_process: DemoProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{demo_process.url}/v1",
        api_key="sk-test",
        max_retries=0,
        http_client=httpx.AsyncClient(),
    ) as client:
        yield client


async def read_text(sdk: openai.AsyncOpenAI, model: str, **fields: Any) -> str:
    stream = await sdk.chat.completions.create(model=model, messages=MESSAGES, stream=True, **fields)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def test_plain(sdk: openai.AsyncOpenAI) -> None:
    completion = await sdk.chat.completions.create(model="demo", messages=MESSAGES)

    assert completion.choices[0].message.content == DEFAULT_TEXT
    assert completion.usage is not None
    assert completion.usage.total_tokens == 24
    assert completion._request_id is not None


async def test_stream_with_usage(sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(
        model="demo", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == DEFAULT_TEXT
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 16


async def test_stream_helper_assembles_a_tool_call(sdk: openai.AsyncOpenAI) -> None:
    tools: Any = [TOOL]
    async with sdk.chat.completions.stream(model="demo?tool=1", messages=MESSAGES, tools=tools) as stream:
        completion = await stream.get_final_completion()

    calls = completion.choices[0].message.tool_calls
    assert calls is not None
    assert json.loads(calls[0].function.arguments)["city"] == "demo"
    assert completion.choices[0].finish_reason == "tool_calls"


async def test_models(sdk: openai.AsyncOpenAI) -> None:
    assert "demo" in [model.id async for model in sdk.models.list()]


@pytest.mark.parametrize(
    "options", ["crlf=1", "cr=1", "nospace=1", "comments=1", "split=1", "gzip=1", "no_done=1", "dialect=azure"]
)
async def test_odd_but_legal_streams(sdk: openai.AsyncOpenAI, options: str) -> None:
    assert await read_text(sdk, f"demo?{options}") == DEFAULT_TEXT


async def test_blank_lines_and_gzip_do_not_disturb_a_whole_answer(sdk: openai.AsyncOpenAI) -> None:
    completion = await sdk.chat.completions.create(model="demo?blank_lead=2&lead_ms=5&gzip=1", messages=MESSAGES)

    assert completion.choices[0].message.content == DEFAULT_TEXT


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("status=400", openai.BadRequestError),
        ("status=401", openai.AuthenticationError),
        ("status=403", openai.PermissionDeniedError),
        ("status=404", openai.NotFoundError),
        ("status=429", openai.RateLimitError),
        ("status=503", openai.InternalServerError),
        ("drop=1", openai.APIConnectionError),
        ("cut=1", openai.APIConnectionError),
    ],
)
async def test_errors(sdk: openai.AsyncOpenAI, options: str, error: type[openai.OpenAIError]) -> None:
    with pytest.raises(error):
        await sdk.chat.completions.create(model=f"demo?{options}", messages=MESSAGES)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("cut=2", openai.APIConnectionError),
        ("error_chunk=2", openai.APIError),
        ("error_chunk=2&error_finish=1", openai.APIError),
        ("malformed=2", json.JSONDecodeError),
    ],
)
async def test_torn_streams(sdk: openai.AsyncOpenAI, options: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await read_text(sdk, f"demo?{options}")


async def test_clean_cut_looks_like_success(sdk: openai.AsyncOpenAI) -> None:
    text = await read_text(sdk, "demo?cut_clean=4")

    assert text != DEFAULT_TEXT
    assert DEFAULT_TEXT.startswith(text)
