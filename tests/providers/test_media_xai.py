"""xAI's adapter beside the conformance suite: whatever is asked for, what is sent is what is held for."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings

from app.core.media import Job, Measured, Scope
from app.providers.media import Done, Site
from app.providers.xai.media import XaiMedia
from tests.providers.any_jobs import jobs, refusal
from tests.providers.media_fixtures import KEY, MODEL, VIDEO_LINK, handle, job, reply, xai

MEDIA = XaiMedia()
SITE = Site("https://api.x.ai/v1")
FIELDS = {
    "n",
    "images",
    "videos",
    "duration",
    "aspect_ratio",
    "size",
    "resolution",
    "hd",
    "watermark",
    "enable_upsample",
}


def sent(job: Job) -> dict[str, Any] | None:
    """The body; None: the job is refused, by a field that it has."""
    if (refused := refusal(MEDIA, job)) is not None:
        assert (refused.status, refused.param in FIELDS) == (400, True)
        return None
    body: dict[str, Any] = MEDIA.submit(job, MODEL, KEY, SITE).json
    return body


@given(job=jobs(Scope.VIDEOS))
@settings(max_examples=300, deadline=None)
def test_a_video_is_held_for_as_it_is_asked_for(job: Job) -> None:
    body = sent(job)
    if body is None:
        return
    units = MEDIA.units(job, MODEL)
    assert body["prompt"] == job.prompt
    assert not {"watermark", "private", "enhance_prompt", "enable_upsample"} & body.keys()
    if job.videos:
        assert (units.milliseconds, units.traits["input"]) == (8700, "video")
        return
    assert units.milliseconds == body.get("duration", 8) * 1000
    assert units.traits["resolution"] == body.get("resolution", "480p")
    assert units.traits.get("aspect_ratio") == body.get("aspect_ratio")
    assert len(job.images) == ("image" in body) + len(body.get("reference_images", ()))


@given(job=jobs(Scope.IMAGES))
@settings(max_examples=200, deadline=None)
def test_images_are_held_for_as_they_are_asked_for(job: Job) -> None:
    body = sent(job)
    if body is None:
        return
    units = MEDIA.units(job, MODEL)
    assert units.images == body["n"]
    assert units.traits.get("resolution") == body.get("resolution")
    assert len(job.images) == ("image" in body) + len(body.get("images", ()))


def test_a_length_that_xai_reports_is_what_is_charged() -> None:
    """An edit is held for at its longest."""
    edit = job(videos=(VIDEO_LINK,))
    outcome = MEDIA.read_polled(handle("a"), reply(xai.made(duration=5)))
    assert isinstance(outcome, Done)
    assert outcome.measured == Measured(videos=1, milliseconds=5000, traits={"duration": "5"})
    assert outcome.measured.over(MEDIA.units(edit, MODEL)).milliseconds == 5000
