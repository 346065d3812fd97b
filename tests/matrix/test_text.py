"""Text: one turn and several, whole and streamed, capped and stopped."""

from __future__ import annotations

from app.demo.saying import REFUSAL_TEXT
from tests.matrix.cells import Cell, cells
from tests.matrix.talk import Said, Talk, User, talk

REPLY = "The answer is – after some thought – forty-two. 🙂"


@cells(main=True)
def test_text(cell: Cell) -> None:
    seen = cell.ask(talk("What is it?", cap=300), reply=REPLY)

    assert (seen.text, seen.finish, seen.calls) == (REPLY, "stop", ())
    cell.assert_received(talk("What is it?", cap=300))


@cells()
def test_a_stream_equals_the_whole_answer(cell: Cell) -> None:
    asked = talk("What is it?", system="Be brief.")
    streamed = cell.stream(asked, reply=REPLY)

    assert cell.assert_received(asked)
    assert streamed.pieces > 3
    assert streamed.told == cell.ask(asked, reply=REPLY).told


@cells(main=True)
def test_several_turns(cell: Cell) -> None:
    asked = Talk(
        system="Be brief.", turns=(User("What is it?"), Said("Forty-two."), User("Are you sure? 'quoted' \"\n"))
    )
    seen = cell.ask(asked, echo=True)

    assert seen.text == "Are you sure? 'quoted' \"\n"
    cell.assert_received(asked)


@cells("temperature", main=True)
def test_temperature(cell: Cell) -> None:
    asked = talk(temperature=0.5)

    assert cell.ask(asked).finish == "stop"
    cell.assert_received(asked)


@cells("temperature", main=True)
def test_the_default_temperature_is_no_reason_to_refuse(cell: Cell) -> None:
    cell.ask(talk(temperature=1.0))

    assert cell.received().temperature in (None, 1.0)


@cells("stop")
def test_a_stop_sequence_ends_the_text(cell: Cell) -> None:
    asked = talk(stop=("END", "STOP"))
    with cell.unless_untold("stop"):
        seen = cell.ask(asked, reply="one two STOP three")
        assert (seen.text, seen.finish) == ("one two ", "stop")
        cell.assert_received(asked)
        assert cell.stream(asked, reply="one two STOP three").told == seen.told


@cells(main=True)
def test_a_cap_ends_the_text(cell: Cell) -> None:
    asked = talk(cap=40)
    seen = cell.ask(asked, tokens=300)

    assert seen.finish == "length"
    assert "the demo upstream writes plain words".startswith(seen.text[:20])
    assert seen.usage is not None
    assert seen.usage.output == 40
    cell.assert_received(asked)
    assert cell.stream(asked, tokens=300).told == seen.told


@cells(main=True)
def test_a_refusal_is_seen_as_one(cell: Cell) -> None:
    seen = cell.ask(talk(), refuse=True)

    # Gemini's format has words for a filter alone: what a model says of its own accord is text there.
    assert seen.refused or (cell.client.name == "gemini" and seen.text == REFUSAL_TEXT)
