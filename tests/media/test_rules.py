"""The rules of the unified API's bodies: what passes, as which job, and which field a refusal names."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from app.core.media import Job, Scope, read_job
from app.errors import GatewayError
from app.media.rules.fields import MAX_DEPTH, MAX_EXTRA
from app.media.rules.generation import MAX_PROMPT, Submission, read_generation

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PICTURE = base64.b64encode(PNG).decode()
URL = "https://example.com/1.png"


def read(scope: Scope = Scope.VIDEOS, **fields: Any) -> Submission:
    return read_generation(scope, {"prompt": "a cat", "model": "some-model", **fields})


def job_of(scope: Scope = Scope.VIDEOS, **fields: Any) -> Job:
    return read(scope, **fields).job


def refusal(scope: Scope = Scope.VIDEOS, **fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        read(scope, **fields)
    assert caught.value.status == 400
    assert caught.value.param is not None
    assert caught.value.param in caught.value.message
    return caught.value


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"duration": "10"}, {"seconds": 10.0}),
        ({"duration": 10}, {"seconds": 10.0}),
        ({"duration": "7.5"}, {"seconds": 7.5}),
        ({"seconds": "8"}, {"seconds": 8.0}),
        ({"duration": 8, "seconds": "8"}, {"seconds": 8.0}),
        ({"duration": None, "hd": None, "images": None}, {}),
        ({"aspect_ratio": "21:9"}, {"aspect_ratio": "21:9"}),
        ({"aspect_ratio": "adaptive"}, {"aspect_ratio": "adaptive"}),
        ({"size": "1280x720"}, {"size": "1280x720"}),
        ({"size": "auto"}, {}),
        ({"resolution": "1080P"}, {"resolution": "1080p"}),
        ({"resolution": "4K"}, {"resolution": "4k"}),
        ({"hd": True}, {"hd": True}),
        ({"hd": False}, {}),
        ({"n": 4}, {"count": 4}),
        ({"count": 2}, {"count": 2}),
        ({"images": []}, {}),
        ({"watermark": True, "private": False}, {"extra": {"watermark": True, "private": False}}),
        ({"negative_prompt": "dogs", "options": {"a": [1, 2.5, None, "x"]}},
         {"extra": {"negative_prompt": "dogs", "options": {"a": [1, 2.5, None, "x"]}}}),
        ({"far": nested(MAX_DEPTH)}, {"extra": {"far": nested(MAX_DEPTH)}}),
        ({"big": "x" * (MAX_EXTRA - 20)}, {"extra": {"big": "x" * (MAX_EXTRA - 20)}}),
        ({"character_url": URL, "character_timestamps": "1,3"},
         {"character_url": URL, "character_timestamps": "1,3"}),
        ({"character_url": URL, "character_timestamps": "0.5, 3.5"},
         {"character_url": URL, "character_timestamps": "0.5, 3.5"}),
        ({"prompt": "x" * MAX_PROMPT}, {"prompt": "x" * MAX_PROMPT}),
    ],
)  # fmt: skip
def test_what_is_allowed_becomes_the_job(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    wanted = {"scope": "videos", "model": "some-model", "prompt": "a cat", "count": 1, **expected}
    job = job_of(**fields)
    assert job.write() == wanted
    assert read_job(job.write()) == job


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": ["a"]}, "prompt"),
        ({"prompt": "x" * (MAX_PROMPT + 1)}, "prompt"),
        ({"prompt": "猫" * (MAX_PROMPT // 3 + 1)}, "prompt"),
        ({"prompt": "a\0b"}, "prompt"),
        ({"prompt": "a\ud83d"}, "prompt"),
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"model": "a\nb"}, "model"),
        ({"model": "m" * 300}, "model"),
        ({"duration": True}, "duration"),
        ({"duration": 0}, "duration"),
        ({"duration": "-1"}, "duration"),
        ({"duration": "ten"}, "duration"),
        ({"duration": "1e1"}, "duration"),
        ({"duration": "١٠"}, "duration"),
        ({"duration": 1e9}, "duration"),
        ({"duration": float("inf")}, "duration"),
        ({"duration": float("nan")}, "duration"),
        ({"duration": [10]}, "duration"),
        ({"duration": 10, "seconds": 8}, "seconds"),
        ({"aspect_ratio": "16x9"}, "aspect_ratio"),
        ({"aspect_ratio": "0:9"}, "aspect_ratio"),
        ({"aspect_ratio": 1.5}, "aspect_ratio"),
        ({"size": "2K"}, "size"),
        ({"size": "1280X720\n"}, "size"),
        ({"size": {"width": 1}}, "size"),
        ({"resolution": "HD"}, "resolution"),
        ({"resolution": 1080}, "resolution"),
        ({"hd": "true"}, "hd"),
        ({"hd": 1}, "hd"),
        ({"watermark": "false"}, "watermark"),
        ({"private": 0}, "private"),
        ({"n": 5}, "n"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": "2"}, "n"),
        ({"n": 1.0}, "n"),
        ({"n": 1, "count": 2}, "count"),
        ({"images": URL}, "images"),
        ({"images": [1]}, "images"),
        ({"images": [URL] * 11}, "images"),
        ({"images": [URL, ""]}, "images[1]"),
        ({"images": ["data:text/plain;base64,aGk="]}, "images[0]"),
        ({"images": ["aGVsbG8gd29ybGQ="]}, "images[0]"),
        ({"images": ["ftp://example.com/1.png"]}, "images[0]"),
        ({"videos": {"url": URL}}, "videos"),
        ({"videos": ["data:video/mp4;base64,AAAA"]}, "videos[0]"),
        ({"videos": [URL] * 11}, "videos"),
        ({"notify_hook": 5}, "notify_hook"),
        ({"notify_hook": ""}, "notify_hook"),
        ({"character_url": URL}, "character_timestamps"),
        ({"character_timestamps": "1,3"}, "character_url"),
        ({"character_url": URL, "character_timestamps": "1,1.5"}, "character_timestamps"),
        ({"character_url": URL, "character_timestamps": "1,4.001"}, "character_timestamps"),
        ({"character_url": URL, "character_timestamps": "3,1"}, "character_timestamps"),
        ({"character_url": URL, "character_timestamps": "1-3"}, "character_timestamps"),
        ({"character_url": URL, "character_timestamps": [1, 3]}, "character_timestamps"),
        ({"remix_of": "video_123"}, "remix_of"),
        ({"remixed_from_video_id": "video_123"}, "remixed_from_video_id"),
        ({"input_reference": URL}, "input_reference"),
        ({"far": nested(MAX_DEPTH + 1)}, "far"),
        ({"big": "x" * MAX_EXTRA, "small": 1}, "big"),
        ({"number": 2**63}, "number"),
        ({"text": {"deep": ["a\0"]}}, "text"),
        ({"text": {"a\0": 1}}, "text"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_field(fields: dict[str, Any], param: str) -> None:
    assert refusal(**fields).param == param


def test_pictures_come_by_url_base64_and_data_uri() -> None:
    by_url, plain, uri = job_of(images=[URL, PICTURE, f"data:image/png;base64,{PICTURE}"]).images
    assert by_url.url == URL
    assert by_url.data is None
    for picture in (plain, uri):
        assert (picture.data, picture.content_type, picture.url) == (PNG, "image/png", None)


def test_videos_come_by_url() -> None:
    assert [video.url for video in job_of(videos=[URL]).videos] == [URL]


def test_the_hook_is_no_part_of_the_job() -> None:
    submission = read(notify_hook="https://example.com/done")
    assert submission.notify_hook == "https://example.com/done"
    assert "example.com" not in str(submission.job.write())


@pytest.mark.parametrize(("scope", "most"), [(Scope.IMAGES, 10), (Scope.VIDEOS, 4), (Scope.AUDIO, 4)])
def test_each_scope_has_its_most_results(scope: Scope, most: int) -> None:
    assert job_of(scope, n=most).count == most
    assert refusal(scope, n=most + 1).param == "n"


def test_what_was_given_is_not_changed() -> None:
    body = {"prompt": "a cat", "model": "some-model", "duration": "10", "style": {"a": 1}}
    before = dict(body)
    read_generation(Scope.VIDEOS, body)
    assert body == before


def test_rules_of_video_models_do_not_hold_for_pictures() -> None:
    assert job_of(Scope.IMAGES, model="sora-2", aspect_ratio="1:1").aspect_ratio == "1:1"
