"""The tap on a stream that passes: what it reads, and what it does about a failure."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.usage import Usage
from app.errors import GatewayError, Kind
from app.formats.openai_responses import FORMAT
from app.formats.openai_responses.stream import ResponsesTap
from tests.formats.openai_responses.examples import call, events_in, frame, message, response, text, thought
from tests.formats.openai_responses.openai_stream import stream_of

OUTPUT = (thought("hm"), message(text("Hello"), {"type": "refusal", "refusal": "No"}), call('{"a":1}'))
WHOLE = stream_of(response(*OUTPUT), list)
CREATED = frame("response.created", response=response(status="in_progress", usage=None))
DELTA = frame("response.output_text.delta", output_index=0, content_index=0, delta="Hi")
FAILED = frame("response.failed", response=response(status="failed", error={"code": "server_error", "message": "oh"}))
ERROR = frame("error", code="server_error", message="oh", param=None)
NESTED = frame("error", error={"type": "server_error", "code": "server_error", "message": "oh", "param": None})
OPENING = CREATED + DELTA


def through(tap: ResponsesTap, *reads: bytes) -> bytes:
    return b"".join([*map(tap.feed, reads), tap.end()])


def test_openai() -> None:
    tap = ResponsesTap()

    assert through(tap, WHOLE) == WHOLE
    assert (tap.usage, tap.id) == (Usage(9, 3), "resp_1")
    assert (tap.started, tap.complete, tap.ended, tap.error) == (True, True, True, None)
    assert tap.produced_text() == 'hmHelloNolook{"a":1}'


@given(st.lists(st.integers(0, len(WHOLE)), max_size=6))
def test_however_it_is_cut(cuts: list[int]) -> None:
    tap, places = ResponsesTap(), sorted({0, *cuts, len(WHOLE)})

    assert through(tap, *[WHOLE[a:b] for a, b in pairwise(places)]) == WHOLE
    assert (tap.usage, tap.complete, tap.id) == (Usage(9, 3), True, "resp_1")


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(WHOLE.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(WHOLE.replace(b"data: ", b"data:"), id="no space"),
        pytest.param(b": OPENROUTER PROCESSING\n\n" + WHOLE, id="openrouter: comments"),
        pytest.param(b"".join(f"data: {json.dumps(e)}\n\n".encode() for e in events_in(WHOLE)), id="no event lines"),
        pytest.param(WHOLE.replace(b'"Hello"', b'"\\ud83d"'), id="half a character"),
        pytest.param(frame("x", **{"\ud83d": "", "error": None}) + WHOLE, id="half a character in a name"),
        pytest.param(WHOLE.replace(b'"Hello"', '"\u2028\u2029\x85"'.encode()), id="odd line ends"),
    ],
)
def test_framing_passes_as_it_came(stream: bytes) -> None:
    tap = ResponsesTap()

    assert through(tap, stream) == stream
    assert (tap.usage, tap.complete, tap.ended) == (Usage(9, 3), True, True)


def test_an_answer_cut_short_is_complete() -> None:
    tap = ResponsesTap()
    details = {"reason": "max_output_tokens"}
    through(
        tap, OPENING, frame("response.incomplete", response=response(status="incomplete", incomplete_details=details))
    )

    assert (tap.complete, tap.ended, tap.usage) == (True, True, Usage(9, 3))


def test_what_follows_the_end_is_left_out() -> None:
    assert through(ResponsesTap(), WHOLE + b"data: [DONE]\n\n") == WHOLE


@pytest.mark.parametrize("rest", [b"", b"data: [DONE]\n\n"])
def test_an_end_without_the_last_event_is_none(rest: bytes) -> None:
    tap = ResponsesTap()
    through(tap, OPENING + rest)

    assert (tap.complete, tap.ended, tap.error) == (False, False, None)
    assert tap.id == "resp_1"  # known from the first event on


def test_words_about_responses_and_errors_are_only_words() -> None:
    said = DELTA.replace(b"Hi", b'\\"response\\": \\"error\\" event: error response.failed')
    tap = ResponsesTap()

    assert through(tap, OPENING + said) == OPENING + said
    assert tap.error is None


@pytest.mark.parametrize("event", [FAILED, ERROR, NESTED], ids=["failed", "error", "error nested"])
@pytest.mark.parametrize("before", [b"", CREATED], ids=["at once", "in the first read"])
def test_a_failure_before_anything_was_sent_is_kept_back(before: bytes, event: bytes) -> None:
    tap = ResponsesTap()

    assert tap.feed(before + event) == before
    assert tap.error is not None
    assert (tap.error.code, tap.error.upstream_code, tap.error.retryable) == ("upstream_error", "server_error", True)
    assert not tap.ended


def test_a_failure_after_the_start_is_told_as_its_own_event_and_ends_the_stream() -> None:
    tap = ResponsesTap()

    assert [tap.feed(OPENING), tap.feed(FAILED), tap.feed(DELTA)] == [OPENING, FAILED, b""]
    assert tap.error is not None
    assert (tap.ended, tap.complete, tap.usage) == (True, False, Usage(9, 3))


@pytest.mark.parametrize("event", [ERROR, NESTED], ids=["error", "error nested"])
def test_an_error_after_the_start_is_for_the_gateway_to_tell(event: bytes) -> None:
    tap = ResponsesTap()

    assert [tap.feed(OPENING), tap.feed(event)] == [OPENING, b""]
    assert tap.error is not None
    assert not tap.ended


def test_an_error_is_told_so_that_every_client_sees_it() -> None:
    error = GatewayError(Kind.UPSTREAM, "upstream_error", "Oh\u2028no.")
    told = FORMAT.write_stream_error(error)

    assert "\u2028".encode() not in told
    assert events_in(told) == [
        {
            "type": "error",
            "code": "upstream_error",
            "message": "Oh\u2028no.",
            "param": None,
            "sequence_number": 0,
            "error": {"message": "Oh\u2028no.", "type": "upstream_error", "param": None, "code": "upstream_error"},
        }
    ]
