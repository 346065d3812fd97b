"""The Chat Completions format as the relay sees it."""

from __future__ import annotations

from app.errors import GatewayError, UpstreamError
from app.formats.base import Prompt, Reply, Request, Tap
from app.formats.openai_chat import errors, prompt, reply, request
from app.formats.openai_chat.stream import ChatTap


class OpenAIChat:
    """See `app.formats.base.Format`."""

    name = "openai_chat"
    client_paths = ("/v1/chat/completions", "/chat/completions")

    def read_request(self, body: bytes) -> Request:
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

    def write_error(self, error: GatewayError) -> bytes:
        return errors.write_error(error)

    def write_stream_error(self, error: GatewayError) -> bytes:
        return errors.write_stream_error(error)
