"""The control endpoints: scripted faults, the journal and the counters."""

import asyncio
import time

import httpx2 as httpx
import pytest

from tests.demo.process import DemoProcess, run_demo
from tests.demo.wire import ask, call, chat, stream


async def status_of(client: httpx.AsyncClient, model: str) -> int:
    return (await client.post("/v1/chat/completions", json=chat(model))).status_code


async def test_script_runs_out(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    demo.script("flaky", {"status": 500}, {}, {"status": "429"})

    assert [await status_of(client, "flaky") for _ in range(4)] == [500, 200, 429, 200]


async def test_repeated_script_starts_over(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    demo.script("flaky", {"status": 500}, {"status": 503}, repeat=True)

    assert [await status_of(client, "flaky") for _ in range(4)] == [500, 503, 500, 503]
    demo.control("DELETE", "faults")
    assert await status_of(client, "flaky") == 200


async def test_scripts_are_per_model(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    demo.script("one?tokens=1", {"status": 501})
    demo.script("two", {"status": 502})
    demo.script("*", {"status": 503}, repeat=True)

    assert await status_of(client, "one?tokens=1") == 501
    assert await status_of(client, "two?tokens=1") == 502  # the name without its options counts too
    assert await status_of(client, "three") == 503


async def test_script_overrides_the_other_sources(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    demo.script("m", {"reply": "script"})
    ask_header = {"x-demo": "reply=header&tool=0"}
    response = await client.post("/v1/chat/completions", json=chat("m?reply=model&cached=2"), headers=ask_header)

    assert response.json()["choices"][0]["message"]["content"] == "script"
    assert response.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 2


@pytest.mark.parametrize(
    "order",
    [
        {"model": "m", "faults": [{"statuss": 500}]},
        {"model": "m", "faults": [{"status": 100}]},
        {"model": "m", "faults": "status=500"},
        {"model": "m"},
        {"model": "m", "faults": [], "extra": 1},
        {"model": "m", "faults": [{"usage": "missing,,zero"}]},
        {"model": "m", "faults": [{"stall": "chunk:"}]},
    ],
)
async def test_bad_scripts_are_refused(client: httpx.AsyncClient, order: object) -> None:
    response = await client.post("/_demo/faults", json=order)

    assert response.status_code == 400
    assert response.json()["error"]


async def test_journal_shows_the_request(demo: DemoProcess) -> None:
    payload, before = stream("demo?chunks=3", metadata={"näme": "x"}), time.time()
    await ask(demo, payload, x_trace="Abc")

    (entry,) = demo.settled()
    assert entry["path"] == "/v1/chat/completions"
    assert ["x-trace", "Abc"] in entry["headers"]
    assert entry["body"] == payload
    assert entry["raw_body"].startswith('{"model": "demo?chunks=3"')
    assert before <= entry["started_at"] <= time.time()
    assert (entry["finished"], entry["disconnected"], entry["chunks_sent"]) == (True, False, 3)


async def test_journal_keeps_what_was_refused(demo: DemoProcess) -> None:
    await ask(demo, b"not json")
    await ask(demo, chat(), authorization="Bearer bad")

    first, second = demo.settled()
    assert (first["body"], first["raw_body"], first["finished"]) == (None, "not json", True)
    assert second["body"] == chat()


async def test_journal_limit_and_clearing(demo: DemoProcess) -> None:
    for index in range(5):
        await ask(demo, chat(f"demo?tokens={index}"))

    def models(path: str) -> list[str]:
        return [entry["body"]["model"] for entry in demo.control("GET", path)["requests"]]

    assert models("requests?limit=2") == ["demo?tokens=3", "demo?tokens=4"]
    assert len(models("requests")) == 5
    assert models("requests?limit=0") == []
    assert models("requests?naming=tokens%3D3") == ["demo?tokens=3"]
    demo.control("DELETE", "requests")
    assert models("requests") == []


async def test_stats_count(demo: DemoProcess) -> None:
    before = demo.control("GET", "stats")
    await ask(demo, stream("demo?chunks=7"))
    async with call(demo, chat("demo?stall=headers")) as wire:
        assert await wire.is_silent(0.05)
        assert demo.control("GET", "stats")["open"] == before["open"] + 1
        waited = asyncio.create_task(asyncio.to_thread(demo.control, "GET", "stats?idle_ms=5000"))
        assert demo.control("GET", "stats?idle_ms=50")["open"] == 1

    after = await waited
    assert after["requests"] - before["requests"] == 2
    assert after["chunks"] - before["chunks"] == 7
    assert (after["disconnects"] - before["disconnects"], after["open"]) == (1, 0)


async def test_control_refuses_nonsense(client: httpx.AsyncClient) -> None:
    assert (await client.get("/_demo/nothing")).status_code == 404
    assert (await client.get("/_demo/requests?limit=x")).status_code == 400


async def test_journal_is_bounded_and_can_be_off() -> None:
    with run_demo("--no-record") as demo:
        await ask(demo, chat())
        assert demo.settled() == []
        assert demo.control("GET", "stats")["requests"] == 1


async def test_journal_forgets_the_oldest(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    for index in range(1_010):
        await client.get("/v1/models", headers={"x-index": str(index)})

    entries = demo.control("GET", "requests")["requests"]
    assert len(entries) == 1_000
    assert ["x-index", "10"] in entries[0]["headers"]
