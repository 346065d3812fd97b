"""A canonical answer as it comes, written as the stream that Google's clients expect, as events or as one JSON array.

Every chunk has a candidate with a part in it: google-genai's chats take a conversation for spoilt otherwise. A call comes
whole, with all its arguments. What depends on the whole (finish, usage, sources) stands in the last chunk.
"""

from __future__ import annotations

from typing import Any

from app.core.conversation import (
    Block,
    BlockEnded,
    BlockStarted,
    Citation,
    Cited,
    Event,
    Failed,
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
    Token,
    ToolCall,
    Weighed,
)
from app.core.usage import Usage
from app.formats.base import Stamp
from app.formats.framing import write_json
from app.formats.gemini_generate.parts import load_object
from app.formats.gemini_generate.thoughts import write_bare_signature, write_signature, write_thought
from app.formats.gemini_generate.usage import write_usage
from app.formats.gemini_generate.write_answer import (
    REASONS,
    write_call,
    write_findings,
    write_part,
)

NOTHING = b""
THOUGHT = b',"thought":true'


class GenerateWriter:
    """See `app.formats.base.EventWriter`."""

    __slots__ = ("_array", "_choices", "_opened", "_tail", "_usage")

    def __init__(self, model: str, stamp: Stamp, *, array: bool = False) -> None:
        self._array = array
        self._opened = False
        self._choices: dict[int, _Choice] = {}
        self._tail = b',"modelVersion":%b,"responseId":%b}' % (write_json(model), write_json(stamp.id))
        self._usage: Usage | None = None

    def write(self, event: Event) -> bytes:
        if type(event) is Grown:
            choice = self._choices.get(event.choice)
            if choice is not None and choice.head and choice.pending is None:
                choice.pieces.append(event.text)
                return self._frame(choice.head + write_json(event.text) + choice.tail) if event.text else NOTHING
        if isinstance(event, Started | Reported):
            self._usage = event.usage or self._usage
        if isinstance(event, Started | Reported | Failed):
            return NOTHING
        choice = self._choices.get(event.choice)
        if choice is None:
            choice = self._choices[event.choice] = _Choice(event.choice, self._tail)
        return b"".join(self._frame(choice.frame(part)) for part in choice.take(event))

    def end(self) -> bytes:
        choices = self._choices or {0: _Choice(0, self._tail)}
        last: dict[str, Any] = {"candidates": [choices[index].finish() for index in sorted(choices)]}
        if self._usage is not None:
            last["usageMetadata"] = write_usage(self._usage)
        frame = self._frame(write_json(last)[:-1] + self._tail)
        return frame + b"]" if self._array else frame

    def _frame(self, chunk: bytes) -> bytes:
        if not self._array:
            return b"data: %b\n\n" % chunk
        start = b",\r\n" if self._opened else b"["
        self._opened = True
        return start + chunk


class _Choice:
    """One candidate. `head` and `tail` are what stands around more of the open block's text; `head` is empty where the block
    isn't one that goes out as it grows. `pending`: a signature that belongs to the next part.
    """

    __slots__ = (
        "_block", "_cited", "_finish", "_index", "_signature", "_start", "_texts", "_tokens", "_torn", "_whole_tail", "head",
        "pending", "pieces", "tail",
    )  # fmt: skip

    def __init__(self, index: int, tail: bytes) -> None:
        self._index = index
        self._start = b'{"candidates":[{"content":{"parts":['
        self._whole_tail = b'],"role":"model"},"index":%d}]' % index + tail
        self._block: Block | None = None
        self._signature: Signature | None = None
        self._cited: list[Citation] = []
        self._texts: list[tuple[str, list[Citation]]] = []
        self._tokens: list[Token] = []
        self._finish: Finish | None = None
        self.head = NOTHING
        self.tail = NOTHING
        self._torn: ToolCall | None = None
        self.pending: str | None = None
        self.pieces: list[str] = []

    def frame(self, part: dict[str, Any]) -> bytes:
        return self._start + write_json(part) + self._whole_tail

    def take(self, event: Event) -> list[dict[str, Any]]:
        """The parts to send now. Raises UpstreamError for a call whose arguments are no JSON object."""
        match event:
            case BlockStarted(block):
                return self._open(block)
            case Grown(text):
                return self._grow(text)
            case Signed(signature):
                self._signature = signature
            case Cited(citation):
                self._cited.append(citation)
            case Weighed(tokens):
                self._tokens += tokens
            case BlockEnded():
                return self._close()
            case Finished(finish):
                self._finish = finish
                if self._torn is not None:
                    return [self._sign(write_call(self._torn, cut=finish is Finish.LENGTH))]
        return []

    def finish(self) -> dict[str, Any]:
        """The candidate in the last chunk."""
        part = {"text": ""} if self.pending is None else write_bare_signature(self.pending)
        candidate: dict[str, Any] = {
            "content": {"parts": [part], "role": "model"},
            "finishReason": REASONS[self._finish or Finish.STOP],
            "index": self._index,
        }
        return candidate | write_findings(self._texts, self._tokens)

    def _open(self, block: Block) -> list[dict[str, Any]]:
        self._block = block
        self.pieces.clear()
        match block:
            case Text(text) | Refusal(text):
                self.head = self._start + b'{"text":'
                self.tail = b"}" + self._whole_tail
                return self._grow(text)
            case Thinking(text, signature):
                flushed = self._flush()
                self._signature = signature
                self.head = self._start + b'{"text":'
                self.tail = THOUGHT + b"}" + self._whole_tail
                return flushed + self._grow(text)
            case ToolCall(arguments=arguments):
                self.pieces.append(arguments)
                return []
            case _:
                part = write_part(block)
                return [] if part is None else [self._sign(part)]

    def _grow(self, text: str) -> list[dict[str, Any]]:
        if not text:
            return []
        self.pieces.append(text)
        if isinstance(self._block, Thinking):
            return [write_thought(text, None)]
        return [self._sign({"text": text})] if self.head else []

    def _close(self) -> list[dict[str, Any]]:
        block, text = self._block, "".join(self.pieces)
        self._block, self.head = None, NOTHING
        self.pieces.clear()
        match block:
            case Text(citations=citations):
                if citations or self._cited:
                    self._texts.append((text, [*citations, *self._cited]))
                    self._cited = []
            case Thinking(redacted=redacted):
                return self._end_thought(text, redacted)
            case ToolCall():
                whole = ToolCall(block.id, block.name, text, block.custom)
                if not whole.custom and load_object(text) is None:
                    self._torn = whole
                    return []
                return [self._sign(write_call(whole))]
        return []

    def _end_thought(self, text: str, redacted: bool) -> list[dict[str, Any]]:
        signature = write_signature(Thinking(text, self._signature, redacted))
        self._signature = None
        if signature is not None and (text or redacted):
            return [write_thought("", signature)]
        self.pending = signature
        return []

    def _sign(self, part: dict[str, Any]) -> dict[str, Any]:
        if self.pending is None:
            return part
        signed = {**part, "thoughtSignature": self.pending}
        self.pending = None
        return signed

    def _flush(self) -> list[dict[str, Any]]:
        """A signature whose part never came: it stands alone, as at the end of a text."""
        pending, self.pending = self.pending, None
        return [] if pending is None else [write_bare_signature(pending)]
