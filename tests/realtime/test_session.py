"""Sessions as clients have them: OpenAI's SDK, every way to pass a key, frames both ways, and how they end."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any
from uuid import uuid4

import openai
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Customer, Gateway, Operator
from tests.realtime.talk import PRICE, dollars, entries, frames, realtime_model, refused, talk, upstream_of

DEEP = '{"type":"session.update","x":' + "[" * 50_000 + "]" * 50_000 + "}"


@pytest.fixture(scope="module")
def model(operator: Operator) -> str:
    return realtime_model(operator, "tokens=4&audio_ms=200")


@pytest.fixture
def customer(operator: Operator) -> Customer:
    return operator.customer()


async def test_openai_sdk_async(gateway: Gateway, operator: Operator, customer: Customer, model: str) -> None:
    sdk = openai.AsyncOpenAI(
        api_key=customer.key, base_url=gateway.base_url, websocket_base_url=f"ws://127.0.0.1:{gateway.port}/v1"
    )
    async with sdk.realtime.connect(model=model) as connection:
        created = await connection.recv()
        assert created.type == "session.created"
        assert created.session.model == model  # type: ignore[union-attr]
        await connection.session.update(session={"type": "realtime", "model": model, "instructions": "Be brief."})
        updated = await connection.recv()
        assert updated.type == "session.updated"
        assert updated.session.model == model  # type: ignore[union-attr]
        content: Any = [{"type": "input_text", "text": "hello there"}]
        await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        await connection.response.create()
        seen = []
        async for event in connection:
            seen.append(event.type)
            if event.type == "response.done":
                usage = event.response.usage
                break
        assert seen.count("response.output_text.delta") == 4
        assert seen.count("response.output_audio.delta") == 2
    assert usage is not None
    (turn, rest) = await entries(operator, customer, 2)
    assert turn["format"] == "openai_realtime"
    assert turn["status"] == "settled"
    assert turn["usage"]["input_tokens"] == usage.input_tokens
    assert Decimal(turn["charged"]) == dollars(usage.input_tokens or 0, 0, 4, 4)
    assert (rest["status"], rest["charged"], rest["request_id"]) == ("released", "0", turn["request_id"])


@pytest.mark.filterwarnings(
    "ignore:connect\\(\\) must be used as a context manager:DeprecationWarning"
)  # the SDK's use
async def test_openai_sdk_sync(gateway: Gateway, customer: Customer, model: str) -> None:
    def converse() -> list[str]:
        sdk = openai.OpenAI(
            api_key=customer.key, base_url=gateway.base_url, websocket_base_url=f"ws://127.0.0.1:{gateway.port}/v1"
        )
        seen: list[str] = []
        with sdk.realtime.connect(model=model) as connection:
            connection.response.create()
            for event in connection:
                seen.append(event.type)
                if event.type == "response.done":
                    return seen
        return seen

    seen = await asyncio.to_thread(converse)
    assert seen[0] == "session.created"
    assert seen[-1] == "response.done"


@pytest.mark.parametrize("path", ["/v1/realtime", "/realtime"])
async def test_every_place_for_a_key(gateway: Gateway, customer: Customer, model: str, path: str) -> None:
    key = customer.key
    for options in (
        {"headers": {"authorization": f"Bearer {key}"}},
        {"headers": {"api-key": key}},
        {"query": {"key": key}},
        {"subprotocols": ["realtime", f"openai-insecure-api-key.{key}"]},
    ):
        async with talk(gateway, None, model, path=path, **options) as session:
            created = await session.hear()
            assert created["session"]["model"] == model
            assert session.socket.subprotocol == ("realtime" if "subprotocols" in options else None)


async def test_the_clients_key_stays_here(
    gateway: Gateway, operator: Operator, demo: DemoProcess, customer: Customer, model: str
) -> None:
    protocols = ["realtime", f"openai-insecure-api-key.{customer.key}", "openai-beta.realtime-v1"]
    headers = {"openai-safety-identifier": "user-7", "openai-beta": "realtime=v1", "x-other": "1", "cookie": "a=b"}
    query = {"intent": "transcription", "key": customer.key, "other": "1"}
    size = len(gateway.log)
    async with talk(gateway, None, model, query=query, headers=headers, subprotocols=protocols) as session:
        await session.hear()
    seen = await frames(demo, upstream_of(operator, model))
    received = seen["headers"]
    assert received["authorization"] == "Bearer upstream-secret-0123456789"
    assert (received["openai-safety-identifier"], received["openai-beta"]) == ("user-7", "realtime=v1")
    assert not {"x-other", "cookie", "content-type", "sec-websocket-protocol"} & set(received)
    assert "key=" not in seen["query"]
    assert "other" not in seen["query"]
    assert "intent=transcription" in seen["query"]
    assert customer.key not in gateway.log[size:]


async def test_refused_handshakes(gateway: Gateway, operator: Operator, customer: Customer, model: str) -> None:
    poor = operator.customer(grant=None)
    bound = operator.customer(models=["another"])
    chat = operator.model("demo")
    unserved = realtime_model(operator)
    unpriced = realtime_model(operator, "", price=None)
    for who, name, options, status, code in (
        (None, model, {}, 401, "invalid_api_key"),
        (None, model, {"headers": {"authorization": "Bearer sk-wrong"}}, 401, "invalid_api_key"),
        (None, model, {"headers": {"authorization": "Bearer ek_wrong"}}, 401, "invalid_api_key"),
        (customer, model, {"subprotocols": ["realtime", "openai-insecure-api-key.sk-else"]}, 401, "invalid_api_key"),
        (customer, "no-such-model", {}, 404, "model_not_found"),
        (customer, chat, {}, 404, "model_not_found"),
        (bound, model, {}, 403, "model_not_allowed"),
        (poor, model, {}, 429, "insufficient_quota"),
        (customer, None, {}, 400, "missing_model"),
        (customer, model, {"query": {"call_id": "rtc_1"}}, 400, "call_id_not_supported"),
        (customer, model, {"query": {"intent": "nonsense"}}, 400, "invalid_request"),
        (customer, unserved, {}, 503, "no_channel"),
        (customer, unpriced, {}, 503, "model_not_priced"),
    ):
        got, error = await refused(gateway, who, name, **options)
        assert (got, error["code"]) == (status, code), error
        assert sorted(error) == ["code", "message", "param", "type"]
    assert await entries(operator, customer, 0) == []


async def test_another_model_is_refused_with_an_event(
    gateway: Gateway, operator: Operator, demo: DemoProcess, customer: Customer
) -> None:
    model = realtime_model(operator, "")
    upstream = upstream_of(operator, model)
    async with talk(gateway, customer, model) as session:
        await session.hear()
        await session.say("session.update", event_id="e-1", session={"model": "gpt-other"})
        error = await session.hear()
        assert error["type"] == "error"
        assert (error["error"]["code"], error["error"]["param"]) == ("model_change_refused", "session.model")
        assert error["error"]["event_id"] == "e-1"
        for hidden in (
            '{"type":"session\\u002eupdate","session":{"model":"gpt-other"}}',
            '{"session":{"model":"gpt-other"},"type":"session.update","response_id":5,"delta":{}}',
            '{"type":"session.update","session":{"model":"gpt-other"},"x":NaN}',
            '{"type":"session.update","session":{"model":"gpt-other"},"x":"\\ud83d"}',
        ):
            await session.socket.send(hidden)
            assert (await session.hear())["error"]["code"] == "model_change_refused"
        for unread in ('{"type":"session.update","session":{"model":"gpt-other"}}}', "nonsense", "[1]", DEEP):
            await session.socket.send(unread)
            assert (await session.hear())["error"]["code"] == "invalid_event"
        await session.socket.send(b'{"type":"session.update","session":{"model":"gpt-other"}}')
        assert (await session.hear())["error"]["code"] == "invalid_event"
        await session.say("session.update", session={"model": model, "voice": "marin"})
        updated = await session.hear()
        assert updated["session"] | {"model": model, "voice": "marin"} == updated["session"]
    seen = await frames(demo, upstream)
    assert len(seen["frames"]) == 1
    assert upstream in seen["frames"][0]
    assert "gpt-other" not in str(seen)


async def test_frames_pass_as_they_are(
    gateway: Gateway, operator: Operator, demo: DemoProcess, customer: Customer
) -> None:
    model = realtime_model(operator, "mirror=1")
    text = '{ "type":"conversation.item.create",  "item": {"type": "message", "text": "\u00e4\u4e2d \\ud83d\\ude00"} }'
    async with talk(gateway, customer, model) as session:
        await session.hear()
        await session.socket.send(text)
        await session.until("conversation.item.done")
        await session.socket.send(b"\x00\xff\x01")
        assert (await session.hear())["type"] == "error"  # the demo's words, not the gateway's
        await session.say("input_audio_buffer.append", audio="A" * 1_000_000)
        assert len((await session.until("response.output_audio.delta"))["delta"]) == 1_000_000
        # In fragments, with a ping between them.
        await session.socket.send(['{"type":"input_audio_', 'buffer.append","audio"', ':"QUJD"}'])
        await (await session.socket.ping())
        assert (await session.hear())["delta"] == "QUJD"
        await session.say("demo.binary")
        async with asyncio.timeout(5):
            assert await session.socket.recv() == b"\x00\x01\xff"
    seen = await frames(demo, upstream_of(operator, model))
    assert seen["frames"][0] == text
    assert seen["frames"][1] == "00ff01"
    assert seen["close"] == 1000


async def test_the_clients_close_code_goes_on(
    gateway: Gateway, operator: Operator, demo: DemoProcess, customer: Customer
) -> None:
    for code in (1000, 1001, 3001, 4999):
        model = realtime_model(operator, "")
        async with talk(gateway, customer, model) as session:
            await session.hear()
            await session.socket.close(code, "enough")
        assert (await frames(demo, upstream_of(operator, model)))["close"] == code


@pytest.mark.parametrize(
    ("options", "code", "event"),
    [
        ("close=1000", 1000, None),
        ("close=1001", 1001, None),
        ("close=1013", 1013, None),
        ("close=4321", 4321, None),
        ("tokens=9&cut=2", 1011, "upstream_disconnected"),
    ],
)
async def test_the_upstreams_close_code_goes_on(
    gateway: Gateway, operator: Operator, customer: Customer, options: str, code: int, event: str | None
) -> None:
    model = realtime_model(operator, options)
    async with talk(gateway, customer, model) as session:
        await session.hear()
        await session.say("response.create")
        got, reason, events = await session.end()
    assert got == code
    errors = [item["error"]["code"] for item in events if item["type"] == "error"]
    assert errors == ([] if event is None else [event])
    assert reason == ("as was asked for" if event is None else "upstream disconnected")


async def test_failover_while_the_handshake_fails(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    model = realtime_model(operator, "status=500", "status=429", "tokens=1")
    async with talk(gateway, customer, model) as session:
        await session.hear()
        await session.turn()
    (turn, _) = await entries(operator, customer, 2)
    assert turn["attempts"] == 3
    broken = realtime_model(operator, "status=503")
    status, error = await refused(gateway, customer, broken)
    assert (status, error["type"], error["code"]) == (503, "server_error", "upstream_overloaded")
    assert (await entries(operator, customer, 3))[-1]["status"] == "released"


async def test_an_upstream_that_is_slow_to_shake_hands(
    gateway: Gateway, operator: Operator, customer: Customer
) -> None:
    model = realtime_model(operator, "delay_ms=4000", "tokens=1")
    async with talk(gateway, customer, model) as session:
        await session.hear()
        await session.turn()
    assert (await entries(operator, customer, 2))[0]["attempts"] == 2


async def test_aliases_and_wildcards(
    gateway: Gateway, operator: Operator, demo: DemoProcess, customer: Customer
) -> None:
    alias, prefix = f"a-{uuid4().hex[:10]}", f"w-{uuid4().hex[:10]}-"
    model = realtime_model(operator, "", aliases=[alias])
    operator.call("PUT", f"/models/{prefix}*", json={"kind": "realtime", "price": PRICE})
    operator.channel(f"{prefix}*", f"up-{prefix}*")
    async with talk(gateway, customer, alias) as session:
        assert (await session.hear())["session"]["model"] == alias
        await session.say("session.update", session={"model": model})
        assert (await session.hear())["session"]["model"] == alias
    async with talk(gateway, customer, f"{prefix}mini") as session:
        assert (await session.hear())["session"]["model"] == f"{prefix}mini"
    assert (await frames(demo, f"up-{prefix}"))["model"] == f"up-{prefix}mini"
    assert {entry["model"] for entry in await entries(operator, customer, 2)} == {model, f"{prefix}mini"}
