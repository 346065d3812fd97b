"""OpenAI's `POST /v1/audio/transcriptions` and `/translations` (openai-python 3.54.0, `types/audio/`).

Whatever is heard, the text is that of a chat answer; files are measured as they arrive and kept nowhere. Models with
`transcribe` in their names report tokens, others seconds; `verbose_json` seconds always; texts, subtitles and translations
nothing. `whisper` models don't stream: they take no notice of being asked.
"""

from dataclasses import dataclass, replace
from typing import Any

import orjson

from app.demo.answering import Answering, answer
from app.demo.asgi import Headers
from app.demo.exchange import Exchange
from app.demo.faults import JSON
from app.demo.openai_errors import Refusal, check_key, write_fault
from app.demo.routes import Route
from app.demo.saying import Said, Wanted, say, spoil
from app.demo.shapes import ListOf, Record, Text
from app.demo.surfaces.events import Event, EventStream, read_pieces
from app.demo.surfaces.forms import read_form
from app.demo.surfaces.intake import Asked, Intake, below_bases, fit, refusing
from app.demo.surfaces.transcripts import (
    Transcript,
    measure,
    write_segment,
    write_srt,
    write_turn,
    write_vtt,
)

COUNTS_TOKENS = "transcribe"
NEVER_STREAMS = "whisper"
PLAIN: Headers = ((b"content-type", b"text/plain; charset=utf-8"),)
TRANSLATED = ("json", "text", "srt", "verbose_json", "vtt")
FORMATS = (*TRANSLATED, "diarized_json")
TRUTH = Text(("true", "false"))
SHAPE = Record(
    needs={"model": Text()},
    may={
        "response_format": Text(FORMATS),
        "language": Text(),
        "prompt": Text(),
        "temperature": Text(pattern=r"[0-9.]+"),
        "stream": TRUTH,
        "timestamp_granularities": ListOf(Text(("word", "segment"))),
        "include": ListOf(Text()),
    },
    open=True,
)
TRANSLATION = Record(needs={"model": Text()}, may={"response_format": Text(TRANSLATED), "prompt": Text()}, open=True)


@dataclass(frozen=True, slots=True)
class Heard:
    """A request, and what comes of it; `task` is `transcribe` or `translate`."""

    asked: Asked
    task: str
    said: Said
    transcript: Transcript

    @property
    def format(self) -> str:
        """The one that was asked for."""
        found: str = self.asked.fields.get("response_format", "json")
        return found

    @property
    def usage(self) -> dict[str, Any] | None:
        """What is reported, None for nothing."""
        if self.task == "translate":
            return None
        tokens = COUNTS_TOKENS in self.asked.model and self.format != "verbose_json"
        counted = self.transcript.count_tokens() if tokens else self.transcript.count_seconds()
        return spoil(self.asked.options, counted)

    @property
    def reported(self) -> dict[str, Any]:
        """The field of it."""
        usage = self.usage
        return {} if usage is None else {"usage": usage}


class Transcriptions:
    """Writes down sounds, and translates them."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def routes(self) -> list[Route]:
        """Those of every base."""
        return below_bases(
            [("POST", "/audio/transcriptions", self.transcribe), ("POST", "/audio/translations", self.translate)]
        )

    @refusing
    async def transcribe(self, exchange: Exchange) -> None:
        """`POST /v1/audio/transcriptions`."""
        heard = await self._hear(exchange, "transcribe", SHAPE)
        stream = None
        if heard.asked.fields.get("stream") == "true" and NEVER_STREAMS not in heard.asked.model:
            stream = EventStream(exchange, heard.asked.options, _write_chunks(heard), [_write_done(heard)])
        await _answer(exchange, heard, stream)

    @refusing
    async def translate(self, exchange: Exchange) -> None:
        """`POST /v1/audio/translations`."""
        await _answer(exchange, await self._hear(exchange, "translate", TRANSLATION), None)

    async def _hear(self, exchange: Exchange, task: str, shape: Record) -> Heard:
        form = await read_form(exchange)
        exchange.add_header(b"x-request-id", f"req_demo_{exchange.entry.id}")
        check_key(exchange.headers)
        sound = form.file("file").spool
        if not sound.size:
            raise Refusal(400, "The audio file is empty.", code="invalid_value", param="file")
        asked = self._intake.ask(exchange, fit(form.fields, shape))
        wanted = Wanted(
            options=asked.options,
            credential=asked.credential,
            turn=sound.head,
            user_text=asked.fields.get("prompt", ""),
            shows_thought=False,
        )
        said = say(self._intake.writer, wanted)
        assert said.text is not None
        seconds = measure(sound) if asked.options.audio_seconds is None else asked.options.audio_seconds
        prompt = self._intake.writer.count(asked.fields.get("prompt", ""))
        return Heard(asked, task, said, Transcript(said.text.text, seconds, prompt, said.tokens))


async def _answer(exchange: Exchange, heard: Heard, stream: EventStream | None) -> None:
    asked = heard.asked
    headers = (JSON,) if heard.format.endswith("json") else PLAIN

    def write(extra: str) -> bytes:
        return _write(replace(heard, transcript=replace(heard.transcript, text=heard.transcript.text + extra)))

    await answer(exchange, Answering(asked.options, asked.credential, stream, write, write_fault, headers))


def _write(heard: Heard) -> bytes:
    transcript = heard.transcript
    match heard.format:
        case "text":
            return f"{transcript.text}\n".encode()
        case "srt":
            return write_srt(transcript).encode()
        case "vtt":
            return write_vtt(transcript).encode()
        case "verbose_json":
            return orjson.dumps(_write_verbose(heard))
        case "diarized_json":
            turns = [write_turn(each) for each in transcript.segments()]
            head = {"task": heard.task, "duration": transcript.seconds, "text": transcript.text}
            return orjson.dumps({**head, "segments": turns, **heard.reported})
        case _:
            return orjson.dumps({"text": transcript.text, **heard.reported})


def _write_verbose(heard: Heard) -> dict[str, Any]:
    transcript = heard.transcript
    grains = heard.asked.fields.get("timestamp_granularities") or ["segment"]
    body: dict[str, Any] = {
        "task": heard.task,
        "language": "english" if heard.task == "translate" else heard.asked.fields.get("language", "english"),
        "duration": transcript.seconds,
        "text": transcript.text,
    }
    if "segment" in grains:
        body["segments"] = [write_segment(each) for each in transcript.segments()]
    if "word" in grains:
        body["words"] = transcript.words()
    return {**body, **heard.reported}


def _write_chunks(heard: Heard) -> list[Event]:
    assert heard.said.text is not None
    deltas: list[Event] = [{"type": "transcript.text.delta", "delta": piece} for piece in read_pieces(heard.said.text)]
    if heard.format != "diarized_json":
        return deltas
    return [*deltas, *(write_turn(each) for each in heard.transcript.segments())]


def _write_done(heard: Heard) -> Event:
    return {"type": "transcript.text.done", "text": heard.transcript.text, **heard.reported}
