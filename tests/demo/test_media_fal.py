"""fal's fake: an adapter's whole flows over HTTP, and that it refuses what the vendor refuses."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx
import pytest

from app.core.media import Attachment, Job, Scope, Status
from app.errors import UpstreamError
from app.providers.media import Done, Failed, Running
from tests.demo.media_driver import Driver, drive
from tests.demo.process import DemoProcess

PNG = Attachment(content_type="image/png", data=b"\x89PNG\r\n\x1a\n-demo-")
LINK = Attachment(url="https://client.example/cat.png")
KEY = {"authorization": "Key sk-test"}


@pytest.fixture
def fal(demo: DemoProcess, client: httpx.AsyncClient) -> Driver:
    return drive(client, "fal", "/fal")


def video(**fields: Any) -> Job:
    return Job(Scope.VIDEOS, "client-model", "a cat", **fields)


def images(**fields: Any) -> Job:
    return Job(Scope.IMAGES, "client-model", "a cat", **fields)


def speech(**fields: Any) -> Job:
    return Job(Scope.AUDIO, "client-model", "Hello there.", **fields)


@pytest.mark.parametrize("quirk", ["none", "no_links"])
@pytest.mark.parametrize("model", ["demo-video", "fal-ai/veo3.1/fast/image-to-video", "workflows/me/my-video/v2"])
async def test_a_video_is_made(fal: Driver, model: str, quirk: str) -> None:
    outcomes = await fal.run(video(seconds=2.0, images=(PNG,)), f"{model}?polls=3&quirk={quirk}")
    *running, completed, made = outcomes
    assert [outcome.status for outcome in running if isinstance(outcome, Running)] == [
        Status.QUEUED,
        Status.QUEUED,
        Status.IN_PROGRESS,
    ]
    assert isinstance(completed, Running)
    assert (completed.memo["state"], completed.poll_after) == ("completed", 0)
    assert isinstance(made, Done)
    assert (made.measured.videos, made.measured.milliseconds) == (1, 2000)
    assert made.outputs[0].keep
    assert (await fal.fetch(made.outputs[0]))[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        pytest.param(images(), 1, id="one"),
        pytest.param(images(count=2, size="64x32"), 2, id="two"),
        pytest.param(images(images=(PNG, LINK)), 1, id="from two"),
    ],
)
@pytest.mark.parametrize("quirk", ["none", "sync_mode"])
async def test_images_are_made(fal: Driver, asked: Job, count: int, quirk: str) -> None:
    (*_, made) = await fal.run(asked, f"fal-ai/flux/dev?polls=1&quirk={quirk}")
    assert isinstance(made, Done)
    assert made.measured.images == len(made.outputs) == count
    assert all([(await fal.fetch(output)).startswith(b"\x89PNG") for output in made.outputs])


@pytest.mark.parametrize(("quirk", "milliseconds"), [("none", 5000), ("untold", None)])
async def test_sound_is_made(fal: Driver, quirk: str, milliseconds: int | None) -> None:
    (*_, made) = await fal.run(speech(), f"fal-ai/minimax/speech-2.8-hd?polls=1&quirk={quirk}")
    assert isinstance(made, Done)
    assert made.measured.milliseconds == milliseconds
    assert (await fal.fetch(made.outputs[0])).startswith(b"RIFF")


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        ("fail=Not+that.", Failed("prompt: Not that.", "content_policy_violation")),
        ("fail=Not+that.&fail_code=nsfw", Failed("prompt: Not that.", "nsfw")),
        ("fail=Boom.&quirk=status_error", Failed("Boom.", "internal_server_error")),
        ("fail=Timed+out.&quirk=runner", Failed("Timed out.", "request_timeout")),
        ("outputs=0", Failed("The model's answer holds no result of the kind that was asked for.", "no_result")),
    ],
)
async def test_a_failure_says_why(fal: Driver, options: str, verdict: Failed) -> None:
    assert (await fal.run(video(), f"demo-video?polls=1&{options}"))[-1] == verdict


@pytest.mark.parametrize("options", ["polls=2", "never=1"])
async def test_a_request_is_cancelled(fal: Driver, options: str) -> None:
    """Whether it was removed from the queue or, since the last look, stopped at work."""
    running = await fal.submit(video(), f"demo-video?{options}")
    assert isinstance(running, Running)
    answer = await fal.cancel(running, video(), "demo-video")
    assert answer is not None
    assert answer.status == 202
    assert isinstance(await fal.poll(running, video(), "demo-video"), Failed)


async def test_a_request_at_work_is_left_alone(fal: Driver) -> None:
    running = await fal.submit(video(), "demo-video?never=1")
    assert isinstance(running, Running)
    working = await fal.poll(running, video(), "demo-video")
    assert isinstance(working, Running)
    assert await fal.cancel(working, video(), "demo-video") is None


async def test_a_complete_request_is_not_cancelled(fal: Driver) -> None:
    running = await fal.submit(video(), "demo-video?seconds=0")
    assert isinstance(running, Running)
    answer = await fal.cancel(running, video(), "demo-video")
    assert answer is not None
    assert answer.status == 400
    completed = await fal.poll(running, video(), "demo-video")
    assert isinstance(completed, Running)
    assert await fal.cancel(completed, video(), "demo-video") is None
    assert isinstance(await fal.poll(completed, video(), "demo-video"), Done)


async def test_poll_faults_are_no_verdict(fal: Driver) -> None:
    """Of the status, and of the result once the status said that it is there."""
    for state in ("queued", "completed"):
        first = await fal.submit(video(), "demo-video?seconds=0&poll_faults=2")
        assert isinstance(first, Running)
        running = Running(first.status, first.id, memo={**first.memo, "state": state})
        for _ in range(2):
            with pytest.raises(UpstreamError):
                await fal.poll(running, video(), "demo-video")
        outcome = await fal.poll(running, video(), "demo-video")
        assert isinstance(outcome, Done if state == "completed" else Running)


async def test_the_result_is_not_there_before_it_is_complete(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    accepted = (await client.post("/fal/demo-video%3Fnever=1", json={"prompt": "x"}, headers=KEY)).json()
    assert (await client.get(accepted["status_url"], headers=KEY)).status_code == 202
    early = await client.get(accepted["response_url"], headers=KEY)
    assert (early.status_code, early.json()) == (400, {"detail": "Request is still in progress"})


async def test_a_missing_prompt_is_the_models_to_refuse(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    accepted = await client.post("/fal/demo-video%3Fseconds=0", json={}, headers=KEY)
    assert accepted.status_code == 200
    result = await client.get(accepted.json()["response_url"], headers=KEY)
    assert result.status_code == 422
    assert result.json()["detail"][0]["loc"] == ["body", "prompt"]


@pytest.mark.parametrize("authorization", ["", "Bearer sk-test", "Key bad"])
async def test_every_call_wants_the_key(demo: DemoProcess, client: httpx.AsyncClient, authorization: str) -> None:
    accepted = (await client.post("/fal/demo-video", json={"prompt": "x"}, headers=KEY)).json()
    headers = {"authorization": authorization}
    answers = [
        await client.post("/fal/demo-video", json={"prompt": "x"}, headers=headers),
        await client.get(accepted["status_url"], headers=headers),
        await client.get(accepted["response_url"], headers=headers),
        await client.put(accepted["cancel_url"], headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [401] * 4
    assert all("detail" in answer.json() for answer in answers)


async def test_a_request_is_found_under_its_own_app_only(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    """The endpoint's path behind owner and app belongs to submissions alone."""
    accepted = (await client.post("/fal/fal-ai/veo3/image-to-video", json={"prompt": "x"}, headers=KEY)).json()
    assert "/fal-ai/veo3/requests/" in accepted["status_url"]
    for app in ("fal-ai/veo3/image-to-video", "fal-ai/other"):
        url = f"/fal/{app}/requests/{accepted['request_id']}"
        assert (await client.get(f"{url}/status", headers=KEY)).status_code == 404
        assert (await client.put(f"{url}/cancel", headers=KEY)).json() == {"status": "NOT_FOUND"}
