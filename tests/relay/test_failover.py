"""Upstream trouble that clients don't get to see: what is out is left alone, and another channel, key or process knows."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from app.routing.health import STREAK
from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator
from tests.relay.calls import (
    PATIENCE,
    Answer,
    Client,
    assert_released,
    channel_of,
    demo_model,
    entries,
    received,
    serve_model,
    upstream_name,
)
from tests.relay.upstream import Conversation, serve

WHOLE = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"well"}}],"usage":{"prompt_tokens":8,"completion_tokens":1}}'
)


def outages(operator: Operator, channel: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """What is out of a channel, once every process may know of so much."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found: list[dict[str, Any]] = operator.call("GET", "/outages", params={"channel_id": channel["id"]})["data"]
        if len(found) == count:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def events(gateway: Gateway, event: str, channel: dict[str, Any]) -> list[dict[str, Any]]:
    """The log's records of one kind about one channel."""
    lines = [line for line in gateway.log.splitlines() if f'"{event}"' in line and channel["name"] in line]
    return [json.loads(line) for line in lines]


# -- what is out is left alone -------------------------------------------------------------------------------------------


async def test_a_pause_that_an_upstream_asks_for(operator: Operator, client: Client, demo: DemoProcess) -> None:
    customer, first = operator.customer(), upstream_name("status=429&retry_after=60")
    model = serve_model(operator, {"upstream_model": first}, {"upstream_model": upstream_name("reply=second")})
    answers = [await client.chat(customer, model, stream=number % 2 == 1) for number in range(6)]
    found = await entries(operator, customer, 6)
    (outage,) = outages(operator, channel_of(operator, model), 1)

    assert [(answer.status, answer.text) for answer in answers] == [(200, "second")] * 6
    assert [entry["attempts"] for entry in found] == [1, 1, 1, 1, 1, 2]
    assert len(received(demo, first)) == 1
    assert (outage["kind"], outage["model"], outage["key"]) == ("rate_limited", first, 0)


async def test_a_rate_limited_key_leaves_the_channel_its_others(operator: Operator, client: Client) -> None:
    async def script(talk: Conversation) -> None:
        seen.append(talk.authorization)
        if talk.authorization == "bearer key-b-0123456789":
            await talk.head(429, "application/json", "retry-after: 60")
            await talk.send(b'{"error":{"message":"Slower."}}')
        else:
            await talk.head(200, "application/json")
            await talk.send(WHOLE)

    seen: list[str] = []
    customer = operator.customer()
    async with serve(script) as base_url:
        keys = [f"key-{letter}-0123456789" for letter in "abc"]
        model = serve_model(operator, {"base_url": base_url, "api_key": None, "api_keys": keys})
        answers = [await client.chat(customer, model) for _ in range(12)]
    found = await entries(operator, customer, 12)
    (outage,) = outages(operator, channel_of(operator, model), 1)

    assert [answer.status for answer in answers] == [200] * 12
    assert sum(entry["attempts"] for entry in found) == 13
    counts = Counter(seen)
    assert counts["bearer key-b-0123456789"] == 1
    assert min(counts["bearer key-a-0123456789"], counts["bearer key-c-0123456789"]) >= 4
    assert outage["key"] == 1


@pytest.mark.parametrize("mended", ["by a new key", "by the operator's word"])
async def test_a_refused_key_takes_the_channel_out_until_it_is_mended(
    operator: Operator, client: Client, gateway: Gateway, demo: DemoProcess, mended: str
) -> None:
    customer, first = operator.customer(), upstream_name("reply=first")
    demo.script(first, {"status": 401})
    model = serve_model(operator, {"upstream_model": first}, {"upstream_model": upstream_name("reply=second")})
    before = [(await client.chat(customer, model)).text for _ in range(5)]
    channel = channel_of(operator, model)
    (outage,) = outages(operator, channel, 1)
    health = operator.call("GET", f"/channels/{channel['id']}/health")

    assert before == ["second"] * 5
    assert len(received(demo, first)) == 1
    assert (outage["channel"], outage["kind"], outage["model"]) == (channel["name"], "refused", None)
    assert outage["reason"] == "upstream_refused_credentials"
    assert health["outages"] == [outage]
    (record,) = events(gateway, "channel_out", channel)
    assert (record["level"], record["kind"], record["key"]) == ("error", "refused", 0)

    if mended == "by a new key":
        operator.call("PATCH", f"/channels/{channel['id']}", json={"api_key": "upstream-secret-9876543210"})
    else:
        operator.call("DELETE", f"/channels/{channel['id']}/outages")
    deadline = time.monotonic() + PATIENCE
    while (answer := await client.chat(customer, model)).text != "first":
        assert (answer.text, time.monotonic() < deadline) == ("second", True)
    assert outages(operator, channel, 0) == []


