"""The tap on a Chat Completions stream: bytes pass untouched, usage is read, the usage chunk nobody asked for is dropped.

A network read that ends on a frame's end and holds none of the markers (usage, an error, `[DONE]`) is forwarded as it
is, after three substring searches. Only frames with a marker are parsed. The answer's text is not assembled: the raw
bytes are kept, and digested in blocks, in case the upstream never reports usage.
"""

from __future__ import annotations

import json
import re
from typing import Any

from app.core.sse import end_of_frames, frame_data, frame_event, split_frames
from app.core.usage import Usage
from app.errors import UpstreamError, bad_upstream_response
from app.formats.openai_chat.reply import error_in_body, text_of_choice
from app.formats.openai_chat.usage import read_usage

DONE = b"data: [DONE]\n\n"
MAX_FRAME = 16 * 1024 * 1024
"""A frame larger than this is a fault: without a bound, an upstream that sends no line end would fill the memory."""

DIGEST_BYTES = 64 * 1024

_USAGE = re.compile(rb'"usage"\s*:\s*\{')
"""With `include_usage` OpenAI puts `"usage":null` on every chunk: only an object is worth parsing a frame for."""

_ERROR_EVENT = re.compile(rb"(?:^|[\r\n])event: ?error")


class ChatTap:
    """See `app.formats.base.Tap`."""

    __slots__ = (
        "_finished",
        "_keep_usage",
        "_kept",
        "_kept_size",
        "_partial",
        "_quirks",
        "_text",
        "complete",
        "ended",
        "error",
        "started",
        "usage",
    )

    def __init__(self, *, keep_usage: bool, quirks: frozenset[str] = frozenset()) -> None:
        self.usage: Usage | None = None
        self.started = False
        self.complete = False
        self.error: UpstreamError | None = None
        self._keep_usage = keep_usage
        self._quirks = quirks
        self._partial = b""
        self._kept: list[bytes] = []
        self._kept_size = 0
        self._text: list[str] = []
        self._finished: dict[int, bool] = {}
        self.ended = False

    def feed(self, chunk: bytes) -> bytes:
        if self.ended or self.error is not None:
            return b""
        if self._partial:
            chunk = self._partial + chunk
            self._partial = b""
        if not (chunk.endswith(b"\n\n") and b"\r" not in chunk):
            end = end_of_frames(chunk)
            self._partial = chunk[end:]
            chunk = chunk[:end]
            if len(self._partial) > MAX_FRAME:
                self.error = bad_upstream_response("The upstream sent an endless frame.")
                self._partial = b""
            if not chunk:
                return b""
        if _has_marker(chunk):
            chunk = self._inspect(chunk)
        if not self.started:
            self.started = b"data:" in chunk
        self._keep(chunk)
        return chunk

    def end(self) -> bytes:
        tail = b""
        if self._partial.strip():
            # Official SDKs drop a last frame that lacks its blank line, so it is given one if it is whole.
            data = frame_data(self._partial)
            if data is not None and (data.strip() == b"[DONE]" or _load(data) is not None):
                tail = self.feed(b"\n\n")
            self._partial = b""
        if self.ended:
            return tail
        self._digest()
        if self.complete and self.error is None:
            self.ended = True
            return tail + DONE
        return tail

    def produced_text(self) -> str:
        self._digest()
        return "".join(self._text)

    # -- frames with a marker ------------------------------------------------------------------------------------

    def _inspect(self, chunk: bytes) -> bytes:
        start = _start_of_marked(chunk)
        kept = [chunk[:start]]
        for frame in split_frames(chunk[start:]):
            if self.ended or self.error is not None:
                break  # nothing after [DONE] or an error belongs to the answer
            if not _has_marker(frame) or self._inspect_frame(frame):
                kept.append(frame)
        return b"".join(kept)

    def _inspect_frame(self, frame: bytes) -> bool:
        """Whether the client gets this frame."""
        data = frame_data(frame)
        if data is not None and data.strip() == b"[DONE]":
            self.ended = self.complete = True
            return True
        value = None if data is None else _load(data)
        error = _error_of(frame, value)
        if error is not None:
            self.error = error_in_body(error)
            return False
        if not isinstance(value, dict) or value.get("usage") is None:
            return True
        self.usage = read_usage(value["usage"], self._quirks, value.get("service_tier"))
        return self._keep_usage or bool(value.get("choices"))

    # -- the text, in case it must be counted ----------------------------------------------------------------------

    def _keep(self, chunk: bytes) -> None:
        self._kept.append(chunk)
        self._kept_size += len(chunk)
        if self._kept_size > DIGEST_BYTES:
            self._digest()

    def _digest(self) -> None:
        raw = b"".join(self._kept)
        self._kept.clear()
        self._kept_size = 0
        for frame in split_frames(raw):
            data = frame_data(frame)
            value = None if data is None else _load(data)
            choices = value.get("choices") if isinstance(value, dict) else None
            for choice in choices if isinstance(choices, list) else []:
                self._text.append(text_of_choice(choice, "delta"))
                if isinstance(choice, dict):
                    self._note_finish(choice)
        # Of several choices, each has to finish; an upstream that was asked for several may know only one.
        self.complete = self.ended or (bool(self._finished) and all(self._finished.values()))

    def _note_finish(self, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        if not isinstance(index, int):
            index = 0
        self._finished[index] = self._finished.get(index, False) or bool(choice.get("finish_reason"))


def _has_marker(chunk: bytes) -> bool:
    return (
        b"[DONE]" in chunk
        or (b"error" in chunk and (b'"error"' in chunk or _ERROR_EVENT.search(chunk) is not None))
        or (b'"usage"' in chunk and _USAGE.search(chunk) is not None)
    )


def _start_of_marked(chunk: bytes) -> int:
    """Where the first frame with a marker begins; what is before it needs no look, however much was read at once."""
    if b"\r" in chunk:
        return 0
    # Substring searches, which take a tenth of a pattern's time; one that finds too early a place only looks at more.
    places = [chunk.find(mark) for mark in (b"[DONE]", b'"error"', b'"usage":{', b"event:")]
    if places[2] < 0 and (usage := _USAGE.search(chunk)) is not None:
        places.append(usage.start())
    boundary = chunk.rfind(b"\n\n", 0, min(place for place in places if place >= 0) + 1)
    return 0 if boundary < 0 else boundary + 2


def _error_of(frame: bytes, value: object) -> object | None:
    """The error that a frame reports, or None: `error` as most write it, vLLM's `object: "error"`, `event: error`."""
    fields: dict[str, object] = value if isinstance(value, dict) else {}
    if fields.get("error"):
        return fields["error"]
    if fields.get("object") == "error" or frame_event(frame) == b"error":
        return fields if value is None else value
    return None


def _load(data: bytes) -> Any:
    try:
        # The standard library's decoder: upstreams split characters into escaped lone surrogates, which others refuse.
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
