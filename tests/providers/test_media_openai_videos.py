"""The videos API against OpenAI's own SDK, and that what is held for is what an answer is charged by."""

from __future__ import annotations

from itertools import product

import openai
import orjson
import pytest

from app.core.media import Job
from app.providers.media import Done
from app.providers.openai_videos.media import OpenAIVideos
from app.providers.openai_videos.sizes import choose_size
from tests.providers.conftest import Send
from tests.providers.media_fixtures import KEY, PNG, PNG_BYTES, handle, job, openai_videos, reply
from tests.providers.recorder import Recorder

MEDIA = OpenAIVideos()

SENT = [
    pytest.param({}, job(), id="the least"),
    pytest.param(
        {"seconds": "8", "size": "1792x1024", "input_reference": ("reference.png", PNG_BYTES, "image/png")},
        job(seconds=8.0, hd=True, aspect_ratio="16:9", images=(PNG,)),
        id="all of it",
    ),
    pytest.param(
        {"extra_body": {"seed": 7, "loop": True, "camera": {"zoom": [1, 2]}, "style": "日本"}},
        job(extra={"seed": 7, "loop": True, "camera": {"zoom": [1, 2]}, "style": "日本"}),
        id="more than the API has",
    ),
]


@pytest.mark.parametrize(("arguments", "asked"), SENT)
async def test_a_form_is_what_the_sdk_sends(
    recorder: Recorder, send: Send, arguments: dict[str, object], asked: Job
) -> None:
    recorder.answer = orjson.dumps(openai_videos.video("queued"))
    client = openai.AsyncOpenAI(base_url=f"{recorder.url}/v1", api_key="sk-test")
    with pytest.warns(DeprecationWarning, match="Sora"):
        await client.videos.create(prompt="a cat", model="upstream-model", **arguments)  # type: ignore[arg-type]
    await client.close()
    await send("openai_videos", f"{recorder.url}/v1", MEDIA.submit(asked, "upstream-model", KEY, openai_videos.SITE))
    theirs, ours = recorder.requests
    assert (ours.method, ours.path) == (theirs.method, theirs.path) == ("POST", "/v1/videos")
    assert ours.headers["authorization"] == theirs.headers["authorization"]
    assert sorted(ours.form(), key=str) == sorted(theirs.form(), key=str)


WORDS = [
    *product((None, "auto", "9:16", "16:9"), (None, "1080p"), (False, True), (None,)),
    *product((None, "auto", "9:16", "16:9"), ("720p",), (False,), (None,)),
    *product((None, "auto", "9:16"), (None, "1080p"), (False, True), ("1024x1792",)),
    *product((None, "auto", "1:1"), (None,), (False,), ("640x640",)),
]


@pytest.mark.parametrize(("ratio", "resolution", "hd", "size"), WORDS)
def test_what_is_held_for_is_what_the_answer_is_charged_by(
    ratio: str | None, resolution: str | None, hd: bool, size: str | None
) -> None:
    """If a server makes what it was asked for, no trait changes between hold and charge."""
    asked = job(seconds=8.0, aspect_ratio=ratio, resolution=resolution, hd=hd, size=size)
    MEDIA.check(asked, "upstream-model")
    held = MEDIA.units(asked, "upstream-model")
    made = openai_videos.video("completed", size=choose_size(asked) or "720x1280", seconds="8")
    outcome = MEDIA.read_polled(handle("v"), reply(made))
    assert isinstance(outcome, Done)
    assert outcome.measured.over(held) == held
    if resolution is not None:
        assert held.traits["resolution"] == resolution
    if ratio not in (None, "auto"):
        assert held.traits["aspect_ratio"] == ratio
