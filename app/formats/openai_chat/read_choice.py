"""One choice of an answer, read into events: a stream's deltas as they come, a whole message as if it were one delta.

Blocks of a choice follow one another, so a piece of another kind ends the open block. What servers do otherwise than OpenAI:
thoughts in `reasoning`, `reasoning_content` or `reasoning_details`; calls without index, id or type, several under one index,
or a name that comes late; content in parts; images beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from app.core.conversation import (
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
    Media,
    Refusal,
    Signature,
    Signed,
    Text,
    Thinking,
    ToolCall,
    Weighed,
)
from app.core.ids import new_id
from app.errors import Kind, UpstreamError
from app.formats.openai_chat.read_messages import read_citation
from app.formats.openai_chat.read_values import (
    broken,
    read_arguments,
    read_objects,
    read_signature,
    read_text,
    read_thinking,
    read_tokens,
)
from app.formats.openai_chat.reply import error_in_body
from app.formats.openai_chat.thoughts import ENCRYPTED, SUMMARY, TEXT, Detail, convert_details, goes_on, seals
from app.formats.openai_chat.thoughts import sealed as sealed_thought
from app.formats.openai_chat.turn import GAP

FINISHES: Mapping[str, Finish] = MappingProxyType(
    {
        "length": Finish.LENGTH,
        "model_length": Finish.LENGTH,  # Mistral's: the context is full
        "tool_calls": Finish.TOOL_CALLS,
        "function_call": Finish.TOOL_CALLS,
        "content_filter": Finish.FILTERED,
    }
)
"""Any other word is an end like any other: vLLM passes on what a model's own template says."""

FAILURES = frozenset({"error", "insufficient_system_resource"})
"""Words of OpenRouter and DeepSeek for an answer that was cut off."""

_UNFIT = re.compile(r"[^A-Za-z0-9]")


class Call:
    """A tool's call while it comes. `given`: the server's own id. `pieces` gather its arguments until it is told of: until
    its name is known, and while another call is open. `named`: its name, whether it is a custom one, and its first piece.
    """

    __slots__ = ("given", "id", "named", "pieces", "started")

    def __init__(self, id: str, given: str | None) -> None:
        self.id = id
        self.given = given
        self.named: tuple[str, bool, Mapping[str, Any]] | None = None
        self.pieces = ""
        self.started = False


