"""Canonical events, written as the stream of response events that this format's clients expect.

An item is open while it grows: a message takes every text that follows, a thought or a call is one block. What was told in
pieces is told again whole when it is done, as OpenAI does, and once more in the last event's response.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from app.core.conversation import (
    Ask,
    Block,
    BlockEnded,
    BlockStarted,
    Citation,
    Cited,
    Event,
    Finish,
    Finished,
    Grown,
    Image,
    Opaque,
    Refusal,
    Reported,
    Signature,
    Signed,
    Started,
    Text,
    Thinking,
    Token,
    ToolCall,
    Weighed,
)
from app.core.usage import Usage
from app.formats.base import Request, Stamp
from app.formats.framing import write_json
from app.formats.openai_responses.fields import NAME
from app.formats.openai_responses.items import (
    COMPLETED,
    IN_PROGRESS,
    Item,
    annotation,
    call_item,
    closing_fields,
    image_item,
    message_item,
    open_fields,
    open_response,
    refusal_part,
    status_of,
    text_part,
    thought_item,
    write_token,
)

_WORDS = "response.output_text"
_DENIAL = "response.refusal"
_SUMMARY = "response.reasoning_summary_text"
_PARTS = "response.reasoning_summary_part"
_CALL = "response.function_call_arguments"
_CUSTOM = "response.custom_tool_call_input"


class ResponsesWriter:
    """See `app.formats.base.EventWriter`."""

    __slots__ = (
        "_ask",
        "_block",
        "_cited",
        "_finish",
        "_head",
        "_output",
        "_parts",
        "_pending",
        "_pieces",
        "_request",
        "_response",
        "_sequence",
        "_signature",
        "_stamp",
        "_tail",
        "_tokens",
        "_usage",
    )

    def __init__(self, request: Request, ask: Ask, stamp: Stamp) -> None:
        self._request = request
        self._ask = ask
        self._stamp = stamp
        self._sequence = 0
        self._response: dict[str, Any] = {}
        self._output: list[Item] = []
        self._parts: list[Item] | None = None
        self._block: Block | None = None
        self._pieces: list[str] = []
        self._cited: list[Citation] = []
        self._tokens: list[Token] = []
        self._pending: tuple[Token, ...] = ()
        self._signature: Signature | None = None
        self._head = self._tail = b""
        self._finish: Finish | None = None
        self._usage: Usage | None = None

    def write(self, event: Event) -> bytes:
        if type(event) is Grown:
            return self._grow(event.text) if event.choice == 0 else b""
        match event:
            case Started():
                self._usage = event.usage
                return self._start()
            case Reported(usage):
                self._usage = usage
                return b""
            case BlockStarted(block, 0):
                return self._begin(block)
            case BlockEnded(0):
                return self._end_block()
            case Signed(signature, 0):
                self._signature = signature
            case Cited(citation, 0):
                return self._cite(citation)
            case Weighed(tokens, 0):
                return self._weigh(tokens)
            case Finished(finish, 0):
                self._finish = finish
        return b""

    def end(self) -> bytes:
        closed = self._close_message(status_of(self._finish))
        response = {**self._response, **closing_fields(self._finish, self._usage), "output": self._output}
        return closed + self._frame(f"response.{status_of(self._finish)}", response=response)

    # -- frames --------------------------------------------------------------------------------------------------------

    def _frame(self, type: str, **fields: Any) -> bytes:
        data = write_json({"type": type, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        return b"event: %b\ndata: %b\n\n" % (type.encode(), data)

    def _start(self) -> bytes:
        self._response = open_response(self._request, self._ask, self._stamp)
        response = {**self._response, **open_fields()}
        return self._frame("response.created", response=response) + self._frame(
            "response.in_progress", response=response
        )

    def _place(self) -> dict[str, Any]:
        """Where the open block stands."""
        index = len(self._output)
        match self._block:
            case Thinking():
                id = thought_item(self._stamp, index, self._block)["id"]
                return {"item_id": id, "output_index": index}
            case ToolCall():
                return {"item_id": call_item(self._stamp, index, self._block, IN_PROGRESS)["id"], "output_index": index}
        parts = 0 if self._parts is None else len(self._parts)
        return {"item_id": f"msg_{self._stamp.id}_{index}", "output_index": index, "content_index": parts}

    def _expect(self, name: str, **fields: Any) -> None:
        """Prepares the delta frames of the open block, which differ in their text and number alone."""
        head, _, tail = write_json(
            {"type": f"{name}.delta", **self._place(), **fields, "delta": "", **self._odds()}
        ).partition(b'"delta":""')
        self._head = b'event: %b.delta\ndata: %b"delta":' % (name.encode(), head)
        self._tail = tail[:-1]

    def _odds(self) -> dict[str, Any]:
        return {"logprobs": []} if isinstance(self._block, Text) else {}

    def _grow(self, text: str) -> bytes:
        if not text or self._block is None:
            return b""
        first = b""
        if not self._head:
            first = self._begin_summary()
        self._pieces.append(text)
        number = self._sequence
        self._sequence = number + 1
        return b'%b%b%b%b,"sequence_number":%d}\n\n' % (first, self._head, write_json(text), self._tail, number)

    # -- blocks --------------------------------------------------------------------------------------------------------

    def _begin(self, block: Block) -> bytes:
        self._signature, self._head = None, b""
        match block:
            case Text() | Refusal():
                return self._begin_part(block)
            case Thinking() | ToolCall():
                return self._begin_item(block)
            case Image():
                return self._tell_item(image_item(self._stamp, self._next(), block))
            case Opaque(format=format, value=value) if format == NAME and isinstance(value, dict):
                return self._tell_item(value)
        return b""  # what no answer of this format holds

    def _next(self) -> int:
        """The index of an item that would begin now."""
        return len(self._output) + (self._parts is not None)

    def _begin_part(self, block: Text | Refusal) -> bytes:
        opened = b""
        if self._parts is None:
            self._parts = []
            index = len(self._output)
            item = message_item(self._stamp, index, [], IN_PROGRESS)
            opened = self._frame("response.output_item.added", output_index=index, item=item)
        self._block = block
        empty = text_part(Text("")) if isinstance(block, Text) else refusal_part(Refusal(""))
        opened += self._frame("response.content_part.added", **self._place(), part=empty)
        self._expect(_WORDS if isinstance(block, Text) else _DENIAL)
        if isinstance(block, Text):
            if self._pending:
                opened += self._weigh(self._pending)
                self._pending = ()
            return opened + self._grow(block.text) + b"".join([self._cite(cited) for cited in block.citations])
        return opened + self._grow(block.text)

    def _begin_item(self, block: Thinking | ToolCall) -> bytes:
        closed = self._close_message(COMPLETED)
        self._block, index = block, len(self._output)
        if isinstance(block, ToolCall):
            item = call_item(self._stamp, index, replace(block, arguments=""), IN_PROGRESS)
        else:
            item = thought_item(self._stamp, index, Thinking("", None, block.redacted, block.id))
            item["status"] = IN_PROGRESS
        closed += self._frame("response.output_item.added", output_index=index, item=item)
        if isinstance(block, ToolCall):
            self._expect(_CUSTOM if block.custom else _CALL)
            return closed + self._grow(block.arguments)
        self._signature = block.signature
        return closed + self._grow(block.text)

    def _begin_summary(self) -> bytes:
        self._expect(_SUMMARY, summary_index=0)
        return self._frame(
            f"{_PARTS}.added", **self._place(), summary_index=0, part={"type": "summary_text", "text": ""}
        )

    def _tell_item(self, item: Item | None) -> bytes:
        """An item that comes whole."""
        if item is None:
            return b""
        closed = self._close_message(COMPLETED)
        return (
            closed
            + self._frame("response.output_item.added", output_index=len(self._output), item=item)
            + self._done(item)
        )

    def _cite(self, citation: Citation) -> bytes:
        if not isinstance(self._block, Text):
            return b""
        index = len(self._cited)
        self._cited.append(citation)
        told = annotation(citation, "".join(self._pieces))
        return self._frame(f"{_WORDS}.annotation.added", **self._place(), annotation_index=index, annotation=told)

    def _weigh(self, tokens: tuple[Token, ...]) -> bytes:
        """Log probabilities of what was said last, in a delta without text; those of what is to come wait for it."""
        if not isinstance(self._block, Text):
            self._pending += tokens
            return b""
        self._tokens += tokens
        told = [write_token(token) for token in tokens]
        return self._frame(f"{_WORDS}.delta", **self._place(), delta="", logprobs=told)

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _end_block(self) -> bytes:
        text, block = "".join(self._pieces), self._block
        match block:
            case Text():
                done = self._end_text(text)
            case Refusal():
                done = self._frame(f"{_DENIAL}.done", **self._place(), refusal=text)
                done += self._end_part(refusal_part(Refusal(text)))
            case Thinking():
                done = self._end_thought(block, text)
            case ToolCall():
                done = self._end_call(block, text)
            case _:
                return b""
        self._block = None
        self._pieces = []
        return done

    def _end_text(self, text: str) -> bytes:
        part = text_part(Text(text, tuple(self._cited)), self._tokens)
        self._cited, self._tokens = [], []
        done = self._frame(f"{_WORDS}.done", **self._place(), text=text, logprobs=part["logprobs"])
        return done + self._end_part(part)

    def _end_part(self, part: Item) -> bytes:
        done = self._frame("response.content_part.done", **self._place(), part=part)
        assert self._parts is not None
        self._parts.append(part)
        return done

    def _end_thought(self, block: Thinking, text: str) -> bytes:
        done = b""
        if text:
            place = {**self._place(), "summary_index": 0}
            done = self._frame(f"{_SUMMARY}.done", **place, text=text)
            done += self._frame(f"{_PARTS}.done", **place, part={"type": "summary_text", "text": text})
        thought = replace(block, text=text, signature=self._signature)
        return done + self._done(thought_item(self._stamp, len(self._output), thought))

    def _end_call(self, block: ToolCall, text: str) -> bytes:
        done = b""
        if not text and not block.custom:
            text = "{}"
            done = self._grow(text)
        item = call_item(self._stamp, len(self._output), replace(block, arguments=text), COMPLETED)
        words = {"input": text} if block.custom else {"arguments": text, "name": block.name}
        done += self._frame(f"{_CUSTOM if block.custom else _CALL}.done", **self._place(), **words)
        return done + self._done(item)

    def _close_message(self, status: str) -> bytes:
        if self._parts is None:
            return b""
        item = message_item(self._stamp, len(self._output), self._parts, status)
        self._parts = None
        return self._done(item)

    def _done(self, item: Item) -> bytes:
        done = self._frame("response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)
        return done
