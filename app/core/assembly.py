"""A whole answer as the events that would have streamed it, and events gathered into a whole answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from app.core.conversation import (
    Answer,
    Block,
    BlockEnded,
    BlockStarted,
    Choice,
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


def events_of(answer: Answer) -> Iterator[Event]:
    """The events of a whole answer, each block at once."""
    yield Started(answer.id, answer.model, answer.created, answer.usage)
    for choice in answer.choices:
        if choice.logprobs:
            yield Weighed(choice.logprobs, choice.index)
        for block in choice.blocks:
            yield BlockStarted(block, choice.index)
            yield BlockEnded(choice.index)
        if choice.finish is not None:
            yield Finished(choice.finish, choice.index, choice.stop_sequence)
    if answer.usage is not None:
        yield Reported(answer.usage)


def assemble(events: Iterable[Event]) -> Answer:
    """The whole answer that events tell. Raises the error of `Failed`; ValueError without `Started`."""
    started: Started | None = None
    usage: Usage | None = None
    parts: dict[int, _Part] = {}
    for event in events:
        match event:
            case Started():
                started = event
            case Reported(reported):
                usage = reported
            case Failed(error):
                raise error
            case _:
                parts.setdefault(event.choice, _Part()).take(event)
    if started is None:
        raise ValueError("an answer that never began")
    choices = tuple(parts[index].choice(index) for index in sorted(parts))
    return Answer(
        id=started.id, model=started.model, created=started.created, choices=choices, usage=usage or started.usage
    )


class _Part:
    """One choice while it grows."""

    __slots__ = ("_blocks", "_citations", "_finish", "_open", "_pieces", "_signature", "_stop", "_tokens")

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._open: Block | None = None
        self._pieces: list[str] = []
        self._signature: Signature | None = None
        self._citations: list[Citation] = []
        self._tokens: list[Token] = []
        self._finish: Finish | None = None
        self._stop: str | None = None

    def take(self, event: Event) -> None:
        match event:
            case BlockStarted(block):
                self._open = block
            case Grown(text):
                self._pieces.append(text)
            case Signed(signature):
                self._signature = signature
            case Cited(citation):
                self._citations.append(citation)
            case Weighed(tokens):
                self._tokens += tokens
            case BlockEnded():
                self._close()
            case Finished(finish):
                self._finish, self._stop = finish, event.stop_sequence

    def _close(self) -> None:
        grown, self._pieces = "".join(self._pieces), []
        citations, self._citations = tuple(self._citations), []
        signature, self._signature = self._signature, None
        match self._open:
            case Text() as text:
                self._blocks.append(replace(text, text=text.text + grown, citations=text.citations + citations))
            case Thinking() as thought:
                signed = signature or thought.signature
                self._blocks.append(replace(thought, text=thought.text + grown, signature=signed))
            case Refusal() as refusal:
                self._blocks.append(Refusal(refusal.text + grown))
            case ToolCall() as call:
                self._blocks.append(replace(call, arguments=call.arguments + grown))
            case None:
                pass
            case whole:
                self._blocks.append(whole)
        self._open = None

    def choice(self, index: int) -> Choice:
        return Choice(tuple(self._blocks), self._finish, index, self._stop, tuple(self._tokens))


def mend_torn_calls(choice: Choice) -> Choice:
    """A choice that its cap ended in the middle of a call's arguments, with none in their place.

    For formats in which arguments are an object: half of one can't be told, and why the answer ended says the rest.
    """
    if choice.finish is not Finish.LENGTH:
        return choice
    blocks = tuple(replace(block, arguments="") if _is_torn(block) else block for block in choice.blocks)
    return replace(choice, blocks=blocks)


def _is_torn(block: Block) -> bool:
    if not isinstance(block, ToolCall) or block.custom or not block.arguments:
        return False
    try:
        return not isinstance(json.loads(block.arguments), dict | None)
    except (ValueError, RecursionError):
        return True
