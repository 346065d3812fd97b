"""The tap on a Chat Completions stream: usage is read, and the usage chunk that nobody asked for is dropped."""

from __future__ import annotations

import re
from typing import Any

from app.core.sse import frame_data, frame_event
from app.formats.openai_chat.reply import error_in_body, text_of_choice
from app.formats.openai_chat.usage import read_usage
from app.formats.refusals import load_json
from app.formats.tap import ERROR_EVENT, FrameTap

DONE = b"data: [DONE]\n\n"

_USAGE = re.compile(rb'"usage"\s*:\s*\{')
"""With `include_usage` OpenAI puts `"usage":null` on every chunk: only an object is worth parsing a frame for."""


class ChatTap(FrameTap):
    """See `app.formats.base.Tap`."""

    __slots__ = ("_finished", "_keep_usage", "_quirks")

    def __init__(self, *, keep_usage: bool, quirks: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self._keep_usage = keep_usage
        self._quirks = quirks
        self._finished: dict[int, bool] = {}

    def _has_marker(self, chunk: bytes) -> bool:
        return (
            b"[DONE]" in chunk
            or (b"error" in chunk and (b'"error"' in chunk or ERROR_EVENT.search(chunk) is not None))
            or (b'"usage"' in chunk and _USAGE.search(chunk) is not None)
        )

    def _start_of_marked(self, chunk: bytes) -> int:
        if b"\r" in chunk:
            return 0
        # Substring searches, which take a tenth of a pattern's time; one that finds too early a place only looks at more.
        places = [chunk.find(mark) for mark in (b"[DONE]", b'"error"', b'"usage":{', b"event:")]
        if places[2] < 0 and (usage := _USAGE.search(chunk)) is not None:
            places.append(usage.start())
        boundary = chunk.rfind(b"\n\n", 0, min(place for place in places if place >= 0) + 1)
        return 0 if boundary < 0 else boundary + 2

    def _inspect_frame(self, frame: bytes) -> bool:
        data = frame_data(frame)
        if data is not None and data.strip() == b"[DONE]":
            self.ended = self.complete = True
            return True
        value = None if data is None else load_json(data)
        error = error_of_frame(frame_event(frame), value)
        if error is not None:
            self.error = error_in_body(error)
            return False
        if not isinstance(value, dict) or value.get("usage") is None:
            return True
        self.usage = read_usage(value["usage"], self._quirks, value.get("service_tier"))
        return self._keep_usage or bool(value.get("choices"))

    def _digest_frame(self, value: Any) -> None:
        choices = value.get("choices") if isinstance(value, dict) else None
        for choice in choices if isinstance(choices, list) else []:
            self._text.append(self._text_of(choice))
            if isinstance(choice, dict):
                self._note_finish(choice)

    def _text_of(self, choice: object) -> str:
        return text_of_choice(choice, "delta")

    def _digested(self) -> None:
        # Of several choices, each has to finish; an upstream that was asked for several may know only one.
        self.complete = self.ended or (bool(self._finished) and all(self._finished.values()))

    def _end_mark(self) -> bytes:
        return DONE

    def _note_finish(self, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        if not isinstance(index, int):
            index = 0
        self._finished[index] = self._finished.get(index, False) or bool(choice.get("finish_reason"))


def error_of_frame(event: bytes | None, value: object) -> object | None:
    """The error that a frame reports, or None: `error` as most write it, vLLM's `object: "error"`, `event: error`."""
    fields: dict[str, object] = value if isinstance(value, dict) else {}
    if fields.get("error"):
        return fields["error"]
    if fields.get("object") == "error" or event == b"error":
        return fields if value is None else value
    return None
