"""A canonical answer as it comes, written as the stream that clients of Chat Completions expect.

Source: OpenAI's API reference, "The chat completion chunk object". A thought streams in `reasoning_content`; its entry of
`reasoning_details` comes whole when it ends, since official SDKs join the texts of entries of one index, signatures and all.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    Image,
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
from app.formats.openai_chat.stream import DONE
from app.formats.openai_chat.thoughts import is_bound, write_details
from app.formats.openai_chat.turn import GAP, move_citation, write_citation, write_signature
from app.formats.openai_chat.usage import write_usage
from app.formats.openai_chat.write_answer import FINISHES, write_images, write_logprobs

NOTHING = b""


class ChatWriter:
    """See `app.formats.base.EventWriter`. `wants_usage`: the client asked for a chunk of usage."""

    __slots__ = ("_choices", "_head", "_tail", "_usage", "_wants_usage")

    def __init__(self, model: str, stamp: Stamp, *, wants_usage: bool) -> None:
        head = {
            "id": f"chatcmpl-{stamp.id}",
            "object": "chat.completion.chunk",
            "created": stamp.created,
            "model": model,
        }
        self._head = b"data: " + write_json(head)[:-1] + b',"choices":['
        # With `include_usage`, OpenAI's own chunks say that theirs isn't the one with the usage.
        self._tail = b'],"usage":null}\n\n' if wants_usage else b"]}\n\n"
        self._wants_usage = wants_usage
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None

    def write(self, event: Event) -> bytes:
        if type(event) is Grown:
            choice = self._choices.get(event.choice)
            return NOTHING if choice is None or not event.text else choice.grow(event.text)
        match event:
            case Started(usage=usage):
                self._usage = usage
                return self._open(0)[1]
            case Reported(usage):
                self._usage = usage
                return NOTHING
            case BlockStarted() | Weighed() | Cited() | Signed() | BlockEnded() | Finished():
                choice, head = self._open(event.choice)
                return head + choice.take(event)
            case _:
                return NOTHING

    def end(self) -> bytes:
        out = [] if self._choices else [self._open(0)[1]]
        out += [choice.finish(Finish.STOP) for choice in self._choices.values() if not choice.finished]
        if self._wants_usage and self._usage is not None:
            usage = write_json(write_usage(self._usage))
            out.append(self._head + b'],"usage":' + usage + b"}\n\n")
        return b"".join([*out, DONE])

    def _open(self, index: int) -> tuple[_Choice, bytes]:
        """The choice, and the chunk that begins it where it is new."""
        choice = self._choices.get(index)
        if choice is not None:
            return choice, NOTHING
        choice = self._choices[index] = _Choice(index, self._head, self._tail)
        return choice, choice.frame({"role": "assistant", "content": ""})


class _Choice:
    """One choice while it is written."""

    __slots__ = (
        "_block",
        "_bound",
        "_calls",
        "_citations",
        "_delta",
        "_details",
        "_end",
        "_gap",
        "_grew",
        "_images",
        "_last",
        "_pieces",
        "_prefix",
        "_signature",
        "_start",
        "_suffix",
        "_tail",
        "_thought",
        "_tokens",
        "_written",
        "finished",
    )

    def __init__(self, index: int, head: bytes, tail: bytes) -> None:
        self.finished = False
        self._delta = b"%b{" % head + b'"index":%d,"delta":' % index
        self._tail = tail
        self._end = b',"logprobs":null,"finish_reason":null}' + tail
        self._block: Block | None = None
        self._last: type | None = None
        """Of the block before, for the gap between texts."""
        self._prefix = NOTHING
        """Of a frame with more of the open block's text, up to that text; nothing for a block that is written whole."""
        self._suffix = NOTHING
        self._gap = ""
        """What goes before the open block's first piece."""
        self._grew = False
        """Whether any of the open block was written yet."""
        self._pieces: list[str] = []
        """Of a thought, whose entry is written when it ends, and of what is written whole."""
        self._signature: Signature | None = None
        self._bound: Thinking | None = None
        self._details = self._calls = self._images = 0
        self._written = self._start = 0
        """Characters of text so far, and where the open one begins."""
        self._thought = False
        self._citations: list[dict[str, Any]] = []
        self._tokens: list[Token] = []

    def grow(self, text: str) -> bytes:
        """More of the open block."""
        kind = type(self._block)
        if kind is Thinking or not self._prefix:
            self._pieces.append(text)
            if not self._prefix:
                return NOTHING
        if self._gap:
            text, self._gap = self._gap + text, ""
            self._start = self._written + len(GAP)
        if kind is Text:
            self._written += len(text)
        self._grew = True
        suffix = self._suffix
        if self._tokens:
            suffix = suffix[: -len(self._end)] + self._weighed()
        return self._prefix + write_json(text) + suffix

    def take(self, event: BlockStarted | Weighed | Cited | Signed | BlockEnded | Finished) -> bytes:
        match event:
            case BlockStarted(block):
                return self._begin(block)
            case Weighed(tokens):
                self._tokens += tokens
            case Signed(signature):
                self._signature = signature
            case Cited(citation):
                moved = move_citation(citation, self._start, self._written)
                return self.frame({"annotations": [write_citation(moved)]})
            case BlockEnded():
                return self._close()
            case Finished(finish):
                return self.finish(finish)
        return NOTHING

    def finish(self, finish: Finish) -> bytes:
        """The last chunk of the choice."""
        self.finished = True
        head = self._flush() if self._bound is None else self._sign(None) + self._flush()
        return head + self._delta + b'{},"logprobs":null,"finish_reason":"%b"}' % FINISHES[finish].encode() + self._tail

    def frame(self, delta: Mapping[str, Any]) -> bytes:
        return self._delta + write_json(delta) + self._end

    def _flush(self) -> bytes:
        """Probabilities of tokens that no text came with."""
        return self._delta + b"{}" + self._weighed() if self._tokens else NOTHING

    def _weighed(self) -> bytes:
        tokens, self._tokens = self._tokens, []
        return b',"logprobs":' + write_json(write_logprobs(tokens)) + b',"finish_reason":null}' + self._tail

    def _begin(self, block: Block) -> bytes:
        self._block, self._pieces, self._signature = block, [], None
        self._prefix = self._suffix = NOTHING
        self._gap, self._grew = "", False
        match block:
            case Text(text):
                self._start = self._written
                return self._sign(None) + self._stream(b'"content"', text, self._written > 0 and self._last is not Text)
            case Thinking(text, redacted=False) if not is_bound(block):
                return self._sign(None) + self._stream(b'"reasoning_content"', text, self._thought)
            case Refusal(text):
                return self._sign(None) + self._stream(b'"refusal"', text, False)
            case ToolCall():
                return self._begin_call(block)
        return self._sign(None)

    def _stream(self, field: bytes, text: str, gap: bool) -> bytes:
        """From here on the open block's text goes out as it comes, after a gap if there is to be one."""
        self._prefix = self._delta + b"{" + field + b":"
        self._suffix = b"}" + self._end
        self._gap = GAP if gap else ""
        return self.grow(text) if text else NOTHING

    def _begin_call(self, call: ToolCall) -> bytes:
        bound = self._bound
        head = self._sign(call.id)
        told: dict[str, Any] = {"index": self._calls, "id": call.id, "type": "function"}
        if bound is not None and bound.signature is not None:
            told["extra_content"] = write_signature(bound.signature)
        if call.custom:
            told |= {"type": "custom", "custom": {"name": call.name, "input": ""}}
            field = b'"custom":{"input":'
        else:
            told["function"] = {"name": call.name, "arguments": ""}
            field = b'"function":{"arguments":'
        self._prefix = self._delta + b'{"tool_calls":[{"index":%d,' % self._calls + field
        self._suffix = b"}}]}" + self._end
        written = self.frame({"tool_calls": [told]})
        return head + written + (self.grow(call.arguments) if call.arguments else NOTHING)

    def _close(self) -> bytes:
        block, written = self._block, NOTHING
        match block:
            case Thinking():
                written = self._close_thought(block)
                if self._bound is not None:  # it stands between nothing
                    self._prefix = NOTHING
                    return written
            case Text(citations=citations):
                moved = [move_citation(citation, self._start, self._written) for citation in citations]
                if moved:
                    written = self.frame({"annotations": [write_citation(citation) for citation in moved]})
            case ToolCall():
                written = self._close_call(block)
                self._calls += 1
            case Image():
                image = {**write_images([block])[0], "index": self._images}
                self._images += 1
                written = self.frame({"images": [image]})
        self._last = type(block)
        self._block, self._prefix = None, NOTHING
        return written

    def _close_thought(self, block: Thinking) -> bytes:
        text = "".join(self._pieces)
        thought = Thinking(text, self._signature or block.signature, block.redacted, block.id)
        self._thought = self._thought or bool(text)
        if is_bound(thought):
            self._bound = thought
            return NOTHING
        return self._detail(thought, None)

    def _close_call(self, block: ToolCall) -> bytes:
        """No arguments are `{}`."""
        return NOTHING if self._grew or block.custom else self.grow("{}")

    def _sign(self, call_id: str | None) -> bytes:
        """The entry of Google's signature, now that it is known what it signs."""
        bound, self._bound = self._bound, None
        return NOTHING if bound is None else self._detail(bound, call_id)

    def _detail(self, thought: Thinking, call_id: str | None) -> bytes:
        details = write_details(thought, self._details, call_id)
        self._details += len(details)
        return self.frame({"reasoning_details": details}) if details else NOTHING
