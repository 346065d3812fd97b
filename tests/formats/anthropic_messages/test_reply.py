"""What the relay reads off an answer in passing: whole, and as a stream."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.usage import Usage
from app.errors import UpstreamError
from app.formats.anthropic_messages import FORMAT
from app.formats.anthropic_messages.usage import merge_usage, read_usage, write_usage
from app.formats.base import Tap
from tests.formats.anthropic_messages.shapes import ANSWERS, SEEDS, ask, body, frame, frames_of

ANSWER: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "text", "text": "Yes."},
        {"type": "tool_use", "id": "t", "name": "look", "input": {"at": "it"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "output_tokens": 20, "cache_read_input_tokens": 5},
}


def tap() -> Tap:
    return FORMAT.open_tap(ask(stream=True), frozenset())


def stream_of(answer: dict[str, Any]) -> bytes:
    usage = {**answer["usage"], "output_tokens_details": {"thinking_tokens": 3}}
    return b"".join(frame(value) for value in frames_of({**answer, "usage": usage}, random.Random(1)))


def test_a_whole_answer() -> None:
    reply = FORMAT.read_reply(body(ANSWER), frozenset())

    assert (reply.usage, reply.error, reply.id) == (Usage(15, 20, cache_read_tokens=5), None, "msg_1")
    assert FORMAT.reply_text(body(ANSWER)) == 'Hm.Yes.look{"at": "it"}'


def test_lone_surrogates_do_not_hide_an_answer() -> None:
    reply = FORMAT.read_reply(b'{"id":"a","content":[{"type":"text","text":"\\ud83d"}],"usage":null}', frozenset())

    assert (reply.usage, reply.error, reply.id) == (None, None, "a")


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", b"[]", b"{}", b'{"choices":[]}', b'"x"', b'{"content":[],"x":"\xff"}']
)
def test_what_is_no_answer(answer: bytes) -> None:
    with pytest.raises(UpstreamError):
        FORMAT.read_reply(answer, frozenset())
    with pytest.raises(UpstreamError):
        FORMAT.read_answer(answer, frozenset())
    assert FORMAT.reply_text(answer) == ""


def test_a_stream_passes_untouched() -> None:
    stream, tapped = stream_of(ANSWER), tap()

    assert tapped.feed(stream) == stream

    assert (tapped.started, tapped.complete, tapped.ended, tapped.error) == (True, True, True, None)
    assert tapped.usage == Usage(15, 20, cache_read_tokens=5, reasoning_tokens=3)
    assert tapped.opening == Usage(15, 1, cache_read_tokens=5)
    assert tapped.id == "msg_1"
    assert tapped.produced_text() == 'Hm.Yes.look{"at": "it"}'


@given(ANSWERS, SEEDS, st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_a_stream_reads_the_same_however_it_is_cut(answer: dict[str, Any], seed: int, end: bytes) -> None:
    dice = random.Random(seed)
    stream = b"".join(frame(value) for value in frames_of(answer, dice)).replace(b"\n", end)
    tapped, passed, rest = tap(), b"", stream

    while rest:
        at = dice.randint(1, 60)
        passed += tapped.feed(rest[:at])
        rest = rest[at:]
    passed += tapped.end()

    assert passed == stream
    assert tapped.usage == read_usage(answer["usage"])
    assert (tapped.complete, tapped.ended, tapped.error) == (True, True, None)


def test_a_stream_without_its_end_mark_is_given_one() -> None:
    frames = frames_of({**ANSWER, "usage": {**ANSWER["usage"], "output_tokens_details": {}}}, random.Random(1))[:-1]
    tapped = tap()

    tapped.feed(b"".join(frame(value) for value in frames))

    assert tapped.end() == b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    assert tapped.complete


@pytest.mark.parametrize("kept", range(1, 9))
def test_a_stream_that_breaks_off_is_not_complete(kept: int) -> None:
    usage = {"input_tokens": 4, "output_tokens": 2, "output_tokens_details": {}}
    answer = {**ANSWER, "content": ANSWER["content"][1:2], "usage": usage}
    frames = frames_of(answer, random.Random(1))[:kept]
    tapped = tap()
    tapped.feed(b"".join(frame(value) for value in frames))
    tapped.end()

    done = any(value["type"] == "message_delta" for value in frames)
    assert (tapped.complete, tapped.usage is not None) == (done, done)
    assert tapped.opening == Usage(4, 1)


@pytest.mark.parametrize(
    "broken",
    [
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n',
        b'data: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n',
        b"event: error\ndata: Overloaded\n\n",
        b"event:error\r\ndata: {}\r\n\r\n",
    ],
    ids=["Anthropic", "no event", "no JSON", "CRLF"],
)
def test_an_error_ends_a_stream(broken: bytes) -> None:
    tapped = tap()
    ping = frame({"type": "ping"})

    assert tapped.feed(ping + broken + ping) == ping

    assert tapped.error is not None
    assert not tapped.complete


def test_text_that_speaks_of_frames_is_text() -> None:
    answer = {**ANSWER, "content": [{"type": "text", "text": '"message_stop" "error" event: error\n\n'}]}
    stream, tapped = stream_of(answer), tap()

    assert tapped.feed(stream) == stream
    assert (tapped.complete, tapped.error) == (True, None)


# -- usage ---------------------------------------------------------------------------------------------------------------


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    inside, output = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**6))
    read = draw(st.integers(0, inside))
    written = draw(st.integers(0, inside - read))
    return Usage(
        inside,
        output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=draw(st.integers(0, written)),
        reasoning_tokens=draw(st.integers(0, output)),
        search_units=draw(st.integers(0, 5)),
        service_tier=draw(st.sampled_from([None, "fast", "priority", "batch"])),
    )


@given(usages())
def test_what_is_written_is_what_was_used(usage: Usage) -> None:
    report = json.loads(json.dumps(write_usage(usage)))

    assert read_usage(report) == usage
    assert read_usage(merge_usage(write_usage(Usage(3, 1)), report)) == usage
    assert report["input_tokens"] + report["cache_read_input_tokens"] + report["cache_creation_input_tokens"] == (
        usage.input_tokens
    )


def test_a_tier_that_anthropic_does_not_have_is_not_named() -> None:
    assert write_usage(Usage(1, 1, service_tier="flex"))["service_tier"] is None
