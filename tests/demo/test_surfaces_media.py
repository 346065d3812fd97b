"""The official SDK streams images and speech, and has images varied."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from app.demo.media.makers import make_mp3, make_png
from tests.demo.process import DemoProcess
from tests.demo.wire import HEADERS, call_path

pytestmark = pytest.mark.usefixtures("demo")
PICTURE = make_png("in", 32, 32)
SPOKEN = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "x" * 60}


@pytest.fixture(scope="module")
def sdk(demo_process: DemoProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{demo_process.url}/v1", api_key="sk-test", max_retries=0) as client:
        yield client


def test_image_stream(demo: DemoProcess, sdk: openai.OpenAI) -> None:
    *partial, last = sdk.images.generate(prompt="a cat", size="64x64", stream=True, partial_images=2)

    assert [event.partial_image_index for event in partial if event.type == "image_generation.partial_image"] == [0, 1]
    assert last.type == "image_generation.completed"
    assert base64.b64decode(last.b64_json) == make_png("a cat", 64, 64)
    assert (last.usage.input_tokens, last.usage.output_tokens, last.usage.total_tokens) == (2, 4, 6)
    assert len({event.b64_json for event in (*partial, last)}) == 3


def test_image_edit_stream(sdk: openai.OpenAI) -> None:
    events = list(
        sdk.images.edit(image=("a.png", PICTURE), prompt="a cat", size="64x64", stream=True, partial_images=1)
    )

    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]


def test_image_frames_have_names(demo: DemoProcess) -> None:
    body = {"prompt": "a cat", "size": "64x64", "stream": True, "model": "m?usage=missing"}
    text = call_path(demo, "/openai/v1/images/generations", body, HEADERS).body.decode()

    name, data, *ends = text.split("\n")
    assert (name, ends) == ("event: image_generation.completed", ["", ""])
    assert "usage" not in json.loads(data.removeprefix("data: "))


def test_a_cut_image_stream(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        list(sdk.images.generate(model="m?file_cut=100", prompt="a cat", size="64x64", stream=True))


@pytest.mark.parametrize(("usage", "expected"), [("missing", None), ("zero", 0), ("huge", 10**15)])
def test_image_usage(demo: DemoProcess, usage: str, expected: int | None) -> None:
    body = {"prompt": "a cat", "size": "64x64", "model": f"m?usage={usage}"}
    answer = call_path(demo, "/v1/images/generations", body, HEADERS).json

    assert answer.get("usage", {}).get("output_tokens") == expected


@pytest.mark.filterwarnings("ignore:deprecated")
def test_variations(sdk: openai.OpenAI) -> None:
    links = sdk.images.create_variation(image=("a.png", PICTURE), n=2, size="256x256")
    inline = sdk.images.create_variation(image=("a.png", PICTURE), response_format="b64_json", model="dall-e-2")

    assert links.data is not None
    assert inline.data is not None
    assert [(each.url or "").rpartition("/")[2] for each in links.data] == ["1.png", "2.png"]
    assert base64.b64decode(inline.data[0].b64_json or "").startswith(b"\x89PNG")
    assert (links.usage, inline.usage) == (None, None)


def speak(demo: DemoProcess, **fields: Any) -> list[dict[str, Any]]:
    return call_path(demo, "/v1/audio/speech", {**SPOKEN, "stream_format": "sse", **fields}, HEADERS).chunks()


def test_speech_events(demo: DemoProcess) -> None:
    *deltas, done = speak(demo)

    assert len(deltas) == 4
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(event["audio"]) for event in deltas) == make_mp3("x" * 60, 4.0)
    usage = {"input_tokens": 15, "output_tokens": 80, "total_tokens": 95}
    assert done == {"type": "speech.audio.done", "usage": usage}


def test_speech_events_without_usage(demo: DemoProcess) -> None:
    assert speak(demo, model="gpt-4o-mini-tts?usage=missing")[-1] == {"type": "speech.audio.done"}
    assert speak(demo, model="gpt-4o-mini-tts?tokens=7")[-1]["usage"]["output_tokens"] == 7


def test_speech_in_pieces(demo: DemoProcess, sdk: openai.OpenAI) -> None:
    with sdk.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts?file_ms=5", voice="alloy", input="x" * 60
    ) as response:
        sound = b"".join(response.iter_bytes())

    assert "content-length" not in response.headers
    assert sound == make_mp3("x" * 60, 4.0)
    assert demo.settled()[0]["chunks_sent"] == 4


def test_cut_speech(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        sdk.audio.speech.create(model="gpt-4o-mini-tts?file_cut=100", voice="alloy", input="x" * 60)
