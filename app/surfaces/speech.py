"""`/v1/audio/speech`: text spoken, as a file that comes while it is made, or as events.

Source: openai-python, `types/audio/speech_create_params.py`. The events' names are those that third-party clients know.
"""

from __future__ import annotations

from collections.abc import Mapping
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
"""Spoken English has about 15 characters a second; Chinese far fewer, so a hold assumes four times as long."""

TOKENS_A_SECOND = 21
"""Audio tokens that OpenAI's speech models make: its price a minute over its price a token (unverified)."""

NO_SOUND = ("application/json", "text/")

_string = msgspec.json.Decoder(str)
_format = msgspec.json.Decoder(str | None)
_stream_format = msgspec.json.Decoder(Literal["sse", "audio"] | None)


class SpeechWire(OpenAIWire):
    """Whole or as events, sound is passed on as it comes."""

    def __init__(self) -> None:
        super().__init__(lambda event: read_speech(event.get("usage")), done=("speech.audio.done",))

    def read_reply(self, request: SurfaceRequest, answer: bytes) -> Reply:
        """JSON where sound was asked for: an error, if anything."""
        return super().read_reply(request, answer)

    def stream_type(self, request: SurfaceRequest, said: str) -> bytes | None:
        if request.framing != BYTES:
            return super().stream_type(request, said)
        said = said.partition(";")[0].strip()
        if said.startswith(NO_SOUND):
            return None
        return said.encode() if said.startswith("audio/") and said.isascii() else TYPES.get(request.facts, TYPES["mp3"])

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
        events = read_field(fields, "stream_format", _stream_format, '"sse" or "audio"') == "sse"
        told = Usage(characters=len(text))
        return SurfaceRequest(
            model=model,
            most=_spoken(text, bound_inputs([text]), 4 * MILLISECONDS_A_CHARACTER),
            fair=Usage(input_tokens=fair_inputs([text]), characters=len(text)),
            told=told,
            stream=True,
            framing="sse" if events else BYTES,
            body=body,
            fields=fields,
            facts=read_field(fields, "response_format", _format, "a string"),
        )

    def estimate(self, request: SurfaceRequest, tap: Tap | None, answer: bytes) -> Usage:
        characters = request.told.characters
        return _spoken_for(characters, request.fair.input_tokens, characters * MILLISECONDS_A_CHARACTER)


def _spoken(text: str, tokens: int, each: int) -> Usage:
    return _spoken_for(len(text), tokens, len(text) * each)


def _spoken_for(characters: int, tokens: int, milliseconds: int) -> Usage:
    made = -(-milliseconds * TOKENS_A_SECOND // 1000)
    return Usage(
        input_tokens=tokens,
        output_tokens=made,
        output_audio_tokens=made,
        milliseconds=milliseconds,
        characters=characters,
    )
