"""The generateContent format as the relay sees it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app.core.conversation import Answer, Ask
from app.errors import GatewayError, UpstreamError
from app.formats.base import EventReader, EventWriter, Prompt, Reply, Request, Stamp, Tap, Target, Written
from app.formats.gemini_generate import (
    errors,
    fields,
    prompt,
    read_answer,
    read_ask,
    reply,
    request,
    write_answer,
    write_ask,
)
from app.formats.gemini_generate.reader import GenerateReader
from app.formats.gemini_generate.stream import ArrayTap, GenerateTap
from app.formats.gemini_generate.writer import GenerateWriter

STREAM_TYPES: Mapping[str, bytes] = MappingProxyType(
    {"sse": b"text/event-stream", "array": b"application/json; charset=utf-8"}
)


class GeminiGenerate:
    """See `app.formats.base.Format`."""

    name = fields.NAME
    title = fields.TITLE
    client_paths: tuple[str, ...] = ()
    model_paths = request.MODEL_PATHS
    count_paths: tuple[str, ...] = ()
    passed_headers: tuple[bytes, ...] = ()
    stream_types = STREAM_TYPES
    comments = False
    request_id_header: bytes | None = None
    carries = fields.CARRIES
    fields = fields.FIELDS

    def read_request(self, body: bytes, path: str, query: bytes = b"") -> Request:
        return request.read_request(body, path, query)

    def write_request(self, ask: Request, *, model: str, output_cap: int | None, cap_field: str) -> bytes:
        return request.write_request(ask, output_cap=output_cap)

    def read_prompt(self, body: bytes) -> Prompt:
        return prompt.read_prompt(body)

    def read_reply(self, body: bytes, quirks: frozenset[str]) -> Reply:
        return reply.read_reply(body)

    def reply_text(self, body: bytes) -> str:
        return reply.reply_text(body)

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        return reply.read_error(status, body)

    def open_tap(self, ask: Request, quirks: frozenset[str]) -> Tap:
        return ArrayTap(ask.choices) if ask.framing == "array" else GenerateTap(ask.choices)

    def counts(self, path: str) -> bool:
        return request.counts(path)

    def read_count(self, body: bytes, path: str, query: bytes = b"") -> Request:
        return request.read_count(body, path)

    def write_count(self, tokens: int) -> bytes:
        return request.write_count(tokens)

    def status_of(self, error: GatewayError) -> int:
        return error.status

    def write_error(self, error: GatewayError) -> bytes:
        return errors.write_error(error)

    def write_stream_error(self, error: GatewayError, framing: str) -> bytes:
        return errors.write_stream_error(error, framing)

    def read_ask(self, request: Request) -> Ask:
        return read_ask.read_ask(request)

    def write_ask(self, ask: Ask, target: Target) -> Written:
        return write_ask.write_ask(ask, target)

    def read_answer(self, body: bytes, quirks: frozenset[str]) -> Answer:
        return read_answer.read_answer(body)

    def write_answer(self, answer: Answer, request: Request, ask: Ask, stamp: Stamp) -> bytes:
        return write_answer.write_answer(answer, request.model, stamp)

    def open_reader(self, quirks: frozenset[str]) -> EventReader:
        return GenerateReader()

    def open_writer(self, request: Request, ask: Ask, stamp: Stamp) -> EventWriter:
        return GenerateWriter(request.model, stamp, array=request.framing == "array")


FORMAT = GeminiGenerate()
