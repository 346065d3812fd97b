"""The rules that a model's name stands for: Sora 2 with its storyboards, Veo, and OpenAI's videos API."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.media import Attachment, Job, Scope
from app.errors import GatewayError
from app.media.rules.generation import read_generation
from app.media.rules.videos import read_remix, read_video, type_fields

URL = "https://example.com/1.png"


def job_of(model: str, **fields: Any) -> Job:
    return read_generation(Scope.VIDEOS, {"prompt": "a cat", "model": model, **fields}).job


def refusal(model: str, **fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        job_of(model, **fields)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("sora-2", {}),
        ("sora-2", {"duration": "10", "aspect_ratio": "16:9", "hd": False}),
        ("sora-2", {"duration": 15, "aspect_ratio": "9:16"}),
        ("sora-2-pro", {"duration": "25"}),
        ("sora-2-pro", {"duration": "15", "hd": True}),
        ("sora-2-pro-2025-10-06", {"duration": "25"}),
        ("sora-2-mini", {"duration": "7", "aspect_ratio": "1:1", "hd": True}),
        ("veo3", {"aspect_ratio": "9:16", "enhance_prompt": True, "enable_upsample": False}),
        ("veo3", {"images": [URL]}),
        ("veo2", {"images": [URL]}),
        ("veo2-fast-frames", {"images": [URL]}),
        ("veo3-pro-frames", {"images": [URL] * 2}),
        ("veo2-fast-components", {"images": [URL] * 3}),
        ("veo3.1", {}),
        ("veo3.1-pro", {"images": [URL] * 2}),
        ("veo3.1-fast", {"images": [URL] * 3}),
        ("veo4", {"images": [URL] * 9, "aspect_ratio": "1:1"}),
    ],
)
def test_allowed(model: str, fields: dict[str, Any]) -> None:
    job_of(model, **fields)


@pytest.mark.parametrize(
    ("model", "fields", "param"),
    [
        ("sora-2", {"aspect_ratio": "1:1"}, "aspect_ratio"),
        ("sora-2", {"duration": "12"}, "duration"),
        ("sora-2", {"duration": "25"}, "duration"),
        ("sora-2-2025-12-08", {"duration": "25"}, "duration"),
        ("sora-2-pro", {"duration": "20"}, "duration"),
        ("sora-2", {"hd": True}, "hd"),
        ("sora-2", {"hd": True, "duration": "25"}, "hd"),
        ("sora-2", {"private": "true"}, "private"),
        ("veo3", {"aspect_ratio": "1:1"}, "aspect_ratio"),
        ("veo3", {"enhance_prompt": "yes"}, "enhance_prompt"),
        ("veo3", {"enable_upsample": 1}, "enable_upsample"),
        ("veo3", {"images": [URL] * 2}, "images"),
        ("veo2-pro", {"images": [URL] * 2}, "images"),
        ("veo3-fast-frames", {}, "images"),
        ("veo3-fast-frames", {"images": [URL] * 3}, "images"),
        ("veo2-fast-components", {}, "images"),
        ("veo2-fast-components", {"images": [URL] * 4}, "images"),
        ("veo3.1", {"images": [URL] * 4}, "images"),
        ("veo3.1-frames", {}, "images"),
    ],
)
def test_refused(model: str, fields: dict[str, Any], param: str) -> None:
    error = refusal(model, **fields)
    assert error.param == param
    assert param in error.message


def test_only_25_seconds_and_only_for_pro() -> None:
    assert "sora-2-pro" in refusal("sora-2", duration="25").message
    assert "sora-2-pro" in refusal("sora-2", hd=True).message


def test_hd_is_ignored_at_25_seconds() -> None:
    assert job_of("sora-2-pro", duration="25", hd=True).hd is False
    assert job_of("sora-2-pro", duration="15", hd=True).hd is True
    assert job_of("sora-2-pro", prompt=shots("12.5", "12.5"), hd=True).hd is False


def shots(*durations: str) -> str:
    return "\n\n".join(
        f"Shot {number}:\nduration: {duration}sec\nScene: a cat, take {number}"
        for number, duration in enumerate(durations, 1)
    )


@pytest.mark.parametrize(
    ("prompt", "seconds"),
    [
        (shots("7.5", "2.5"), 10),
        (shots("5", "5", "5"), 15),
        (shots("0.1", "9.9"), 10),
        (shots("3.333", "3.333", "3.334"), 10),
        (shots("7.5", "2.5").replace("\n", "\r\n"), 10),
        ("\n\n" + shots("4", "6") + "\n\n\n", 10),
        (shots("4", "6").replace("\n\n", "\n \t\n\n"), 10),
        ("shot 1 :\nDuration:10 seconds\nscene:a cat\nthat sleeps\nfor long", 10),
        ("Shot 1:\nduration: 10s\nScene:\na cat", 10),
    ],
)
def test_a_storyboard_says_how_long_it_is(prompt: str, seconds: int) -> None:
    assert job_of("sora-2", prompt=prompt).seconds == seconds
    assert job_of("sora-2", prompt=prompt, duration=str(seconds)).prompt == prompt
    assert refusal("sora-2", prompt=prompt, duration={10: "15", 15: "10"}[seconds]).param == "duration"


@pytest.mark.parametrize(
    ("prompt", "shot"),
    [
        ("Shot 1:\nScene: a cat\nduration: 10sec", "Shot 1"),
        ("Shot 1:\nduration: ten sec\nScene: a cat", "Shot 1"),
        ("Shot 1:\nduration: -5sec\nScene: a cat", "Shot 1"),
        ("Shot 1:\nduration: 0sec\nScene: a cat", "Shot 1"),
        ("Shot 1:\nduration: 5sec", "Shot 1"),
        ("Shot 1:\nduration: 5sec\nScene:", "Shot 1"),
        ("Shot 1:\nduration: 5sec\nA cat", "Shot 1"),
        ("Shot 2:\nduration: 10sec\nScene: a cat", "Shot 1"),
        (shots("5", "5").replace("Shot 2", "Shot 3"), "Shot 2"),
        (shots("5", "5").replace("Shot 2", "Shot 1"), "Shot 2"),
        (shots("5", "5").replace("Shot 2:\n", ""), "Shot 2"),
        (shots("5", "5") + "\n\nmake it nice", "Shot 3"),
        (shots("5", "5").replace("duration: 5sec\nScene: a cat, take 2", "Scene: a cat"), "Shot 2"),
    ],
)
def test_a_malformed_storyboard_names_the_shot(prompt: str, shot: str) -> None:
    error = refusal("sora-2", prompt=prompt)
    assert error.param == "prompt"
    assert f"{shot} of the storyboard" in error.message


@pytest.mark.parametrize("prompt", [shots("5", "6"), shots("12.5", "12.5"), shots("9.999")])
def test_a_storyboard_of_a_length_that_is_not_to_be_had(prompt: str) -> None:
    assert refusal("sora-2", prompt=prompt).param == "prompt"


@pytest.mark.parametrize(
    "prompt",
    [
        "A film in two takes. Shot 1: a cat. Shot 2: a dog.",
        "Shot 1: a cat on a roof",
        "Shot 1: a cat on a roof\nShot 2: a dog below it",
        "Shot 1:\nA cat on a roof.\n\nShot 2:\nA dog.",
        "A cat\n\nShot 1:\nduration: 99sec\nScene: a roof",
        "duration: 5sec",
    ],
)
def test_prose_about_shots_is_no_storyboard(prompt: str) -> None:
    assert job_of("sora-2", prompt=prompt).seconds is None
    assert job_of("sora-2", prompt=prompt, duration="15").seconds == 15


def test_other_models_have_no_storyboards() -> None:
    assert job_of("veo3", prompt=shots("1", "2"), duration="8").seconds == 8


# -- OpenAI's videos API -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {"model": "sora-2"}),
        ({"model": None, "seconds": None}, {"model": "sora-2"}),
        ({"seconds": "8", "size": "1792x1024"}, {"model": "sora-2", "seconds": 8.0, "size": "1792x1024"}),
        ({"seconds": 12, "model": "sora-2-pro"}, {"model": "sora-2-pro", "seconds": 12.0}),
        ({"prompt": shots("1", "3")}, {"model": "sora-2", "prompt": shots("1", "3"), "seconds": 4.0}),
        ({"model": "other", "seconds": "6", "size": "854x480"}, {"model": "other", "seconds": 6.0, "size": "854x480"}),
        ({"input_reference": {"image_url": URL}}, {"model": "sora-2", "images": [{"url": URL}]}),
        ({"input_reference": URL}, {"model": "sora-2", "images": [{"url": URL}]}),
        ({"metadata": {"a": "b"}}, {"model": "sora-2", "extra": {"metadata": {"a": "b"}}}),
    ],
)
def test_a_video_becomes_a_job(body: dict[str, Any], expected: dict[str, Any]) -> None:
    wanted = {"scope": "videos", "prompt": "a cat", "count": 1, **expected}
    assert read_video({"prompt": "a cat", **body}).job.write() == wanted


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"seconds": "10"}, "seconds"),
        ({"seconds": "8s"}, "seconds"),
        ({"seconds": "8", "prompt": shots("1", "3")}, "seconds"),
        ({"prompt": shots("1", "4")}, "prompt"),
        ({"size": "640x480"}, "size"),
        ({"size": "720p"}, "size"),
        ({"duration": "8"}, "duration"),
        ({"images": [URL]}, "images"),
        ({"n": 2}, "n"),
        ({"hd": True}, "hd"),
        ({"aspect_ratio": "1:1"}, "aspect_ratio"),
        ({"input_reference": {"file_id": "file-1"}}, "input_reference[file_id]"),
        ({"input_reference": {"image_url": URL, "file_id": "file-1"}}, "input_reference[file_id]"),
        ({"input_reference": {"image_url": "nonsense"}}, "input_reference[image_url]"),
        ({"input_reference": {"image_url": 5}}, "input_reference"),
        ({"input_reference": {}}, "input_reference"),
        ({"input_reference": ["a"]}, "input_reference"),
        ({"remix_of": "video_1"}, "remix_of"),
        ({"model": "veo3-frames"}, "images"),
    ],
)
def test_a_refused_video_names_the_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_video({"prompt": "a cat", **body})
    assert (caught.value.status, caught.value.param) == (400, param)


def test_a_file_is_the_reference() -> None:
    picture = Attachment(content_type="image/png", data=b"...")
    assert read_video({"prompt": "a cat"}, picture).job.images == (picture,)


def test_a_forms_flags_are_read() -> None:
    typed = type_fields(
        {"prompt": "true", "watermark": "true", "hd": "false", "private": "yes", "n": "1", "note": "true"}
    )
    assert typed == {"prompt": "true", "watermark": True, "hd": False, "private": "yes", "n": 1, "note": "true"}


def test_a_remix_takes_a_prompt_only() -> None:
    assert read_remix({"prompt": "at night"}) == "at night"
    for body, param in (({}, "prompt"), ({"prompt": "x", "seconds": "4"}, "seconds")):
        with pytest.raises(GatewayError) as caught:
            read_remix(body)
        assert caught.value.param == param
