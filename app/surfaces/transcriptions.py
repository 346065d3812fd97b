"""`/v1/audio/transcriptions` and `/v1/audio/translations`: recordings written down, as JSON, as text, or as events.

Source: openai-python, `types/audio/transcription_create_params.py`, `translation_create_params.py`, and their answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from app.core.tokens import count_long_text
from app.core.usage import MAX_PLAUSIBLE_MILLISECONDS, Usage, read_milliseconds
from app.errors import bad_upstream_response, invalid_request
from app.formats.base import Reply, Tap
from app.formats.openai_media.usage import read_transcription
from app.formats.refusals import load_json
from app.surfaces.base import OpenAISurface, SurfaceRequest, both
from app.surfaces.form import Form
from app.surfaces.openai import JSON, OpenAIWire, read_object
from app.surfaces.sound import Length, measure

TEXT = b"text/plain; charset=utf-8"
TEXTS = frozenset({"text", "srt", "vtt"})
JSONS = frozenset({"json", "verbose_json", "diarized_json"})
"""`response_format`s; `json` where a request names none."""

HEARD_A_SECOND, WRITTEN_A_SECOND = 20, 6
"""Tokens that a second of speech comes to at the most: OpenAI's price a minute over its price a token is 17 (unverified), and
people say about four words a second."""


_ENDS = re.compile(r"--> *(?:(\d{1,3}):)?(\d\d):(\d\d)[.,](\d{3})", re.ASCII)


class TranscriptionWire(OpenAIWire):
    """Texts and subtitles have no usage, nor has a translation; `verbose_json` tells the length."""

    def __init__(self) -> None:
        super().__init__(_read_usage, done=("transcript.text.done",))

    def read_reply(self, request: SurfaceRequest, answer: bytes) -> Reply:
        if request.facts.format in JSONS:
            value = read_object(answer)
            if "text" not in value:
                raise bad_upstream_response("The upstream's answer has no text.")
            return Reply(_read_usage(value), None)
        value = load_json(answer)
        if isinstance(value, dict) and value.get("error"):
            read_object(answer)
        return Reply(Usage(), None)

    def comes_whole(self, request: SurfaceRequest, said: str) -> bool:
        """`whisper-1` ignores `stream`, as openai-python says of it."""
        return "text/event-stream" not in said and ("json" in said or said.startswith("text/"))

    def answer_type(self, request: SurfaceRequest, said: str) -> bytes:
        if request.facts.format in JSONS:
            return JSON
        return said.encode() if said.startswith("text/") and said.isascii() else TEXT


class _Facts:
    """`format`: what the answer is written in; `length`: the recording's."""

    __slots__ = ("format", "length")

    def __init__(self, format: str, length: Length) -> None:
        self.format = format
        self.length = length


class _Recordings(OpenAISurface):
    """What both surfaces have in common: a form with one recording."""

    takes_json = False
    takes_form = True
    kinds = frozenset({"audio"})

    def __init__(self) -> None:
        self.wires = MappingProxyType({"openai": TranscriptionWire()})

    def read(self, body: bytes, path: str) -> SurfaceRequest:
        raise NotImplementedError("recordings come as forms")

    def read_form(self, form: Form, path: str) -> SurfaceRequest:
        model = form.text("model")
        if not model:
            raise invalid_request("You must name a model.", "model", "missing_required_parameter")
        files = form.files("file")
        if len(files) != 1:
            raise invalid_request("'file' must be one recording.", "file", "missing_required_parameter")
        format = form.text("response_format") or "json"
        if format not in JSONS and format not in TEXTS:
            known = ", ".join(sorted({*JSONS, *TEXTS}))
            raise invalid_request(f"'response_format' must be one of {known}.", "response_format", "invalid_value")
        length = measure(files[0])
        return SurfaceRequest(
            model=model,
            most=_usage_for(length.most),
            fair=replace(_usage_for(length.likely), output_tokens=0),
            stream=_is_true(form.text("stream")),
            form=form,
            facts=_Facts(format, length),
        )

    def estimate(self, request: SurfaceRequest, tap: Tap | None, answer: bytes) -> Usage:
        text = _text_of(answer) if tap is None else tap.produced_text()
        written = count_long_text(text)
        facts: _Facts = request.facts
        least = _last_time(text) if facts.format in ("srt", "vtt") else written * 1000 // WRITTEN_A_SECOND
        length = min(MAX_PLAUSIBLE_MILLISECONDS, max(facts.length.likely, least))
        return replace(_usage_for(length), output_tokens=written)


class Transcriptions(_Recordings):
    """See `app.surfaces.base.Surface`."""

    name = "transcriptions"
    title = "OpenAI Transcriptions"
    paths = both("/audio/transcriptions")


class Translations(_Recordings):
    """See `app.surfaces.base.Surface`."""

    name = "translations"
    title = "OpenAI Translations"
    paths = both("/audio/translations")


def _usage_for(milliseconds: int) -> Usage:
    heard = -(-milliseconds * HEARD_A_SECOND // 1000)
    written = -(-milliseconds * WRITTEN_A_SECOND // 1000)
    return Usage(input_tokens=heard, output_tokens=written, input_audio_tokens=heard, milliseconds=milliseconds)


def _last_time(subtitles: str) -> int:
    """Milliseconds at which the last subtitle ends (SRT and WebVTT)."""
    found = _ENDS.findall(subtitles[-4000:])
    if not found:
        return 0
    hours, minutes, seconds, thousandths = (int(digits or 0) for digits in found[-1])
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths


def _is_true(text: str | None) -> bool:
    """Raises GatewayError 400 for a form's text that is no boolean."""
    if text is None or text.lower() in ("", "false", "0"):
        return False
    if text.lower() in ("true", "1"):
        return True
    raise invalid_request("'stream' must be true or false.", "stream", "invalid_type")


def _read_usage(reply: Mapping[str, Any]) -> Usage:
    """What the usage tells, and the length of the recording where that stands beside it."""
    used = read_transcription(reply.get("usage")) or Usage()
    length = read_milliseconds(reply, "duration")
    return used if length is None or used.milliseconds else replace(used, milliseconds=length)


def _text_of(answer: bytes) -> str:
    value = load_json(answer)
    text = value.get("text") if isinstance(value, dict) else answer.decode("utf-8", "replace")
    return text if isinstance(text, str) else ""
