"""The tap on a stream of Google's that passes in its own format."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.usage import Usage
from app.formats.base import Tap
from app.formats.gemini_generate import FORMAT
from tests.formats.gemini_generate.shapes import ANSWERS, NO_QUIRKS, SEEDS, STREAM, ask, body, chunks_of, frame, sdk


def text(words: str, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"content": {"role": "model", "parts": [{"text": words}]}, "index": index, **more}


def report(answer: int) -> dict[str, int]:
    return {"promptTokenCount": 5, "candidatesTokenCount": answer, "totalTokenCount": 5 + answer}


FIRST = {"candidates": [text("Hel")], "usageMetadata": report(1)}
MORE = {"candidates": [text("lo")], "usageMetadata": report(2)}
LAST = {"candidates": [text("!", finishReason="STOP")], "usageMetadata": report(3)}
ERROR = {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}


def open_tap(query: bytes = b"alt=sse", choices: int = 1) -> Tap:
    return FORMAT.open_tap(ask(STREAM, query, generationConfig={"candidateCount": choices}), NO_QUIRKS)


def feed(tap: Tap, *chunks: bytes) -> bytes:
    return b"".join(tap.feed(chunk) for chunk in chunks) + tap.end()


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"], ids=["LF", "CRLF"])
def test_bytes_pass_as_they_come(end: bytes) -> None:
    frames = [b"data: " + body(chunk) + end for chunk in (FIRST, MORE, LAST)]
    tap = open_tap()

    assert feed(tap, *frames) == b"".join(frames)
    assert (tap.started, tap.complete, tap.ended, tap.error) == (True, True, True, None)
    assert tap.usage == Usage(input_tokens=5, output_tokens=3)


@given(ANSWERS, SEEDS, st.sampled_from([b"\n\n", b"\r\n\r\n"]))
def test_cuts_make_no_difference(answer: dict[str, Any], seed: int, end: bytes) -> None:
    dice = random.Random(seed)
    stream = b"".join(b"data: " + body(chunk) + end for chunk in chunks_of(answer, dice))
    cuts = sorted(dice.randint(0, len(stream)) for _ in range(4))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    taps = [open_tap(query, len(answer["candidates"])) for query in (b"alt=sse", b"")]

    passed, array = (feed(tap, *pieces) for tap in taps)

    assert passed == stream
    assert json.loads(array) == [json.loads(line[6:]) for line in stream.splitlines() if line]
    for tap in taps:
        assert (tap.complete, tap.ended) == (True, True)
        assert tap.usage == FORMAT.read_answer(body(answer), NO_QUIRKS).usage


def test_an_array_comes_piece_by_piece() -> None:
    tap = open_tap(b"")

    first, more = tap.feed(frame(FIRST)), tap.feed(frame(MORE) + frame(LAST))

    assert first == b"[" + body(FIRST)
    assert more == b",\r\n" + body(MORE) + b",\r\n" + body(LAST)
    assert tap.end() == b"]"


def test_a_stream_that_breaks_off_is_not_complete() -> None:
    """What was told of the input, and of the output so far, is what an estimate begins with."""
    tap = open_tap()
    assert feed(tap, frame(FIRST), frame(MORE)) == frame(FIRST) + frame(MORE)

    assert (tap.complete, tap.ended, tap.usage) == (False, False, None)
    assert tap.produced_text() == "Hello"
    assert tap.opening == Usage(input_tokens=5, output_tokens=2)


def test_every_candidate_has_to_finish() -> None:
    first = {"candidates": [text("a"), text("b", 1)]}
    ends = [{"candidates": [text("", index, finishReason="STOP")]} for index in (0, 1)]

    tap = open_tap(choices=2)
    feed(tap, frame(first), frame(ends[0]))
    assert not tap.complete

    tap = open_tap(choices=2)
    feed(tap, frame(first), frame(ends[1]), frame(ends[0]))
    assert (tap.complete, tap.ended) == (True, True)


def test_a_blocked_prompt_completes() -> None:
    tap = open_tap()
    feed(tap, frame({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 5}}))

    assert (tap.complete, tap.usage) == (True, Usage(input_tokens=5))


def test_usage_that_comes_after_the_end_counts() -> None:
    tap = open_tap()
    feed(tap, frame({"candidates": [text("a", finishReason="STOP")]}), frame({"usageMetadata": report(9)}))

    assert tap.usage == Usage(input_tokens=5, output_tokens=9)


@pytest.mark.parametrize("raw", [frame(ERROR), frame([ERROR]), b"event: error\n" + frame({"message": "no"})])
@pytest.mark.parametrize("query", [b"alt=sse", b""])
def test_an_error_ends_the_stream(raw: bytes, query: bytes) -> None:
    tap = open_tap(query)

    passed = feed(tap, frame(FIRST), raw, frame(LAST))

    assert passed == (frame(FIRST) if query else b"[" + body(FIRST))
    assert tap.error is not None
    assert not tap.complete
    assert tap.error.code == "upstream_error"


def test_an_answer_that_speaks_of_errors_passes() -> None:
    said = frame({"candidates": [text('{"error": "none", "finishReason": 1}')]})
    tap = open_tap()

    assert feed(tap, said, frame(LAST)) == said + frame(LAST)
    assert (tap.error, tap.complete) == (None, True)


@pytest.mark.parametrize(
    "noise",
    [b": keep-alive\n\n", b"event: message\n", b"id: 7\n", b"data: [DONE]\n\n", b"retry: 10\n\n"],
    ids=["comment", "event", "id", "DONE", "retry"],
)
def test_what_googles_sdk_chokes_on_does_not_pass(noise: bytes) -> None:
    """Servers that are not Google's add what other formats have: google-genai raises at each of these."""
    tap = open_tap()

    stream = feed(tap, noise + frame(FIRST), noise + frame(MORE), noise + frame(LAST))

    assert tap.complete
    assert stream == b"".join(map(frame, (FIRST, MORE, LAST)))
    chunks = sdk(stream).models.generate_content_stream(model="m", contents="hi")
    assert "".join(chunk.text or "" for chunk in chunks) == "Hello!"


def test_data_without_a_space_and_in_several_lines() -> None:
    told = json.dumps(LAST, indent=1).encode()
    tap = open_tap()

    stream = feed(tap, b"".join(b"data:" + line + b"\n" for line in told.split(b"\n")) + b"\n")

    (chunk,) = sdk(stream).models.generate_content_stream(model="m", contents="hi")
    assert chunk.text == "!"


def test_a_last_frame_without_its_blank_line() -> None:
    tap = open_tap()

    assert feed(tap, frame(FIRST), frame(LAST).strip()) == frame(FIRST) + frame(LAST)
    assert (tap.complete, tap.ended) == (True, True)


def test_half_a_character_passes_and_is_read() -> None:
    raw = [
        b'data: {"candidates":[{"content":{"parts":[{"text":"%b"}]}}]}\n\n' % half for half in (b"\\ud83d", b"\\ude00")
    ]
    tap = open_tap()

    assert feed(tap, *raw, frame(LAST)) == b"".join(raw) + frame(LAST)
    assert tap.produced_text() == "\ud83d\ude00!"
