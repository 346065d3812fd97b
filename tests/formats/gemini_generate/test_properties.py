"""Read and written in the same format, nothing that is modelled is lost; a stream tells what the whole answer tells."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.core.assembly import assemble, events_of
from app.core.conversation import Finished, Reported, Started
from app.core.usage import Usage
from app.errors import GatewayError, UpstreamError
from app.formats.gemini_generate import FORMAT
from app.formats.gemini_generate.usage import read_usage, write_usage
from tests.formats.gemini_generate.shapes import (
    ANSWERS,
    JSON,
    NO_QUIRKS,
    PATH,
    REQUESTS,
    SEEDS,
    STAMP,
    STREAM,
    TARGET,
    ask,
    body,
    chunks_of,
    frame,
    normal,
    read_events,
    spoil,
)


@given(REQUESTS)
def test_a_request_written_back_asks_the_same(request: dict[str, Any]) -> None:
    read = FORMAT.read_ask(FORMAT.read_request(body(request), PATH))
    written = FORMAT.write_ask(read, TARGET)

    assert normal(json.loads(written.body)) == normal(request)
    assert written.dropped == ()


@given(ANSWERS)
def test_an_answer_written_back_says_the_same(answer: dict[str, Any]) -> None:
    request = ask()
    read = FORMAT.read_answer(body(answer), NO_QUIRKS)

    written = json.loads(FORMAT.write_answer(read, request, FORMAT.read_ask(request), STAMP))

    for candidate in written["candidates"]:
        candidate.pop("avgLogprobs", None)
    assert written == answer


@given(ANSWERS, SEEDS)
def test_a_stream_tells_what_the_whole_answer_tells(answer: dict[str, Any], seed: int) -> None:
    reader = FORMAT.open_reader(NO_QUIRKS)

    events = read_events(reader, b"".join(frame(value) for value in chunks_of(answer, random.Random(seed))))

    assert (reader.complete, reader.ended) == (True, True)
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Reported)
    assert sum(isinstance(event, Finished) for event in events) == len(answer["candidates"])
    assert assemble(events) == FORMAT.read_answer(body(answer), NO_QUIRKS)


@given(ANSWERS, SEEDS, st.booleans(), st.booleans())
def test_a_stream_written_back_tells_the_same(answer: dict[str, Any], seed: int, at_once: bool, array: bool) -> None:
    request = ask(STREAM, b"" if array else b"alt=sse")
    if at_once:
        events = [*events_of(FORMAT.read_answer(body(answer), NO_QUIRKS))]
    else:
        chunks = chunks_of(answer, random.Random(seed))
        events = read_events(FORMAT.open_reader(NO_QUIRKS), b"".join(map(frame, chunks)))
    writer = FORMAT.open_writer(request, FORMAT.read_ask(request), STAMP)

    stream = b"".join(writer.write(event) for event in events) + writer.end()

    if array:
        stream = b"".join(frame(chunk) for chunk in json.loads(stream))
    assert assemble(read_events(FORMAT.open_reader(NO_QUIRKS), stream)) == assemble(events)
    for line_end in ("\u2028", "\u2029", "\u0085"):
        assert line_end.encode() not in stream


@given(REQUESTS, SEEDS, JSON)
def test_a_spoilt_request_is_refused_or_read_but_nothing_else(request: dict[str, Any], seed: int, junk: Any) -> None:
    spoilt = body(spoil(request, random.Random(seed), junk))
    refusal: GatewayError | None = None
    try:
        FORMAT.write_ask(FORMAT.read_ask(FORMAT.read_request(spoilt, PATH)), TARGET)
    except GatewayError as error:
        refusal = error

    assert refusal is None or refusal.status == 400
    assert refusal is None or json.loads(FORMAT.write_error(refusal))["error"]["code"] == 400


@given(ANSWERS, SEEDS, JSON)
def test_a_spoilt_answer_fails_or_is_read_but_nothing_else(answer: dict[str, Any], seed: int, junk: Any) -> None:
    dice = random.Random(seed)
    chunks = chunks_of(answer, dice)
    chunks[dice.randrange(len(chunks))] = spoil(dice.choice(chunks), dice, junk)
    request = ask(STREAM, b"alt=sse")
    writer = FORMAT.open_writer(request, FORMAT.read_ask(request), STAMP)

    for event in read_events(FORMAT.open_reader(NO_QUIRKS), b"".join(map(frame, chunks))):
        writer.write(event)
    tap = FORMAT.open_tap(request, NO_QUIRKS)
    for chunk in chunks:
        tap.feed(frame(chunk))
    tap.end()
    tap.produced_text()
    for chunk in chunks:
        try:
            FORMAT.read_answer(body(chunk), NO_QUIRKS)
            FORMAT.read_reply(body(chunk), NO_QUIRKS)
        except UpstreamError:
            pass


COUNT = st.integers(0, 1000)
USAGE = st.builds(
    lambda a, b, c, d, e, f, g, h, i: Usage(
        input_tokens=a + b + c + d + e,
        output_tokens=f + g + h + i,
        cache_read_tokens=b + c,
        input_audio_tokens=c + d,
        cache_audio_read_tokens=c,
        input_image_tokens=e,
        reasoning_tokens=g,
        output_audio_tokens=h,
        output_image_tokens=i,
    ),
    *[COUNT] * 9,
)


@given(USAGE)
def test_usage_written_reads_the_same(usage: Usage) -> None:
    assert read_usage(write_usage(usage)) == usage
