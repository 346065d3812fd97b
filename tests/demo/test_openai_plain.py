"""Whole chat answers: content, counts, caps, tools, dialects and refusals."""

import json
from typing import Any

import httpx2 as httpx
import pytest
import tiktoken

from app.demo.answers import DEFAULT_TEXT, ENCODING
from tests.demo.process import DemoProcess
from tests.demo.wire import ask, chat

encoding = tiktoken.get_encoding(ENCODING)
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}},
        },
    },
}


async def complete(client: httpx.AsyncClient, model: str = "demo", **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/chat/completions", json=chat(model, **fields))
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
async def test_default_answer(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, json=chat())
    body = response.json()

    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"].startswith("req_demo_")
    assert body["id"].startswith("chatcmpl-demo-")
    assert (body["object"], body["model"], type(body["created"])) == ("chat.completion", "demo", int)
    message: dict[str, object] = {"role": "assistant", "content": DEFAULT_TEXT, "refusal": None, "annotations": []}
    assert body["choices"] == [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    assert body["usage"]["prompt_tokens"] == 8  # what OpenAI reports for one user message "hi"
    assert (body["usage"]["completion_tokens"], body["usage"]["total_tokens"]) == (16, 24)


async def test_ids_differ(client: httpx.AsyncClient) -> None:
    assert (await complete(client))["id"] != (await complete(client))["id"]


@pytest.mark.parametrize(
    ("messages", "tokens"),
    [
        ([{"role": "user", "content": "hi"}], 3 + 3 + 1 + 1),
        ([{"role": "developer", "content": "hi"}, {"role": "user", "content": "hi"}], 3 + 5 + 5),
        ([{"role": "user", "name": "demo", "content": "hi"}], 3 + 5 + 2),
        ([{"role": "user", "content": [{"type": "text", "text": "hi"}]}], 3 + 5),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}], 3 + 4 + 85),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u", "detail": "low"}}]}], 92),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u", "detail": "high"}}]}], 772),
        (
            [
                {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "hi", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "call_1", "content": "hi"},
            ],
            3 + (3 + 1 + 1 + 1) + (3 + 1 + 1),
        ),
    ],
)
async def test_prompt_tokens(client: httpx.AsyncClient, messages: list[dict[str, Any]], tokens: int) -> None:
    assert (await complete(client, messages=messages))["usage"]["prompt_tokens"] == tokens


@pytest.mark.parametrize("cap", ["max_tokens", "max_completion_tokens"])
async def test_cap_cuts_the_answer(client: httpx.AsyncClient, cap: str) -> None:
    body = (await client.post("/v1/chat/completions", json={**chat(), cap: 5})).json()

    choice = body["choices"][0]
    assert choice["finish_reason"] == "length"
    assert len(encoding.encode(choice["message"]["content"])) == body["usage"]["completion_tokens"] == 5


async def test_cap_covers_reasoning(client: httpx.AsyncClient) -> None:
    body = await complete(client, "demo?reasoning=10", max_tokens=12)

    assert len(encoding.encode(body["choices"][0]["message"]["content"])) == 2
    assert body["usage"]["completion_tokens"] == 12
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == 10


async def test_choices_are_counted_each(client: httpx.AsyncClient) -> None:
    body = await complete(client, n=3)

    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert body["usage"]["completion_tokens"] == 3 * 16


async def test_text_options(client: httpx.AsyncClient) -> None:
    async def text(options: str) -> str:
        content: str = (await complete(client, f"demo?{options}"))["choices"][0]["message"]["content"]
        return content

    assert await text("reply=Hello+w%C3%B6rld%26more") == "Hello wörld&more"
    assert await text("echo=1") == "hi"
    assert len(encoding.encode(await text("tokens=250"))) == 250
    assert await text("echo_key=1&reply=x") == "x (key: Bearer sk-test)"


async def test_model_name_loses_its_options(client: httpx.AsyncClient) -> None:
    assert (await complete(client, "gpt-x?tokens=1"))["model"] == "gpt-x"


@pytest.mark.parametrize("size", [700, 9_999, 100_003])
async def test_big_answer_has_the_size_and_true_counts(demo: DemoProcess, size: int) -> None:
    answer = await ask(demo, chat(f"demo?big={size}", max_tokens=1))

    assert len(answer.body) == size
    content = answer.json["choices"][0]["message"]["content"]
    assert answer.json["usage"]["completion_tokens"] == len(encoding.encode(content))


async def test_header_gives_options_and_overrides_the_model(client: httpx.AsyncClient) -> None:
    headers = {"x-demo": "reply=header"}
    response = await client.post("/v1/chat/completions", json=chat("demo?reply=model&n=1"), headers=headers)
    assert response.status_code == 400  # `n` is no option, and a typo must not pass for an answer

    response = await client.post("/v1/chat/completions", json=chat("demo?reply=model"), headers=headers)
    assert response.json()["choices"][0]["message"]["content"] == "header"


