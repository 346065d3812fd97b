"""OpenAI's Realtime as the demo upstream speaks it: sessions over WebSocket, and the SDP exchange of calls."""

import asyncio
import base64
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any
from urllib.parse import parse_qs
from uuid import uuid4

import msgspec
import orjson

from app.demo.asgi import Receive, Scope, Send
from app.demo.exchange import Exchange
from app.demo.journal import Entry, Journal
from app.demo.options import OptionsError, read_pairs, split_model
from app.demo.routes import Route

PATHS = ("/v1/realtime", "/realtime")
PCM_BYTES_PER_MS = 48
MS_A_DELTA = 100
MAX_KEPT = 1 << 20
MEGABYTE = 1_000_000
RESPONSE: Mapping[str, Any] = MappingProxyType({"object": "realtime.response", "output": []})

Count = Annotated[int, msgspec.Meta(ge=0, le=100_000_000)]


class RealtimeOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a session does, from the model's name after `?`.

    | option | effect |
    |---|---|
    | `tokens=N` | N words of text in each response; `audio_ms=N`: so much audio, in pieces of 100 ms |
    | `chunk_ms=N` | the pace of both |
    | `input_text`, `input_audio`, `input_image`, `cached_text`, `cached_audio`, `cached_image`, `output_text`, \
