"""Seedance's fake: an adapter's whole flows over HTTP, and that it refuses what the vendor refuses."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx
import pytest

from app.core.media import Attachment, Job, Scope
from app.errors import UpstreamError
from app.providers.media import Done, Failed, Running
from tests.demo.media_driver import Driver, drive
from tests.demo.process import DemoProcess

TASKS = "/api/v3/contents/generations/tasks"
PNG = Attachment(content_type="image/png", data=b"\x89PNG\r\n\x1a\n-demo-")
LINK = Attachment(url="https://client.example/cat.png")
FILM = Attachment(url="https://client.example/cat.mp4")
TEXT = {"type": "text", "text": "a cat"}


@pytest.fixture
def ark(demo: DemoProcess, client: httpx.AsyncClient) -> Driver:
    return drive(client, "ark", "/api/v3")


def video(model: str = "client-model", **fields: Any) -> Job:
    return Job(Scope.VIDEOS, model, "a cat", **fields)


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(video(), id="text"),
        pytest.param(video(seconds=2.0, aspect_ratio="9:16", resolution="1080p", extra={"seed": 3}), id="everything"),
        pytest.param(video(images=(PNG,)), id="a first frame"),
        pytest.param(video("veo3-pro-frames", images=(PNG, LINK)), id="first and last"),
        pytest.param(video(images=(PNG, LINK)), id="references"),
        pytest.param(video(images=(PNG,), videos=(FILM,)), id="a video and a reference"),
    ],
)
async def test_a_video_is_made(ark: Driver, asked: Job) -> None:
    queued, *waits, made = await ark.run(asked, "demo-video?polls=3")
    assert isinstance(queued, Running)
    assert [type(outcome) for outcome in waits] == [Running, Running]
    assert isinstance(made, Done)
    units = ark.media.units(asked, "demo-video")
    assert made.measured.milliseconds == units.milliseconds
    assert made.measured.output_tokens is not None
    assert 0 < made.measured.output_tokens <= units.output_tokens, "what was held for covers what was made"
    assert made.outputs[0].keep
    assert (await ark.fetch(made.outputs[0]))[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("options", "tokens", "milliseconds"),
    [("tokens=108900", 108_900, 2000), ("quirk=no_usage", None, 2000), ("quirk=frames", 43_200, 2000)],
)
async def test_what_was_made_is_measured(ark: Driver, options: str, tokens: int | None, milliseconds: int) -> None:
    (*_, made) = await ark.run(video(seconds=2.0), f"demo-video?polls=1&{options}")
    assert isinstance(made, Done)
    assert (made.measured.output_tokens, made.measured.milliseconds) == (tokens, milliseconds)
    assert made.measured.traits["resolution"] == "720p"


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ("fail=No+luck.&fail_code=OutputVideoSensitiveContentDetected", "OutputVideoSensitiveContentDetected"),
        ("fail=Late.&quirk=expired", "expired"),
    ],
)
async def test_a_failure_says_why(ark: Driver, options: str, verdict: str) -> None:
    failed = (await ark.run(video(), f"demo-video?polls=1&{options}"))[-1]
    assert isinstance(failed, Failed)
    assert failed.code == verdict


async def test_a_task_that_waits_is_cancelled(ark: Driver) -> None:
    running = await ark.submit(video(), "demo-video?polls=3")
    assert isinstance(running, Running)
    answer = await ark.cancel(running, video(), "demo-video")
    assert answer is not None
    assert answer.status == 200
    assert await ark.poll(running, video(), "demo-video") == Failed("The task was cancelled.", "cancelled")


async def test_a_task_that_runs_is_left_alone(ark: Driver) -> None:
    running = await ark.submit(video(), "demo-video?never=1")
    assert isinstance(running, Running)
    working = await ark.poll(running, video(), "demo-video")
    assert isinstance(working, Running)
    assert await ark.cancel(working, video(), "demo-video") is None
    answer = await ark.cancel(running, video(), "demo-video")  # told by what was known before
    assert answer is not None
    assert answer.status == 409
    assert isinstance(await ark.poll(working, video(), "demo-video"), Running)


async def test_a_final_task_is_deleted_by_the_same_call(ark: Driver) -> None:
    """Which is why only waiting tasks are cancelled."""
    running = await ark.submit(video(), "demo-video?seconds=0")
    assert isinstance(running, Running)
    await ark.cancel(running, video(), "demo-video")
    with pytest.raises(UpstreamError):
        await ark.poll(running, video(), "demo-video")


@pytest.mark.parametrize("options", ["poll_faults=1", "poll_faults=1&poll_body=html", "poll_faults=1&poll_status=429"])
async def test_poll_faults_are_no_verdict(ark: Driver, options: str) -> None:
    running = await ark.submit(video(), f"demo-video?polls=2&{options}")
    assert isinstance(running, Running)
    with pytest.raises(UpstreamError):
        await ark.poll(running, video(), "demo-video")
    assert isinstance(await ark.poll(running, video(), "demo-video"), Done)


def picture(role: str, url: str = "https://a.test/1.png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}, "role": role}


@pytest.mark.parametrize(
    ("fields", "headers", "status"),
    [
        ({}, {"authorization": ""}, 401),
        ({}, {"authorization": "Bearer bad"}, 401),
        ({}, {"authorization": "Key sk"}, 401),
        ({"content": []}, {}, 400),
        ({"content": [TEXT, TEXT]}, {}, 400),
        ({"content": [TEXT, {"type": "sound"}]}, {}, 400),
        ({"content": [TEXT, picture("last_frame")]}, {}, 400),
        ({"content": [TEXT, picture("first_frame"), picture("first_frame")]}, {}, 400),
        ({"content": [TEXT, picture("first_frame"), picture("reference_image")]}, {}, 400),
        ({"content": [TEXT, picture("middle_frame")]}, {}, 400),
        ({"content": [TEXT, picture("first_frame", "AAAA")]}, {}, 400),
        ({"duration": 16}, {}, 400),
        ({"duration": "5"}, {}, 400),
        ({"ratio": "5:4"}, {}, 400),
        ({"resolution": "8k"}, {}, 400),
        ({"model": None}, {}, 400),
    ],
)
async def test_what_the_vendor_refuses(
    demo: DemoProcess, client: httpx.AsyncClient, fields: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    answer = await client.post(TASKS, json={"model": "demo", "content": [TEXT], **fields}, headers=headers)
    assert answer.status_code == status, answer.text
    assert set(answer.json()["error"]) == {"code", "message", "param", "type"}


async def test_an_unknown_task_is_not_found(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    for method in ("GET", "DELETE"):
        assert (await client.request(method, f"{TASKS}/nobody")).status_code == 404
        assert (await client.request(method, f"{TASKS}/nobody", headers={"authorization": ""})).status_code == 401
