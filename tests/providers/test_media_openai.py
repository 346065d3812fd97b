"""Images and speech against OpenAI's own SDK, and what is held for pictures that are priced by the token."""

from __future__ import annotations

import openai
import orjson
import pytest

from app.core.media import Scope
from app.providers.openai.media import OpenAIMedia
from tests.providers.conftest import Send
from tests.providers.media_fixtures import KEY, MODEL, PNG, PNG_BYTES, PNG_URI, job
from tests.providers.media_fixtures.openai_videos import SITE
from tests.providers.recorder import Recorder

MEDIA = OpenAIMedia("openai")
IMAGES = orjson.dumps({"created": 1, "data": [{"b64_json": "AAAA"}]})
FILE = ("image-1.png", PNG_BYTES, "image/png")
SECOND = ("image-2.png", PNG_BYTES, "image/png")
MASK = ("mask.png", PNG_BYTES, "image/png")


async def test_a_generation_is_what_the_sdk_sends(recorder: Recorder, send: Send) -> None:
    recorder.answer = IMAGES
    async with openai.AsyncOpenAI(base_url=f"{recorder.url}/v1", api_key="sk-test") as client:
        await client.images.generate(prompt="a cat", model=MODEL, n=2, size="1536x1024", quality="high")
    asked = job(scope=Scope.IMAGES, count=2, size="1536x1024", extra={"quality": "high"})
    await send("openai", f"{recorder.url}/v1", MEDIA.submit(asked, MODEL, KEY, SITE))
    theirs, ours = recorder.requests
    assert ours.path == theirs.path == "/v1/images/generations"
    assert ours.json() == theirs.json()


@pytest.mark.parametrize("several", [False, True], ids=["one picture", "two and a mask"])
async def test_an_edit_is_what_the_sdk_sends(recorder: Recorder, send: Send, several: bool) -> None:
    recorder.answer = IMAGES
    async with openai.AsyncOpenAI(base_url=f"{recorder.url}/v1", api_key="sk-test") as client:
        if several:
            await client.images.edit(prompt="a cat", model=MODEL, image=[FILE, SECOND], mask=MASK, n=2)
        else:
            await client.images.edit(prompt="a cat", model=MODEL, image=FILE)
    two = job(scope=Scope.IMAGES, images=(PNG, PNG), count=2, extra={"mask": PNG_URI})
    asked = two if several else job(scope=Scope.IMAGES, images=(PNG,))
    await send("openai", f"{recorder.url}/v1", MEDIA.submit(asked, MODEL, KEY, SITE))
    theirs, ours = recorder.requests
    assert ours.path == theirs.path == "/v1/images/edits"
    assert sorted(ours.form(), key=str) == sorted(theirs.form(), key=str)


async def test_speech_is_what_the_sdk_asks_for(recorder: Recorder, send: Send) -> None:
    recorder.answer, recorder.content_type = b"RIFFsound", "audio/wav"
    async with openai.AsyncOpenAI(base_url=f"{recorder.url}/v1", api_key="sk-test") as client:
        await client.audio.speech.create(input="a cat", model=MODEL, voice="alloy", response_format="wav", speed=1.5)
    asked = job(scope=Scope.AUDIO, extra={"voice": "alloy", "response_format": "wav", "speed": 1.5})
    await send("openai", f"{recorder.url}/v1", MEDIA.submit(asked, MODEL, KEY, SITE))
    theirs, ours = recorder.requests
    assert ours.path == theirs.path == "/v1/audio/speech"
    assert ours.json() == theirs.json()


# Quality, size and output tokens: GPT Image 1.5's table, then GPT Image 2's calculator.
TOKENS = [
    ("low", "1024x1024", 272),
    ("low", "1024x1536", 408),
    ("medium", "1024x1024", 1056),
    ("medium", "1024x1536", 1584),
    ("high", "1024x1024", 4160),
    ("high", "1024x1536", 6240),
    ("high", "1024x1024", 7024),
    ("high", "1536x1024", 5488),
    ("high", "3584x2048", 12_329),
    ("high", "3840x2160", 13_343),
    ("medium", "1024x1024", 1756),
    ("low", "1024x1024", 196),
]


@pytest.mark.parametrize(("quality", "size", "tokens"), TOKENS)
def test_the_hold_covers_what_a_picture_takes(quality: str, size: str, tokens: int) -> None:
    one = job(scope=Scope.IMAGES, size=size, extra={"quality": quality})
    units = MEDIA.units(one, MODEL)
    assert tokens <= units.output_tokens <= 3 * tokens
    assert units.output_image_tokens == units.output_tokens
    unknown = MEDIA.units(job(scope=Scope.IMAGES, count=3, size=size), MODEL)
    assert unknown.output_tokens >= 3 * tokens
