"""A Messages stream, read into events frame by frame.

Source: Anthropic's "Streaming messages" and `raw_message_stream_event.py` of its SDK. Frames are told apart by the `type` in
their data, so an upstream that leaves `event:` lines out is read all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from app.core.conversation import (
    BlockEnded,
    BlockStarted,
    Cited,
    Event,
    Failed,
    Finished,
    Grown,
    Opaque,
    Reported,
    Signed,
    Started,
    Text,
    Thinking,
    ToolCall,
)
from app.errors import UpstreamError
from app.formats.anthropic_messages.blocks import read_citation, write_arguments
from app.formats.anthropic_messages.fields import NAME
from app.formats.anthropic_messages.read_answer import (
    broken,
    read_block,
    read_finish,
    read_refusal,
    read_text,
)
from app.formats.anthropic_messages.reply import error_in_body
from app.formats.anthropic_messages.stream import error_of_frame
from app.formats.anthropic_messages.thoughts import read_signature
from app.formats.anthropic_messages.usage import merge_usage, read_usage
from app.formats.refusals import load_json

NOTHING: tuple[Event, ...] = ()

GROWS: Mapping[str, tuple[type, str]] = MappingProxyType(
    {"text_delta": (Text, "text"), "thinking_delta": (Thinking, "thinking")}
)


class _Delta(msgspec.Struct):
    type: str
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None


class _Frame(msgspec.Struct):
    """What nearly every frame is. Any other, and what the fast decoder refuses, is read the long way."""

    type: str
    index: int
    delta: _Delta


_frame = msgspec.json.Decoder(_Frame)


class MessagesReader:
    """See `app.formats.base.EventReader`."""

    __slots__ = ("_called", "_finished", "_index", "_input", "_kind", "_report", "_started", "complete", "ended")

    def __init__(self) -> None:
        self.complete = False
        self.ended = False
        self._started = False
        self._finished = False
        self._called = False
        self._index: object = None
        self._kind: type | None = None
        """Of the open block: Text, Thinking, ToolCall or Opaque; None while no block is open."""
        self._input: _Input | None = None
        self._report: dict[str, object] = {}

    def read(self, data: bytes, event: bytes | None) -> Sequence[Event]:
        if self.ended:
            return NOTHING
        try:
            frame = _frame.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._read_other(data, event)
        delta = frame.delta
        if frame.index == self._index and frame.type == "content_block_delta":
            if delta.type == "text_delta" and self._kind is Text and delta.text is not None:
                return (Grown(delta.text),) if delta.text else NOTHING
            if delta.type == "thinking_delta" and self._kind is Thinking and delta.thinking is not None:
                return (Grown(delta.thinking),) if delta.thinking else NOTHING
        return self._read_other(data, event)

    def end(self) -> Sequence[Event]:
        return NOTHING

    def _read_other(self, data: bytes, event: bytes | None) -> Sequence[Event]:
        value = load_json(data)
        error = error_of_frame(event, value)
        try:
            if error is not None:
                raise error_in_body(error)
            if isinstance(value, dict):
                return self._take(value)
            if value is None and data.strip() != b"[DONE]":  # which some add, and every reader ignores
                raise broken("data")
        except UpstreamError as failure:
            self.ended = True
            self.complete = False
            return (Failed(failure),)
        return NOTHING

    def _take(self, value: dict[str, Any]) -> Sequence[Event]:
        kind = value.get("type")
        if kind == "message_start":
            return self._start(value.get("message"))
        if kind == "message_stop":
            return self._stop()
        if kind == "message_delta":
            return self._finish(value)
        if kind not in ("content_block_start", "content_block_delta", "content_block_stop"):
            return NOTHING  # ping, and whatever comes to be
        if self._finished:
            return NOTHING
        if not self._started:
            raise broken("type")
        if kind == "content_block_start":
            return [*self._close(), *self._open(value)]
        if value.get("index") != self._index or self._kind is None:
            raise broken("index")  # blocks that grow side by side aren't this format's
        return self._close() if kind == "content_block_stop" else self._grow(value.get("delta"))

    def _start(self, message: object) -> Sequence[Event]:
        if self._started or not isinstance(message, dict):
            raise broken("message")
        self._started = True
        self._report = merge_usage({}, message.get("usage"))
        id, model = read_text(message, "id", optional=True), read_text(message, "model", optional=True)
        events: list[Event] = [Started(id, model, usage=read_usage(self._report))]
        content = message.get("content")
        for block in content if isinstance(content, list) else []:  # empty at Anthropic's
            read = read_block(block)
            self._called = self._called or type(read) is ToolCall
            events += [BlockStarted(read), BlockEnded()]
        return events

    def _open(self, value: dict[str, Any]) -> Sequence[Event]:
        block = value.get("content_block")
        self._index = value.get("index")
        if isinstance(block, dict) and block.get("type") == "tool_use":
            self._kind, self._called = ToolCall, True
            self._input = _Input(block)
            return (BlockStarted(ToolCall(read_text(block, "id"), read_text(block, "name"), "")),)
        read = read_block(block)
        self._kind = type(read)
        if isinstance(read, Opaque):
            self._input = _Input(read.value)
            return NOTHING
        return (BlockStarted(read),)

    def _grow(self, delta: object) -> Sequence[Event]:
        if not isinstance(delta, dict):
            raise broken("delta")
        match delta.get("type"):
            case "input_json_delta" if self._input is not None:
                text = read_text(delta, "partial_json", optional=True)
                self._input.pieces.append(text)
                return (Grown(text),) if text and self._kind is ToolCall else NOTHING
            case "signature_delta" if self._kind is Thinking:
                signature = read_signature(read_text(delta, "signature", optional=True))
                return NOTHING if signature is None else (Signed(signature),)
            case "citations_delta" if self._kind is Text:
                citation = read_citation(delta.get("citation"))
                return NOTHING if citation is None else (Cited(citation),)
            case "text_delta" | "thinking_delta" as kind:
                wanted, field = GROWS[kind]
                text = read_text(delta, field)
                if self._kind is not wanted:
                    raise broken("delta")
                return (Grown(text),) if text else NOTHING
            case "input_json_delta" | "signature_delta":
                raise broken("delta")
            case _:
                return NOTHING

    def _close(self) -> Sequence[Event]:
        kind, told = self._kind, self._input
        self._kind = self._input = self._index = None
        if kind is None:
            return NOTHING
        if told is None:
            return (BlockEnded(),)
        if kind is Opaque:
            return (BlockStarted(told.whole()), BlockEnded())
        # Without a piece the input is what the block began with: nothing, at Anthropic's.
        return (BlockEnded(),) if any(told.pieces) else (Grown(told.began()), BlockEnded())

    def _finish(self, value: dict[str, Any]) -> Sequence[Event]:
        if not self._started:
            raise broken("type")
        events: list[Event] = []
        delta = value.get("delta")
        if isinstance(delta, dict) and delta.get("stop_reason") and not self._finished:
            events += self._end(delta)
        self._report = merge_usage(self._report, value.get("usage"))
        usage = read_usage(self._report)
        if usage is not None:
            events.append(Reported(usage))
        return events

    def _end(self, delta: dict[str, Any]) -> Sequence[Event]:
        finish = read_finish(delta.get("stop_reason"), called=self._called)
        events = [*self._close()]
        refusal = read_refusal(delta.get("stop_details"))
        if refusal is not None:
            events += [BlockStarted(refusal), BlockEnded()]
        stop = delta.get("stop_sequence")
        self._finished = self.complete = True
        return [*events, Finished(finish, stop_sequence=stop if isinstance(stop, str) else None)]

    def _stop(self) -> Sequence[Event]:
        if not self._started:
            raise broken("type")
        events = NOTHING if self._finished else self._end({})
        self.ended = self.complete = True
        return events


class _Input:
    """The input of a tool's call while it comes in pieces of JSON text. `block`: as it began."""

    __slots__ = ("block", "pieces")

    def __init__(self, block: dict[str, Any]) -> None:
        self.block = block
        self.pieces: list[str] = []

    def began(self) -> str:
        value = self.block.get("input")
        if value is not None and not isinstance(value, dict):
            raise broken("input")
        return write_arguments(value or {})

    def whole(self) -> Opaque:
        """The block with the input that its pieces make. Raises UpstreamError if they are no JSON."""
        text = "".join(self.pieces)
        if not text:
            return Opaque(NAME, str(self.block.get("type")), self.block)
        value = load_json(text.encode("utf-8", "surrogatepass"))
        if not isinstance(value, dict):
            raise broken("input")
        return Opaque(NAME, str(self.block.get("type")), {**self.block, "input": value})
