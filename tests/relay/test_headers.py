"""What crosses the gateway beside the body: an allow-list each way, and no key in either direction."""

from __future__ import annotations

import json

import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Operator
from tests.relay.calls import (
    ECHOED_SECRET,
    UPSTREAM_SECRET,
    Client,
    chat,
    demo_model,
    received,
    serve_model,
    upstream_name,
)
from tests.relay.upstream import DONE, Conversation, chunk, serve

OURS = {"authorization", "content-type", "accept-encoding", "host", "content-length"}


async def test_upstreams_get_our_headers_and_none_of_the_clients(
    operator: Operator, client: Client, demo: DemoProcess
) -> None:
    upstream, customer = upstream_name(), operator.customer()
    model = serve_model(operator, {"upstream_model": upstream})
    headers = {
        **customer.headers,
        "x-demo": "status=500",
        "cookie": "session=1",
        "openai-organization": "org-client",
        "x-stainless-retry-count": "1",
        "x-forwarded-for": "10.1.2.3",
        "user-agent": "client/1",
        "accept": "text/plain",
        "accept-encoding": "gzip",
        "x-api-key": customer.key,
        "api-base": "http://127.0.0.1:9",
    }
    body = {**chat(model), "user": "u", "api_base": "http://127.0.0.1:9", "base_url": "http://127.0.0.1:9"}
    answer = await client.send(json.dumps(body).encode(), headers, f"/v1/chat/completions?key={customer.key}")
    (request,) = received(demo, upstream)

    assert answer.status == 200
    assert {name for name, _ in request["headers"]} == OURS
    assert dict(request["headers"])["authorization"] == f"Bearer {UPSTREAM_SECRET}"
    assert dict(request["headers"])["accept-encoding"] == "identity"
    assert customer.key not in json.dumps(request)
    assert request["path"] == "/v1/chat/completions"


async def test_azure_is_signed_its_own_way(operator: Operator, client: Client, demo: DemoProcess) -> None:
    upstream = upstream_name("dialect=azure")
    channel = {"provider": "azure", "upstream_model": upstream, "options": {"query": {"api-version": "2026-01-01"}}}
    answer = await client.chat(operator.customer(), serve_model(operator, channel))
    (request,) = demo.received(upstream)

    assert answer.status == 200
    headers = dict(request["headers"])
    assert (headers["api-key"], "authorization" in headers) == (UPSTREAM_SECRET, False)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_clients_get_the_few_headers_that_are_meant_for_them(
    operator: Operator, client: Client, stream: bool
) -> None:
    async def script(talk: Conversation) -> None:
        await talk.head(
            200,
            "text/event-stream" if stream else "application/json; charset=utf-8",
            "openai-processing-ms: 12",
            "openai-version: 2020-10-01",
            "openai-organization: org-operator",
            "x-ratelimit-remaining-tokens: 5",
            "x-request-id: req_of_the_upstream",
            "set-cookie: a=b",
            f"x-echo-key: {UPSTREAM_SECRET}",
            "x-relaygate-output-cap: 1",
        )
        whole = b'{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
        await talk.send(chunk("x") + chunk(finish="stop") + DONE if stream else whole)

    async with serve(script) as base_url:
        answer = await client.chat(operator.customer(), serve_model(operator, {"base_url": base_url}), stream=stream)

    framing = {"transfer-encoding", "cache-control", "x-accel-buffering"} if stream else {"content-length"}
    assert answer.status == 200
    own = {"channel", "attempts", "upstream-ms", "overhead-ms"} | (set() if stream else {"cost"})
    assert answer.headers.keys() == framing | {f"x-relaygate-{name}" for name in own} | {
        "date", "content-type", "x-content-type-options", "x-request-id", "openai-processing-ms", "openai-version"
    }  # fmt: skip
    assert answer.headers["x-relaygate-channel"] == "openai"
    assert answer.headers["x-relaygate-attempts"] == "1"
    assert answer.headers["x-request-id"].startswith("req_0")
    assert answer.headers["openai-processing-ms"] == "12"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("POST", "/v1/nowhere", 404),
        ("GET", "/v1/chat/completions", 404),
        ("DELETE", "/v1/models", 405),
        ("POST", "/v1/chat/completions/", 404),
        ("POST", "/v1//chat/completions", 404),
        ("POST", "/v1/chat/completions", 401),
        ("GET", "/v1/models", 401),
        ("GET", "/healthz", 200),
        ("GET", "/admin/v1/keys", 401),
        ("GET", "/metrics", 401),
        ("OPTIONS", "/v1/chat/completions", 404),
    ],
)
async def test_every_answer_has_a_request_id_of_its_own(client: Client, method: str, path: str, status: int) -> None:
    answers = [await client.http.request(method, path) for _ in range(2)]

    assert {answer.status_code for answer in answers} == {status}
    assert len({answer.headers["x-request-id"] for answer in answers}) == 2
    assert all(len(answer.headers.get_list("x-request-id")) == 1 for answer in answers)
    if status >= 400:
        assert sorted(answers[0].json()["error"]) == ["code", "message", "param", "type"]


