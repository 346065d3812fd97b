"""What the gateway says of its answers in `x-relaygate-*`, what it never says, and answers with nothing in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal

import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Operator
from tests.relay.calls import (
    UPSTREAM_SECRET,
    Answer,
    Client,
    assert_charged,
    demo_model,
    entries,
    serve_model,
    upstream_name,
)
from tests.relay.upstream import Conversation, serve

both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def own(answer: Answer) -> dict[str, str]:
    """Its x-relaygate-* headers, without that beginning."""
    named = {name.removeprefix("x-relaygate-"): value for name, value in answer.headers.items()}
    return {name: value for name, value in named.items() if f"x-relaygate-{name}" in answer.headers}


def assert_times(headers: Mapping[str, str], least_ms: int) -> None:
    assert int(headers["upstream-ms"]) >= least_ms
    assert float(headers["overhead-ms"]) >= 0.0


# -- headers -------------------------------------------------------------------------------------------------------------


@both
async def test_what_is_said_of_an_answer(operator: Operator, client: Client, stream: bool) -> None:
    customer = operator.customer()
    model = serve_model(
        operator,
        {"upstream_model": upstream_name("status=500&delay_ms=30")},
        {"upstream_model": upstream_name("reply=second&delay_ms=30"), "options": {"class": "gold"}},
    )
    answer = await client.chat(customer, model, stream=stream)
    (entry,) = await entries(operator, customer, 1)
    headers = own(answer)

    assert set(headers) == {"channel", "attempts", "upstream-ms", "overhead-ms"} | (set() if stream else {"cost"})
    assert (headers["channel"], headers["attempts"]) == ("gold", "2")
    assert_times(headers, 60)
    if not stream:
        assert headers["cost"] == entry["charged"]
        assert Decimal(headers["cost"]) > 0


@both
async def test_what_is_said_of_a_converted_answer(
    operator: Operator, client: Client, demo: DemoProcess, stream: bool
) -> None:
    customer = operator.customer()
    claude = {"provider": "anthropic", "base_url": demo.url, "upstream_model": upstream_name("reply=hello&delay_ms=30")}
    model = serve_model(operator, claude)
    answer = await client.chat(customer, model, stream=stream)
    (entry,) = await entries(operator, customer, 1)
    headers = own(answer)

    assert answer.text == "hello"
    assert (headers["channel"], headers["attempts"]) == ("anthropic", "1")
    assert_times(headers, 30)
    assert headers.get("cost") == (None if stream else entry["charged"])


@both
async def test_what_is_never_said(operator: Operator, client: Client, demo: DemoProcess, stream: bool) -> None:
    """Of the channel neither its name, nor its address, nor its key, whatever the upstream itself sends."""
    customer, upstream = operator.customer(), upstream_name("echo_key=1")
    model = serve_model(operator, {"upstream_model": upstream, "name": f"secret-channel-{upstream[2:14]}"})
    answer = await client.chat(customer, model, stream=stream)
    told = json.dumps(dict(answer.headers))

    assert answer.status == 200
    assert [word for word in (UPSTREAM_SECRET, "secret-channel", upstream, str(demo.port)) if word in told] == []


@both
async def test_nothing_is_said_of_what_failed(operator: Operator, client: Client, stream: bool) -> None:
    answer = await client.chat(operator.customer(), demo_model(operator, "status=500"), stream=stream)
    assert (answer.status, own(answer)) == (502, {})


@both
async def test_headers_can_be_switched_off(strict_operator: Operator, strict_client: Client, stream: bool) -> None:
    model = demo_model(strict_operator, "reply=hello")
    answer = await strict_client.chat(strict_operator.customer(), model, stream=stream)
    assert (answer.text, own(answer)) == ("hello", {})


# -- nothing in it ---------------------------------------------------------------------------------------------------------


async def nothing(operator: Operator, client: Client, *, stream: bool) -> dict[str, object]:
    """The entry of an answer without content, for which an upstream reports eight tokens of input."""

    async def script(talk: Conversation) -> None:
        usage = '"usage":{"prompt_tokens":8,"completion_tokens":0}'
        if stream:
            await talk.head()
            finish = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
            await talk.send(f'data: {finish}\n\ndata: {{"choices":[],{usage}}}\n\ndata: [DONE]\n\n'.encode())
        else:
            choice = '{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":""}}'
            await talk.head(200, "application/json")
            await talk.send(f'{{"choices":[{choice}],{usage}}}'.encode())

    customer = operator.customer()
    async with serve(script) as base_url:
        answer = await client.chat(customer, serve_model(operator, {"base_url": base_url}), stream=stream)
    assert answer.status == 200
    (entry,) = await entries(operator, customer, 1)
    return entry


@both
async def test_an_empty_answer_is_charged_unless_the_operator_wants_it_free(
    operator: Operator, client: Client, strict_operator: Operator, strict_client: Client, stream: bool
) -> None:
    assert_charged(await nothing(operator, client, stream=stream), 8, 0)
    free = await nothing(strict_operator, strict_client, stream=stream)
    assert (free["status"], free["charged"], free["error"]) == ("settled", "0", None)
    assert isinstance(free["usage"], dict)
    assert free["usage"]["input_tokens"] == 8


async def test_an_answer_that_is_empty_on_request_is_never_free(
    strict_operator: Operator, strict_client: Client
) -> None:
    """Anthropic's clients fill a prompt cache that way."""

    async def script(talk: Conversation) -> None:
        await talk.head(200, "application/json")
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
        usage = {"input_tokens": 8, "output_tokens": 0}
        await talk.send(json.dumps({**message, "stop_reason": "max_tokens", "usage": usage}).encode())

    async def ask(cap: int) -> str:
        customer = strict_operator.customer()
        async with serve(script) as base_url:
            model = serve_model(strict_operator, {"provider": "anthropic", "base_url": base_url.removesuffix("/v1")})
            body = {"model": model, "max_tokens": cap, "messages": [{"role": "user", "content": "hi"}]}
            answer = await strict_client.send(json.dumps(body).encode(), customer.headers, "/v1/messages")
        assert answer.status == 200, answer.body
        (entry,) = await entries(strict_operator, customer, 1)
        return str(entry["charged"])

    assert [await ask(cap) for cap in (0, 1)] == ["0.000008", "0"]


async def test_an_answer_with_something_in_it_is_never_free(strict_operator: Operator, strict_client: Client) -> None:
    customer = strict_operator.customer()
    await strict_client.chat(customer, demo_model(strict_operator, "reply=hello"))
    (entry,) = await entries(strict_operator, customer, 1)
    assert_charged(entry, 8, 1)


async def test_a_stream_that_breaks_before_it_says_anything_is_charged_as_ever(
    operator: Operator, client: Client, strict_operator: Operator, strict_client: Client
) -> None:
    """What the setting forgives is an upstream's silence, not a fault: that has rules of its own."""
    charges = []
    for boss, caller in ((operator, client), (strict_operator, strict_client)):
        customer = boss.customer()
        answer = await caller.chat(customer, demo_model(boss, "chunks=20&cut=1"), stream=True)
        assert answer.stream_error["code"] == "upstream_disconnected"
        charges += [entry["charged"] for entry in await entries(boss, customer, 1)]
    assert charges[0] == charges[1] != "0"
