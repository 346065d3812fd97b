"""The Messages format as the relay sees it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app.core.conversation import Answer, Ask
from app.errors import GatewayError, UpstreamError
from app.formats.anthropic_messages import (
    errors,
    prompt,
    read_answer,
    read_ask,
    reply,
    request,
    write_answer,
    write_ask,
)
from app.formats.anthropic_messages.fields import CARRIES, FIELDS, NAME, TITLE
from app.formats.anthropic_messages.reader import MessagesReader
from app.formats.anthropic_messages.stream import MessagesTap
from app.formats.anthropic_messages.writer import MessagesWriter
from app.formats.base import EventReader, EventWriter, Prompt, Reply, Request, Stamp, Tap, Target, Written

STREAM_TYPES: Mapping[str, bytes] = MappingProxyType({"sse": b"text/event-stream; charset=utf-8"})


class AnthropicMessages:
    """See `app.formats.base.Format`."""

    name = NAME
    title = TITLE
    client_paths = ("/v1/messages", "/messages")
    model_paths: tuple[str, ...] = ()
    count_paths = ("/v1/messages/count_tokens", "/messages/count_tokens")
    passed_headers = (b"anthropic-version", b"anthropic-beta")
    stream_types = STREAM_TYPES
    comments = True
    request_id_header: bytes | None = b"request-id"
    fields = FIELDS
    carries = CARRIES

    def read_request(self, body: bytes, path: str = "", query: bytes = b"") -> Request:
        return request.read_request(body)

    def write_request(self, ask: Request, *, model: str, output_cap: int | None, cap_field: str) -> bytes:
        return request.write_request(ask, model=model, output_cap=output_cap)

    def counts(self, path: str) -> bool:
        return path in self.count_paths

    def read_count(self, body: bytes, path: str = "", query: bytes = b"") -> Request:
        return request.read_count(body)

    def write_count(self, tokens: int) -> bytes:
        return request.write_count(tokens)

    def read_prompt(self, body: bytes) -> Prompt:
        return prompt.read_prompt(body)

    def read_reply(self, body: bytes, quirks: frozenset[str]) -> Reply:
        return reply.read_reply(body)

    def reply_text(self, body: bytes) -> str:
        return reply.reply_text(body)

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        return reply.read_error(status, body)

    def open_tap(self, ask: Request, quirks: frozenset[str]) -> Tap:
        return MessagesTap()

    def status_of(self, error: GatewayError) -> int:
        return errors.status_of(error)

    def write_error(self, error: GatewayError) -> bytes:
        return errors.write_error(error)

    def write_stream_error(self, error: GatewayError, framing: str = "sse") -> bytes:
        return errors.write_stream_error(error)

    def read_ask(self, request: Request) -> Ask:
        return read_ask.read_ask(request)

    def write_ask(self, ask: Ask, target: Target) -> Written:
        return write_ask.write_ask(ask, target)

    def read_answer(self, body: bytes, quirks: frozenset[str]) -> Answer:
        return read_answer.read_answer(body)

    def write_answer(self, answer: Answer, request: Request, ask: Ask, stamp: Stamp) -> bytes:
        return write_answer.write_answer(answer, request.model, stamp)

    def open_reader(self, quirks: frozenset[str]) -> EventReader:
        return MessagesReader()

    def open_writer(self, request: Request, ask: Ask, stamp: Stamp) -> EventWriter:
        return MessagesWriter(request.model, stamp)


FORMAT = AnthropicMessages()
