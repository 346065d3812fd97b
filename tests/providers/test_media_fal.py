"""fal's adapter beside the conformance suite: models as paths, links as they come, and words that differ by model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.media import Job, Scope
from app.errors import GatewayError
from app.providers.fal.media import FalMedia
from app.providers.media import Handle, Site
from tests.providers.any_jobs import jobs, refusal
from tests.providers.media_fixtures import KEY, MODEL, PNG, PNG_LINK, PNG_URI, fal, job

MEDIA = FalMedia()
FIELDS = {"n", "images", "videos", "duration", "aspect_ratio", "size", "resolution", "hd"}
SITE = Site("https://queue.fal.run")


@given(job=st.sampled_from(Scope).flatmap(jobs))
@settings(max_examples=300, deadline=None)
def test_any_job_is_sent_or_refused_by_name(job: Job) -> None:
    if (refused := refusal(MEDIA, job)) is not None:
        assert (refused.status, refused.param in FIELDS) == (400, True)
        return
    body: dict[str, Any] = MEDIA.submit(job, MODEL, KEY, SITE).json
    units = MEDIA.units(job, MODEL)
    assert body["prompt"] == job.prompt
    assert units.traits.get("resolution") == body.get("resolution")
    assert len(job.images) == ("image_url" in body) + len(body.get("image_urls", ()))
    assert len(job.videos) == ("video_url" in body)
    if job.scope is Scope.IMAGES:
        assert units.images == body.get("num_images", 1)


@pytest.mark.parametrize(
    ("model", "path", "app"),
    [
        ("fal-ai/flux/dev", "/fal-ai/flux/dev", "/fal-ai/flux"),
        ("/fal-ai/fast-sdxl/", "/fal-ai/fast-sdxl", "/fal-ai/fast-sdxl"),
        ("workflows/me/film/v2", "/workflows/me/film/v2", "/workflows/me/film"),
        ("a b/c?d", "/a%20b/c%3Fd", "/a%20b/c%3Fd"),
    ],
)
def test_a_models_id_is_its_path(model: str, path: str, app: str) -> None:
    assert MEDIA.submit(job(), model, KEY, SITE).path == path
    running = Handle("r1", {}, Scope.VIDEOS, model)
    assert MEDIA.poll(running, SITE).path == f"{app}/requests/r1/status"


@pytest.mark.parametrize(
    ("base_url", "followed"),
    [
        ("https://queue.fal.run", True),
        ("https://queue.fal.run:443", True),
        ("https://queue.fal.run/prefix", True),
        ("http://queue.fal.run", False),
        ("https://queue.fal.run:8443", False),
        ("https://proxy.example/fal", False),
    ],
)
def test_a_link_is_followed_only_to_the_channels_own_upstream(base_url: str, followed: bool) -> None:
    path = MEDIA.poll(fal.TASK, Site(base_url)).path
    assert path == (fal.LINKS["status_url"] if followed else f"/upstream-model/requests/{fal.ID}/status")


@pytest.mark.parametrize(
    ("model", "seconds", "duration"),
    [
        ("fal-ai/kling-video/v1/standard/image-to-video", 5.0, "5"),
        ("fal-ai/veo3.1/image-to-video", 8.0, "8s"),
        ("fal-ai/luma-dream-machine/ray-2", 9.0, "9s"),
        ("bytedance/seedance-2.0/image-to-video", 12.0, "12"),
    ],
)
def test_lengths_are_text(model: str, seconds: float, duration: str) -> None:
    assert MEDIA.submit(job(seconds=seconds), model, KEY, SITE).json["duration"] == duration


def test_first_frame_and_last_have_names_where_the_model_is_made_for_them() -> None:
    asked = Job(Scope.VIDEOS, "veo3.1-pro", "a cat", images=(PNG, PNG_LINK))
    model = "fal-ai/veo3.1/fast/first-last-frame-to-video"
    MEDIA.check(asked, model)
    frames = {"first_frame_url": PNG_URI, "last_frame_url": PNG_LINK.url}
    assert MEDIA.submit(asked, model, KEY, SITE).json == {"prompt": "a cat", **frames}
    with pytest.raises(GatewayError) as caught:
        MEDIA.check(asked, "fal-ai/veo3.1/image-to-video")
    assert caught.value.param == "images"
