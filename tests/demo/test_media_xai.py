"""xAI's fake: an adapter's whole flows over HTTP, and that it refuses what the vendor refuses."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx
import pytest

from app.core.media import Attachment, Job, Scope
from app.errors import UpstreamError
from app.providers.media import Done, Failed, Running
from tests.demo.media_driver import Driver, drive
from tests.demo.process import DemoProcess

PNG = Attachment(content_type="image/png", data=b"\x89PNG\r\n\x1a\n-demo-")
LINK = Attachment(url="https://client.example/cat.png")
FILM = Attachment(url="https://client.example/cat.mp4")


@pytest.fixture
def xai(demo: DemoProcess, client: httpx.AsyncClient) -> Driver:
    return drive(client, "xai", "/xai/v1")


def video(**fields: Any) -> Job:
    return Job(Scope.VIDEOS, "client-model", "a cat", **fields)


def images(**fields: Any) -> Job:
    return Job(Scope.IMAGES, "client-model", "a cat", **fields)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        pytest.param(video(), 8, id="text"),
        pytest.param(video(seconds=2.0, aspect_ratio="9:16", resolution="480p"), 2, id="everything"),
        pytest.param(video(images=(PNG,)), 8, id="a first frame"),
        pytest.param(video(images=(PNG, LINK)), 8, id="references"),
        pytest.param(video(videos=(FILM,)), 4, id="an edit"),
    ],
)
@pytest.mark.parametrize("quirk", ["none", "empty", "bare"])
async def test_a_video_is_made(xai: Driver, asked: Job, seconds: int, quirk: str) -> None:
    *running, made = await xai.run(asked, f"demo-video?polls=3&quirk={quirk}")
    assert len(running) == 3
    assert all(isinstance(outcome, Running) for outcome in running)
    assert isinstance(made, Done)
    assert (made.measured.videos, made.measured.milliseconds) == (1, seconds * 1000)
    assert made.outputs[0].keep
    assert (await xai.fetch(made.outputs[0]))[4:8] == b"ftyp"


async def test_progress_is_told(xai: Driver) -> None:
    outcomes = await xai.run(video(seconds=1.0), "demo-video?polls=5")
    assert [outcome.progress for outcome in outcomes if isinstance(outcome, Running)] == [None, 0, 25, 50, 75]


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ("fail=No+luck.&fail_code=internal_error", Failed("No luck.", "internal_error")),
        ("fail=Late.&quirk=expired", Failed("The upstream's request expired.", "expired")),
        ("quirk=moderated", Failed("The video was blocked by the upstream's moderation.", "moderation")),
    ],
)
async def test_a_failure_says_why(xai: Driver, options: str, verdict: Failed) -> None:
    assert (await xai.run(video(seconds=1.0), f"demo-video?polls=1&{options}"))[-1] == verdict


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        pytest.param(images(), 1, id="one"),
        pytest.param(images(count=3, aspect_ratio="16:9", resolution="2k"), 3, id="three"),
        pytest.param(images(images=(PNG,)), 1, id="from one"),
        pytest.param(images(images=(PNG, LINK)), 1, id="from two"),
    ],
)
@pytest.mark.parametrize("quirk", ["none", "data_uri"])
async def test_images_come_at_once(xai: Driver, asked: Job, count: int, quirk: str) -> None:
    (made,) = await xai.run(asked, f"demo-image?quirk={quirk}")
    assert isinstance(made, Done)
    assert made.measured.images == len(made.outputs) == count
    assert all(output.content_type == "image/png" for output in made.outputs)
    assert all([(await xai.fetch(output)).startswith(b"\x89PNG") for output in made.outputs])


async def test_blocked_images_are_a_failure(xai: Driver) -> None:
    assert isinstance(await xai.submit(images(count=2), "demo-image?quirk=moderated"), Failed)
    failed = await xai.submit(images(), "demo-image?fail=Not+that.&fail_code=blocked")
    assert failed == Failed("Not that.", "blocked")


async def test_a_wrong_key_is_the_channels_fault(xai: Driver, client: httpx.AsyncClient) -> None:
    """Though xAI says 400, as it does where the request is at fault."""
    running = await xai.submit(video(), "demo-video")
    assert isinstance(running, Running)
    wrong = drive(client, "xai", "/xai/v1", "sk-bad")
    for attempt in (wrong.submit(video(), "demo-video"), wrong.poll(running, video(), "demo-video")):
        with pytest.raises(UpstreamError) as caught:
            await attempt
        assert (caught.value.upstream_status, caught.value.retryable) == (400, True)


async def test_poll_faults_are_no_verdict(xai: Driver) -> None:
    running = await xai.submit(video(seconds=1.0), "demo-video?polls=3&poll_faults=2")
    assert isinstance(running, Running)
    for _ in range(2):
        with pytest.raises(UpstreamError):
            await xai.poll(running, video(), "demo-video")
    assert isinstance(await xai.poll(running, video(), "demo-video"), Done)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("videos/generations", {"model": "demo", "prompt": "x"}, {"authorization": ""}, 401),
        ("videos/generations", {"model": "demo", "prompt": "x"}, {"authorization": "Key sk"}, 401),
        ("videos/generations", {"model": "demo", "prompt": "x"}, {"authorization": "Bearer bad"}, 400),
        ("videos/generations", {"model": "demo"}, {}, 422),
        ("videos/generations", {"model": "demo", "prompt": "x", "duration": 16}, {}, 422),
        ("videos/generations", {"model": "demo", "prompt": "x", "duration": "8"}, {}, 422),
        ("videos/generations", {"model": "demo", "prompt": "x", "image": "https://a.test"}, {}, 422),
        ("videos/generations", {"model": "demo", "prompt": "x", "image": {"url": "AAAA"}}, {}, 422),
        ("videos/generations", [], {}, 422),
        ("videos/edits", {"model": "demo", "prompt": "x"}, {}, 422),
        ("videos/edits", {"model": "demo", "prompt": "x", "video": {"url": "https://a.test"}, "duration": 3}, {}, 422),
        ("images/generations", {"model": "demo", "prompt": "x", "n": 11}, {}, 422),
        ("images/generations", {"model": "demo", "prompt": "x", "size": "1024x1024"}, {}, 422),
        ("images/edits", {"model": "demo", "prompt": "x"}, {}, 422),
        ("images/edits", {"model": "demo", "prompt": "x", "image": {"url": "https://a.test"}}, {}, 422),
    ],
)
async def test_what_the_vendor_refuses(
    demo: DemoProcess, client: httpx.AsyncClient, path: str, body: object, headers: dict[str, str], status: int
) -> None:
    answer = await client.post(f"/xai/v1/{path}", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"code", "error"}


async def test_an_unknown_request_is_not_found(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    assert (await client.get("/xai/v1/videos/nobody")).status_code == 404
    assert (await client.get("/xai/v1/videos/nobody", headers={"authorization": ""})).status_code == 401
