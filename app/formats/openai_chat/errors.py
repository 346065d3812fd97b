"""Errors of Chat Completions: OpenAI's shape, and the frame that ends a stream which can't go on."""

from __future__ import annotations

from app.errors import GatewayError
from app.formats.openai_errors import write_error

__all__ = ["write_error", "write_stream_error"]


def write_stream_error(error: GatewayError) -> bytes:
    """A frame that makes official SDKs raise; no `[DONE]` follows, so that nobody takes the answer for whole."""
    return b"data: " + write_error(error) + b"\n\n"
