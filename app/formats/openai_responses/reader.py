"""An upstream's stream of response events, read into canonical events.

A block opens with its content part, its call, or its first words, and closes with its `done` event. What a server tells in
a `done` event alone is taken from there, so that one that sends no deltas reads as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from app.core.conversation import (
    Block,
    BlockEnded,
    BlockStarted,
    Cited,
    Event,
    Failed,
    Finished,
    Grown,
    Refusal,
    Reported,
    Signed,
    Started,
    Text,
    Thinking,
    Weighed,
)
from app.errors import UpstreamError, bad_upstream_response
from app.formats.openai_responses.frame import Frame, decode_frame
from app.formats.openai_responses.read_answer import (
    read_call,
    read_finish,
    read_item,
    read_part,
    read_text,
    read_thought,
    read_time,
    read_tokens,
)
from app.formats.openai_responses.read_parts import read_citation
from app.formats.openai_responses.reply import error_in_body
from app.formats.openai_responses.usage import read_usage
from app.formats.refusals import load_json

CALLS = frozenset({"function_call", "custom_tool_call"})

WHOLE = -1
"""The part of an item that is one block: a thought, a call."""


class _Open:
    """The block that grows. `told`: some of it has been; `last`: which part of a thought spoke last."""

    __slots__ = ("cited", "item", "last", "part", "told", "weighed")

    def __init__(self, item: int, part: int, told: bool) -> None:
        self.item = item
        self.part = part
        self.told = told
        self.weighed = False
        self.cited = 0
        self.last = ""


class ResponsesReader:
    """See `app.formats.base.EventReader`."""

    __slots__ = ("_called", "_closed", "_events", "_ids", "_open", "_over", "_started", "complete", "ended")

    def __init__(self) -> None:
        self.complete = False
        self.ended = False
        self._started = False
        self._over = False
        self._called = False
        self._open: _Open | None = None
        self._closed: set[tuple[int, int]] = set()
        self._ids: dict[int, str] = {}
        self._events: list[Event] = []

    def read(self, data: bytes, event: bytes | None) -> Sequence[Event]:
        if self._over:
            return ()
        try:
            frame = decode_frame(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._read_odd(data, event)
        return self._take(frame, event)

    def end(self) -> Sequence[Event]:
        return ()

    def _read_odd(self, data: bytes, event: bytes | None) -> Sequence[Event]:
        """A frame that the fast decoder refuses: half a character in it, or something wrong with it."""
        if data.strip() == b"[DONE]":
            return ()
        value = load_json(data)
        try:
            frame = msgspec.convert(value, Frame)
        except (msgspec.ValidationError, UnicodeEncodeError):
            kind = value.get("type") if isinstance(value, dict) else None
            if isinstance(kind, str) and kind not in _HANDLERS and not value.get("error"):
                return ()
            return self._fail(bad_upstream_response("The upstream sent an event that can't be read."))
        return self._take(frame, event)

    def _take(self, frame: Frame, event: bytes | None) -> Sequence[Event]:
        handle = _HANDLERS.get(frame.type)
        if handle is None or frame.error:
            if frame.error or frame.type == "error" or event == b"error":
                told = {"message": frame.message, "code": frame.code, "param": frame.param}
                return self._fail(error_in_body(frame.error or told))
            return ()
        events: list[Event] = []
        self._events = events
        try:
            if not self._started:
                self._start(frame.response)
            handle(self, frame)
        except UpstreamError as error:
            return self._fail(error)
        return events

    def _fail(self, error: UpstreamError) -> Sequence[Event]:
        self._over = True
        return (Failed(error),)

    # -- the response --------------------------------------------------------------------------------------------------

    def _start(self, response: object) -> None:
        self._started = True
        told = response if isinstance(response, dict) else {}
        self._events.append(Started(read_text(told, "id", ""), read_text(told, "model", ""), read_time(told)))

    def _began(self, frame: Frame) -> None:
        pass

    def _ended(self, frame: Frame) -> None:
        response = frame.response if isinstance(frame.response, dict) else {}
        if not self._closed and self._open is None:  # a server that streams nothing but the end
            output = response.get("output")
            for index, item in enumerate(output if isinstance(output, list) else []):
                self._finish_item(index, item)
        self._close()
        told = response if "status" in response else {**response, "status": frame.type.removeprefix("response.")}
        self._events.append(Finished(read_finish(told, self._called)))
        usage = read_usage(response.get("usage"), response.get("service_tier"))
        if usage is not None:
            self._events.append(Reported(usage))
        self.complete = self.ended = self._over = True

    def _failed(self, frame: Frame) -> None:
        raise error_in_body(frame.response.get("error") if isinstance(frame.response, dict) else None)

    # -- blocks --------------------------------------------------------------------------------------------------------

    def _is_open(self, item: int, part: int) -> bool:
        block = self._open
        return block is not None and block.item == item and block.part == part

    def _begin(self, item: int, part: int, block: Block, told: bool) -> None:
        if (item, part) in self._closed:
            raise bad_upstream_response("The upstream's answer goes on with what it had ended.")
        self._close()
        self._open = _Open(item, part, told)
        self._events.append(BlockStarted(block))

    def _close(self) -> None:
        block = self._open
        if block is not None:
            self._closed.add((block.item, block.part))
            self._open = None
            self._events.append(BlockEnded())

    def _whole(self, item: int, part: int, block: Block) -> None:
        self._begin(item, part, block, True)
        self._close()

    def _grow(self, frame: Frame, part: int, text: str | None, empty: Block | None) -> None:
        """More text of a block; `empty` begins it where it hasn't. Without that, and unbegun, it can't be told."""
        if text is None:
            raise bad_upstream_response("The upstream sent a delta without text.")
        block = self._open
        if block is None or block.item != frame.output_index or block.part != part:
            if empty is None and (frame.output_index, part) not in self._closed:
                raise bad_upstream_response("The upstream's answer goes on with a call that never began.")
            self._begin(frame.output_index, part, empty or Text(""), False)
            block = self._open
        if text:
            assert block is not None
            block.told = True
            self._events.append(Grown(text))

    def _complete(self, item: int, part: int, text: str | None) -> None:
        """What a `done` event says of a block of which no delta has."""
        block = self._open
        if text and block is not None and block.item == item and block.part == part and not block.told:
            block.told = True
            self._events.append(Grown(text))

    # -- items ---------------------------------------------------------------------------------------------------------

    def _item_added(self, frame: Frame) -> None:
        item = frame.item
        if not isinstance(item, dict):
            raise bad_upstream_response("The upstream's answer can't be read: an output item.")
        if read_text(item, "type", "") in CALLS:
            call = read_call(item)
            self._called = True
            self._begin(frame.output_index, WHOLE, call, bool(call.arguments))
        elif item.get("type") == "reasoning":
            self._ids[frame.output_index] = read_text(item, "id", "")

    def _item_done(self, frame: Frame) -> None:
        self._finish_item(frame.output_index, frame.item)

    def _finish_item(self, index: int, item: object) -> None:
        if not isinstance(item, dict):
            raise bad_upstream_response("The upstream's answer can't be read: an output item.")
        kind = read_text(item, "type", "")
        if kind == "message":
            parts = item.get("content")
            for at, part in enumerate(parts if isinstance(parts, list) else []):
                self._finish_part(index, at, part)
        elif (index, WHOLE) in self._closed:
            pass
        elif not self._is_open(index, WHOLE):
            for block in read_item(item):
                self._called = self._called or kind in CALLS
                self._whole(index, WHOLE, block)
        elif kind == "reasoning":
            signature = read_thought(item).signature
            if signature is not None:
                self._events.append(Signed(signature))
            self._close()
        else:
            self._complete(index, WHOLE, read_call(item).arguments if kind in CALLS else None)
            self._close()

    def _part_added(self, frame: Frame) -> None:
        match frame.part:
            case {"type": "output_text" | "refusal"}:
                block = read_part(frame.part)
                told = bool(block.text) if isinstance(block, Text | Refusal) else True
                self._begin(frame.output_index, frame.content_index, block, told)

    def _part_done(self, frame: Frame) -> None:
        if isinstance(frame.part, dict) and frame.part.get("type") != "reasoning_text":
            self._finish_part(frame.output_index, frame.content_index, frame.part)

    def _finish_part(self, item: int, at: int, part: object) -> None:
        if (item, at) in self._closed:
            return
        block = read_part(part)
        if not self._is_open(item, at):
            self._begin(item, at, block, True)
            assert self._open is not None
            self._open.cited = len(block.citations) if isinstance(block, Text) else 0
        elif isinstance(block, Text | Refusal):
            self._complete(item, at, block.text)
        if isinstance(block, Text):
            self._settle(block, part)
        self._close()

    def _settle(self, text: Text, part: object) -> None:
        """Sources and probabilities of the open text that no event of their own has told."""
        assert self._open is not None
        self._events += [Cited(citation) for citation in text.citations[self._open.cited :]]
        tokens = read_tokens(part.get("logprobs")) if isinstance(part, dict) else ()
        if tokens and not self._open.weighed:
            self._events.append(Weighed(tokens))

    # -- texts ---------------------------------------------------------------------------------------------------------

    def _text_delta(self, frame: Frame) -> None:
        text, block = frame.delta, self._open
        if text and block is not None and block.item == frame.output_index and block.part == frame.content_index:
            block.told = True
            self._events.append(Grown(text))
        else:
            self._grow(frame, frame.content_index, text, _NO_TEXT)
        if frame.logprobs and (tokens := read_tokens(frame.logprobs)):
            assert self._open is not None
            self._open.weighed = True
            self._events.append(Weighed(tokens))

    def _text_done(self, frame: Frame) -> None:
        self._complete(frame.output_index, frame.content_index, frame.text)

    def _refusal_delta(self, frame: Frame) -> None:
        self._grow(frame, frame.content_index, frame.delta, _NO_REFUSAL)

    def _refusal_done(self, frame: Frame) -> None:
        self._complete(frame.output_index, frame.content_index, frame.refusal)

    def _annotation_added(self, frame: Frame) -> None:
        citation = read_citation(frame.annotation)
        if citation is not None and self._is_open(frame.output_index, frame.content_index):
            assert self._open is not None
            self._open.cited += 1
            self._events.append(Cited(citation))

    # -- calls and thoughts --------------------------------------------------------------------------------------------

    def _call_delta(self, frame: Frame) -> None:
        self._grow(frame, WHOLE, frame.delta, None)

    def _call_done(self, frame: Frame) -> None:
        words = frame.input if frame.arguments is None else frame.arguments
        self._complete(frame.output_index, WHOLE, words)

    def _summary_delta(self, frame: Frame) -> None:
        self._think(frame, f"summary {frame.summary_index}", frame.delta)

    def _summary_done(self, frame: Frame) -> None:
        self._think_rest(frame, f"summary {frame.summary_index}")

    def _thought_delta(self, frame: Frame) -> None:
        self._think(frame, f"content {frame.content_index}", frame.delta)

    def _thought_done(self, frame: Frame) -> None:
        self._think_rest(frame, f"content {frame.content_index}")

    def _think_rest(self, frame: Frame, part: str) -> None:
        """A part of a thought that only its `done` event tells."""
        done = (frame.output_index, WHOLE) in self._closed
        if not done and frame.text and not (self._is_open(frame.output_index, WHOLE) and self._last() == part):
            self._think(frame, part, frame.text)

    def _last(self) -> str:
        return "" if self._open is None else self._open.last

    def _think(self, frame: Frame, part: str, text: str | None) -> None:
        """Words of a thought; between those of two parts stands a blank line."""
        if text == "":
            return
        another = self._is_open(frame.output_index, WHOLE) and self._last() != part
        spaced = f"\n\n{text}" if another and text is not None else text
        self._grow(frame, WHOLE, spaced, Thinking("", id=self._ids.get(frame.output_index) or None))
        assert self._open is not None
        self._open.last = part


_NO_TEXT = Text("")
_NO_REFUSAL = Refusal("")

_HANDLERS: Mapping[str, Callable[[ResponsesReader, Frame], None]] = MappingProxyType(
    {
        "response.created": ResponsesReader._began,
        "response.queued": ResponsesReader._began,
        "response.in_progress": ResponsesReader._began,
        "response.completed": ResponsesReader._ended,
        "response.incomplete": ResponsesReader._ended,
        "response.failed": ResponsesReader._failed,
        "response.output_item.added": ResponsesReader._item_added,
        "response.output_item.done": ResponsesReader._item_done,
        "response.content_part.added": ResponsesReader._part_added,
        "response.content_part.done": ResponsesReader._part_done,
        "response.output_text.delta": ResponsesReader._text_delta,
        "response.output_text.done": ResponsesReader._text_done,
        "response.output_text.annotation.added": ResponsesReader._annotation_added,
        "response.refusal.delta": ResponsesReader._refusal_delta,
        "response.refusal.done": ResponsesReader._refusal_done,
        "response.function_call_arguments.delta": ResponsesReader._call_delta,
        "response.function_call_arguments.done": ResponsesReader._call_done,
        "response.custom_tool_call_input.delta": ResponsesReader._call_delta,
        "response.custom_tool_call_input.done": ResponsesReader._call_done,
        "response.reasoning_summary_text.delta": ResponsesReader._summary_delta,
        "response.reasoning_summary_text.done": ResponsesReader._summary_done,
        "response.reasoning_text.delta": ResponsesReader._thought_delta,
        "response.reasoning_text.done": ResponsesReader._thought_done,
    }
)
