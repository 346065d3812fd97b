"""A chat request read as a job: prompt, pictures, wishes, and what is refused by name."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from app.core.media import Job, Scope
from app.errors import GatewayError
from app.formats.openai_chat import FORMAT
from app.media.chat.request import Wanted, read_wanted

PICTURE = "https://example.com/cat.png"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def read(content: Any = "a cat", model: str = "sora_video2", **fields: Any) -> Wanted:
    body = {"model": model, "messages": [{"role": "user", "content": content}], **fields}
    return read_wanted(FORMAT.read_request(json.dumps(body).encode()))


def refusal_of(content: Any = "a cat", model: str = "sora_video2", **fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as refusal:
        read(content, model, **fields)
    assert refusal.value.status == 400
    return refusal.value


def picture(url: str = PICTURE) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "high"}}


def test_a_bare_request_makes_ten_seconds() -> None:
    assert read().job == Job(Scope.VIDEOS, "sora_video2", "a cat", seconds=10)


@pytest.mark.parametrize(
    ("model", "prompt", "seconds", "ratio", "hd"),
    [
        ("sora_video2-portrait-hd-15s", "一只猫", 15, "9:16", True),
        ("sora_video2-15s", "（竖屏，高清）一只猫", 15, "9:16", True),
        ("sora_video2", "横屏，15s，一只猫", 15, "16:9", False),
        ("sora_video2-portrait", "横屏，一只猫", 10, "16:9", False),
        ("kling-video", "竖屏，一只猫", None, "9:16", False),
        ("kling-video-hd", "一只猫", None, None, False),
        ("sora-2-pro", "(hd, 15s) 一只猫", 15, None, True),
    ],
)
def test_wishes(model: str, prompt: str, seconds: float | None, ratio: str | None, hd: bool) -> None:
    job = read(prompt, model).job
    assert job == Job(Scope.VIDEOS, model, "一只猫", seconds=seconds, aspect_ratio=ratio, hd=hd)


def test_a_storyboard_says_how_long_it_is() -> None:
    shots = "\n\n".join(f"Shot {n}:\nduration: 7.5sec\nScene: a cat" for n in (1, 2))
    assert read(shots).job.seconds == 15
    assert "10" in refusal_of(shots.replace("7.5", "2.5")).message
    assert read(shots.replace("7.5", "5")).job.seconds == 10


def test_the_last_user_message_is_the_prompt() -> None:
    messages = [
        {"role": "system", "content": "You are a poet."},
        {"role": "user", "content": [{"type": "text", "text": "a dog"}, picture("https://example.com/dog.png")]},
        {"role": "assistant", "content": "✅ …"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "竖屏，a cat"}, picture(), {"type": "text", "text": "runs"}],
        },
        {"role": "assistant", "content": "…"},
    ]
    wanted = read(messages=messages)
    assert (wanted.job.prompt, wanted.job.aspect_ratio) == ("a cat\nruns", "9:16")
    assert [image.url for image in wanted.job.images] == [PICTURE]
    assert wanted.places["images[0]"] == "messages[3].content[1].image_url"


def test_pictures_in_every_spelling() -> None:
    data = "data:image/png;base64," + base64.b64encode(PNG).decode()
    bare = {"type": "image_url", "image_url": PICTURE}
    job = read([{"type": "text", "text": "a cat"}, picture(), picture(data), bare]).job
    assert [image.url for image in job.images] == [PICTURE, None, PICTURE]
    assert job.images[1].data == PNG


def test_a_bad_picture_is_named_where_it_stands() -> None:
    error = refusal_of([{"type": "text", "text": "a cat"}, picture(), picture("data:image/png;base64,AAAA")])
    assert error.param == "messages[0].content[2].image_url"
    assert error.message.startswith("messages[0].content[2].image_url: ")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy", "format": "mp3"}}, "audio"),
        ({"logprobs": True}, "logprobs"),
        ({"duration": 15}, "duration"),
        ({"aspect_ratio": "9:16"}, "aspect_ratio"),
        ({"notify_hook": "https://example.com"}, "notify_hook"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "a cat"}]}, "messages"),
        ({"messages": ["a cat"]}, "messages"),
        ({"content": None}, "messages[0].content"),
        ({"content": "  "}, "messages[0].content"),
        ({"content": "竖屏"}, "messages[0].content"),
        ({"content": "nul \0 inside"}, "messages[0].content"),
        ({"content": "half \ud83d inside"}, "messages[0].content"),
        ({"content": "x" * 40_000}, "messages[0].content"),
        ({"content": [picture()]}, "messages[0].content"),
        ({"content": [{"type": "input_audio", "input_audio": {}}]}, "messages[0].content[0]"),
        ({"content": [{"type": "text", "text": 1}]}, "messages[0].content[0]"),
        ({"content": [{"type": "image_url", "image_url": {}}]}, "messages[0].content[0].image_url"),
        ({"content": "hd, a cat", "model": "sora-2"}, "messages[0].content"),
        ({"model": "sora_video2-portrait-landscape"}, "model"),
        ({"content": "a cat", "model": "veo3-fast-frames"}, "messages[0].content"),
    ],
)
def test_what_is_refused_is_named(fields: dict[str, Any], param: str) -> None:
    assert refusal_of(**fields).param == param


def test_what_only_advises_is_ignored() -> None:
    advice: dict[str, Any] = {
        "temperature": 0.5, "top_p": 1, "max_tokens": 100, "max_completion_tokens": 100, "stop": ["x"], "seed": 1, "n": 1,
        "user": "u", "tools": [], "functions": None, "tool_choice": "none", "logprobs": False, "metadata": {"a": "b"},
        "response_format": {"type": "text"}, "modalities": ["text"], "stream_options": {"include_usage": True},
    }  # fmt: skip
    assert read(**advice).job == read().job