class ChoiceReader:
    """Reads the deltas of one choice. `open`: the type of the open block, None while there is none."""

    __slots__ = (
        "_bound",
        "_call",
        "_calls",
        "_citations",
        "_count",
        "_detail",
        "_echoed",
        "_last",
        "_prefix",
        "_side_by_side",
        "finished",
        "index",
        "open",
        "words",
    )

    def __init__(self, index: int, answer_id: str) -> None:
        self.index = index
        self.open: type[Block] | None = None
        self.finished = False
        self._prefix = (_UNFIT.sub("", answer_id)[-24:] or new_id().hex[-24:]) + str(index)
        """Of ids for calls that came without: the same for a whole answer as for a stream."""
        self._detail: Detail | None = None
        """The last entry of `reasoning_details` that belongs to the open thought."""
        self.words: list[str] = []
        """Of the open thought, where it comes in plain words."""
        self._echoed = False
        """Whether an entry of `reasoning_details` has repeated such a thought, as this gateway's own streams do."""
        self._bound: dict[str, Signature] = {}
        self._calls: dict[object, Call] = {}
        self._call: Call | None = None
        """The one that is open."""
        self._last: Call | None = None
        self._side_by_side = False
        self._count = 0
        self._citations: list[Citation] = []

    @property
    def is_plain(self) -> bool:
        """Whether the open thought came in plain words, so that more of them are more of it."""
        return self._detail is None

    def take(self, delta: Mapping[str, Any], logprobs: object = None, *, whole: bool = False) -> list[Event]:
        """What a delta tells. `whole`: it is a message. Raises UpstreamError if it isn't what the format promises."""
        events: list[Event] = []
        if logprobs is not None:
            self._weigh(logprobs, events)
        self._take_thoughts(delta, events)
        content = delta.get("content")
        if content:
            self._take_content(content, events)
        for annotation in read_objects(delta.get("annotations")):
            citation = read_citation(annotation)
            if citation is not None:
                self._cite(citation, events)
        for image in read_objects(delta.get("images")):
            self._show(image, events)
        refusal = delta.get("refusal")
        if refusal:
            self._grow(Refusal, read_text(refusal, "refusal"), events)
        self._take_calls(delta, events, whole)
        return events

    def finish(self, reason: object, stop: object = None) -> list[Event]:
        """The end of the choice. `stop`: vLLM's `stop_reason`, the sequence or the token that ended it."""
        check_reason(reason)
        events: list[Event] = []
        self._start_waiting(events)
        if self._waiting():
            raise broken("tool_calls")
        self._close(events)
        for signature in self._bound.values():  # of calls that never came, or came before it
            self._put(Thinking("", signature), events)
        finish = FINISHES.get(reason, Finish.STOP) if isinstance(reason, str) else Finish.STOP
        sequence = stop if isinstance(stop, str) and stop and reason == "stop" else None
        if finish is Finish.STOP and self._count:
            finish = Finish.TOOL_CALLS
        elif finish is Finish.STOP and sequence is not None:
            finish = Finish.STOP_SEQUENCE
        self.finished = True
        return [*events, Finished(finish, self.index, sequence if finish is Finish.STOP_SEQUENCE else None)]

    # -- blocks --------------------------------------------------------------------------------------------------------

    def _close(self, events: list[Event]) -> None:
        if self.open is not None:
            events.append(BlockEnded(self.index))
        self.open = self._detail = self._call = None

    def _begin(self, block: Block, events: list[Event]) -> None:
        if self._call is not None and not isinstance(block, ToolCall | Thinking):
            self._start_waiting(events)
        self._close(events)
        events.append(BlockStarted(block, self.index))
        self.open = type(block)

    def _put(self, block: Block, events: list[Event]) -> None:
        self._begin(block, events)
        self._close(events)

    def _grow(self, kind: type[Text | Thinking | Refusal], text: str, events: list[Event]) -> None:
        if self.open is kind and self._detail is None:
            events.append(Grown(text, self.index))
            if kind is Thinking:
                self.words.append(text)
            return
        if kind is Thinking:
            if self._echoed:
                text = text.removeprefix(GAP)
            self.words = [text]
        self._begin(kind(text), events)
        if kind is Text and self._citations:
            events += [Cited(citation, self.index) for citation in self._citations]
            self._citations.clear()

    def _take_content(self, content: object, events: list[Event]) -> None:
        if isinstance(content, str):
            self._grow(Text, content, events)
            return
        if not isinstance(content, list):
            raise broken("content")
        for part in content:  # Mistral's, where a model thinks
            if isinstance(part, str):
                part = {"type": "text", "text": part}
            if not isinstance(part, dict):
                raise broken("content")
            match part.get("type"):
                case "text":
                    self._grow(Text, read_text(part.get("text"), "text"), events)
                case "thinking":
                    self._grow(Thinking, read_thinking(part.get("thinking")), events)
                case "refusal":
                    self._grow(Refusal, read_text(part.get("refusal"), "refusal"), events)
                case "image_url":
                    self._show(part, events)

    def _show(self, part: Mapping[str, Any], events: list[Event]) -> None:
        """A picture that the model made, in OpenRouter's shape."""
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        if not isinstance(url, str):
            raise broken("image_url")
        head, mark, data = url.partition(";base64,")
        inline = mark and head.startswith("data:")
        self._put(Image(Media(head[5:], data) if inline else Media(url=url)), events)

    def _cite(self, citation: Citation, events: list[Event]) -> None:
        if self.open is Text:
            events.append(Cited(citation, self.index))
        else:
            self._citations.append(citation)

    def _weigh(self, logprobs: object, events: list[Event]) -> None:
        tokens = read_tokens(logprobs)
        if tokens:
            events.append(Weighed(tokens, self.index))

    # -- thoughts ------------------------------------------------------------------------------------------------------

    def _take_thoughts(self, delta: Mapping[str, Any], events: list[Event]) -> None:
        given = delta.get("reasoning_details")
        details: Sequence[Detail] = ()
        if given:
            try:
                details = convert_details(given)
            except msgspec.ValidationError as error:
                raise broken("reasoning_details") from error
        if not any(detail.words for detail in details):  # else the plain words only repeat them
            for name in ("reasoning_content", "reasoning"):
                words = delta.get(name)
                if words:
                    self._grow(Thinking, read_text(words, name), events)
                    break
        for detail in details:
            self._take_detail(detail, events)

    def _take_detail(self, detail: Detail, events: list[Event]) -> None:
        signature = detail.proof()
        last = self._detail
        if detail.type in (TEXT, SUMMARY):
            words = detail.words or ""
            if self.open is Thinking and last is None and words == "".join(self.words):
                self._echoed = True
            elif last is not None and goes_on(last, detail):
                if words:
                    events.append(Grown(words, self.index))
            elif words or signature is not None:
                self._begin(Thinking(words, id=detail.id), events)
            else:
                return
            if signature is not None:
                events.append(Signed(signature, self.index))
            self._detail = detail
        elif detail.type == ENCRYPTED and signature is not None:
            if signature.origin == "google" and detail.id:
                self._bound[detail.id] = signature
            elif last is not None and seals(last, detail):
                events.append(Signed(signature, self.index))
                self._close(events)
            else:
                self._put(sealed_thought(detail, signature), events)

    # -- tool calls ----------------------------------------------------------------------------------------------------

    def _take_calls(self, delta: Mapping[str, Any], events: list[Event], whole: bool) -> None:
        calls = delta.get("tool_calls")
        if calls is not None and not isinstance(calls, list):
            raise broken("tool_calls")
        for at, call in enumerate(calls or ()):
            if not isinstance(call, dict):
                raise broken("tool_calls")
            self._take_call(call, ("whole", at) if whole else call.get("index"), events)
        older = delta.get("function_call")
        if isinstance(older, dict):
            self._take_call({"function": older}, "function_call", events)

    def _take_call(self, value: dict[str, Any], key: object, events: list[Event]) -> None:
        told = value.get("function") or value.get("custom") or {}
        if not isinstance(told, dict):
            raise broken("tool_calls")
        custom = "custom" in value and not value.get("function")
        given, name = value.get("id") or None, told.get("name") or None
        if not isinstance(given, str | None) or not isinstance(name, str | None):
            raise broken("tool_calls")
        arguments = read_arguments(told.get("input" if custom else "arguments"))
        call = self._find(key, given, name)
        if call.started:
            if arguments and call is not self._call:
                raise broken("tool_calls")  # it has ended
            if arguments:
                events.append(Grown(arguments, self.index))
                # Calls that were announced and don't get their turn grow side by side: they are told when all is there.
                self._side_by_side = self._side_by_side or any(other.named for other in self._waiting())
            return
        call.pieces += arguments
        if name is not None:
            call.named = name, custom, value
        if call.named is not None and (self._call is None or (call.pieces and not self._side_by_side)):
            self._start_waiting(events, call)

    def _waiting(self) -> list[Call]:
        return [call for call in self._calls.values() if not call.started]

    def _start_waiting(self, events: list[Event], last: Call | None = None) -> None:
        """Tells of the calls that wait for their turn, up to and with `last`."""
        for call in self._waiting():
            if call.named is not None:
                name, custom, value = call.named
                self._start(call, ToolCall(call.id, name, call.pieces, custom), value, events)
            if call is last:
                return

    def _find(self, key: object, given: str | None, name: str | None) -> Call:
        """The call that a piece belongs to: a new one, where none fits."""
        if isinstance(key, int | str | tuple) and not isinstance(key, bool):
            call = self._calls.get(key)
        else:
            key, call = ("unnumbered", self._count), self._last
            if name is not None and given is None:
                call = None
        renamed = call is not None and given is not None and given != call.given
        # Some number every call 0. An id alone that comes late, or changes, is no new call.
        if call is None or (renamed and name is not None and call.started):
            call = Call(given or f"call_{self._prefix}_{self._count}", given)
            if key in self._calls:
                self._calls[("renumbered", self._count)] = self._calls.pop(key)
            self._calls[key] = self._last = call
            self._count += 1
        elif not call.started and call.given is None and given is not None:
            call.id = call.given = given
        return call

    def _start(self, call: Call, block: ToolCall, value: Mapping[str, Any], events: list[Event]) -> None:
        signature = self._bound.pop(call.id, None) or read_signature(value)
        if signature is not None:
            self._put(Thinking("", signature), events)
        self._begin(block, events)
        call.started = True
        self._call = call


def check_reason(reason: object) -> None:
    """Raises UpstreamError for a reason that says that the answer was cut off."""
    if reason == "error":
        raise error_in_body({"message": None})
    if isinstance(reason, str) and reason in FAILURES:
        message = "The upstream is overloaded."
        raise UpstreamError(Kind.UNAVAILABLE, "upstream_overloaded", message, upstream_code=reason)
