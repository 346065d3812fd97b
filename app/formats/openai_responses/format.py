"""The Responses format as the relay sees it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from app.core.conversation import Answer, Ask
from app.errors import GatewayError, UpstreamError
from app.formats.base import EventReader, EventWriter, Prompt, Reply, Request, Stamp, Tap, Target, Written
from app.formats.openai_responses import errors, prompt, read_answer, read_ask, reply, request, write_answer, write_ask
from app.formats.openai_responses.fields import CARRIES, FIELDS, NAME, TITLE
from app.formats.openai_responses.reader import ResponsesReader
from app.formats.openai_responses.stream import ResponsesTap
from app.formats.openai_responses.writer import ResponsesWriter

STREAM_TYPES: Mapping[str, bytes] = MappingProxyType({"sse": b"text/event-stream; charset=utf-8"})


class OpenAIResponses:
    """See `app.formats.base.Format`."""

    name = NAME
    title = TITLE
    client_paths = ("/v1/responses", "/responses")
    model_paths: tuple[str, ...] = ()
    count_paths = ("/v1/responses/input_tokens", "/responses/input_tokens")
    passed_headers: tuple[bytes, ...] = ()
    stream_types = STREAM_TYPES
    comments = True
    request_id_header: bytes | None = None
    fields = FIELDS
    carries = CARRIES

    def read_request(self, body: bytes, path: str = "", query: bytes = b"") -> Request:
        return request.read_request(body)

    def write_request(self, ask: Request, *, model: str, output_cap: int | None, cap_field: str) -> bytes:
        return request.write_request(ask, model=model, output_cap=output_cap)

    def read_prompt(self, body: bytes) -> Prompt:
        return prompt.read_prompt(body)

    def read_reply(self, body: bytes, quirks: frozenset[str]) -> Reply:
        return reply.read_reply(body, quirks)

    def reply_text(self, body: bytes) -> str:
        return reply.reply_text(body)

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        return reply.read_error(status, body)

    def open_tap(self, ask: Request, quirks: frozenset[str]) -> Tap:
        return ResponsesTap()

    def counts(self, path: str) -> bool:
        return path in self.count_paths

    def read_count(self, body: bytes, path: str, query: bytes) -> Request:
        return request.read_request(body)

    def write_count(self, tokens: int) -> bytes:
        return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": tokens})

    def status_of(self, error: GatewayError) -> int:
        return error.status

    def write_error(self, error: GatewayError) -> bytes:
        return errors.write_error(error)

    def write_stream_error(self, error: GatewayError, framing: str = "sse") -> bytes:
        return errors.write_stream_error(error)

    def read_ask(self, ask: Request) -> Ask:
        return read_ask.read_ask(ask)

    def write_ask(self, ask: Ask, target: Target) -> Written:
        return write_ask.write_ask(ask, target)

    def read_answer(self, body: bytes, quirks: frozenset[str]) -> Answer:
        return read_answer.read_answer(body)

    def write_answer(self, answer: Answer, asked: Request, ask: Ask, stamp: Stamp) -> bytes:
        return write_answer.write_answer(answer, asked, ask, stamp)

    def open_reader(self, quirks: frozenset[str]) -> EventReader:
        return ResponsesReader()

    def open_writer(self, asked: Request, ask: Ask, stamp: Stamp) -> EventWriter:
        return ResponsesWriter(asked, ask, stamp)
