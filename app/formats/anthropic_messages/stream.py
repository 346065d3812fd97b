"""The tap on a Messages stream: usage of the input when it begins, of the whole when it ends, errors, the end."""

from __future__ import annotations

from typing import Any

from app.core.sse import frame_data, frame_event
from app.formats.anthropic_messages.reply import error_in_body, text_of_block
from app.formats.anthropic_messages.usage import merge_usage, read_usage
from app.formats.framing import write_event
from app.formats.refusals import load_json
from app.formats.tap import ERROR_EVENT, FrameTap

STOP = write_event({"type": "message_stop"})


class MessagesTap(FrameTap):
    """See `app.formats.base.Tap`. Every frame goes to the client, but for errors, which the relay tells in its own words."""

    __slots__ = ("_report",)

    def __init__(self) -> None:
        super().__init__()
        self._report: dict[str, object] = {}

    def _has_marker(self, chunk: bytes) -> bool:
        # The types of the frames that matter, and of no other: message_start, message_delta, message_stop.
        return b'"message_' in chunk or (
            b"error" in chunk and (b'"error"' in chunk or ERROR_EVENT.search(chunk) is not None)
        )

    def _start_of_marked(self, chunk: bytes) -> int:
        if b"\r" in chunk:
            return 0
        places = [chunk.find(mark) for mark in (b'"message_', b'"error"', b"event: error", b"event:error")]
        boundary = chunk.rfind(b"\n\n", 0, min(place for place in places if place >= 0) + 1)
        return 0 if boundary < 0 else boundary + 2

    def _inspect_frame(self, frame: bytes) -> bool:
        data = frame_data(frame)
        value = None if data is None else load_json(data)
        error = error_of_frame(frame_event(frame), value)
        if error is not None:
            self.error = error_in_body(error)
            return False
        if not isinstance(value, dict):
            return True
        match value.get("type"):
            case "message_start":
                self._open(value.get("message"))
            case "message_delta":
                self._report = merge_usage(self._report, value.get("usage"))
                self.usage = read_usage(self._report)
                delta = value.get("delta")
                self.complete = self.complete or (isinstance(delta, dict) and bool(delta.get("stop_reason")))
            case "message_stop":
                self.complete = self.ended = True
        return True

    def _open(self, message: object) -> None:
        if not isinstance(message, dict):
            return
        self.id = message["id"] if isinstance(message.get("id"), str) else None
        self._report = merge_usage({}, message.get("usage"))
        self.opening = read_usage(self._report)

    def _digest_frame(self, value: Any) -> None:
        if isinstance(value, dict):
            self._text.append(text_of_block(value.get("content_block")))
            if value.get("type") == "content_block_delta":
                self._text.append(text_of_block(value.get("delta")))

    def _end_mark(self) -> bytes:
        return STOP


def error_of_frame(event: bytes | None, value: object) -> object | None:
    """The error that a frame reports, or None: `error` in its data, or an event of that name with any data."""
    fields: dict[str, object] = value if isinstance(value, dict) else {}
    if fields.get("error"):
        return fields["error"]
    if fields.get("type") == "error" or event == b"error":
        return {} if value is None else value
    return None
