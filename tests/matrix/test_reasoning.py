"""Reasoning: asked for, shown, and brought back with its proof when tools were called in between."""

from __future__ import annotations

import pytest

from tests.matrix.cells import Cell, cells
from tests.matrix.talk import talk
from tests.matrix.test_tools import TOOLS, answered

THOUGHT = "the demo upstream writes plain words so that"
STREAMS_ONLY = "parameter.enable_thinking must be set to false for non-streaming calls"


def is_shown(cell: Cell, how: str) -> bool:
    """Whether the upstream shows its reasoning to this request."""
    match cell.kind.shows:
        case "streams":
            # A client of the same format has to ask for it in the dialect's own words.
            return how == "streamed" and not cell.native
        case "never":
            return False
    return True


@cells()
@pytest.mark.parametrize("how", ["whole", "streamed"])
def test_reasoning_comes_back_with_its_proof(cell: Cell, how: str) -> None:
    asked = talk(tools=TOOLS, thinks=True)
    if cell.kind.shows == "streams" and not cell.native and how == "whole":
        with pytest.raises(cell.client.errors[400], match=STREAMS_ONLY):
            cell.ask(asked)
        return
    first = (cell.ask if how == "whole" else cell.stream)(asked, tool=2, strict_signatures=True)

    assert first.reasoning == (THOUGHT if is_shown(cell, how) else "")
    assert first.signed or not cell.kind.signs
    assert first.finish == "calls"
    again = answered(asked, first)
    second = cell.stream(again, strict_signatures=True)
    assert second.finish == "stop"
    received = cell.assert_received(again)
    if cell.kind.replays:
        assert received.thoughts == 1


@cells(only="anthropic")
def test_sealed_reasoning_comes_back(cell: Cell) -> None:
    asked = talk(tools=TOOLS, thinks=True)
    for call in (cell.ask, cell.stream):
        first = call(asked, tool=2, redacted=True)
        assert first.signed
        assert first.reasoning == ""
        again = answered(asked, first)
        assert cell.ask(again).finish == "stop"
        assert cell.assert_received(again).thoughts == 1


@cells()
def test_an_effort_is_told(cell: Cell) -> None:
    asked = talk(effort=True)
    if cell.kind.name == "qwen":
        # Which has a switch in its place, and only streams what it then thinks.
        assert cell.stream(asked).finish == "stop"
    else:
        assert cell.ask(asked).finish == "stop"
    cell.assert_received(asked)


@cells(main=True)
def test_reasoning_of_whole_and_streamed_answers_agrees(cell: Cell) -> None:
    asked = talk(thinks=True)
    streamed = cell.stream(asked)

    assert streamed.reasoning == (THOUGHT if is_shown(cell, "streamed") else "")
    assert streamed.usage is not None
    assert streamed.usage.reasoning == (8 if is_shown(cell, "streamed") and cell.kind.name != "ollama" else 0)
    if cell.kind.shows != "streams" or cell.native:
        assert cell.ask(asked).told == streamed.told
