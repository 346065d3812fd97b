"""The tap on a generateContent stream: usage, errors, the end, and the framing that the client asked for.

Google's SDK raises at comments, at `event:` lines, at `data:` without a space, and at `[DONE]`: what an upstream has of them
doesn't go on. Every chunk repeats the usage so far; only the first's, and those of the end, are parsed.
"""

from __future__ import annotations

import re
from typing import Any

from app.core.sse import frame_data, frame_event, split_frames
from app.core.usage import Usage
from app.formats.gemini_generate.reply import error_in_body, texts_of, unwrap
from app.formats.gemini_generate.usage import read_usage
from app.formats.refusals import load_json
from app.formats.tap import FrameTap

USAGE = b'"usageMetadata"'
DONE = b"data: [DONE]"
NO_REASON = "FINISH_REASON_UNSPECIFIED"

_STRANGE = re.compile(rb"(?:\A|[\r\n])(?!data: |[\r\n]|\Z)")
"""The beginning of a line that isn't `data: ` and isn't empty."""


class GenerateTap(FrameTap):
    """See `app.formats.base.Tap`."""

    __slots__ = ("_choices", "_finished", "_report")

    def __init__(self, choices: int = 1) -> None:
        super().__init__()
        self._choices = choices
        self._finished: dict[int, bool] = {}
        self._report = b""
        """The last bytes that held a report of usage."""

    def feed(self, chunk: bytes) -> bytes:
        frames = super().feed(chunk)
        if USAGE in frames:
            self._report = frames
        if not frames or (DONE not in frames and (_is_plain(frames) or _STRANGE.search(frames) is None)):
            return frames
        return b"".join(map(_rewrite, split_frames(frames)))

    def end(self) -> bytes:
        if self._choices == 1 and self.complete and self.error is None and not self._frames.size:
            self.ended = True  # without a look at the whole: the one candidate has finished
            return b""
        return super().end()

    def produced_text(self) -> str:
        if self._report:  # an estimate is about to be made: what Google said last is the best it can begin with
            self.opening = self._last_report() or self.opening
        return super().produced_text()

    def _has_marker(self, chunk: bytes) -> bool:
        if b'"finishReason"' in chunk or b'"error"' in chunk or b'"blockReason"' in chunk or b"event:" in chunk:
            return True
        return (self.complete or self.opening is None) and USAGE in chunk

    def _inspect_frame(self, frame: bytes) -> bool:
        data = frame_data(frame)
        value = None if data is None else unwrap(load_json(data))
        error = error_of_frame(frame_event(frame), value)
        if error is not None:
            self.error = error_in_body(error)
            return False
        if not isinstance(value, dict):
            return True
        self._note_ends(value)
        usage = read_usage(value.get("usageMetadata"))
        if usage is not None:
            self.opening = self.opening or usage
            if self.complete:
                self.usage = usage
        if self.complete and self.usage is None and self._report:
            self.usage = self._last_report()
        return True

    def _digest_frame(self, value: Any) -> None:
        self._text += texts_of(value)
        if self._choices > 1 and isinstance(value, dict):
            self._note_ends(value)

    def _digested(self) -> None:
        if self.complete and self.usage is None:
            self.usage = self._last_report()

    def _note_ends(self, value: dict[str, Any]) -> None:
        """An answer is complete when all candidates that were seen have finished, or the prompt was blocked."""
        candidates = value.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else []:
            if isinstance(candidate, dict):
                index = candidate.get("index")
                index = index if isinstance(index, int) else 0
                reason = candidate.get("finishReason")
                self._finished[index] = self._finished.get(index, False) or bool(reason and reason != NO_REASON)
        feedback = value.get("promptFeedback")
        blocked = not candidates and isinstance(feedback, dict) and bool(feedback.get("blockReason"))
        self.complete = blocked or (bool(self._finished) and all(self._finished.values()))

    def _last_report(self) -> Usage | None:
        for frame in reversed(split_frames(self._report)):
            if USAGE in frame:
                value = load_json(frame_data(frame) or b"")
                return read_usage(value.get("usageMetadata")) if isinstance(value, dict) else None
        return None


class ArrayTap(GenerateTap):
    """The same for a client that reads one JSON array: each chunk becomes an element of it."""

    __slots__ = ("_opened",)

    def __init__(self, choices: int = 1) -> None:
        super().__init__(choices)
        self._opened = False

    def feed(self, chunk: bytes) -> bytes:
        return self._elements(super().feed(chunk))

    def end(self) -> bytes:
        # What `FrameTap.end` finds left over it gives to `feed`, which has made elements of it.
        tail = super().end()
        return tail + b"]" if self.ended else tail

    def _elements(self, frames: bytes) -> bytes:
        elements = [data for frame in split_frames(frames) if (data := frame_data(frame)) is not None]
        if not elements:
            return b""
        start = b",\r\n" if self._opened else b"["
        self._opened = True
        return start + b",\r\n".join(elements)


def error_of_frame(event: bytes | None, value: object) -> object | None:
    """The error that a frame reports, or None."""
    fields: dict[str, object] = value if isinstance(value, dict) else {}
    if fields.get("error"):
        return fields["error"]
    if event == b"error":
        return {} if value is None else value
    return None


def _is_plain(frames: bytes) -> bool:
    """Whether this is one frame as Google writes them, which nearly every read is."""
    if not frames.startswith(b"data: "):
        return False
    if frames.endswith(b"\r\n\r\n"):
        return frames.find(b"\r") == len(frames) - 4
    return frames.find(b"\n") == len(frames) - 2


def _rewrite(frame: bytes) -> bytes:
    """A frame as Google writes them; nothing for one without data, and for another format's end mark."""
    data = frame_data(frame)
    if data is None or data.strip() in (b"", b"[DONE]"):
        return b""
    return b"".join(b"data: %b\n" % line for line in data.split(b"\n")) + b"\n"
