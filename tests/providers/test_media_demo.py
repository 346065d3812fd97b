"""The demo's adapter against the demo upstream itself: a job's whole way, as the gateway's own caller goes it."""

from __future__ import annotations

import asyncio

import pytest

from app.core.media import Job, Scope, Status
from app.providers.demo.media import DemoMedia
from app.providers.media import Done, Failed, Handle, Outcome, Running, Site
from tests.demo.process import DemoProcess
from tests.providers.conftest import Send

MEDIA = DemoMedia()


@pytest.mark.parametrize("base_url", ["http://demo.example", "http://demo.example/v1"])
def test_it_stands_beside_chat(base_url: str) -> None:
    call = MEDIA.submit(Job(Scope.VIDEOS, "m", "a cat"), "m", "key", Site(base_url))
    assert call.path == "http://demo.example/v2/videos/generations"


async def begin(send: Send, demo: DemoProcess, scope: Scope, script: str) -> Handle:
    model = f"demo-{scope.value}?{script}"
    job = Job(scope, "client-model", "a cat on a mat")
    call = MEDIA.submit(job, model, "task-key", Site(f"{demo.url}/v1"))
    outcome = MEDIA.read_submitted(job, await send("demo", f"{demo.url}/v1", call))
    assert isinstance(outcome, Running)
    assert outcome.status is Status.SUBMITTED
    return Handle(outcome.id, outcome.memo, scope, model)


async def follow(send: Send, demo: DemoProcess, handle: Handle) -> tuple[list[Status], Outcome]:
    """The statuses that were seen, and how it ended."""
    base_url = f"{demo.url}/v1"
    seen: list[Status] = []
    for _ in range(200):
        outcome = MEDIA.read_polled(handle, await send("demo", base_url, MEDIA.poll(handle, Site(base_url))))
        if not isinstance(outcome, Running):
            return seen, outcome
        seen.append(outcome.status)
        await asyncio.sleep(0.01)
    raise AssertionError(f"not final after {len(seen)} polls: {seen}")


@pytest.mark.parametrize("scope", Scope)
async def test_a_job_is_made(demo: DemoProcess, send: Send, scope: Scope) -> None:
    seen, outcome = await follow(send, demo, await begin(send, demo, scope, "polls=4"))
    assert isinstance(outcome, Done)
    assert len(seen) == 3
    assert seen == sorted(seen, key=lambda status: status.rank)
    kind = {Scope.IMAGES: "image/png", Scope.VIDEOS: "video/mp4", Scope.AUDIO: "audio/wav"}[scope]
    assert [(output.content_type, output.keep) for output in outcome.outputs] == [(kind, True)]


async def test_a_failure_is_told(demo: DemoProcess, send: Send) -> None:
    _, outcome = await follow(send, demo, await begin(send, demo, Scope.VIDEOS, "polls=2&fail=no+luck"))
    assert outcome == Failed("no luck")


async def test_a_job_is_stopped(demo: DemoProcess, send: Send) -> None:
    handle = await begin(send, demo, Scope.VIDEOS, "never=1")
    call = MEDIA.cancel(handle, Site(f"{demo.url}/v1"))
    assert call is not None
    assert (await send("demo", f"{demo.url}/v1", call)).status < 300
    _, outcome = await follow(send, demo, handle)
    assert isinstance(outcome, Failed)