async def test_a_channel_that_heals_is_back_with_one_request(
    operator: Operator, client: Client, gateway: Gateway, demo: DemoProcess
) -> None:
    customer, first = operator.customer(), upstream_name("reply=first")
    demo.script(first, *[{"status": 500}] * STREAK)
    model = serve_model(operator, {"upstream_model": first}, {"upstream_model": upstream_name("reply=second")})
    texts = [(await client.chat(customer, model)).text for _ in range(STREAK)]
    channel = channel_of(operator, model)
    deadline = time.monotonic() + PATIENCE
    while (answer := await client.chat(customer, model)).text != "first":
        assert (answer.text, time.monotonic() < deadline) == ("second", True)
        await asyncio.sleep(0.05)

    assert texts == ["second"] * STREAK
    assert len(received(demo, first)) == STREAK + 1  # those that failed, and the probe
    assert len(events(gateway, "channel_out", channel)) == 1
    assert outages(operator, channel, 0) == []
    assert [(await client.chat(customer, model)).text for _ in range(5)] == ["first"] * 5


async def test_when_all_have_asked_for_a_pause(operator: Operator, client: Client, demo: DemoProcess) -> None:
    customer = operator.customer()
    names = [upstream_name(f"status=429&retry_after={seconds}") for seconds in (90, 40)]
    model = serve_model(operator, *({"upstream_model": name} for name in names))
    asked = await client.chat(customer, model)
    refused = [await client.chat(customer, model, stream=stream) for stream in (False, True)]
    found = await entries(operator, customer, 3)

    assert [len(received(demo, name)) for name in names] == [1, 1]
    for answer in (asked, *refused):
        assert (answer.status, answer.error["code"]) == (429, "upstream_rate_limited")
        assert 30 <= int(answer.headers["retry-after"]) <= 40
    assert [entry["attempts"] for entry in found] == [0, 0, 2]
    for entry in found:
        assert_released(entry, "upstream_rate_limited")


async def test_streams_that_break_off_put_their_channel_out(operator: Operator, client: Client) -> None:
    """Each began well: it isn't the beginning alone that counts."""
    customer = operator.customer()
    model = demo_model(operator, "chunks=20&cut=3", "reply=second")
    texts: list[str] = []
    while len(texts) < 12:
        texts.append((await client.chat(customer, model, stream=True)).events[-1])
        if texts[-1] == "[DONE]":
            break
    (outage,) = outages(operator, channel_of(operator, model), 1)

    assert texts[-1] == "[DONE]"
    assert len(texts) == STREAK + 1
    assert (outage["kind"], outage["reason"]) == ("failing", "upstream_disconnected")


# -- which one, while all are well -----------------------------------------------------------------------------------------


async def test_a_conversation_keeps_to_one_of_equal_channels(
    operator: Operator, client: Client, demo: DemoProcess
) -> None:
    """They take so long that a slow moment of the machine doesn't make one of them look clearly worse."""
    customer, names = operator.customer(), [upstream_name("delay_ms=40"), upstream_name("delay_ms=40")]
    model = serve_model(operator, *({"upstream_model": name, "priority": 0} for name in names))

    async def spread(*, named: bool = False, **fields: Any) -> list[int]:
        before = [len(received(demo, name)) for name in names]
        for _ in range(4):
            body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}).encode()
            conversation = {"x-grok-conv-id": "conversation"} if named else {}
            assert (await client.send(body, {**customer.headers, **conversation})).status == 200
        return [len(received(demo, name)) - old for name, old in zip(names, before, strict=True)]

    long = [{"role": "user", "content": "Once upon a time. " * 300}]
    found = [
        *[await spread(prompt_cache_key=f"key-{number}") for number in range(4)],
        await spread(named=True),
        await spread(messages=long),
    ]

    assert [sorted(counts) for counts in found] == [[0, 4]] * 6


# -- bounds ------------------------------------------------------------------------------------------------------------


