"""OpenAI's speech API, `/v1/audio/speech` (openai-python 3.54.0, `types/audio/speech_create_params.py`).

It is there without `/v1` too. Instead of a voice there is a melody, as long as reading the text would take. `wav`, `pcm` and
`mp3` are real files, though the MP3 is silent; other formats are refused. It leaves in several pieces, with
`stream_format=sse` as events, whose names are other clients' word (OpenAI's SDKs have no types for them). Tokens: one for
every four characters, and twenty for a second of sound. What OpenAI calls PCM's type is unverified.
"""

from base64 import b64encode
from typing import Any

import orjson

from app.demo.exchange import Exchange
from app.demo.media.desk import Desk, Reply, Trouble, read_bearer, read_object
from app.demo.media.files import File
from app.demo.media.makers import make_mp3, make_pcm, make_wav
from app.demo.media.requests import read_choice, read_number, want_text
from app.demo.media.studio import Job, Order
from app.demo.routes import Route
from app.demo.saying import spoil
from app.demo.streaming import SSE, Framing

BASES = ("/v1", "", "/openai/v1")
MAKERS = {"mp3": make_mp3, "wav": make_wav, "pcm": make_pcm}
CONTENT_TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav", "pcm": "audio/pcm"}
MOST_CHARACTERS = 4_096
CHARACTERS_A_SECOND = 15
LEAST_SECONDS = 0.5
TOKENS_A_SECOND = 20
MOST_PIECE, LEAST_PIECES = 64 << 10, 4
# https://platform.openai.com/docs/api-reference/audio/createSpeech, `stream_format`
WITHOUT_EVENTS = "tts-1"
FRAMING = Framing(before=b"", space=b" ", eol=b"\n")
# The answer is held whole.
MOST_INLINE = 64 << 20


class OpenAISpeech:
    """Answers with the sound itself."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """Speech alone."""
        return [Route("POST", f"{base}/audio/speech", self.speak) for base in BASES]

    async def speak(self, exchange: Exchange) -> None:
        """A file of the text's length."""
        body = await exchange.read_body()
        try:
            key, order = read_bearer(exchange), _read_order(body)
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble)
            return
        await self._desk.submit(exchange, order, self._write, key=key)

    def _write(self, job: Job) -> Reply:
        if job.options.fail is not None:
            self._desk.studio.finish(job, "failed", job.options.fail)
            raise Trouble(400, job.options.fail, job.options.fail_code)
        form: str = job.order.details["format"]
        sound = MAKERS[form](job.order.prompt, job.seconds)
        size = len(sound) if job.options.big is None else job.options.big
        if size > MOST_INLINE:
            raise Trouble(400, f"Demo options: big is at most {MOST_INLINE} here", "demo_options")
        self._desk.studio.finish(job, "done")
        file = File(CONTENT_TYPES[form], sound, size)
        step = max(1, min(MOST_PIECE, -(-size // LEAST_PIECES)))
        pieces = tuple(file.read(start, start + step) for start in range(0, size, step))
        if job.order.details["events"]:
            return Reply(200, SSE, b"", _write_events(job, pieces))
        return Reply(200, ((b"content-type", file.content_type.encode()),), b"", pieces)


def _read_order(body: bytes) -> Order:
    fields = read_object(body)
    text = want_text(fields, "input", MOST_CHARACTERS)
    model = want_text(fields, "model")
    voice = fields.get("voice")
    if not isinstance(voice, dict) or not isinstance(voice.get("id"), str):
        want_text(fields, "voice")
    form = read_choice(fields, "response_format", "mp3", tuple(MAKERS))
    events = read_choice(fields, "stream_format", "audio", ("audio", "sse")) == "sse"
    if events and model.startswith(WITHOUT_EVENTS):
        raise Trouble(400, f"'sse' isn't supported by {WITHOUT_EVENTS}.", "invalid_value", "stream_format")
    speed = read_number(fields, "speed", 1, 0.25, 4)
    seconds = max(LEAST_SECONDS, len(text) / CHARACTERS_A_SECOND / speed)
    return Order("audio", model, text, 0, 0, seconds=seconds, details={"format": form, "events": events})


def _write_events(job: Job, pieces: tuple[bytes, ...]) -> tuple[bytes, ...]:
    usage = None if job.options.has("no_usage") else spoil(job.options, _count_tokens(job))
    done = {"type": "speech.audio.done", **({} if usage is None else {"usage": usage})}
    deltas = [{"type": "speech.audio.delta", "audio": b64encode(piece).decode()} for piece in pieces]
    return tuple(FRAMING.frame(orjson.dumps(event)) for event in (*deltas, done))


def _count_tokens(job: Job) -> dict[str, Any]:
    read = -(-len(job.order.prompt) // 4)
    made = round(job.seconds * TOKENS_A_SECOND) if job.options.tokens is None else job.options.tokens
    return {"input_tokens": read, "output_tokens": made, "total_tokens": read + made}
