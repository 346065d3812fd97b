"""A Chat Completions stream, read into events frame by frame.

Source: OpenAI's API reference, "The chat completion chunk object". Deviations that are borne: see `read_choice`, and here a
first chunk without choices (Azure), usage beside a choice or in a chunk of its own, no `[DONE]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from app.core.conversation import Event, Failed, Grown, Reported, Started, Text, Thinking
from app.core.usage import Usage
from app.errors import UpstreamError, bad_upstream_response
from app.formats.openai_chat.read_answer import read_index, read_start
from app.formats.openai_chat.read_choice import ChoiceReader, check_reason
from app.formats.openai_chat.read_values import broken
from app.formats.openai_chat.reply import error_in_body
from app.formats.openai_chat.stream import error_of_frame
from app.formats.openai_chat.usage import read_usage
from app.formats.refusals import load_json

NOTHING: tuple[Event, ...] = ()


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: Any = None
    reasoning_details: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    annotations: Any = None
    images: Any = None


class _Choice(msgspec.Struct):
    delta: _Delta
    index: int = 0
    finish_reason: str | None = None
    logprobs: Any = None


class _Chunk(msgspec.Struct):
    """What nearly every frame is. Any other, and what the fast decoder refuses, is read the long way."""

    choices: tuple[_Choice]
    usage: Any = None
    error: Any = None
    object: Any = None


_chunk = msgspec.json.Decoder(_Chunk)


class ChatReader:
    """See `app.formats.base.EventReader`. `complete`: every choice that began has finished."""

    __slots__ = ("_choices", "_quirks", "_reasons", "_started", "_usage", "complete", "ended")

    def __init__(self, quirks: frozenset[str] = frozenset()) -> None:
        self.complete = False
        self.ended = False
        self._quirks = quirks
        self._started: Started | None = None
        self._choices: dict[int, ChoiceReader] = {}
        self._usage: Usage | None = None
        self._reasons: dict[int, tuple[object, object]] = {}

    def read(self, data: bytes, event: bytes | None) -> Sequence[Event]:
        if self.ended:
            return NOTHING
        if event is None:
            try:
                told = self._read_text(_chunk.decode(data))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                told = None
            if told is not None:
                return told
        return self._read_other(data, event)

    def end(self) -> Sequence[Event]:
        return self._end() if self.complete and not self.ended else NOTHING

    def _read_text(self, chunk: _Chunk) -> Sequence[Event] | None:
        """More text of the open block; None where a frame may tell anything else."""
        choice = chunk.choices[0]
        delta = choice.delta
        reader = self._choices.get(choice.index)
        if (
            reader is None
            or choice.finish_reason is not None
            or choice.logprobs is not None
            or chunk.usage is not None
            or chunk.error is not None
            or chunk.object == "error"
            or delta.reasoning is not None
            or delta.reasoning_details is not None
            or delta.refusal
            or delta.tool_calls is not None
            or delta.function_call is not None
            or delta.annotations is not None
            or delta.images is not None
        ):
            return None
        if delta.content and not delta.reasoning_content and reader.open is Text:
            return (Grown(delta.content, choice.index),)
        if delta.reasoning_content and not delta.content and reader.open is Thinking and reader.is_plain:
            reader.words.append(delta.reasoning_content)
            return (Grown(delta.reasoning_content, choice.index),)
        return None

    def _read_other(self, data: bytes, event: bytes | None) -> Sequence[Event]:
        if data.strip() == b"[DONE]":
            return self._end()
        value = load_json(data)
        error = error_of_frame(event, value)
        try:
            if error is not None:
                raise error_in_body(error)
            if not isinstance(value, dict):
                raise broken("data")
            return self._take(value)
        except UpstreamError as failure:
            return self._fail(failure)

    def _fail(self, failure: UpstreamError) -> Sequence[Event]:
        self.ended = True
        self.complete = False
        return (Failed(failure),)

    def _take(self, value: dict[str, Any]) -> Sequence[Event]:
        choices = value.get("choices")
        if choices is not None and not isinstance(choices, list):
            raise broken("choices")
        usage = read_usage(value.get("usage"), self._quirks, value.get("service_tier"))
        events: list[Event] = []
        if self._started is None:
            if not choices and usage is None:
                return NOTHING
            self._started = read_start(value)
            events.append(self._started)
        for choice in choices or ():
            events += self._take_choice(choice, self._started.id)
        if usage is not None and self.complete:
            self._usage = usage  # told of after the ends
        elif usage is not None:
            events.append(Reported(usage))
        return events

    def _take_choice(self, choice: object, answer_id: str) -> list[Event]:
        if not isinstance(choice, dict):
            raise broken("choices")
        index = read_index(choice)
        delta, finish = choice.get("delta"), choice.get("finish_reason")
        if delta is not None and not isinstance(delta, dict):
            raise broken("delta")
        reader = self._choices.get(index)
        if reader is None:
            if not delta and not finish:
                return []  # says nothing, and a server that knows one choice may never finish another
            reader = self._choices[index] = ChoiceReader(index, answer_id)
            self.complete = False
        events = reader.take(delta or {}, choice.get("logprobs"))
        if finish:
            # Told of at the end: some servers say a word more, or give every chunk a reason.
            check_reason(finish)
            self._reasons[index] = finish, choice.get("stop_reason")
            self.complete = self._choices.keys() <= self._reasons.keys()
        return events

    def _end(self) -> Sequence[Event]:
        if self._started is None:
            return self._fail(bad_upstream_response("The upstream's stream ended before it began."))
        events: list[Event] = []
        try:
            for index, reader in self._choices.items():
                events += reader.finish(*self._reasons.get(index, (None, None)))
        except UpstreamError as failure:
            return self._fail(failure)
        self.complete = self.ended = True
        if self._usage is not None:
            events.append(Reported(self._usage))
        return events
