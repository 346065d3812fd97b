"""Faults as the wire shows them: errors, odd bodies, stalls, cuts and torn streams."""

import asyncio
import json
import time

import pytest

from app.demo.answers import DEFAULT_TEXT
from tests.demo.process import DemoProcess
from tests.demo.wire import ask, call, chat, stream


@pytest.mark.parametrize(
    ("options", "kind", "code"),
    [
        ("status=400", "invalid_request_error", None),
        ("status=401", "invalid_request_error", "invalid_api_key"),
        ("status=404", "invalid_request_error", "model_not_found"),
        ("status=418", "invalid_request_error", None),
        ("status=429", "requests", "rate_limit_exceeded"),
        ("status=429&code=insufficient_quota", "insufficient_quota", "insufficient_quota"),
        ("status=500", "server_error", "server_error"),
        ("status=599", "server_error", None),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
async def test_error_status(demo: DemoProcess, options: str, kind: str, code: str | None, streams: bool) -> None:
    answer = await ask(demo, chat(f"demo?{options}", stream=streams))

    assert answer.status == int(options[7:10])
    assert answer.headers["content-type"] == "application/json"
    error = answer.json["error"]
    assert (error["type"], error["param"], error["code"]) == (kind, None, code)
    assert error["message"]


async def test_retry_after(demo: DemoProcess) -> None:
    assert (await ask(demo, chat("demo?status=429"))).headers["retry-after"] == "1"
    assert (await ask(demo, chat("demo?status=503&retry_after=7"))).headers["retry-after"] == "7"
    assert "retry-after" not in (await ask(demo, chat("demo?status=429&code=insufficient_quota"))).headers


async def test_odd_error_bodies(demo: DemoProcess) -> None:
    page = await ask(demo, chat("demo?body=html"))
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.body.startswith(b"<!DOCTYPE html>")
    assert (await ask(demo, chat("demo?body=html&status=502"))).status == 502

    ollama = await ask(demo, chat("demo?body=string_error&status=404"))
    assert (ollama.status, type(ollama.json["error"])) == (404, str)

    gemini = await ask(demo, chat("demo?body=array_error&status=400"))
    assert [entry["error"]["code"] for entry in gemini.json] == [400]

    openrouter = await ask(demo, stream("demo?error_200=1"))
    assert (openrouter.status, openrouter.json["error"]["code"]) == (200, 502)
    assert (await ask(demo, chat("demo?error_200=1&status=429"))).json["error"]["code"] == 429


async def test_other_success_status(demo: DemoProcess) -> None:
    assert (await ask(demo, chat("demo?status=201"))).status == 201
    assert (await ask(demo, stream("demo?status=201"))).status == 201


async def test_redirect(demo: DemoProcess) -> None:
    answer = await ask(demo, chat("demo?redirect=http%3A%2F%2F127.0.0.1%3A9%2Fx"))

    assert (answer.status, answer.headers["location"], answer.body) == (302, "http://127.0.0.1:9/x", b"")


async def test_key_is_echoed(demo: DemoProcess) -> None:
    for model in ("demo?echo_key=1", "demo?echo_key=1&status=400", "demo?echo_key=1&body=html"):
        answer = await ask(demo, chat(model), authorization="Bearer sk-secret")
        assert answer.headers["x-echo-key"] == "Bearer sk-secret"
        assert (b"sk-secret" in answer.body) == ("html" not in model)

    assert "sk-secret" in (await ask(demo, stream("demo?echo_key=1"), authorization="Bearer sk-secret")).text()


async def test_delay_comes_before_the_first_byte(demo: DemoProcess) -> None:
    for payload in (chat("demo?delay_ms=150"), stream("demo?delay_ms=150"), chat("demo?delay_ms=150&status=500")):
        async with call(demo, payload) as wire:
            start = time.monotonic()
            await wire.read_head()
            assert 0.14 <= time.monotonic() - start < 5


@pytest.mark.parametrize("streams", [False, True])
async def test_drop_closes_without_a_byte(demo: DemoProcess, streams: bool) -> None:
    async with call(demo, chat("demo?drop=1", stream=streams)) as wire:
        assert await wire.read_to_end() == b""


@pytest.mark.parametrize("streams", [False, True])
async def test_stall_before_the_headers(demo: DemoProcess, streams: bool) -> None:
    async with call(demo, chat("demo?stall=headers", stream=streams)) as wire:
        assert await wire.is_silent()


@pytest.mark.parametrize(("streams", "kind"), [(False, "application/json"), (True, "text/event-stream")])
async def test_stall_after_the_headers(demo: DemoProcess, streams: bool, kind: str) -> None:
    async with call(demo, chat("demo?stall=first", stream=streams)) as wire:
        await wire.read_head()
        assert wire.status == 200
        assert wire.headers["content-type"].startswith(kind)
        assert await wire.is_silent()


async def test_stall_after_chunks(demo: DemoProcess) -> None:
    async with call(demo, stream("demo?stall=chunk:2")) as wire:
        await wire.read_head()
        for _ in range(1 + 2):
            assert await wire.read_piece()
        assert await wire.is_silent()

    async with call(demo, chat("demo?stall=chunk:0")) as wire:
        await wire.read_head()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wire.read_piece(), 0.2)


@pytest.mark.parametrize("chunks", [0, 1, 16])
async def test_cut_leaves_the_framing_open(demo: DemoProcess, chunks: int) -> None:
    answer = await ask(demo, stream(f"demo?cut={chunks}"))

    assert (answer.status, answer.complete) == (200, False)
    assert len(answer.pieces) == (1 + chunks if chunks else 0) + 1  # the role chunk, and an empty rest
    assert answer.pieces[-1] == b""
    assert b'finish_reason":"' not in answer.body


async def test_cut_within_a_whole_answer(demo: DemoProcess) -> None:
    answer = await ask(demo, chat("demo?cut=0"))

    assert not answer.complete
    assert 0 < len(answer.body) == int(answer.headers["content-length"]) // 2


@pytest.mark.parametrize("chunks", [0, 3])
async def test_clean_cut_hides_the_fault(demo: DemoProcess, chunks: int) -> None:
    answer = await ask(demo, stream(f"demo?cut_clean={chunks}"))

    assert answer.complete
    assert len(answer.pieces) == (1 + chunks if chunks else 0)
    assert b"[DONE]" not in answer.body


async def test_clean_cut_of_a_whole_answer(demo: DemoProcess) -> None:
    answer = await ask(demo, chat("demo?cut_clean=0"))

    assert answer.complete
    with pytest.raises(json.JSONDecodeError):
        _ = answer.json


async def test_no_done(demo: DemoProcess) -> None:
    answer = await ask(demo, stream("demo?no_done=1"))

    assert answer.complete
    assert json.loads(answer.events()[-1])["usage"]["completion_tokens"] == 16


async def test_error_in_the_stream(demo: DemoProcess) -> None:
    answer = await ask(demo, stream("demo?error_chunk=2"))
    *chunks, last = answer.chunks()
    assert len(chunks) == 1 + 2
    assert (answer.complete, set(last), last["error"]["type"]) == (True, {"error"}, "server_error")

    first = (await ask(demo, stream("demo?error_chunk=0&code=insufficient_quota"))).chunks()[0]
    assert first["error"]["code"] == "insufficient_quota"

    last = (await ask(demo, stream("demo?error_chunk=1&error_finish=1"))).chunks()[-1]
    assert last["error"]["code"] == 502
    assert last["choices"][0]["finish_reason"] == "error"
    assert last["id"].startswith("chatcmpl-demo-")


async def test_malformed_frame(demo: DemoProcess) -> None:
    events = (await ask(demo, stream("demo?malformed=2"))).events()

    with pytest.raises(json.JSONDecodeError):
        json.loads(events.pop(1 + 2))
    assert events[-1] == "[DONE]"
    content = [json.loads(event)["choices"] for event in events[:-1]]
    assert "".join(choices[0]["delta"].get("content", "") for choices in content if choices) == DEFAULT_TEXT


async def test_blank_lines_before_the_json(demo: DemoProcess) -> None:
    start = time.monotonic()
    answer = await ask(demo, chat("demo?blank_lead=3&lead_ms=40"))

    assert 0.11 <= time.monotonic() - start < 5
    assert answer.pieces[:3] == [b"\n"] * 3
    assert answer.json["choices"][0]["message"]["content"] == DEFAULT_TEXT
