"""The tap on a stream, against what vendors really send."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.core.usage import Usage
from app.errors import Blame, Kind
from app.formats.openai_chat.stream import ChatTap
from app.formats.tap import MAX_FRAME

ROLE = b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
HELLO = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n'
STOP = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10}}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = ROLE + HELLO + STOP + USAGE + DONE
COUNTED = Usage(input_tokens=9, output_tokens=1)


def through(tap: ChatTap, *reads: bytes) -> bytes:
    return b"".join([*map(tap.feed, reads), tap.end()])


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> bytes:
    choice = {"index": index, "delta": fields, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


@pytest.mark.parametrize("keep_usage", [True, False])
def test_openai(keep_usage: bool) -> None:
    tap = ChatTap(keep_usage=keep_usage)

    assert through(tap, WHOLE) == (WHOLE if keep_usage else WHOLE.replace(USAGE, b""))
    assert tap.usage == COUNTED
    assert (tap.started, tap.complete, tap.ended, tap.error) == (True, True, True, None)
    assert tap.produced_text() == "Hello"


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(WHOLE.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(WHOLE.replace(b"\n", b"\r"), id="lone CR"),
        pytest.param(WHOLE.replace(b"data: ", b"data:"), id="no space"),
        pytest.param(b": OPENROUTER PROCESSING\n\n" + WHOLE.replace(DONE, b": keep-alive\n\n" + DONE), id="comments"),
        pytest.param(WHOLE.replace(b"data: {", b"event: message\nid: 7\ndata: {"), id="event lines"),
        pytest.param(WHOLE.replace(b'"choices"', b'\ndata: "choices"'), id="multi-line data"),
        pytest.param(b"retry: 3000\n\n" + WHOLE, id="retry"),
        pytest.param(b"\n\n" + WHOLE, id="leading blank lines"),
        pytest.param(WHOLE.replace(b'"usage":{', b'"usage" : {'), id="blanks around the marker"),
    ],
)
def test_framing_passes_as_it_came(stream: bytes) -> None:
    tap = ChatTap(keep_usage=True)

    assert through(tap, stream) == stream
    assert tap.usage == COUNTED
    assert (tap.complete, tap.ended, tap.error) == (True, True, None)
    assert tap.produced_text() == "Hello"


@pytest.mark.parametrize(
    "stream",
    [WHOLE.replace(b"\n", b"\r\n"), WHOLE.replace(b"\n", b"\r"), WHOLE.replace(b'"choices"', b'\ndata: "choices"')],
    ids=["CRLF", "lone CR", "multi-line data"],
)
def test_the_usage_chunk_is_dropped_in_every_framing(stream: bytes) -> None:
    tap = ChatTap(keep_usage=False)
    out = through(tap, stream)

    assert b"prompt_tokens" not in out
    assert b"Hello" in out
    assert tap.usage == COUNTED


AZURE = (
    b'data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,'
    b'"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}\n\n' + WHOLE
)
XAI = (
    HELLO.replace(b"}]}", b'}],"usage":{"prompt_tokens":9,"completion_tokens":0,"total_tokens":9}}')
    + STOP.replace(b"}]}", b'}],"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":60,'
                   b'"completion_tokens_details":{"reasoning_tokens":50}}}')
    + DONE
)  # fmt: skip
DEEPSEEK = (
    b": keep-alive\n\n"
    + ROLE.replace(b'"content":""', b'"content":null,"reasoning_content":""')
    + HELLO.replace(b'"content"', b'"reasoning_content"')
    + HELLO
    + STOP.replace(b"}]}", b'}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,'
                   b'"prompt_tokens_details":{"cached_tokens":8},"prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":1}}')
    + DONE
)  # fmt: skip
OPENROUTER = (
    b": OPENROUTER PROCESSING\n\n"
    + HELLO
    + STOP
    + b'data: {"id":"gen-1","provider":"X","choices":[{"index":0,"delta":{"role":"assistant","content":""},'
    b'"finish_reason":null,"native_finish_reason":null}],"usage":{"prompt_tokens":9,"completion_tokens":1,'
    b'"total_tokens":10,"cost":0.00015,"cost_details":{"upstream_inference_cost":null},"is_byok":false}}\n\n' + DONE
)


@pytest.mark.parametrize(
    ("stream", "quirks", "usage", "text"),
    [
        pytest.param(AZURE, [], COUNTED, "Hello", id="azure: a first chunk without choices"),
        pytest.param(
            XAI, ["reasoning_outside_completion"], Usage(9, 51, reasoning_tokens=50), "Hello", id="xai: on each chunk"
        ),
        pytest.param(DEEPSEEK, [], Usage(9, 2, cache_read_tokens=8), "HelloHello", id="deepseek: on the finish chunk"),
        pytest.param(OPENROUTER, [], COUNTED, "Hello", id="openrouter: with choices"),
        pytest.param(ROLE + HELLO + STOP + DONE, [], None, "Hello", id="ollama: none"),
    ],
)
def test_vendors_pass_whole_where_usage_shares_a_chunk(
    stream: bytes, quirks: list[str], usage: Usage | None, text: str
) -> None:
    tap = ChatTap(keep_usage=False, quirks=frozenset(quirks))

    assert through(tap, stream) == stream.replace(USAGE, b"")
    assert tap.usage == usage
    assert tap.produced_text() == text
    assert tap.complete


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(USAGE, id="choices empty"),
        pytest.param(USAGE.replace(b'"choices":[],', b""), id="choices absent"),
        pytest.param(USAGE.replace(b"[]", b"null"), id="choices null"),
    ],
)
def test_a_chunk_of_nothing_but_usage_is_dropped_unless_asked_for(chunk: bytes) -> None:
    assert through(ChatTap(keep_usage=False), HELLO + chunk + STOP + DONE) == HELLO + STOP + DONE
    assert through(ChatTap(keep_usage=True), HELLO + chunk + STOP + DONE) == HELLO + chunk + STOP + DONE


def test_usage_null_is_not_worth_a_look() -> None:
    nulls = (ROLE + HELLO * 5 + STOP).replace(b"}]}", b'}],"usage":null}')
    tap = ChatTap(keep_usage=False)

    assert tap.feed(nulls) is nulls  # frames that are looked at are joined to a new object
    assert through(tap, USAGE + DONE) == DONE
    assert tap.usage == COUNTED


@pytest.mark.parametrize(
    "text",
    [
        '"usage":{"prompt_tokens":5,"completion_tokens":5}',
        '{"error":{"message":"x"}}',
        "data: [DONE]\n\n",
        "event: error",
    ],
)
def test_what_a_model_writes_about_the_protocol_is_only_text(text: str) -> None:
    stream = ROLE + delta(content=text) + STOP + DONE
    tap = ChatTap(keep_usage=False)

    assert through(tap, stream) == stream
    assert (tap.usage, tap.error, tap.complete) == (None, None, True)
    assert tap.produced_text() == text


def test_text_is_counted_with_reasoning_refusals_and_tool_calls() -> None:
    stream = (
        delta(reasoning="a ")
        + delta(reasoning_content="b ")
        + delta(content="c ", refusal="d ")
        + delta(tool_calls=[{"index": 0, "function": {"name": "look", "arguments": ""}}])
        + delta(tool_calls=[{"index": 0, "function": {"arguments": '{"x":1}'}}])
        + delta(1, content=" second choice")
    )
    tap = ChatTap(keep_usage=True)
    through(tap, stream)

    assert tap.produced_text() == 'a b c d look{"x":1} second choice'


def test_lone_surrogates_pass_as_the_escapes_they_are() -> None:
    halves = HELLO.replace(b"Hello", b"\\ud83d") + HELLO.replace(b"Hello", b"\\ude00")
    stream = ROLE + halves + STOP.replace(b"}]}", b'}],"usage":{"prompt_tokens":1,"completion_tokens":2}}') + DONE
    tap = ChatTap(keep_usage=True)

    assert through(tap, stream) == stream
    assert tap.produced_text() == "\ud83d\ude00"
    assert tap.usage == Usage(1, 2)


def test_a_long_answer_is_digested_in_blocks() -> None:
    frame = delta(content="word " * 100)
    tap = ChatTap(keep_usage=True)
    out = through(tap, *[frame] * 400, STOP)

    assert out == frame * 400 + STOP + DONE
    assert tap.produced_text() == "word " * 100 * 400


# -- how streams end ---------------------------------------------------------------------------------------------------


def test_a_missing_end_mark_is_added_after_a_finish_reason() -> None:
    tap = ChatTap(keep_usage=True)

    assert through(tap, ROLE + HELLO + STOP + USAGE) == WHOLE
    assert (tap.complete, tap.ended, tap.usage) == (True, True, COUNTED)


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(ROLE + HELLO, id="between frames"),
        pytest.param(ROLE + HELLO + STOP[:40], id="inside a frame"),
        pytest.param(ROLE + HELLO + b"data: [DO", id="inside the end mark"),
        pytest.param(ROLE + HELLO + b": keep-alive", id="inside a comment"),
        pytest.param(b"", id="nothing at all"),
        pytest.param(delta(0, content="a") + delta(1, content="b") + delta(0, "stop"), id="one choice of two"),
    ],
)
def test_a_truncated_stream_is_not_complete(stream: bytes) -> None:
    tap = ChatTap(keep_usage=True)
    out = through(tap, stream)

    assert (tap.complete, tap.ended, tap.error) == (False, False, None)
    assert stream.startswith(out)
    assert b"[DONE]" not in out


def test_every_choice_has_to_finish() -> None:
    stream = delta(0, content="a") + delta(1, content="b") + delta(1, "stop") + delta(0, "stop")
    tap = ChatTap(keep_usage=True)

    assert through(tap, stream) == stream + DONE
    assert tap.complete


def test_an_audio_tail_after_the_finish_reason_reopens_nothing() -> None:
    tap = ChatTap(keep_usage=True)
    through(tap, delta(content="a") + delta(0, "stop") + delta(audio={"expires_at": 1}))

    assert tap.complete


@pytest.mark.parametrize("eol", [b"", b"\n", b"\r", b"\r\n"], ids=["none", "LF", "CR", "CRLF"])
def test_a_last_frame_without_its_blank_line_is_completed(eol: bytes) -> None:
    tap = ChatTap(keep_usage=True)
    out = through(tap, ROLE + HELLO + STOP + b"data: [DONE]" + eol)

    assert out.removesuffix(b"\n\n").rstrip(b"\r\n") == (ROLE + HELLO + STOP + b"data: [DONE]")
    assert out.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
    assert tap.ended


@pytest.mark.parametrize("together", [True, False])
def test_nothing_follows_the_end_mark(together: bool) -> None:
    stray = HELLO.replace(b"Hello", b"stray") + USAGE + DONE
    tap = ChatTap(keep_usage=True)
    out = through(tap, *([HELLO + STOP + DONE + stray] if together else [HELLO + STOP + DONE, stray]))

    assert out == HELLO + STOP + DONE
    assert tap.usage is None
    assert tap.produced_text() == "Hello"


def test_a_broken_frame_passes_and_hides_nothing_behind_it() -> None:
    broken = b'data: {"id":"c","choices":[{"delta":{"content":"brok\n\n'
    tap = ChatTap(keep_usage=True)

    assert through(tap, ROLE + broken + HELLO + STOP + USAGE + DONE) == ROLE + broken + HELLO + STOP + USAGE + DONE
    assert (tap.usage, tap.complete) == (COUNTED, True)


def test_an_endless_frame_is_an_error_and_is_not_kept() -> None:
    tap = ChatTap(keep_usage=True)
    tap.feed(b'data: {"x":"')
    part = b"x" * (4 * 1024 * 1024)
    for _ in range(MAX_FRAME // len(part) + 1):
        assert tap.feed(part) == b""

    assert tap.error is not None
    assert tap.error.code == "upstream_bad_response"
    assert through(tap, b"\n\n" + HELLO) == b""


# -- errors inside a stream --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "code", "message"),
    [
        pytest.param(
            b'data: {"error":{"message":"Overloaded","type":"server_error","code":null}}\n\n',
            "upstream_error", "The upstream reported an error: Overloaded", id="openai",
        ),
        pytest.param(b'data: {"error":"too slow"}\n\n', "upstream_error", "The upstream reported an error: too slow",
                     id="ollama: a string"),
        pytest.param(
            b'data: {"id":"gen-1","error":{"code":502,"message":"Provider disconnected","metadata":{}},"choices":'
            b'[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}\n\n',
            "upstream_error", "The upstream reported an error: Provider disconnected", id="openrouter: beside choices",
        ),
        pytest.param(b'event: error\ndata: {"error":{"message":"Boom"}}\n\n', "upstream_error",
                     "The upstream reported an error: Boom", id="groq: event error"),
        pytest.param(b'event: error\ndata: {"message":"Boom","code":"overloaded"}\n\n', "upstream_error",
                     "The upstream reported an error: Boom", id="event error without an error object"),
        pytest.param(b"event: error\ndata: Boom\n\n", "upstream_error", "The upstream reported an error.",
                     id="event error that isn't JSON"),
        pytest.param(b'data: {"object":"error","message":"Boom","type":"BadRequestError","code":400}\n\n', "400", "Boom",
                     id="vllm: object error"),
        pytest.param('data: {"error":{"message":"Boom","code":"²"}}\n\n'.encode(), "upstream_error",
                     "The upstream reported an error: Boom", id="a code of superscript digits"),
        pytest.param(b'data: {"error":{"message":"\\ud83d Boom","code":"\\ud83d"}}\n\n', "upstream_error",
                     "The upstream reported an error: ? Boom", id="lone surrogates"),
        pytest.param(b'data: {"error":true}\n\n', "upstream_error", "The upstream reported an error.", id="true"),
        pytest.param(b'data: {"error":[{"message":"x"}]}\n\n', "upstream_error", "The upstream reported an error.",
                     id="an array"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("done", [b"", DONE], ids=["clean end", "[DONE] behind it"])
def test_an_error_frame_is_taken_out_and_ends_the_answer(frame: bytes, done: bytes, code: str, message: str) -> None:
    tap = ChatTap(keep_usage=True)
    out = through(tap, ROLE + HELLO + frame + HELLO + done)

    assert out == ROLE + HELLO
    assert tap.error is not None
    assert (tap.error.code, tap.error.message) == (code, message)
    assert not tap.complete
    assert tap.produced_text() == "Hello"


def test_an_error_without_content_is_none() -> None:
    for empty in (b"null", b"{}", b'""', b"[]", b"false"):
        tap = ChatTap(keep_usage=True)
        stream = HELLO.replace(b"}]}", b'}],"error":' + empty + b"}") + STOP + DONE

        assert through(tap, stream) == stream
        assert tap.error is None


def test_an_error_frame_first_has_started_nothing() -> None:
    tap = ChatTap(keep_usage=True)
    tap.feed(b": comment\n\n" + b'data: {"error":{"message":"no","code":429}}\n\n')

    assert tap.error is not None
    assert not tap.started


def test_openrouter_names_the_clients_fault_by_its_status() -> None:
    tap = ChatTap(keep_usage=True)
    tap.feed(b'data: {"error":{"code":400,"message":"context is too long"}}\n\n')

    assert tap.error is not None
    assert (tap.error.kind, tap.error.blame, tap.error.retryable) == (Kind.INVALID, Blame.CLIENT, False)
    assert tap.error.message == "context is too long"
