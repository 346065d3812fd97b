"""Framing of server-sent events does not depend on how the network cuts them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.sse import FrameBuffer, end_of_frames, frame_data, frame_event, split_frames
from app.core.usage import Usage
from app.formats.openai_chat.stream import ChatTap

EOLS = (b"\n", b"\r\n", b"\r")
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def content(text: str, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **fields}


# What a model may well write about: the markers the tap looks for, inside text, and characters of several bytes.
TEXTS = ("", "plain", '"usage":{"prompt_tokens":9}', '"error"', "data: [DONE]\n\n", "\u2028\u2029\x85é😀汉", "\r\n\r\n")
PAYLOADS: tuple[dict[str, Any], ...] = (
    *(content(text) for text in TEXTS),
    content("a", usage=None),
    content("b", error=None),
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USAGE},
    {"choices": [], "usage": USAGE},
    {"choices": [], "prompt_filter_results": []},
    {"error": {"message": "überlastet", "code": 503}},
    {"error": "no more"},
)
# The lines of frames, without their ends; the blank line that ends a frame is not among them.
FRAMES: tuple[tuple[bytes, ...], ...] = (
    *((b"data: " + json.dumps(payload, ensure_ascii=False).encode(),) for payload in PAYLOADS),
    *((b"data:" + json.dumps(payload).encode(),) for payload in PAYLOADS),
    *(tuple(b"data: " + line.encode() for line in json.dumps(payload, indent=1).split("\n")) for payload in PAYLOADS),
    (b": keep-alive",),
    (b"event: message", b"id: 1", b"data: " + json.dumps(content("c")).encode()),
    (b"event: error", b'data: {"message":"too much"}'),
    (b'data: {"choices":[{"delta":{"content":"brok',),
    (b"data: [DONE]",),
    (b"data:[DONE]",),
)


@st.composite
def streams(draw: st.DrawFn, *, mixed: bool = False) -> bytes:
    """A stream with one kind of line end, or with one drawn for each line; often cut short."""
    lines = [line for frame in draw(st.lists(st.sampled_from(FRAMES), max_size=6)) for line in (*frame, b"")]
    eols = [draw(st.sampled_from(EOLS))] * len(lines)
    if mixed:
        eols = draw(st.lists(st.sampled_from(EOLS), min_size=len(lines), max_size=len(lines)))
    out = b"".join(line + eol for line, eol in zip(lines, eols, strict=True))
    return out[: draw(st.integers(0, len(out)))] if draw(st.booleans()) else out


@st.composite
def pieces_of(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    stream = draw(source)
    if draw(st.booleans()):
        return stream, [stream[i : i + 1] for i in range(len(stream))]
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return stream, [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)]) if a < b]


def run(pieces: Sequence[bytes], *, keep_usage: bool) -> tuple[bytes, dict[str, object]]:
    """What the client gets, and all that the tap has seen."""
    tap = ChatTap(keep_usage=keep_usage)
    out = b"".join([*(tap.feed(piece) for piece in pieces), tap.end()])
    seen: dict[str, object] = {
        "usage": tap.usage,
        "started": tap.started,
        "complete": tap.complete,
        "ended": tap.ended,
        "error": None if tap.error is None else (tap.error.code, tap.error.message, tap.error.upstream_code),
        "text": tap.produced_text(),
    }
    return out, seen


def events(stream: bytes) -> list[tuple[bytes, bytes]]:
    """Event name and data of each event, by the letter of WHATWG HTML §9.2.6."""
    found: list[tuple[bytes, bytes]] = []
    name, data = b"", list[bytes]()
    for line in re.split(rb"\r\n|\n|\r", stream)[:-1]:
        if not line:
            if data:
                found.append((name, b"\n".join(data)))
            name, data = b"", []
        elif not line.startswith(b":"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value
    return found


@given(pieces_of(streams()), st.booleans())
def test_any_split_gives_the_same_bytes_and_the_same_state(cut: tuple[bytes, list[bytes]], keep_usage: bool) -> None:
    whole, pieces = cut

    assert run(pieces, keep_usage=keep_usage) == run([whole], keep_usage=keep_usage)


@given(pieces_of(streams(mixed=True)), st.booleans())
def test_mixed_line_ends_give_the_same_events_however_they_are_split(
    cut: tuple[bytes, list[bytes]], keep_usage: bool
) -> None:
    whole, pieces = cut
    whole_out, whole_seen = run([whole], keep_usage=keep_usage)
    out, seen = run(pieces, keep_usage=keep_usage)

    assert events(out) == events(whole_out)
    assert seen == whole_seen


@given(pieces_of(streams()))
def test_a_stream_without_usage_or_error_passes_untouched(cut: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = cut
    out, seen = run(pieces, keep_usage=True)

    if seen["error"] is None and not seen["ended"]:
        # A last frame that was cut off is given its blank line if its data is whole, else it is dropped.
        assert whole.startswith(out.removesuffix(b"\n\n"))
        assert events(out) in (events(whole), events(whole + b"\n\n"))


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"data: x", b":c", b"event: e", b"\xe6\xb1"]), max_size=24).map(b"".join)
)
def test_split_frames_loses_no_byte(buffer: bytes) -> None:
    found = split_frames(buffer)

    assert b"".join(found) == buffer
    assert all(found)


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"data: x", b":c", b"event: e", b"\xe6\xb1"]), max_size=24).map(b"".join)
)
def test_frames_end_where_events_do(buffer: bytes) -> None:
    end = end_of_frames(buffer)
    carried = [data for data in map(frame_data, split_frames(buffer[:end])) if data is not None]

    assert carried == [data for _, data in events(buffer[:end])]
    # Held back is at most one event, and only one whose last line end may still be half of a CRLF.
    assert len(events(buffer)) - len(carried) <= (1 if buffer.endswith(b"\n\r") else 0)


@pytest.mark.parametrize(
    ("buffer", "end"),
    [
        pytest.param(b"", 0, id="nothing"),
        pytest.param(b"data: a\n", 0, id="a line is no frame"),
        pytest.param(b"data: a\n\ndata: b", 9, id="LF"),
        pytest.param(b"data: a\r\n\r\ndata: b", 11, id="CRLF"),
        pytest.param(b"data: a\r\rdata: b", 9, id="CR"),
        pytest.param(b"data: a\n\r\ndata: b", 10, id="LF then CRLF"),
        pytest.param(b"data: a\r\n\ndata: b", 10, id="CRLF then LF"),
        pytest.param(b"data: a\r\n", 0, id="a CRLF is one line end"),
        pytest.param(b"data: a\r\n\r", 0, id="half of a CRLF"),
        pytest.param(b"data: a\r\r", 9, id="CR at the end of the buffer"),
    ],
)
def test_where_frames_end(buffer: bytes, end: int) -> None:
    assert end_of_frames(buffer) == end


@pytest.mark.parametrize(
    ("frame", "data", "event"),
    [
        pytest.param(b"data: a\n\n", b"a", None, id="with a space"),
        pytest.param(b"data:a\n\n", b"a", None, id="without a space"),
        pytest.param(b"data:  a\n\n", b" a", None, id="only one space is the field's"),
        pytest.param(b"data: a\ndata: b\n\n", b"a\nb", None, id="lines are joined"),
        pytest.param(b": data: a\n\n", None, None, id="a comment"),
        pytest.param(b"event: error\ndata: {}\n\n", b"{}", b"error", id="an event"),
        pytest.param(b"event:error\r\ndata:{}\r\n\r\n", b"{}", b"error", id="an event without space"),
        pytest.param(b"id: 3\nretry: 5\n\n", None, None, id="other fields"),
        pytest.param(b"metadata: a\n\n", None, None, id="a field that ends like data"),
        pytest.param("data: é\u2028b\n\n".encode(), "é\u2028b".encode(), None, id="U+2028 ends no line"),
    ],
)
def test_fields_of_a_frame(frame: bytes, data: bytes | None, event: bytes | None) -> None:
    assert frame_data(frame) == data
    assert frame_event(frame) == event


def test_a_character_split_over_two_reads_comes_out_whole() -> None:
    stream = b"data: " + json.dumps(content("é😀汉"), ensure_ascii=False).encode() + b"\n\ndata: [DONE]\n\n"
    out, seen = run([stream[i : i + 1] for i in range(len(stream))], keep_usage=True)

    assert out == stream
    assert seen["text"] == "é😀汉"


def test_the_last_usage_counts() -> None:
    first = b"data: " + json.dumps({"choices": [], "usage": {**USAGE, "completion_tokens": 1}}).encode() + b"\n\n"
    last = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"

    _, seen = run([first + last], keep_usage=True)

    assert seen["usage"] == Usage(input_tokens=7, output_tokens=3)


@given(streams(mixed=True), st.lists(st.integers(1, 9), max_size=40))
def test_a_buffer_gives_the_frames_that_a_look_at_all_of_it_gives(stream: bytes, sizes: list[int]) -> None:
    buffer, taken, seen, rest = FrameBuffer(), b"", b"", stream
    for size in [*sizes, len(stream) or 1]:
        piece, rest = rest[:size], rest[size:]
        seen += piece
        taken += buffer.take(piece)
        # The break after a frame, which went with the first half of it.
        halved = seen[len(taken) - 1 : len(taken) + 1] == b"\r\n"
        assert len(taken) + halved >= end_of_frames(seen)
        assert buffer.size == len(seen) - len(taken)
    assert taken + buffer.rest() == stream
