"""The unified API between two gateways: what one writes, the other reads, both ways."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.media import Attachment, Job, Scope, Status
from app.media.links import Links
from app.media.rules.generation import read_generation
from app.media.task import Source, StoredOutput, Task
from app.media.view import View
from app.providers.media import Done, Failed, Handle, Running
from app.providers.unified.media import UnifiedMedia, write_body
from tests.providers.media_fixtures import reply

MEDIA = UnifiedMedia()
NOW = datetime(2026, 11, 22, tzinfo=UTC)
VIEW = View(Links(["a secret of sixteen or more characters"], "https://gateway.example", 24))

PNG = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")

words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12)
links = words.map(lambda word: f"https://client.example/{word}")
pictures = links.map(lambda url: Attachment(url=url)) | st.just(Attachment(content_type="image/png", data=PNG))
jobs = st.builds(
    Job,
    scope=st.sampled_from(Scope),
    model=words.map(lambda word: f"some-{word}"),
    prompt=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=50).filter(str.strip),
    seconds=st.none() | st.integers(1, 60).map(float) | st.sampled_from([1.5, 7.25, 10.125]),
    aspect_ratio=st.none() | st.sampled_from(["16:9", "9:16", "1:1"]),
    size=st.none() | st.sampled_from(["1280x720", "1024x1024"]),
    resolution=st.none() | st.sampled_from(["720p", "1080p", "4k"]),
    hd=st.booleans(),
    count=st.integers(1, 4),
    images=st.lists(pictures, max_size=2).map(tuple),
    videos=st.lists(links.map(lambda url: Attachment(url=url)), max_size=1).map(tuple),
    character_url=st.none() | links,
    extra=st.fixed_dictionaries(
        {},
        optional={
            "watermark": st.booleans(),
            "private": st.booleans(),
            "camera": st.lists(st.integers(0, 9), max_size=3),
        },
    ),
).map(lambda job: replace(job, character_timestamps="1,3" if job.character_url else None))


@given(jobs)
@settings(max_examples=150, deadline=None)
def test_another_gateway_reads_the_job_that_was_sent(job: Job) -> None:
    received = read_generation(job.scope, write_body(job, job.model)).job
    assert replace(received, images=()) == replace(job, images=())
    assert [(item.url, item.data) for item in received.images] == [(item.url, item.data) for item in job.images]


def a_task(status: Status, progress: int, fail_reason: str, outputs: tuple[StoredOutput, ...]) -> Task:
    return Task(
        account_id=1,
        id="video-abc",
        key_id=1,
        source=Source.V2,
        scope=Scope.VIDEOS,
        platform="demo",
        model="some-model",
        job=Job(Scope.VIDEOS, "some-model", "a cat"),
        units={},
        status=status,
        progress=progress,
        fail_reason=fail_reason,
        fail_code=None,
        outputs=outputs,
        created_at=NOW,
        started_at=NOW,
        finished_at=NOW if status.final else None,
        deadline_at=NOW,
        cancelled=False,
        channel_id=1,
        upstream_id="u",
    )


@given(
    status=st.sampled_from([status for status in Status if not status.final]),
    progress=st.integers(0, 100),
    id=st.text("abcXYZ019-_:", min_size=1, max_size=20),
)
@settings(max_examples=50, deadline=None)
def test_another_gateways_task_that_runs_is_read(status: Status, progress: int, id: str) -> None:
    body = VIEW.write(a_task(status, progress, "", ()))
    handle = Handle(id, {}, Scope.VIDEOS, "some-model")
    assert MEDIA.read_polled(handle, reply(body)) == Running(status, id, progress)


@pytest.mark.parametrize("count", [1, 2])
def test_another_gateways_results_are_copied_since_its_links_expire(count: int) -> None:
    files = tuple(
        StoredOutput("video/mp4", key=f"outputs/2026-11-22/{'a' * 22}/{index}.mp4") for index in range(1, count + 1)
    )
    task = a_task(Status.SUCCESS, 100, "", files)
    outcome = MEDIA.read_polled(Handle("a", {}, Scope.VIDEOS, "m"), reply(VIEW.write(task)))
    assert isinstance(outcome, Done)
    assert [output.url for output in outcome.outputs] == VIEW.output_urls(task)
    assert all(output.keep and output.content_type == "video/mp4" for output in outcome.outputs)


def test_a_public_link_that_another_gateway_passes_on_stays_one() -> None:
    task = a_task(Status.SUCCESS, 100, "", (StoredOutput("video/mp4", url="https://cdn.example/a.mp4"),))
    outcome = MEDIA.read_polled(Handle("a", {}, Scope.VIDEOS, "m"), reply(VIEW.write(task)))
    assert isinstance(outcome, Done)
    assert [(output.url, output.keep) for output in outcome.outputs] == [("https://cdn.example/a.mp4", False)]


def test_another_gateways_reason_is_passed_on() -> None:
    task = a_task(Status.FAILURE, 100, "The prompt was blocked.", ())
    outcome = MEDIA.read_polled(Handle("a", {}, Scope.VIDEOS, "m"), reply(VIEW.write(task)))
    assert outcome == Failed("The prompt was blocked.")
