"""Read and written in the same format, nothing that is modelled is lost; a stream tells what the whole answer tells."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.core.assembly import assemble, events_of
from app.core.conversation import Answer, Choice, Finished, Started, ToolCall
from app.formats.anthropic_messages import FORMAT
from tests.formats.anthropic_messages.shapes import (
    ANSWERS,
    REQUESTS,
    SEEDS,
    STAMP,
    TARGET,
    ask,
    body,
    frame,
    frames_of,
    normal,
    read_events,
)

NO_QUIRKS: frozenset[str] = frozenset()


@given(REQUESTS)
def test_a_request_written_back_asks_the_same(request: dict[str, Any]) -> None:
    read = FORMAT.read_ask(FORMAT.read_request(body(request)))
    written = FORMAT.write_ask(read, TARGET)
    got = json.loads(written.body)
    if written.headers["anthropic-version"] == "2023-06-01":  # system messages midway are folded into the user's turns
        request = {**request, "messages": [{**turn, "role": "user"} if turn["role"] == "system" else turn
                                           for turn in request["messages"]]}  # fmt: skip

    assert normal({**got, "model": "m"}) == normal(request)
    assert set(written.dropped) <= {"temperature"}
    assert normal(
        json.loads(FORMAT.write_ask(FORMAT.read_ask(FORMAT.read_request(written.body)), TARGET).body)
    ) == normal(got)


@given(ANSWERS)
def test_an_answer_written_back_says_the_same(answer: dict[str, Any]) -> None:
    request = ask()
    read = FORMAT.read_answer(body(answer), NO_QUIRKS)

    assert json.loads(FORMAT.write_answer(read, request, FORMAT.read_ask(request), STAMP)) == answer


@given(ANSWERS, SEEDS)
def test_a_stream_tells_what_the_whole_answer_tells(answer: dict[str, Any], seed: int) -> None:
    reader = FORMAT.open_reader(NO_QUIRKS)

    events = read_events(reader, b"".join(frame(value) for value in frames_of(answer, random.Random(seed))))

    assert (reader.complete, reader.ended) == (True, True)
    assert isinstance(events[0], Started)
    assert sum(isinstance(event, Finished) for event in events) == 1
    assert spelt(assemble(events)) == spelt(FORMAT.read_answer(body(answer), NO_QUIRKS))


@given(ANSWERS, SEEDS, st.booleans())
def test_a_stream_written_back_tells_the_same(answer: dict[str, Any], seed: int, at_once: bool) -> None:
    request = ask(stream=True)
    if at_once:
        events = [*events_of(FORMAT.read_answer(body(answer), NO_QUIRKS))]
    else:
        frames = frames_of(answer, random.Random(seed))
        events = read_events(FORMAT.open_reader(NO_QUIRKS), b"".join(frame(value) for value in frames))
    writer = FORMAT.open_writer(request, FORMAT.read_ask(request), STAMP)

    stream = b"".join(writer.write(event) for event in events) + writer.end()

    assert spelt(assemble(read_events(FORMAT.open_reader(NO_QUIRKS), stream))) == spelt(assemble(events))
    for line_end in ("\u2028", "\u2029", "\u0085"):
        assert line_end.encode() not in stream


def spelt(answer: Answer) -> Answer:
    """The arguments of calls in one spelling: they come as the model wrote them, or as we wrote them again."""
    return replace(answer, choices=tuple(_spelt(choice) for choice in answer.choices))


def _spelt(choice: Choice) -> Choice:
    blocks = tuple(
        replace(block, arguments=json.dumps(json.loads(block.arguments), sort_keys=True))
        if isinstance(block, ToolCall)
        else block
        for block in choice.blocks
    )
    return replace(choice, blocks=blocks)
