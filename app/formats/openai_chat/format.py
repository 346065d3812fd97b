"""The Chat Completions format as the relay sees it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app.core.conversation import Answer, Ask
from app.errors import GatewayError, UpstreamError
from app.formats.base import EventReader, EventWriter, Prompt, Reply, Request, Stamp, Tap, Target, Written
from app.formats.openai_chat import errors, prompt, read_answer, read_ask, reply, request, write_answer, write_ask
from app.formats.openai_chat.fields import CARRIES, FIELDS, NAME, TITLE
from app.formats.openai_chat.reader import ChatReader
from app.formats.openai_chat.stream import ChatTap
from app.formats.openai_chat.writer import ChatWriter

STREAM_TYPES: Mapping[str, bytes] = MappingProxyType({"sse": b"text/event-stream; charset=utf-8"})


class OpenAIChat:
    """See `app.formats.base.Format`."""

    name = NAME
    title = TITLE
    client_paths = ("/v1/chat/completions", "/chat/completions")
    model_paths: tuple[str, ...] = ()
    count_paths: tuple[str, ...] = ()
    passed_headers: tuple[bytes, ...] = ()
    stream_types = STREAM_TYPES
    comments = True
    request_id_header: bytes | None = None
    fields = FIELDS
    carries = CARRIES

    def read_request(self, body: bytes, path: str = "", query: bytes = b"") -> Request:
        return request.read_request(body)

    def write_request(self, ask: Request, *, model: str, output_cap: int | None, cap_field: str) -> bytes:
        return request.write_request(ask, model=model, output_cap=output_cap, cap_field=cap_field)

    def read_prompt(self, body: bytes) -> Prompt:
        return prompt.read_prompt(body)

    def read_reply(self, body: bytes, quirks: frozenset[str]) -> Reply:
        return reply.read_reply(body, quirks)

    def reply_text(self, body: bytes) -> str:
        return reply.reply_text(body)

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        return reply.read_error(status, body)

    def open_tap(self, ask: Request, quirks: frozenset[str]) -> Tap:
        return ChatTap(keep_usage=ask.wants_usage, quirks=quirks)

    def counts(self, path: str) -> bool:
        return False

    def read_count(self, body: bytes, path: str, query: bytes) -> Request:
        return request.read_request(body)

    def write_count(self, tokens: int) -> bytes:
        raise NotImplementedError("OpenAI counts no input tokens for this format")

    def status_of(self, error: GatewayError) -> int:
        return error.status

    def write_error(self, error: GatewayError) -> bytes:
        return errors.write_error(error)

    def write_stream_error(self, error: GatewayError, framing: str = "sse") -> bytes:
        return errors.write_stream_error(error)

    def read_ask(self, request: Request) -> Ask:
        return read_ask.read_ask(request)

    def write_ask(self, ask: Ask, target: Target) -> Written:
        return write_ask.write_ask(ask, target)

    def read_answer(self, body: bytes, quirks: frozenset[str]) -> Answer:
        return read_answer.read_answer(body, quirks)

    def write_answer(self, answer: Answer, request: Request, ask: Ask, stamp: Stamp) -> bytes:
        return write_answer.write_answer(answer, request.model, stamp)

    def open_reader(self, quirks: frozenset[str]) -> EventReader:
        return ChatReader(quirks)

    def open_writer(self, request: Request, ask: Ask, stamp: Stamp) -> EventWriter:
        return ChatWriter(request.model, stamp, wants_usage=request.wants_usage)
