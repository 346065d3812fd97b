"""What holds for any conversation: writing what was read loses nothing, and streaming it tells the same."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from openai.types.responses import Response

from app.core.assembly import assemble, events_of
from app.core.conversation import Answer, Block, Event, Grown, Refusal, Text, Thinking, ToolCall
from app.core.usage import Usage
from app.formats.openai_responses import FORMAT
from app.formats.openai_responses.usage import read_usage, write_usage
from tests.formats.openai_responses.examples import NO_QUIRKS, STAMP, TARGET, answer_of, events_in, request
from tests.formats.openai_responses.openai_stream import stream_of
from tests.formats.openai_responses.strategies import FIELDS, INPUTS, USAGES, answers

ASKED = request()
ASK = FORMAT.read_ask(ASKED)


@given(INPUTS, FIELDS)
def test_a_request_read_and_written_is_the_same_request(items: list[dict[str, Any]], fields: dict[str, Any]) -> None:
    asked = FORMAT.read_ask(request(input=items, **fields))
    sent = FORMAT.write_ask(asked, TARGET)

    expected = {"model": "up", "input": items, **fields, "store": False}
    assert sent.dropped == ()
    assert normal(json.loads(sent.body)) == normal(expected)
    assert FORMAT.read_ask(FORMAT.read_request(sent.body)) == replace(asked, model="up")


def normal(body: dict[str, Any]) -> dict[str, Any]:
    """A request with defaults and shorthands written out."""
    found = {**body, "input": list(map(_normal_item, body["input"]))}
    # A tool that is named is of the kind that it was declared as: the tools say it, wherever the choice says it too.
    if isinstance(choice := found.get("tool_choice"), dict):
        found["tool_choice"] = {name: value for name, value in choice.items() if name != "type" or "name" not in choice}
    return found


def _normal_item(item: dict[str, Any]) -> dict[str, Any]:
    output = item.get("output")
    if isinstance(output, list) and len(output) == 1 and output[0]["type"] == "input_text":
        return {**item, "output": output[0]["text"]}
    return item


@given(answers())
def test_an_answer_written_and_read_is_the_same_answer(answer: Answer) -> None:
    raw = FORMAT.write_answer(answer, ASKED, ASK, STAMP)
    # Pydantic's own parser takes no half characters; the SDK parses with Python's.
    Response.model_validate_json(json.dumps(json.loads(raw), ensure_ascii=False).encode("utf-8", "replace"))
    back = FORMAT.read_answer(raw, NO_QUIRKS)

    assert (back.id, back.model, back.created) == (f"resp_{STAMP.id}", "m", STAMP.created)
    assert back.usage == answer.usage
    (choice,) = back.choices
    assert replace(choice, blocks=tuple(map(anonymous, choice.blocks))) == answer.choices[0]


def anonymous(block: Block) -> Block:
    """A thought gets an id here that it didn't have."""
    return replace(block, id=None) if isinstance(block, Thinking) else block


@given(answers(), st.integers(1, 4))
def test_a_stream_tells_what_the_whole_answer_does(answer: Answer, size: int) -> None:
    writer = FORMAT.open_writer(ASKED, ASK, STAMP)
    stream = b"".join([writer.write(event) for event in grown(answer, size)]) + writer.end()
    whole = FORMAT.write_answer(answer, ASKED, ASK, STAMP)
    events = events_in(stream)

    assert events[-1]["response"] == json.loads(whole)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert answer_of(stream) == FORMAT.read_answer(whole, NO_QUIRKS)
    for odd in ("\u2028", "\u2029", "\x85"):
        assert odd.encode() not in stream


def grown(answer: Answer, size: int) -> list[Event]:
    """The events of an answer with its texts in pieces."""
    found: list[Event] = []
    for event in events_of(answer):
        block = getattr(event, "block", None)
        if isinstance(block, Text | Thinking | Refusal) and block.text:
            found += [replace(event, block=replace(block, text="")), *pieces(block.text, size)]
        elif isinstance(block, ToolCall):
            found += [replace(event, block=replace(block, arguments="")), *pieces(block.arguments, size)]
        else:
            found.append(event)
    assert assemble(found) == assemble(events_of(answer))
    return found


def pieces(text: str, size: int) -> list[Event]:
    return [Grown(text[at : at + size]) for at in range(0, len(text), size)]


@given(answers(), st.integers(1, 4))
def test_openai_s_stream_reads_as_its_whole_answer(answer: Answer, size: int) -> None:
    raw = FORMAT.write_answer(answer, ASKED, ASK, STAMP)
    stream = stream_of(json.loads(raw), lambda text: [text[at : at + size] for at in range(0, len(text), size)])

    assert answer_of(stream) == FORMAT.read_answer(raw, NO_QUIRKS)


@given(st.binary(max_size=40), st.sampled_from([None, b"error", b"response.created"]))
def test_a_reader_never_raises(data: bytes, event: bytes | None) -> None:
    reader = FORMAT.open_reader(NO_QUIRKS)
    reader.read(data, event)
    reader.end()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "id", "part"]), inner),
    max_leaves=6,
)
KINDS = st.sampled_from(
    [
        "error",
        "response.created",
        "response.failed",
        "response.completed",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.output_text.annotation.added",
        "response.refusal.delta",
        "response.function_call_arguments.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
    ]
)
NAMES = st.sampled_from(
    ["item", "part", "delta", "text", "response", "annotation", "logprobs", "output_index", "error"]
)
TYPES = st.sampled_from(["message", "reasoning", "function_call", "custom_tool_call", "output_text", "refusal"])
THINGS = st.fixed_dictionaries(
    {"type": TYPES},
    optional={"content": JSON, "summary": JSON, "text": JSON, "id": JSON, "call_id": JSON, "name": JSON},
)
EVENTS = st.tuples(KINDS, st.dictionaries(NAMES, JSON | THINGS))


@given(st.lists(EVENTS, max_size=4))
def test_a_reader_never_raises_whatever_the_events_hold(events: list[tuple[str, dict[str, Any]]]) -> None:
    reader, tap = FORMAT.open_reader(NO_QUIRKS), FORMAT.open_tap(ASKED, NO_QUIRKS)
    for kind, fields in events:
        data = json.dumps({"type": kind, **fields}).encode()
        reader.read(data, kind.encode())
        tap.feed(b"data: " + data + b"\n\n")
    tap.produced_text()


@given(USAGES)
def test_usage_is_told_to_the_token(usage: Usage) -> None:
    assert read_usage(write_usage(usage), usage.service_tier) == usage
