"""`/v1/audio/speech`: text spoken, as a file that comes while it is made, or as events.

Source: openai-python, `types/audio/speech_create_params.py`. The events' names are those that third-party clients know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import msgspec

from app.core.usage import Usage
from app.errors import invalid_request
from app.formats.base import Reply, Tap
from app.formats.body import read_field, read_fields, read_model
from app.formats.openai_media.usage import read_speech
from app.surfaces.base import BYTES, OpenAISurface, SurfaceRequest, both
from app.surfaces.counting import bound_inputs, fair_inputs
from app.surfaces.openai import FileTap, OpenAIWire

TYPES: Mapping[str, bytes] = MappingProxyType(
    {
        "mp3": b"audio/mpeg",
        "opus": b"audio/opus",
        "aac": b"audio/aac",
        "flac": b"audio/flac",
        "wav": b"audio/wav",
        "pcm": b"audio/pcm",
    }
)
"""By `response_format`; `mp3` where a request names none."""

MILLISECONDS_A_CHARACTER = 70
MILLISECONDS_A_WIDE_ONE = 250
"""Spoken English has about 15 characters a second, Chinese, Japanese and Korean about four."""

SLOWER = 3
"""So much longer than that a hold takes speech to be: digits, abbreviations and pauses."""

RAW = 48_000
FASTEST = MappingProxyType({"mp3": 40_000, "opus": 64_000, "aac": 64_000, "flac": RAW, "wav": RAW, "pcm": RAW})
"""Bytes a second that a file has at the most, so that its size tells the least that it can last: 16 bits at 24 kHz, which is
exact for `pcm` and `wav`; 320 kbit/s of MP3."""

TOKENS_A_SECOND = 21
"""Audio tokens that OpenAI's speech models make: its price a minute over its price a token (unverified)."""

NO_SOUND = ("application/json", "text/")

_string = msgspec.json.Decoder(str)
_format = msgspec.json.Decoder(str | None)
_number = msgspec.json.Decoder(float | None)
_stream_format = msgspec.json.Decoder(Literal["sse", "audio"] | None)


@dataclass(frozen=True, slots=True)
class SpeechFacts:
    """`length`: milliseconds that the text takes to say, about."""

    format: str
    length: int


class SpeechWire(OpenAIWire):
    """Whole or as events, sound is passed on as it comes."""

    def __init__(self) -> None:
        super().__init__(lambda event: read_speech(event.get("usage")), done=("speech.audio.done",))

    def read_reply(self, request: SurfaceRequest, answer: bytes) -> Reply:
        """A whole answer is sound in place of events; where sound was asked for it is JSON, an error if anything."""
        if request.framing == BYTES or answer.lstrip()[:1] == b"{":
            return super().read_reply(request, answer)
        return Reply(Usage(), None)

    def answer_type(self, request: SurfaceRequest, said: str) -> bytes:
        return _sound_type(request, said)

    def comes_whole(self, request: SurfaceRequest, said: str) -> bool:
        return request.framing != BYTES and said.startswith("audio/")

    def stream_type(self, request: SurfaceRequest, said: str) -> bytes | None:
        if request.framing != BYTES:
            return super().stream_type(request, said)
        return None if said.startswith(NO_SOUND) else _sound_type(request, said)

    def open_tap(self, request: SurfaceRequest) -> Tap:
        return FileTap(request.told) if request.framing == BYTES else super().open_tap(request)


class Speech(OpenAISurface):
    """See `app.surfaces.base.Surface`."""

    name = "speech"
    title = "OpenAI Speech"
    paths = both("/audio/speech")
    kinds = frozenset({"audio"})

    def __init__(self) -> None:
        self.wires = MappingProxyType({"openai": SpeechWire()})

    def read(self, body: bytes, path: str) -> SurfaceRequest:
        fields = read_fields(body)
        model = read_model(fields)
        text = read_field(fields, "input", _string, "a string")
        if text is None:
            raise invalid_request("'input' is required.", "input", "missing_required_parameter")
        instructions = read_field(fields, "instructions", _format, "a string")
        events = read_field(fields, "stream_format", _stream_format, '"sse" or "audio"') == "sse"
        inputs, length = [text, instructions or ""], _length(text, _read_speed(fields))
        return SurfaceRequest(
            model=model,
            most=_spoken(len(text), bound_inputs(inputs), SLOWER * length),
            fair=Usage(input_tokens=fair_inputs(inputs), characters=len(text)),
            told=Usage(characters=len(text)),
            stream=True,
            framing="sse" if events else BYTES,
            body=body,
            fields=fields,
            facts=SpeechFacts(read_field(fields, "response_format", _format, "a string") or "mp3", length),
        )

    def estimate(self, request: SurfaceRequest, tap: Tap | None, answer: bytes) -> Usage:
        facts: SpeechFacts = request.facts
        size = tap.size if isinstance(tap, FileTap) else len(answer)
        least = size * 1000 // FASTEST.get(facts.format, RAW)
        exact = facts.format in ("pcm", "wav") and size > 0
        length = least if exact else max(least, facts.length)
        # What other rates than OpenAI's make of it is no more than was held.
        return _spoken(request.told.characters, request.fair.input_tokens, min(length, SLOWER * facts.length))


def _length(text: str, speed: float) -> int:
    """Milliseconds that a text takes to say, about."""
    wide = sum(character >= "\u2e80" for character in text)
    return int((wide * MILLISECONDS_A_WIDE_ONE + (len(text) - wide) * MILLISECONDS_A_CHARACTER) / speed)


def _read_speed(fields: dict[str, msgspec.Raw]) -> float:
    """What a length is divided by; what OpenAI wouldn't take is for the upstream to refuse."""
    speed = read_field(fields, "speed", _number, "a number")
    return 1.0 if speed is None else min(4.0, max(0.25, speed))


def _sound_type(request: SurfaceRequest, said: str) -> bytes:
    facts: SpeechFacts = request.facts
    said = said.partition(";")[0].strip()
    return said.encode() if said.startswith("audio/") and said.isascii() else TYPES.get(facts.format, TYPES["mp3"])


def _spoken(characters: int, tokens: int, milliseconds: int) -> Usage:
    made = -(-milliseconds * TOKENS_A_SECOND // 1000)
    return Usage(
        input_tokens=tokens,
        output_tokens=made,
        output_audio_tokens=made,
        milliseconds=milliseconds,
        characters=characters,
    )
