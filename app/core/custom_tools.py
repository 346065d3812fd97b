"""Calls of custom tools, which take plain text, out of the `{"input": text}` that vendors without such tools make of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from app.core.conversation import Answer, Ask, Block, BlockEnded, BlockStarted, Event, Grown, Tool, ToolCall

FIELD = "input"


def custom_names(ask: Ask) -> frozenset[str]:
    """The names of a request's custom tools."""
    return frozenset(tool.name for tool in ask.tools if isinstance(tool, Tool) and tool.custom)


def unwrap_answer(answer: Answer, names: frozenset[str]) -> Answer:
    """The answer with the calls of custom tools as their client knows them."""
    if not names:
        return answer
    choices = tuple(
        replace(choice, blocks=tuple(_unwrap(b, names) for b in choice.blocks)) for choice in answer.choices
    )
    return replace(answer, choices=choices)


class Unwrapper:
    """The same for events. A custom call is told whole, since its text stands inside JSON that comes in pieces."""

    __slots__ = ("_names", "_open")

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._open: dict[int, tuple[ToolCall, list[str]]] = {}

    def take(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            match event:
                case BlockStarted(ToolCall(name=name, custom=False) as call, choice) if name in self._names:
                    self._open[choice] = call, [call.arguments]
                case Grown(text, choice) if choice in self._open:
                    self._open[choice][1].append(text)
                case BlockEnded(choice) if choice in self._open:
                    call, pieces = self._open.pop(choice)
                    yield BlockStarted(_unwrap(replace(call, arguments="".join(pieces)), self._names), choice)
                    yield event
                case _:
                    yield event


def _unwrap(block: Block, names: frozenset[str]) -> Block:
    if not isinstance(block, ToolCall) or block.custom or block.name not in names:
        return block
    try:
        value = json.loads(block.arguments)
    except (ValueError, RecursionError):
        value = None
    text = value.get(FIELD) if isinstance(value, dict) else None
    return replace(block, custom=True, arguments=text if isinstance(text, str) else block.arguments)
