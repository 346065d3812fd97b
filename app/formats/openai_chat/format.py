"""The Chat Completions format as the relay sees it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app.errors import GatewayError, UpstreamError
from app.formats.base import Prompt, Reply, Request, Tap
from app.formats.openai_chat import errors, prompt, reply, request
from app.formats.openai_chat.stream import ChatTap

STREAM_TYPES: Mapping[str, bytes] = MappingProxyType({"sse": b"text/event-stream; charset=utf-8"})


class OpenAIChat:
    """See `app.formats.base.Format`."""

    name = "openai_chat"
    title = "OpenAI's Chat Completions"
    client_paths = ("/v1/chat/completions", "/chat/completions")
    model_paths: tuple[str, ...] = ()
    passed_headers: tuple[bytes, ...] = ()
    stream_types = STREAM_TYPES
    comments = True
    request_id_header: bytes | None = None

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

    def status_of(self, error: GatewayError) -> int:
        return error.status

    def write_error(self, error: GatewayError) -> bytes:
        return errors.write_error(error)

    def write_stream_error(self, error: GatewayError, framing: str = "sse") -> bytes:
        return errors.write_stream_error(error)
