"""A custom tool's call comes back as one from upstreams that know only tools which take objects."""

from __future__ import annotations

import pytest

from app.core.assembly import assemble, events_of
from app.core.conversation import (
    Answer,
    Ask,
    Block,
    BlockEnded,
    BlockStarted,
    Choice,
    Event,
    Finish,
    Finished,
    Grown,
    Started,
    Text,
    Tool,
    ToolCall,
)
from app.core.custom_tools import Unwrapper, custom_names, unwrap_answer

ASK = Ask(format="openai_chat", model="m", messages=(), tools=(Tool("run", custom=True), Tool("f")))
NAMES = custom_names(ASK)


def _answer(*blocks: Block) -> Answer:
    return Answer(id="a", model="m", choices=(Choice(blocks, Finish.TOOL_CALLS),))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [('{"input":"print(1)"}', "print(1)"), ('{"input":""}', ""), ('{"code":"x"}', '{"code":"x"}'), ("{", "{")],
)
def test_its_text_is_taken_out(arguments: str, text: str) -> None:
    plain = ToolCall("b", "f", '{"input":"x"}')
    answer = _answer(Text("so"), ToolCall("a", "run", arguments), plain)
    wanted = _answer(Text("so"), ToolCall("a", "run", text, custom=True), plain)
    assert unwrap_answer(answer, NAMES) == wanted
    assert assemble(Unwrapper(NAMES).take(events_of(answer))) == wanted


def test_pieces_are_put_together_first() -> None:
    pieces = [Grown(piece) for piece in ('{"in', 'put":"a', ' b"}')]
    call: list[Event] = [BlockStarted(ToolCall("a", "run", "")), *pieces, BlockEnded()]
    events: list[Event] = [Started("a", "m"), *call, Finished(Finish.TOOL_CALLS)]
    assert assemble(Unwrapper(NAMES).take(events)) == _answer(ToolCall("a", "run", "a b", custom=True))


def test_what_is_a_custom_call_already_stays() -> None:
    answer = _answer(ToolCall("a", "run", "print(1)", custom=True))
    assert unwrap_answer(answer, NAMES) == answer
