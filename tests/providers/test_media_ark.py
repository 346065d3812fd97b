"""Seedance's adapter beside the conformance suite: what is held for, what plays which part, what a prompt may not say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from app.core.media import Attachment, Job, Scope
from app.errors import GatewayError
from app.providers.ark.media import ArkMedia
from app.providers.ark.shape import Pictures, read_pictures
from app.providers.media import Done, Site
from tests.providers.any_jobs import jobs, refusal
from tests.providers.media_fixtures import KEY, MODEL, VIDEO_LINK, ark, handle, job, reply

MEDIA = ArkMedia()
FIELDS = {"n", "images", "videos", "duration", "aspect_ratio", "size", "hd", "enable_upsample"}
SITE = Site("https://ark.cn-beijing.volces.com/api/v3")
A, B, C = (Attachment(url=f"https://a.test/{name}.png") for name in "abc")

LARGEST = {
    "480p": ((864, 496), (992, 432), (640, 640), (864, 480), (960, 416), (624, 624)),
    "720p": ((1280, 720), (1112, 834), (960, 960), (1470, 630), (1248, 704), (1504, 640)),
    "1080p": ((1920, 1080), (1664, 1248), (1440, 1440), (2206, 946), (1920, 1088), (2176, 928)),
}
"""Frames that Seedance makes (@ai-sdk/bytedance 1.0, `RESOLUTION_MAP`)."""


@given(job=jobs(Scope.VIDEOS))
@settings(max_examples=300, deadline=None)
def test_a_video_is_held_for_as_it_is_asked_for(job: Job) -> None:
    if (refused := refusal(MEDIA, job)) is not None:
        assert (refused.status, refused.param in FIELDS) == (400, True)
        return
    body: dict[str, Any] = MEDIA.submit(job, MODEL, KEY, SITE).json
    units = MEDIA.units(job, MODEL)
    assert units.milliseconds == body.get("duration", 5) * 1000
    assert units.traits.get("resolution") == body.get("resolution")
    assert units.traits.get("aspect_ratio") == body.get("ratio")
    assert len(body["content"]) == 1 + len(job.images) + len(job.videos)
    roles = [part["role"] for part in body["content"][1:]]
    assert not ({"first_frame", "last_frame"} & set(roles) and {"reference_image", "reference_video"} & set(roles))


@pytest.mark.parametrize("resolution", LARGEST)
def test_tokens_are_held_for_at_the_largest_frame(resolution: str) -> None:
    held = MEDIA.units(job(seconds=5.0, resolution=resolution), MODEL).output_tokens
    made = [width * height * 24 * 5 / 1024 for width, height in LARGEST[resolution]]
    assert max(made) <= held <= max(made) * 1.1


def test_an_unsaid_resolution_is_held_for_as_the_dearest() -> None:
    held = [MEDIA.units(job(resolution=name), MODEL).output_tokens for name in (None, "1080p", "4k")]
    assert held[0] == held[1] < held[2]


def test_a_reference_video_is_held_for_at_its_longest() -> None:
    """Its length counts as that of what is made: 5 s and 15 s of it."""
    plain, beside = (MEDIA.units(job(videos=videos), MODEL).output_tokens for videos in ((), (VIDEO_LINK,)))
    assert beside == pytest.approx(4 * plain, abs=4)


def test_tokens_that_are_reported_are_what_is_charged() -> None:
    outcome = MEDIA.read_polled(handle("a"), reply(ark.SUCCEEDED))
    assert isinstance(outcome, Done)
    usage = outcome.measured.over(MEDIA.units(job(), MODEL))
    assert (usage.output_tokens, usage.milliseconds, usage.videos) == (108_900, 5000, 1)
    assert usage.traits["resolution"] == "720p"


@pytest.mark.parametrize(
    ("model", "images", "expected"),
    [
        ("any", (), Pictures()),
        ("any", (A,), Pictures(first=A)),
        ("any", (A, B), Pictures(references=(A, B))),
        ("sora-2", (A, B, C), Pictures(references=(A, B, C))),
        ("veo2-fast-frames", (A,), Pictures(first=A)),
        ("veo3-pro-frames", (A, B), Pictures(first=A, last=B)),
        ("veo2-fast-components", (A,), Pictures(references=(A,))),
        ("veo2-fast-components", (A, B, C), Pictures(references=(A, B, C))),
        ("veo3.1", (A,), Pictures(first=A)),
        ("veo3.1-pro", (A, B), Pictures(first=A, last=B)),
        ("veo3.1", (A, B, C), Pictures(references=(A, B, C))),
    ],
)
def test_which_picture_plays_which_part(model: str, images: tuple[Attachment, ...], expected: Pictures) -> None:
    assert read_pictures(Job(Scope.VIDEOS, model, "a cat", images=images)) == expected


@pytest.mark.parametrize("prompt", ["a --duration", "--rs 1080p", "a cat\t--DUR 5", "x --frames 289", "x --fps 60 y"])
def test_a_prompt_that_says_what_is_paid_for_is_refused(prompt: str) -> None:
    with pytest.raises(GatewayError) as caught:
        MEDIA.check(job(prompt), MODEL)
    assert caught.value.param == "prompt"


@pytest.mark.parametrize("prompt", ["a cat -- during a storm", "x--dur 5", "--seed 3 --cf true --rt 16:9", "--durable"])
def test_other_prompts_are_not(prompt: str) -> None:
    MEDIA.check(job(prompt), MODEL)