async def test_a_client_can_not_choose_its_request_id(operator: Operator, client: Client) -> None:
    customer, model = operator.customer(), demo_model(operator, "")
    answer = await client.send(json.dumps(chat(model)).encode(), {**customer.headers, "x-request-id": "mine"})

    assert answer.headers["x-request-id"] != "mine"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "options",
    [
        "echo_key=1&status=400",
        "echo_key=1&status=401",
        "echo_key=1&status=500",
        "echo_key=1&status=400&body=string_error",
        "echo_key=1&status=400&body=array_error",
        "echo_key=1&body=html",
        "echo_key=1&error_200=1",
        "echo_key=1&error_200=1&status=400",
        f"redirect=http://127.0.0.1:9/{ECHOED_SECRET}",
        f"status=400&code={ECHOED_SECRET}",
    ],
)
async def test_an_upstream_that_repeats_its_key_tells_no_client(
    operator: Operator, client: Client, options: str, stream: bool
) -> None:
    customer = operator.customer()
    model = serve_model(operator, {"upstream_model": upstream_name(options), "api_key": ECHOED_SECRET})
    answer = await client.chat(customer, model, stream=stream)
    (entry,) = operator.entries(customer, count=1)

    assert answer.status >= 400
    assert ECHOED_SECRET.encode() not in answer.body
    assert ECHOED_SECRET not in json.dumps(answer.headers)
    assert ECHOED_SECRET not in json.dumps(entry)
    if options.startswith("echo_key=1&status=400"):
        assert "[redacted]" in answer.error["message"]


async def test_a_key_is_not_told_in_halves(operator: Operator, client: Client) -> None:
    async def script(talk: Conversation) -> None:
        await talk.head(400, "application/json")
        await talk.send(json.dumps({"error": {"message": "x" * 990 + UPSTREAM_SECRET}}).encode())

    async with serve(script) as base_url:
        answer = await client.chat(operator.customer(), serve_model(operator, {"base_url": base_url}))

    assert answer.status == 400
    assert len(answer.error["message"]) == 1_000
    assert UPSTREAM_SECRET[:4] not in answer.error["message"]


async def test_an_error_frame_that_repeats_the_key(operator: Operator, client: Client) -> None:
    async def script(talk: Conversation) -> None:
        await talk.head()
        await talk.send(chunk("x"), pause=0.05)
        await talk.send(b'data: {"error":{"message":"bad key %b"}}\n\n' % UPSTREAM_SECRET.encode())

    async with serve(script) as base_url:
        answer = await client.chat(operator.customer(), serve_model(operator, {"base_url": base_url}), stream=True)

    assert answer.stream_error["message"] == "The upstream reported an error: bad key [redacted]"
    assert UPSTREAM_SECRET.encode() not in answer.body
