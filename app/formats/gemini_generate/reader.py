"""A generateContent stream, read into events chunk by chunk. A whole answer is a stream of one chunk.

Source: google-genai's `types.py` (GenerateContentResponse), and Google's API reference. A chunk holds whole parts, each a
piece of a text or of a thought, or a call with all its arguments; every chunk repeats the usage so far. There is no end mark.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from secrets import token_hex
from typing import Any

import msgspec

from app.core.conversation import Event, Failed, Finish, Finished, Grown, Reported, Started, Text, Thinking
from app.core.usage import Usage
from app.errors import UpstreamError
from app.formats.gemini_generate.candidate import Candidate, broken
from app.formats.gemini_generate.reply import error_in_body, unwrap
from app.formats.gemini_generate.stream import error_of_frame
from app.formats.gemini_generate.usage import read_usage
from app.formats.refusals import load_json

NOTHING: tuple[Event, ...] = ()
LONGEST_ID = 24

_ABSENT = msgspec.Raw()
_NO_ID = re.compile(r"[^A-Za-z0-9_-]")


class _Part(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    thought: bool | None = None


class _Content(msgspec.Struct):
    parts: list[_Part]


class _Candidate(msgspec.Struct, forbid_unknown_fields=True):
    content: _Content
    index: int = 0
    safety: msgspec.Raw = msgspec.field(default=_ABSENT, name="safetyRatings")


class _Frame(msgspec.Struct, forbid_unknown_fields=True):
    """What nearly every chunk is. Any other, and what the fast decoder refuses, is read the long way."""

    candidates: list[_Candidate]
    usage: msgspec.Raw = msgspec.field(default=_ABSENT, name="usageMetadata")
    model: msgspec.Raw = msgspec.field(default=_ABSENT, name="modelVersion")
    id: msgspec.Raw = msgspec.field(default=_ABSENT, name="responseId")
    time: msgspec.Raw = msgspec.field(default=_ABSENT, name="createTime")


_frame = msgspec.json.Decoder(_Frame)


class GenerateReader:
    """See `app.formats.base.EventReader`."""

    __slots__ = ("_blocked", "_candidates", "_prefix", "_usage", "complete", "ended")

    def __init__(self) -> None:
        self.complete = False
        self.ended = False
        self._prefix: str | None = None
        """Of ids of calls that come without one; None before the first chunk."""
        self._usage: Usage | None = None
        self._blocked = False
        self._candidates: dict[int, Candidate] = {}

    def read(self, data: bytes, event: bytes | None) -> Sequence[Event]:
        if self.ended:
            return NOTHING
        try:
            frame = _frame.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._read_other(data, event)
        if len(frame.candidates) == 1 and len(frame.candidates[0].content.parts) == 1:
            index = frame.candidates[0].index
            part = frame.candidates[0].content.parts[0]
            candidate = self._candidates.get(index)
            if candidate is not None and candidate.grows is (Thinking if part.thought else Text):
                if not part.text:
                    return NOTHING
                candidate.pieces.append(part.text)
                return (Grown(part.text, index),)
        return self._read_other(data, event)

    def end(self) -> Sequence[Event]:
        if self.ended or not self.complete:
            return NOTHING
        self.ended = True
        events = [event for candidate in self._candidates.values() for event in candidate.finish()]
        return events if self._usage is None else [*events, Reported(self._usage)]

    def _read_other(self, data: bytes, event: bytes | None) -> Sequence[Event]:
        value = unwrap(load_json(data))
        error = error_of_frame(event, value)
        try:
            if error is not None:
                raise error_in_body(error)
            if isinstance(value, dict):
                return self._take(value)
            if data.strip() != b"[DONE]":  # which some add, though it isn't this format's
                raise broken("data")
        except UpstreamError as failure:
            self.ended = True
            self.complete = False
            return (Failed(failure),)
        return NOTHING

    def _take(self, value: dict[str, Any]) -> Sequence[Event]:
        usage = read_usage(value.get("usageMetadata"))
        events: list[Event] = []
        if self._prefix is None:
            id, model = value.get("responseId"), value.get("modelVersion")
            id = id if isinstance(id, str) else ""
            self._prefix = f"call_{_NO_ID.sub('', id)[-LONGEST_ID:] or token_hex(8)}_"
            events.append(Started(id, model if isinstance(model, str) else "", usage=usage))
        candidates = value.get("candidates")
        if not isinstance(candidates, list | None):
            raise broken("candidates")
        for candidate in candidates or ():
            if not isinstance(candidate, dict):
                raise broken("candidates")
            events += self._of(candidate.get("index", 0)).take(candidate)
        if not candidates and not self._candidates and not self._blocked and _is_blocked(value.get("promptFeedback")):
            self._blocked = True
            events.append(Finished(Finish.FILTERED))
        found = self._candidates.values()
        self.complete = self._blocked or (bool(found) and all(candidate.finished for candidate in found))
        self._usage = usage or self._usage
        return events

    def _of(self, index: object) -> Candidate:
        if not isinstance(index, int) or isinstance(index, bool):
            raise broken("index")
        candidate = self._candidates.get(index)
        if candidate is None:
            prefix = f"{self._prefix}{index}_" if index else str(self._prefix)
            candidate = self._candidates[index] = Candidate(index, prefix)
        return candidate


def _is_blocked(feedback: object) -> bool:
    return isinstance(feedback, dict) and bool(feedback.get("blockReason"))
