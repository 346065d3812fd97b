"""The tap on a stream of response events: usage, id and end are read off the events that carry the whole response."""

from __future__ import annotations

from typing import Any

import msgspec

from app.core.sse import frame_data, frame_event
from app.formats.openai_responses.reply import MAX_ID, error_in_body, ids_of_items, text_of_item
from app.formats.openai_responses.usage import read_usage
from app.formats.refusals import load_json, read_code
from app.formats.tap import ERROR_EVENT, FrameTap

ENDED = frozenset({"response.completed", "response.incomplete"})
FAILED = "response.failed"

_TEXTS = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
    }
)


class Look(msgspec.Struct):
    """What is read of a response in an event; of its output, the ids alone."""

    id: Any = None
    output: Any = None
    usage: Any = None
    service_tier: Any = None
    error: Any = None


class Event(msgspec.Struct):
    """An event with a whole response, or with an error: its words stand at the top level, or below `error`."""

    type: Any = None
    response: Look | None = None
    error: Any = None
    code: Any = None
    message: Any = None
    param: Any = None


_event = msgspec.json.Decoder(Event)


class ResponsesTap(FrameTap):
    """See `app.formats.base.Tap`.

    A failure that comes after the answer has begun goes to the client as its own event, which is where Responses clients
    look for it: then `error` is set and the stream has `ended`, so nothing is to be added. One that comes before is kept
    back: another channel may still answer.
    """

    __slots__ = ()

    def _has_marker(self, chunk: bytes) -> bool:
        # In a text the quotes would be escaped: only events that carry a whole response have a field of that name.
        return (
            b'"response"' in chunk
            or b'"error"' in chunk
            or (b"error" in chunk and ERROR_EVENT.search(chunk) is not None)
        )

    def _inspect_frame(self, frame: bytes) -> bool:
        data = frame_data(frame)
        event = None if data is None else look_at(data)
        if event is None:
            if frame_event(frame) == b"error":
                self.error = error_in_body(None if data is None else load_json(data))
            return self.error is None
        if event.error or event.type == "error" or frame_event(frame) == b"error":
            self.error = error_in_body(
                event.error or {"message": event.message, "code": event.code, "param": event.param}
            )
            return False
        return event.response is None or self._note(event.type, event.response)

    def _note(self, kind: object, response: Look) -> bool:
        self.id = read_code(response.id, MAX_ID) or self.id
        if kind == FAILED:
            self.usage = read_usage(response.usage, response.service_tier)
            self.error = error_in_body(response.error)
            self.ended = self.started
            return self.started
        if isinstance(kind, str) and kind in ENDED:
            self.usage = read_usage(response.usage, response.service_tier)
            self.complete = self.ended = True
            self.parts = ids_of_items(response.output)
        return True

    def _digest_frame(self, value: Any) -> None:
        if not isinstance(value, dict):
            return
        kind = value.get("type")
        if isinstance(kind, str) and kind in _TEXTS and isinstance(value.get("delta"), str):
            self._text.append(value["delta"])
        elif kind == "response.output_item.added":
            self._text.append(text_of_item(value.get("item")))


def look_at(data: bytes) -> Event | None:
    """An event's data, as far as it matters here; None for what is none."""
    try:
        return _event.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = load_json(data)  # escaped lone surrogates, which the fast decoder refuses
    try:
        return msgspec.convert(value, Event)
    except (msgspec.ValidationError, UnicodeEncodeError):  # the latter for a lone surrogate in a field's name
        return None
