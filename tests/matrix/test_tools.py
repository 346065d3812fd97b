"""Tools: called, forced, forbidden, several at once, and answered, once with an error."""

from __future__ import annotations

import pytest

from tests.matrix.cells import Cell, cells
from tests.matrix.talk import Call, Replay, Result, Results, Seen, Talk, Tool, User, talk
from tests.matrix.untold import untold_field

WEATHER = Tool(
    "weather",
    "The weather of a city.",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
)
CLOCK = Tool(
    "clock",
    "What time it is.",
    {
        "type": "object",
        "properties": {"zone": {"type": "string", "description": "Of the IANA's."}},
        "required": ["zone"],
        "additionalProperties": False,
    },
)
TOOLS = (WEATHER, CLOCK)


def answered(asked: Talk, seen: Seen) -> Talk:
    """The request that brings the results, that of the second call being an error."""
    results = tuple(Result(call, f"result {place}", failed=place == 1) for place, call in enumerate(seen.calls))
    return asked.then(Replay(seen), Results(results))


@cells()
def test_a_tool_is_called(cell: Cell) -> None:
    asked = talk(tools=TOOLS, choice="auto")
    seen = cell.ask(asked, tool=1)

    (call,) = seen.calls
    assert (call.name, call.arguments, seen.finish) == ("weather", {"city": "demo", "days": 1}, "calls")
    cell.assert_received(asked)
    assert cell.stream(asked, tool=1).told == seen.told


@cells(main=True)
@pytest.mark.parametrize("how", ["whole", "streamed"])
def test_parallel_calls_are_answered(cell: Cell, how: str) -> None:
    asked = talk(tools=TOOLS)
    seen = (cell.ask if how == "whole" else cell.stream)(asked, tool=3, reply="Let me see.")

    assert seen.text == "Let me see."
    assert [(call.name, dict(call.arguments)) for call in seen.calls] == [
        ("weather", {"city": "demo", "days": 1}),
        ("clock", {"zone": "demo 2"}),
        ("weather", {"city": "demo 3", "days": 3}),
    ]
    assert len({call.id for call in seen.calls}) == 3
    again = answered(asked, seen)
    assert (cell.ask if how == "streamed" else cell.stream)(again).finish == "stop"
    cell.assert_received(again)


@cells(main=True)
def test_a_user_speaks_after_the_results(cell: Cell) -> None:
    asked = talk(tools=TOOLS, system="Be brief.")
    seen = cell.ask(asked, tool=2)
    again = answered(asked, seen).then(User("And now?"))

    assert cell.ask(again, echo=True).text == "And now?"
    cell.assert_received(again)


@cells(main=True)
def test_tools_are_called_in_two_rounds(cell: Cell) -> None:
    asked = talk(tools=TOOLS, choice="any")
    with cell.unless_untold("choice"):
        first = cell.ask(asked, tool=2, strict_signatures=True)
        again = answered(asked, first)
        second = cell.stream(again, tool=2, strict_signatures=True)
        assert [call.name for call in second.calls] == ["weather"]
        assert second.calls[0].id not in {call.id for call in first.calls}
        last = answered(again, second)
        assert cell.ask(last, strict_signatures=True).finish == "calls"
        cell.assert_received(last)


@cells(only="gemini")
def test_calls_without_ids_are_told_apart(cell: Cell) -> None:
    asked = talk(tools=TOOLS)
    for call in (cell.ask, cell.stream):
        again = answered(asked, call(asked, tool=3, call_ids=False, strict_signatures=True))
        assert cell.ask(again, strict_signatures=True).finish == "stop"
        cell.assert_received(again)


@cells(main=True, also="ollama")
@pytest.mark.parametrize("choice", ["none", "any", "clock"])
def test_tools_are_forced_and_forbidden(cell: Cell, choice: str) -> None:
    asked = talk(tools=TOOLS, choice=choice)
    with cell.unless_untold("choice" if choice != "none" else ""):
        seen = cell.ask(asked, tool=int(choice == "none"))
        calls = {"none": (), "any": (Call(None, "weather", {"city": "demo", "days": 1}),)}
        assert seen.told.calls == calls.get(choice, (Call(None, "clock", {"zone": "demo"}),))
        # Who doesn't heed a choice isn't shown tools that mustn't be called.
        hidden = choice == "none" and untold_field("choice", cell.client, cell.kind) is not None
        cell.assert_received(talk() if hidden else asked)


@cells("one_call", main=True)
def test_one_call_at_a_time(cell: Cell) -> None:
    asked = talk(tools=TOOLS, one_call=True)
    with cell.unless_untold("one_call"):
        assert len(cell.ask(asked, tool=2).calls) == 1
        cell.assert_received(asked)
