"""Errors of the Responses format: OpenAI's shape, and the event that ends a stream which can't go on."""

from __future__ import annotations

from app.errors import GatewayError
from app.formats.framing import write_event
from app.formats.openai_errors import error_fields, write_error

__all__ = ["write_error", "write_stream_error"]


def write_stream_error(error: GatewayError) -> bytes:
    """An `error` event with the error told twice: at its top level, where OpenAI documents it, and below `error`.

    openai-node raises on any `event: error`; openai-python hands one on like a chunk, unless there is an `error` object in
    its data. A client that forgot to look for the event would take the answer for whole. `sequence_number` is 0: what was
    sent before isn't known here, and no SDK looks at it.
    """
    told = error_fields(error)
    event = {"type": "error", "code": told["code"], "message": told["message"], "param": told["param"]}
    return write_event({**event, "sequence_number": 0, "error": told})