async def test_a_models_own_bounds(operator: Operator, client: Client) -> None:
    """Its channels would answer within the gateway's time-outs."""
    customer = operator.customer()
    slow = demo_model(operator, "delay_ms=1200", "reply=second", options={"first_byte_timeout": 0.2})
    halting = demo_model(operator, "chunks=2&chunk_ms=1200", options={"idle_timeout": 0.2})
    answer, stream = await asyncio.gather(client.chat(customer, slow), client.chat(customer, halting, stream=True))

    assert (answer.status, answer.text) == (200, "second")
    assert stream.stream_error["code"] == "upstream_stalled"


async def test_so_many_attempts_and_no_more(operator: Operator, client: Client) -> None:
    customer = operator.customer()
    failing = ["status=500"] * 7
    by_default, two = demo_model(operator, *failing), demo_model(operator, *failing, options={"max_attempts": 2})
    for model in (by_default, two):
        assert (await client.chat(customer, model)).error["code"] == "upstream_error"
    assert [entry["attempts"] for entry in await entries(operator, customer, 2)] == [2, 5]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_channel_gets_no_more_at_once_than_its_cap(operator: Operator, client: Client, stream: bool) -> None:
    now = most = 0

    async def script(talk: Conversation) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        now -= 1  # before the answer: once that is out, the next one may come
        await talk.head(200, "text/event-stream" if stream else "application/json")
        await talk.send(b'data: {"choices":[]}\n\ndata: [DONE]\n\n' if stream else WHOLE)

    customer = operator.customer()
    async with serve(script) as base_url:
        model = serve_model(operator, {"base_url": base_url, "options": {"concurrency": 1}})
        answers = await asyncio.gather(*(client.chat(customer, model, stream=stream) for _ in range(4)))

    assert [answer.status for answer in answers] == [200] * 4
    assert most == 1


async def test_full_channels_are_busy(strict_operator: Operator, strict_client: Client) -> None:
    async def script(talk: Conversation) -> None:
        arrived.set()
        await leave.wait()
        await talk.head(200, "application/json")
        await talk.send(WHOLE)

    arrived, leave = asyncio.Event(), asyncio.Event()
    customer = strict_operator.customer()
    async with serve(script) as base_url:
        model = serve_model(strict_operator, {"base_url": base_url, "options": {"concurrency": 1}})
        first = asyncio.create_task(strict_client.chat(customer, model))
        await arrived.wait()
        refused = await strict_client.chat(customer, model)
        leave.set()
        answer: Answer = await first
        again = await strict_client.chat(customer, model)
    assert (answer.status, again.status) == (200, 200)
    assert (refused.status, refused.error["code"], refused.headers["retry-after"]) == (429, "channels_busy", "1")


async def test_retries_have_a_budget(strict_operator: Operator, strict_client: Client) -> None:
    """Ten requests want forty retries: there are twenty, and one more each second."""
    customer, model = strict_operator.customer(), demo_model(strict_operator, *["status=500"] * 5)
    started = time.monotonic()
    answers = await asyncio.gather(*(strict_client.chat(customer, model) for _ in range(10)))
    passed = time.monotonic() - started
    found = await entries(strict_operator, customer, 10)

    assert [answer.error["code"] for answer in answers] == ["upstream_error"] * 10
    assert 30 <= sum(entry["attempts"] for entry in found) <= 31 + passed
    assert "retry_budget_spent" in strict_operator.gateway.log


# -- other processes -------------------------------------------------------------------------------------------------------


def known_outages(gateway: Gateway) -> float:
    """How many a process knows of, by its metrics."""
    with gateway.admin() as http:
        text = http.get(f"{gateway.url}/metrics").text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("relaygate_outages "))


async def test_what_one_process_finds_out_the_others_dont_try(
    operator: Operator, client: Client, gateway: Gateway, demo: DemoProcess, start_gateway: Callable[..., Gateway]
) -> None:
    customer = operator.customer()
    names = [upstream_name("status=401"), upstream_name("status=429&retry_after=60")]
    model = serve_model(
        operator, *({"upstream_model": name} for name in names), {"upstream_model": upstream_name("reply=third")}
    )
    second = start_gateway(gateway.database_url)
    known, own = known_outages(second), Client(second)
    assert (await client.chat(customer, model)).text == "third"
    deadline = time.monotonic() + PATIENCE
    while known_outages(second) < known + 2:
        assert time.monotonic() < deadline, second.log
        await asyncio.sleep(0.05)
    answers = [await own.chat(customer, model) for _ in range(5)]
    await own.close()

    assert [answer.text for answer in answers] == ["third"] * 5
    assert [len(received(demo, name)) for name in names] == [1, 1]
