"""Upstreams that answer anything but what they should: nothing is submitted twice, and nothing hangs for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from app.errors import UpstreamError
from app.media.caller import steady
from app.media.pace import may_send
from tests.gateway import Customer, Gateway, Operator
from tests.media.client import MediaClient
from tests.media.test_lifecycle import PRICE, task_of, wait_for_step

PAGE = "<html><body>Just a moment…</body></html>"
MADE = {"status": "SUCCESS", "progress": "100%", "data": {"output": "https://files.example/1.mp4"}}
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def said(status: int, body: str = "", headers: dict[str, str] | None = None) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=body, content_type="text/html", headers=headers)

    return answer


def told(body: object, status: int = 200) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status)

    return answer


async def cut(request: web.Request) -> web.StreamResponse:
    """Less than was announced."""
    response = web.StreamResponse(headers={"content-length": "100"})
    await response.prepare(request)
    await response.write(b'{"task_id": "1"')
    assert request.transport is not None
    request.transport.abort()
    return response


async def boundless(request: web.Request) -> web.StreamResponse:
    """More than fits, by its own account."""
    response = web.StreamResponse(headers={"content-length": str(1 << 40)})
    await response.prepare(request)
    await response.write(b'{"task_id": "1", "')
    return response


def endless(status: int) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    return answer


@dataclass
class Upstream:
    """A platform of the unified API for each name in a path: how it takes a submission, and how it answers polls in turn."""

    submit: dict[str, Answer] = field(default_factory=dict)
    polls: dict[str, list[Answer]] = field(default_factory=dict)
    cancels: dict[str, list[Answer]] = field(default_factory=dict)
    submissions: Counter[str] = field(default_factory=Counter)
    polled: Counter[str] = field(default_factory=Counter)
    open: Counter[str] = field(default_factory=Counter)
    most_open: Counter[str] = field(default_factory=Counter)
    url: str = ""

    async def on_submit(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        await request.read()
        self.submissions[name] += 1
        return await self._count(name, self.submit.get(name, told({"task_id": f"{name}-1"})), request)

    async def on_poll(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        answers = self.polls.get(name, [])
        self.polled[name] += 1
        answer = answers.pop(0) if answers else told(MADE)
        return await self._count(f"{name} polled", answer, request)

    async def on_cancel(self, request: web.Request) -> web.StreamResponse:
        answers = self.cancels.get(request.match_info["name"], [])
        return await (answers.pop(0) if answers else told({}))(request)

    async def _count(self, name: str, answer: Answer, request: web.Request) -> web.StreamResponse:
        self.open[name] += 1
        self.most_open[name] = max(self.most_open[name], self.open[name])
        try:
            return await answer(request)
        finally:
            self.open[name] -= 1


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()
    application = web.Application()
    application.add_routes(
        [
            web.post("/{name}/v2/videos/generations", made.on_submit),
            web.get("/{name}/v2/videos/generations/{id}", made.on_poll),
            web.delete("/{name}/v2/videos/generations/{id}", made.on_cancel),
        ]
    )
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
def customer(operator: Operator) -> Customer:
    return operator.customer("1000")


@pytest.fixture
def client(gateway: Gateway, customer: Customer) -> Any:
    made = MediaClient(gateway, customer)
    yield made
    made.close()


def film(operator: Operator, base_url: str, *, then: str | None = None, **channel: Any) -> str:
    """A model that is made at this upstream; `then`: at the demo otherwise."""
    name = operator.model(kind="video", price=PRICE, max_output_tokens=None)
    operator.channel(name, "film", provider="unified", base_url=base_url, **channel)
    if then is not None:
        operator.channel(name, then, provider="demo", priority=-1)
    return name


LOST: dict[str, Answer] = {
    "a page": said(200, PAGE),
    "nothing": said(200),
    "no name": told({"ok": True}),
    "a list": told([{"task_id": "1"}]),
    "a name that is none": told({"task_id": {"a": 1}}),
    "a zero byte": told({"task_id": "a\0b"}),
    "a name of a megabyte": told({"task_id": "x" * 1_000_000}),
    "cut": cut,
    "too much": boundless,
    "bad gateway": said(502, PAGE),
    "gateway timeout": said(504, PAGE),
    "request timeout": said(408),
}
ELSEWHERE: dict[str, Answer] = {
    "no such endpoint": said(404, PAGE),
    "no such method": said(405),
    "too many": said(429, headers={"retry-after": "3600"}),
    "moved": said(302, headers={"location": "/elsewhere"}),
    "broken": said(500, PAGE),
    "endless and broken": endless(503),
    "no key": told({"error": {"message": "Your account is in arrears."}}, 401),
}


async def test_an_answer_that_tells_nothing_is_never_followed_by_another_submission(
    operator: Operator, client: MediaClient, customer: Customer, upstream: Upstream
) -> None:
    names = {f"l{place}": what for place, what in enumerate(LOST)}
    upstream.submit |= {name: LOST[what] for name, what in names.items()}

    def play() -> None:
        tasks = {
            name: client.submit(film(operator, f"{upstream.url}/{name}", then="demo-video?seconds=0"), duration=5)
            for name in names
        }
        for name, task_id in tasks.items():
            found = wait_for_step(operator, task_id, "stuck")
            assert found["last_fault"] == "upstream_lost", names[name]
        for task_id in tasks.values():
            assert client.http.delete(f"/v2/videos/generations/{task_id}").status_code == 200
        for task_id in tasks.values():
            assert client.wait(task_id)["status"] == "FAILURE"
        assert {entry["status"] for entry in operator.entries(customer, count=len(tasks))} == {"released"}

    await asyncio.to_thread(play)
    assert {names[name]: count for name, count in upstream.submissions.items()} == dict.fromkeys(LOST, 1)


async def test_an_upstream_that_surely_has_not_taken_it_is_passed_over(
    gateway: Gateway, operator: Operator, client: MediaClient, customer: Customer, upstream: Upstream
) -> None:
    names = {f"e{place}": what for place, what in enumerate(ELSEWHERE)}
    upstream.submit |= {name: ELSEWHERE[what] for name, what in names.items()}
    port = upstream.url.rpartition(":")[2]
    unreachable = ["https://127.0.0.1:" + port, "http://no-such-host.invalid", "http://127.0.0.1:9"]

    def play() -> None:
        urls = [f"{upstream.url}/{name}" for name in names] + unreachable
        tasks = {url: client.submit(film(operator, url, then="demo-video?seconds=0"), duration=5) for url in urls}
        for url, task_id in tasks.items():
            task = client.wait(task_id)
            assert task["status"] == "SUCCESS", url
            assert "arrears" not in str(task)
        entries = operator.entries(customer, count=len(tasks))
        assert {(entry["status"], entry["charged"]) for entry in entries} == {("settled", "0.5")}

    await asyncio.to_thread(play)
    refused = [line for line in gateway.log.splitlines() if "submission_refused" in line]
    assert dict(upstream.submissions) == dict.fromkeys(names, 1), refused


async def test_a_refusal_without_end_is_a_refusal(operator: Operator, client: MediaClient, upstream: Upstream) -> None:
    upstream.submit["r"] = endless(400)

    def play() -> dict[str, Any]:
        return client.wait(client.submit(film(operator, f"{upstream.url}/r", then="demo-video?seconds=0"), duration=5))

    task = await asyncio.to_thread(play)
    assert (task["status"], task["fail_reason"]) == ("FAILURE", "The upstream refused the request (400).")


async def test_polls_that_bring_no_verdict_are_made_again(
    operator: Operator, client: MediaClient, upstream: Upstream
) -> None:
    faults: dict[str, Answer] = {
        "a page": said(200, PAGE),
        "gone": said(404, PAGE),
        "refused": told({"error": {"message": "No"}}, 400),
        "no key": said(401),
        "unknown": told({"status": "\ud83d\ude00"}),
        "a half": said(200, '{"status": "SUCCESS", "fail_reason": "\\ud800"}'),
        "no result": told({"status": "SUCCESS", "data": None}),
        "cut": cut,
        "too much": boundless,
    }
    names = {f"p{place}": what for place, what in enumerate(faults)}
    upstream.polls |= {name: [faults[what]] for name, what in names.items()}

    def play() -> None:
        tasks = {name: client.submit(film(operator, f"{upstream.url}/{name}"), duration=5) for name in names}
        for name, task_id in tasks.items():
            assert client.wait(task_id)["status"] == "SUCCESS", names[name]
            assert task_of(operator, task_id)["last_fault"], names[name]

    await asyncio.to_thread(play)
    assert {names[name]: count for name, count in upstream.polled.items()} == dict.fromkeys(faults, 2)


@pytest.mark.long
async def test_a_channel_has_no_more_calls_at_a_time_than_it_may(
    operator: Operator, client: MediaClient, upstream: Upstream
) -> None:
    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.05)
        return web.json_response(MADE)

    upstream.polls |= {"one": [slow] * 20, "more": [slow] * 20}

    def play() -> None:
        one = film(operator, f"{upstream.url}/one", options={"task_calls": 1})
        more = film(operator, f"{upstream.url}/more")
        with ThreadPoolExecutor(8) as threads:
            ids = list(threads.map(lambda model: client.submit(model, duration=5), [one, more] * 20))
        for task_id in ids:
            assert client.wait(task_id)["status"] == "SUCCESS"

    await asyncio.to_thread(play)
    assert (upstream.polled["one"], upstream.polled["more"]) == (20, 20)
    assert upstream.most_open["one polled"] == 1
    assert upstream.most_open["more polled"] > 1


@pytest.mark.long
async def test_an_upstream_that_takes_nothing_in_holds_up_no_other(
    operator: Operator, client: MediaClient, customer: Customer, upstream: Upstream
) -> None:
    """More submissions hang at one than a process has under way in all; those of another are made all the same."""
    released = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.json_response({"error": {"message": "No"}}, status=400)

    upstream.submit["hangs"] = hang
    hanging = film(operator, f"{upstream.url}/hangs")
    with ThreadPoolExecutor(8) as threads:
        submit = asyncio.get_running_loop().run_in_executor
        ids = await asyncio.gather(*(submit(threads, lambda: client.submit(hanging, duration=5)) for _ in range(140)))
    async with asyncio.timeout(20):
        while upstream.open["hangs"] < 64:
            await asyncio.sleep(0.05)
    model = film(operator, f"{upstream.url}/works")
    task_id = await asyncio.to_thread(client.submit, model, duration=5)
    assert (await asyncio.to_thread(client.wait, task_id))["status"] == "SUCCESS"
    assert upstream.open["hangs"] == 64
    released.set()
    for one in ids:
        assert (await asyncio.to_thread(client.wait, one))["status"] == "FAILURE"
    assert upstream.submissions["hangs"] == 140
    assert upstream.most_open["hangs"] == 64
    entries = await asyncio.to_thread(operator.entries, customer, count=141)
    assert Counter(entry["status"] for entry in entries) == {"released": 140, "settled": 1}


def test_whatever_hangs_leaves_a_place_for_the_next_channel() -> None:
    places: Counter[int] = Counter()
    for channel in range(7):
        while may_send(places[channel], places.total()):
            places[channel] += 1
    assert list(places.values()) == [64, 32, 16, 8, 4, 2, 1]


@pytest.mark.parametrize(("pause", "whole"), [(0.0, True), (0.05, False)])
async def test_a_result_that_drips_is_broken_off(pause: float, whole: bool) -> None:
    async def drips() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"."
            await asyncio.sleep(pause)

    came = 0
    try:
        async for piece in steady(drips(), start=0.1, slowest=1000):
            came += len(piece)
    except UpstreamError:
        assert not whole
    assert (came == 20) is whole


async def test_a_cancellation_that_the_upstream_is_too_busy_for_is_asked_again(
    operator: Operator, client: MediaClient, upstream: Upstream
) -> None:
    """A 503 doesn't say that it can't be stopped."""
    upstream.polls["busy"] = [told({"status": "IN_PROGRESS"})] * 100
    upstream.cancels["busy"] = [said(503)]

    def play() -> None:
        task_id = client.submit(film(operator, f"{upstream.url}/busy"), duration=5)
        client.wait(task_id, until=lambda task: task["status"] != "NOT_START")
        assert client.http.delete(f"/v2/videos/generations/{task_id}").status_code == 200
        assert client.wait(task_id)["status"] == "FAILURE"
        assert task_of(operator, task_id)["fail_code"] == "task_cancelled"

    await asyncio.to_thread(play)
    assert upstream.cancels["busy"] == []
