"""The official SDK takes the demo for OpenAI's images and speech."""

import base64
import io
import wave
from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx
import openai
import pytest

from app.demo.media.makers import make_pcm, make_png
from tests.demo.process import DemoProcess

GENERATIONS, EDITS, SPEECH = "/v1/images/generations", "/v1/images/edits", "/v1/audio/speech"
VARIATIONS = "/v1/images/variations"


@pytest.fixture(scope="module")
async def sdk(demo_process: DemoProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{demo_process.url}/v1",
        api_key="sk-test",
        max_retries=0,
        http_client=httpx.AsyncClient(),
    ) as client:
        yield client


async def test_generate(demo: DemoProcess, sdk: openai.AsyncOpenAI) -> None:
    made = await sdk.images.generate(model="gpt-image-2", prompt="a blue cat", size="1536x1024", n=2, quality="high")

    assert made.data is not None
    assert made.usage is not None
    pictures = [base64.b64decode(image.b64_json or "") for image in made.data]
    assert pictures[0] == make_png("a blue cat", 1536, 1024)
    assert len(set(pictures)) == 2
    assert (made.size, made.quality, made.output_format, made.background) == ("1536x1024", "high", "png", "opaque")
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (3, 3_072, 3_075)
    assert demo.control("GET", "studio")["accepted"] == 1


async def test_edit(demo: DemoProcess, sdk: openai.AsyncOpenAI) -> None:
    picture, mask = make_png("in", 32, 32), make_png("mask", 32, 32)
    one = await sdk.images.edit(image=("a.png", picture), mask=("m.png", mask), prompt="p", model="gpt-image-2")
    two = await sdk.images.edit(
        image=[("a.png", picture), ("b.png", picture)], prompt="p", model="gpt-image-2?tokens=7", size="512x512"
    )

    assert one.usage is not None
    assert two.usage is not None
    assert (one.usage.input_tokens_details.image_tokens, two.usage.input_tokens_details.image_tokens) == (256, 512)
    assert (one.size, two.size, two.usage.output_tokens) == ("1024x1024", "512x512", 7)
    first, second = demo.settled()
    assert [(part["name"], part["filename"]) for part in first["parts"] if part["filename"]] == [
        ("image", "a.png"),
        ("mask", "m.png"),
    ]
    assert [part["name"] for part in second["parts"] if part["filename"]] == ["image[]", "image[]"]


async def test_other_servers_ways(demo: DemoProcess, client: httpx.AsyncClient) -> None:
    body = {"prompt": "a cat", "size": "64x64", "model": "m?quirk=url,no_usage&outputs=3"}
    answer = (await client.post(GENERATIONS, json=body)).json()

    assert "usage" not in answer
    urls = [item["url"] for item in answer["data"]]
    assert [url.rpartition("/")[2] for url in urls] == ["1.png", "2.png", "3.png"]
    assert (await client.get(urls[0], headers={"authorization": ""})).content == make_png("a cat", 64, 64)


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ("fail=no+cats", 400, "moderation_blocked"),
        ("fail=no+cats&fail_code=strict", 400, "strict"),
        ("status=500", 500, None),
        ("refuse=no&code=why", 400, "why"),
        ("big=100000000", 400, "demo_options"),
    ],
)
async def test_told_to_fail(
    demo: DemoProcess, sdk: openai.AsyncOpenAI, options: str, status: int, code: str | None
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        await sdk.images.generate(prompt="a cat", model=f"gpt-image-2?{options}")

    assert (caught.value.status_code, caught.value.code) == (status, code)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (GENERATIONS, {}, "prompt"),
        (GENERATIONS, {"prompt": "p", "n": 11}, "n"),
        (GENERATIONS, {"prompt": "p", "size": "big"}, "size"),
        (GENERATIONS, {"prompt": "p", "output_format": "webp"}, "output_format"),
        (GENERATIONS, {"prompt": "p", "quality": "best"}, "quality"),
        (GENERATIONS, {"prompt": "p", "stream": True, "n": 2}, "n"),
        (GENERATIONS, {"prompt": "p", "stream": True, "partial_images": 4}, "partial_images"),
        (VARIATIONS, {}, "image"),
        (EDITS, {"prompt": "p"}, "image"),
        (SPEECH, {"model": "m", "voice": "alloy"}, "input"),
        (SPEECH, {"input": "hi", "voice": "alloy"}, "model"),
        (SPEECH, {"input": "hi", "model": "m"}, "voice"),
        (SPEECH, {"input": "x" * 4_097, "model": "m", "voice": "alloy"}, "input"),
        (SPEECH, {"input": "hi", "model": "m", "voice": "alloy", "response_format": "opus"}, "response_format"),
        (SPEECH, {"input": "hi", "model": "tts-1-hd", "voice": "alloy", "stream_format": "sse"}, "stream_format"),
        (SPEECH, {"input": "hi", "model": "m", "voice": "alloy", "stream_format": "ogg"}, "stream_format"),
        (SPEECH, {"input": "hi", "model": "m", "voice": "alloy", "speed": 9}, "speed"),
    ],
)
async def test_bad_requests(
    demo: DemoProcess, client: httpx.AsyncClient, path: str, body: dict[str, Any], param: str
) -> None:
    response = await client.post(path, json=body)

    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert (await client.post(path, json=body, headers={"authorization": ""})).status_code == 401


async def test_wav_speech(demo: DemoProcess, sdk: openai.AsyncOpenAI) -> None:
    speech = await sdk.audio.speech.create(model="tts", voice="alloy", input="x" * 30, response_format="wav", speed=2)

    assert speech.response.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(speech.content)) as reader:
        assert reader.getnframes() / reader.getframerate() == 1.0


async def test_other_speech(demo: DemoProcess, sdk: openai.AsyncOpenAI) -> None:
    usual = await sdk.audio.speech.create(model="tts?made_seconds=2.4", voice={"id": "voice_1"}, input="hello")
    plain = await sdk.audio.speech.create(model="tts?big=50000", voice="alloy", input="hello", response_format="pcm")

    assert usual.response.headers["content-type"] == "audio/mpeg"
    assert len(usual.content) == 100 * 24
    assert len(plain.content) == 50_000
    assert plain.content.startswith(make_pcm("hello", 0.5))


async def test_a_lost_answer(demo: DemoProcess, sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        await sdk.audio.speech.create(model="tts?lost=1", voice="alloy", input="hello")

    assert demo.control("GET", "studio")["accepted"] == 1
