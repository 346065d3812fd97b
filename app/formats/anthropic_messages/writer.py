"""A canonical answer as it comes, written as the stream that Anthropic's clients expect.

Source: Anthropic's "Streaming messages": a block is numbered by its place in the content, and the usage of `message_delta` is
cumulative, input included (some clients read it nowhere else).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from app.core.conversation import (
    Block,
    BlockEnded,
    BlockStarted,
    Cited,
    Event,
    Finish,
    Finished,
    Grown,
    Refusal,
    Reported,
    Signature,
    Signed,
    Started,
    Text,
    Thinking,
    ToolCall,
)
from app.core.usage import Usage
from app.formats.anthropic_messages.stream import STOP
from app.formats.anthropic_messages.thoughts import write_signature
from app.formats.anthropic_messages.usage import write_usage
from app.formats.anthropic_messages.write_answer import (
    UNKNOWN,
    write_block,
    write_citation,
    write_head,
    write_stop,
)
from app.formats.base import Stamp
from app.formats.framing import write_event, write_json

NOTHING = b""

DELTAS: Mapping[type, tuple[str, str]] = MappingProxyType(
    {
        Text: ("text_delta", "text"),
        Thinking: ("thinking_delta", "thinking"),
        ToolCall: ("input_json_delta", "partial_json"),
    }
)


class MessagesWriter:
    """See `app.formats.base.EventWriter`.

    A text or a thought begins with its first piece, so that an empty one leaves no block behind: sent back in the next turn,
    Anthropic refuses those.
    """

    __slots__ = (
        "_block",
        "_finish",
        "_index",
        "_model",
        "_open",
        "_prefix",
        "_refusal",
        "_signed",
        "_stamp",
        "_started",
        "_stop_sequence",
        "_usage",
    )

    def __init__(self, model: str, stamp: Stamp) -> None:
        self._model = model
        self._stamp = stamp
        self._started = False
        self._index = -1
        self._block: Block | None = None
        self._open = False
        """Whether the client knows of the block."""
        self._prefix = NOTHING
        """Of a frame with more of the open block's text, up to that text."""
        self._signed = False
        self._refusal: list[str] = []
        self._finish: Finish | None = None
        self._stop_sequence: str | None = None
        self._usage: Usage | None = None

    def write(self, event: Event) -> bytes:
        if type(event) is Grown:
            return self._grow(event.text) if event.choice == 0 else NOTHING
        match event:
            case Started(usage=usage):
                return self._start(usage)
            case Reported(usage):
                self._usage = usage
            case BlockStarted(block, 0):
                return self._begin(block)
            case Signed(signature, 0):
                return self._sign(signature)
            case Cited(citation, 0):
                return self._add({"type": "citations_delta", "citation": write_citation(citation)})
            case BlockEnded(0):
                return self._end_block()
            case Finished(finish, 0, stop_sequence):
                self._finish, self._stop_sequence = finish, stop_sequence
        return NOTHING

    def end(self) -> bytes:
        head = NOTHING if self._started else self._start(None)
        stop = write_stop(self._finish, self._stop_sequence, "".join(self._refusal))
        usage = write_usage(self._usage or UNKNOWN)
        return head + write_event({"type": "message_delta", "delta": stop, "usage": usage}) + STOP

    def _start(self, usage: Usage | None) -> bytes:
        self._started = True
        self._usage = usage
        head = write_head(self._model, self._stamp, usage or UNKNOWN)
        return write_event({"type": "message_start", "message": head})

    def _begin(self, block: Block) -> bytes:
        self._block, self._open, self._signed = block, False, False
        match block:
            case Refusal(text):
                self._refusal.append(text)
                return NOTHING
            case Text(text) | Thinking(text, redacted=False):
                return self._grow(text)
            case ToolCall(arguments=arguments):
                return self._show({"type": "tool_use", "id": block.id, "name": block.name, "input": {}}) + self._grow(
                    arguments
                )
            case _:
                whole = write_block(block)
                return NOTHING if whole is None else self._show(whole)

    def _grow(self, text: str) -> bytes:
        if not text:
            return NOTHING
        if self._open:
            return self._prefix + write_json(text) + b"}}\n\n"
        if type(self._block) is Refusal:
            self._refusal.append(text)
            return NOTHING
        head = self._show_empty()
        return head + self._prefix + write_json(text) + b"}}\n\n" if head else NOTHING

    def _add(self, delta: Mapping[str, Any]) -> bytes:
        head = NOTHING if self._open else self._show_empty()
        if not self._open:
            return NOTHING
        return head + self._frame("content_block_delta", delta=delta)

    def _sign(self, signature: Signature | None) -> bytes:
        self._signed = True
        return self._add({"type": "signature_delta", "signature": write_signature(signature)})

    def _end_block(self) -> bytes:
        block, head = self._block, NOTHING
        if isinstance(block, Text):
            head = b"".join(
                self._add({"type": "citations_delta", "citation": write_citation(c)}) for c in block.citations
            )
        elif (
            isinstance(block, Thinking) and not self._signed and not block.redacted and (self._open or block.signature)
        ):
            head = self._sign(block.signature)
        tail = self._frame("content_block_stop") if self._open else NOTHING
        self._block, self._open = None, False
        return head + tail

    def _show_empty(self) -> bytes:
        """The beginning of a text or a thought; nothing for any other block."""
        match self._block:
            case Text():
                return self._show({"type": "text", "text": ""})
            case Thinking(redacted=False):
                return self._show({"type": "thinking", "thinking": "", "signature": ""})
            case _:
                return NOTHING

    def _show(self, block: Mapping[str, Any]) -> bytes:
        self._index += 1
        self._open = True
        kind, field = DELTAS.get(type(self._block), ("", ""))
        self._prefix = (
            'event: content_block_delta\ndata: {"type":"content_block_delta",'
            f'"index":{self._index},"delta":{{"type":"{kind}","{field}":'
        ).encode()
        return self._frame("content_block_start", content_block=block)

    def _frame(self, kind: str, **more: object) -> bytes:
        return write_event({"type": kind, "index": self._index, **more})