`output_audio` | what the usage says, in place of what was sent and said |
    | `usage=WORD` | `missing`, `huge`, `negative`, `zero` |
    | `transcribe=tokens`, `seconds` or `untold` | a committed buffer is transcribed, with such a usage or none: `heard=N` |
    | `status=N` | the handshake is refused |
    | `delay_ms=N` | it is answered late |
    | `error=1` | an `error` event in place of a response |
    | `hang=1` | a response begins and never goes on |
    | `cut=N` | after N pieces of a response: closed with `close=CODE`, or without a word where there is none |
    | `close=CODE` | alone: closed in place of the first response |
    | `twice=1` | `response.done` comes twice |
    | `mirror=1` | each appended piece of audio comes back at once |
    | `flood_mb=N` | so much is said as soon as the session is there |
    | `failed=1` | responses end as failed, without usage or words |
    """

    tokens: Count = 3
    audio_ms: Count = 0
    chunk_ms: Count = 0
    input_text: Count | None = None
    input_audio: Count | None = None
    input_image: Count = 0
    cached_text: Count = 0
    cached_audio: Count = 0
    cached_image: Count = 0
    output_text: Count | None = None
    output_audio: Count | None = None
    usage: str = ""
    transcribe: str = ""
    heard: Count = 20
    status: Count = 0
    delay_ms: Count = 0
    error: bool = False
    hang: bool = False
    cut: Count | None = None
    close: Count = 0
    twice: bool = False
    mirror: bool = False
    flood_mb: Count = 0
    failed: bool = False


class Gone(Exception):
    """The client has left, or the session has been ended."""


class Realtime:
    """Serves sessions and calls."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def routes(self) -> tuple[Route, ...]:
        """The HTTP half."""
        making = [Route("POST", f"{base}/calls", self.call) for base in PATHS]
        return (*making, *(Route("POST", f"{base}/calls/{{id}}/{{verb}}", self.end) for base in PATHS))

    async def end(self, exchange: Exchange, _id: str, _verb: str) -> None:
        """Hanging up, referring or rejecting: always well."""
        await exchange.read_body()
        await exchange.respond(200, (), b"")

    async def call(self, exchange: Exchange) -> None:
        """An answer to an SDP offer, which names the offer."""
        offer = await exchange.read_body()
        answer = b"v=0\r\ns=demo answer\r\na=offer-bytes:%d\r\n" % len(offer)
        location = f"/v1/realtime/calls/rtc_{uuid4().hex}".encode()
        await exchange.respond(201, ((b"content-type", b"application/sdp"), (b"location", location)), answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One WebSocket."""
        await receive()
        query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
        model = query.get("model", "")
        try:
            options = msgspec.convert(read_pairs(split_model(model)[1]), RealtimeOptions, strict=False)
        except (OptionsError, msgspec.ValidationError):
            options = RealtimeOptions(status=400)
        entry = self._journal.begin("GET", scope["path"], scope["query_string"], scope["headers"])
        if scope["path"] not in PATHS:
            options = RealtimeOptions(status=404)
        session = DemoSession(receive, send, options, model, entry)
        try:
            await session.run()
        except (Gone, OSError):
            pass
        finally:
            self._journal.keep(
                entry, orjson.dumps({"model": model, "frames": session.received, "close": session.close_code})
            )
            self._journal.end(entry)


class DemoSession:
    """One session. `received`: the client's frames, as far as they are kept; `close_code`: how the client left."""

    def __init__(self, receive: Receive, send: Send, options: RealtimeOptions, model: str, entry: Entry) -> None:
        self._receive = receive
        self._send = send
        self._options = options
        self._entry = entry
        self._kept = 0
        self._heard_ms = 0
        self._words = 0
        self.received: list[Any] = []
        self.close_code: int | None = None
        self._config: dict[str, Any] = {
            "type": "realtime",
            "object": "realtime.session",
            "id": f"sess_{uuid4().hex[:20]}",
            "model": model,
            "output_modalities": ["audio"],
        }

    async def run(self) -> None:
        """From the handshake to the end. Raises Gone."""
        options = self._options
        if options.delay_ms:
            await asyncio.sleep(options.delay_ms / 1000)
        if options.status:
            headers = ((b"content-type", b"application/json"),)
            body = orjson.dumps({"error": {"message": "Refused.", "type": "demo", "param": None, "code": "demo"}})
            await self._send({"type": "websocket.http.response.start", "status": options.status, "headers": headers})
            await self._send({"type": "websocket.http.response.body", "body": body})
            return
        await self._send({"type": "websocket.accept"})
        await self._say("session.created", session=self._config)
        for _ in range(options.flood_mb * 20):
            await self._say("response.output_audio.delta", delta="A" * (MEGABYTE // 20))
        while True:
            await self._take(await self._next())

    async def _next(self) -> dict[str, Any]:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self.close_code = message.get("code")
                raise Gone
            text = message.get("text")
            frame = text if text is not None else message["bytes"].hex()
            if self._kept < MAX_KEPT:
                self.received.append(frame)
                self._kept += len(frame)
            try:
                event = orjson.loads(frame)
            except orjson.JSONDecodeError:
                event = None
            if isinstance(event, dict):
                return event
            await self._fail("invalid_event", "The event isn't a JSON object.")

    async def _take(self, event: dict[str, Any]) -> None:
        match event.get("type"):
            case "session.update":
                self._config.update(event.get("session") or {})
                await self._say("session.updated", session=self._config)
            case "conversation.item.create":
                self._words += len(orjson.dumps(event.get("item")).split())
                item = {"id": f"item_{uuid4().hex[:12]}", **(event.get("item") or {})}
                await self._say("conversation.item.added", item=item)
                await self._say("conversation.item.done", item=item)
            case "input_audio_buffer.append":
                audio = event.get("audio") or ""
                self._heard_ms += len(audio) * 3 // 4 // PCM_BYTES_PER_MS
                if self._options.mirror:
                    await self._say("response.output_audio.delta", delta=audio)
            case "input_audio_buffer.commit":
                await self._commit()
            case "response.create":
                await self._respond()
            case "demo.binary":
                await self._send({"type": "websocket.send", "bytes": b"\x00\x01\xff"})
            case unknown:
                await self._fail("unknown_event", f"Unknown event {unknown}.")

    async def _commit(self) -> None:
        item = f"item_{uuid4().hex[:12]}"
        await self._say("input_audio_buffer.committed", item_id=item)
        if not self._options.transcribe:
            return
        heard = self._options.heard
        usage: dict[str, Any] | None = {"type": "duration", "seconds": heard}
        if self._options.transcribe == "untold":
            usage = None
        elif self._options.transcribe == "tokens":
            details = {"text_tokens": 0, "audio_tokens": heard}
            usage = {"type": "tokens", "input_tokens": heard, "output_tokens": 5, "total_tokens": heard + 5}
            usage["input_token_details"] = details
        for _ in range(2 if self._options.twice else 1):
            await self._say(
                "conversation.item.input_audio_transcription.completed",
                item_id=item, content_index=0, transcript="demo", usage=usage,
            )  # fmt: skip

    async def _respond(self) -> None:
        options = self._options
        if options.error:
            await self._fail("demo_error", "As was asked for.")
            return
        if options.close and options.cut is None:
            await self._close(options.close)
        id = f"resp_{uuid4().hex[:16]}"
        await self._say("response.created", response={"id": id, **RESPONSE, "status": "in_progress"})
        if options.hang:
            while True:
                await self._next()
        if options.failed:
            failed: dict[str, Any] = {
                "id": id,
                "object": "realtime.response",
                "status": "failed",
                "output": [],
                "usage": None,
            }
            await self._say("response.done", response=failed)
            return
        await self._say(
            "response.output_item.added", response_id=id, output_index=0, item={"id": "i", "type": "message"}
        )
        for count, (kind, delta) in enumerate(_pieces(options)):
            if options.cut == count:
                await self._close(options.close)
            if options.chunk_ms:
                await asyncio.sleep(options.chunk_ms / 1000)
            await self._say(kind, response_id=id, item_id="i", output_index=0, content_index=0, delta=delta)
            self._entry.chunks_sent += 1
        done: dict[str, Any] = {
            "id": id,
            "object": "realtime.response",
            "status": "completed",
            "output": [],
            "usage": self._usage(),
        }
        for _ in range(2 if options.twice else 1):
            await self._say("response.done", response=done)

    def _usage(self) -> dict[str, Any] | None:
        options = self._options
        text = self._words if options.input_text is None else options.input_text
        audio = self._heard_ms // 100 if options.input_audio is None else options.input_audio
        said = options.tokens if options.output_text is None else options.output_text
        spoken = options.audio_ms // 50 if options.output_audio is None else options.output_audio
        cached = {
            "text_tokens": options.cached_text,
            "audio_tokens": options.cached_audio,
            "image_tokens": options.cached_image,
        }
        tokens = text + audio + options.input_image
        match options.usage:
            case "missing":
                return None
            case "huge":
                tokens = 10**15
            case "negative":
                tokens = -5
            case "zero":
                text = audio = tokens = said = spoken = 0
        return {
            "total_tokens": tokens + said + spoken,
            "input_tokens": tokens,
            "output_tokens": said + spoken,
            "input_token_details": {
                "text_tokens": text,
                "audio_tokens": audio,
                "image_tokens": options.input_image,
                "cached_tokens": sum(cached.values()),
                "cached_tokens_details": cached,
            },
            "output_token_details": {"text_tokens": said, "audio_tokens": spoken},
        }

    async def _close(self, code: int) -> None:
        """With a code, or by letting the connection go."""
        if code:
            await self._send({"type": "websocket.close", "code": code, "reason": "as was asked for"})
        raise Gone

    async def _fail(self, code: str, message: str) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": message, "param": None, "event_id": None}
        await self._say("error", error=error)

    async def _say(self, type: str, **fields: Any) -> None:
        event = {"type": type, "event_id": f"event_{uuid4().hex[:16]}", **fields}
        await self._send({"type": "websocket.send", "text": orjson.dumps(event).decode()})


def _pieces(options: RealtimeOptions) -> Iterator[tuple[str, str]]:
    for index in range(options.tokens):
        yield "response.output_text.delta", " word" if index else "word"
    silence = base64.b64encode(bytes(PCM_BYTES_PER_MS * MS_A_DELTA)).decode()
    for _ in range(options.audio_ms // MS_A_DELTA):
        yield "response.output_audio.delta", silence