async def test_tool_call(client: httpx.AsyncClient) -> None:
    body = await complete(client, "demo?tool=1", tools=[TOOL])

    choice = body["choices"][0]
    call = choice["message"]["tool_calls"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    assert (call["type"], call["function"]["name"]) == ("function", "weather")
    assert json.loads(call["function"]["arguments"]) == {"city": "demo", "days": 1, "unit": "C"}
    assert body["usage"]["completion_tokens"] == len(encoding.encode(call["function"]["arguments"]))


async def test_tool_result_is_answered_with_text(client: httpx.AsyncClient) -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]
    body = await complete(client, "demo?tool=1", tools=[TOOL], messages=messages)

    assert body["choices"][0]["message"]["content"] == DEFAULT_TEXT


async def test_usage_variants(client: httpx.AsyncClient) -> None:
    async def counts(word: str) -> tuple[object, ...]:
        usage = (await complete(client, f"demo?usage={word}&cached=4"))["usage"]
        return usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]

    assert "usage" not in await complete(client, "demo?usage=missing")
    assert await counts("zero") == (0, 0, 0)
    assert await counts("huge") == (10**15, 10**15, 2 * 10**15)
    assert await counts("negative") == (-8, -16, -24)
    assert await counts("string") == ("8", "16", "24")
    cached = (await complete(client, "demo?cached=4"))["usage"]
    assert cached["prompt_tokens_details"]["cached_tokens"] == 4


async def test_dialects(client: httpx.AsyncClient) -> None:
    xai = (await complete(client, "demo?dialect=xai&reasoning=10"))["usage"]
    assert (xai["completion_tokens"], xai["total_tokens"]) == (16, 8 + 16 + 10)
    assert xai["completion_tokens_details"]["reasoning_tokens"] == 10

    deepseek = await complete(client, "demo?dialect=deepseek&cached=3")
    thoughts = deepseek["choices"][0]["message"]["reasoning_content"]
    assert deepseek["usage"]["completion_tokens"] == 16 + len(encoding.encode(thoughts))
    assert deepseek["usage"]["prompt_cache_hit_tokens"] == 3
    assert deepseek["usage"]["prompt_cache_miss_tokens"] == 5

    azure = await complete(client, "demo?dialect=azure")
    assert azure["prompt_filter_results"]
    assert azure["choices"][0]["content_filter_results"]

    ollama = await complete(client, "demo?dialect=ollama")
    assert ollama["choices"][0]["message"]["reasoning"]
    assert set(ollama["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"}

    vllm = await complete(client, "demo?dialect=vllm&reasoning=3")
    assert len(encoding.encode(vllm["choices"][0]["message"]["reasoning"])) == 3
    assert vllm["choices"][0]["stop_reason"] is None


async def test_models(client: httpx.AsyncClient) -> None:
    body = (await client.get("/v1/models")).json()

    assert body["object"] == "list"
    assert {"id": "demo", "object": "model", "created": 1_700_000_000, "owned_by": "demo"} in body["data"]


async def test_health_needs_no_key(demo: DemoProcess) -> None:
    async with httpx.AsyncClient() as bare:
        assert (await bare.get(f"{demo.url}/healthz")).status_code == 200
        assert (await bare.get(f"{demo.url}/v1/models")).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer sk-1"}, 200),
        ({"api-key": "azure-1"}, 200),
        ({"authorization": "Bearer a-bad-one"}, 401),
        ({"api-key": "bad"}, 401),
        ({"authorization": "Basic abc"}, 401),
        ({}, 401),
    ],
)
async def test_keys(demo: DemoProcess, headers: dict[str, str], status: int) -> None:
    async with httpx.AsyncClient(base_url=demo.url) as bare:
        response = await bare.post("/v1/chat/completions", json=chat(), headers=headers)

    assert response.status_code == status
    if status == 401:
        error = response.json()["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b'"\xff"', None),
        (b'{"messages":[]}', "model"),
        (b'{"model":"demo"}', "messages"),
        (b'{"model":"demo","messages":[]}', "messages"),
        (b'{"model":"demo","messages":"hi"}', "messages"),
        (b'{"model":"demo","messages":["hi"]}', "messages"),
        (b'{"model":"demo","messages":[{"content":"\\ud83d"}]}', None),
        (b'{"model":1,"messages":[{}]}', "model"),
        (b'{"model":"demo","messages":[{}],"n":0}', "n"),
        (b'{"model":"demo","messages":[{}],"stream":"yes"}', "stream"),
        (b'{"model":"demo","messages":[{}],"max_tokens":0}', "max_tokens"),
        (b'{"model":"demo","messages":[{}],"max_tokens":9,"max_completion_tokens":9}', "max_tokens"),
        (b'{"model":"demo","messages":[{}],"stream_options":{"include_usage":true}}', "stream_options"),
        (b'{"model":"demo?chunks=0","messages":[{}]}', "model"),
        (b'{"model":"demo?nonsense","messages":[{}]}', "model"),
    ],
)
async def test_bad_requests(client: httpx.AsyncClient, body: bytes, param: str | None) -> None:
    response = await client.post("/v1/chat/completions", content=body)

    error = response.json()["error"]
    assert response.status_code == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["message"]


async def test_unknown_path(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/nothing", json={})

    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_url")
