"""Answers of servers that speak Chat Completions, whole and streamed, read into the canonical ones: all that vendors do."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.assembly import assemble
from app.core.conversation import (
    Answer,
    BlockEnded,
    BlockStarted,
    Choice,
    Citation,
    Event,
    Failed,
    Finish,
    Finished,
    Grown,
    Image,
    Media,
    Refusal,
    Reported,
    Signature,
    Started,
    Text,
    Thinking,
    Token,
    ToolCall,
    Weighed,
)
from app.core.usage import Usage
from app.errors import UpstreamError
from app.formats.openai_chat import FORMAT
from tests.formats.openai_chat.conversions import chunk, events_of_stream, read_stream

DONE = b"[DONE]"
USAGE = b'{"id":"c1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}'
COUNTED = Usage(input_tokens=9, output_tokens=2)
GOOGLE = Signature("google", "sig")
NOTHING: frozenset[str] = frozenset()


def whole(message: dict[str, Any], finish: str | None = "stop", **fields: Any) -> Answer:
    choice = {"index": 0, "message": message, "finish_reason": finish, **fields}
    return FORMAT.read_answer(
        json.dumps({"id": "c1", "model": "up", "created": 7, "choices": [choice]}).encode(), NOTHING
    )


def call(index: int | None = None, **fields: Any) -> dict[str, Any]:
    function = {name: fields.pop(name) for name in ("name", "arguments") if name in fields}
    return {**({} if index is None else {"index": index}), **fields, "function": function}


def streamed(*deltas: dict[str, Any], finish: str = "stop") -> Choice:
    (choice,) = read_stream(*[chunk(**delta) for delta in deltas], chunk(finish=finish), DONE).choices
    return choice


# -- what is read ------------------------------------------------------------------------------------------------------


def test_a_stream() -> None:
    frames = (
        chunk(role="assistant", content=""),
        chunk(content="He"),
        chunk(content="y"),
        chunk(finish="stop"),
        USAGE,
        DONE,
    )

    assert events_of_stream(*frames) == [
        Started("c1", "up", 7),
        BlockStarted(Text("He")),
        Grown("y"),
        BlockEnded(),
        Finished(Finish.STOP),
        Reported(COUNTED),
    ]


def test_a_whole_answer() -> None:
    body = {
        "id": "c1",
        "model": "up",
        "created": 7,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hey",
                    "refusal": None,
                    "annotations": [{"type": "url_citation", "url_citation": {"url": "https://x", "title": "X"}}],
                    "tool_calls": [
                        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                        {"id": "b", "type": "custom", "custom": {"name": "g", "input": "plain"}},
                    ],
                },
                "logprobs": {
                    "content": [{"token": "Hey", "logprob": -1, "top_logprobs": [{"token": "Hi", "logprob": -2}]}]
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }

    assert FORMAT.read_answer(json.dumps(body).encode(), NOTHING) == Answer(
        id="c1",
        model="up",
        created=7,
        usage=COUNTED,
        choices=(
            Choice(
                (
                    Text("Hey", (Citation("https://x", "X"),)),
                    ToolCall("a", "f", "{}"),
                    ToolCall("b", "g", "plain", custom=True),
                ),
                Finish.TOOL_CALLS,
                logprobs=(Token("Hey", -1.0, (("Hi", -2.0),)),),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("reason", "stop_reason", "finish"),
    [
        ("stop", None, Finish.STOP),
        ("length", None, Finish.LENGTH),
        ("content_filter", None, Finish.FILTERED),
        ("eos_token", None, Finish.STOP),
        ("stop", "###", Finish.STOP_SEQUENCE),
        ("stop", 128009, Finish.STOP),
        ("model_length", None, Finish.LENGTH),
        (None, None, Finish.STOP),
    ],
    ids=["stop", "length", "filter", "vLLM any word", "vLLM stop sequence", "vLLM stop token", "Mistral", "no word"],
)
def test_why_it_ended(reason: str | None, stop_reason: object, finish: Finish) -> None:
    (choice,) = whole({"content": "x"}, reason, stop_reason=stop_reason).choices

    assert choice.finish is finish
    assert choice.stop_sequence == ("###" if finish is Finish.STOP_SEQUENCE else None)


CALL = ToolCall("a", "f", '{"x":1}')


@pytest.mark.parametrize(
    ("deltas", "blocks"),
    [
        pytest.param(
            [
                {"tool_calls": [call(0, id="a", type="function", name="f", arguments="")]},
                {"tool_calls": [call(0, arguments='{"x"')]},
                {"tool_calls": [call(0, arguments=":1}")]},
            ],
            (CALL,),
            id="OpenAI",
        ),
        pytest.param([{"tool_calls": [call(0, id="a", name="f", arguments='{"x":1}')]}], (CALL,), id="a whole call"),
        pytest.param(
            [{"tool_calls": [call(id="a", name="f", arguments='{"x":1}')]}], (CALL,), id="neither index nor type"
        ),
        pytest.param(
            [{"tool_calls": [call(id="a", name="f")]}, {"tool_calls": [call(arguments='{"x":1}')]}],
            (CALL,),
            id="no index",
        ),
        pytest.param([{"tool_calls": [call(0, id="a", name="f", arguments={"x": 1})]}], (CALL,), id="an object"),
        pytest.param(
            [
                {"tool_calls": [call(0, id="a", name="f", arguments='{"x"')]},
                {"tool_calls": [call(0, id="a", name="f", arguments=":1}")]},
            ],
            (CALL,),
            id="id and name in every piece",
        ),
        pytest.param(
            [{"tool_calls": [call(0, id="a", arguments='{"x":')]}, {"tool_calls": [call(0, name="f", arguments="1}")]}],
            (CALL,),
            id="a name that comes late",
        ),
        pytest.param(
            [
                {"tool_calls": [call(0, id="a", name="f", arguments='{"x":1}')]},
                {"tool_calls": [call(0, id="b", name="g", arguments="{}")]},
            ],
            (CALL, ToolCall("b", "g", "{}")),
            id="Gemini's endpoint numbers every call 0",
        ),
        pytest.param(
            [{"tool_calls": [call(0, name="f"), call(1, name="g")]}],
            (ToolCall("call_c10_0", "f", ""), ToolCall("call_c10_1", "g", "")),
            id="no ids",
        ),
        pytest.param(
            [{"function_call": {"name": "f", "arguments": '{"x"'}}, {"function_call": {"arguments": ":1}"}}],
            (ToolCall("call_c10_0", "f", '{"x":1}'),),
            id="function_call of old",
        ),
        pytest.param(
            [
                {"content": "x"},
                {"tool_calls": [call(0, id="a", name="f", arguments='{"x":1}')]},
                {"tool_calls": [call(1, id="b", name="f", arguments='{"x":1}')]},
            ],
            (Text("x"), CALL, ToolCall("b", "f", '{"x":1}')),
            id="parallel calls after text",
        ),
        pytest.param(
            [
                {
                    "tool_calls": [
                        call(
                            0,
                            id="a",
                            name="f",
                            arguments='{"x":1}',
                            extra_content={"google": {"thought_signature": "sig"}},
                        )
                    ]
                }
            ],
            (Thinking("", GOOGLE), CALL),
            id="Gemini's signature",
        ),
        pytest.param(
            [
                {
                    "reasoning_details": [
                        {"type": "reasoning.encrypted", "data": "sig", "format": "google-gemini-v1", "id": "a"}
                    ]
                },
                {"tool_calls": [call(0, id="a", name="f", arguments='{"x":1}')]},
            ],
            (Thinking("", GOOGLE), CALL),
            id="OpenRouter: Gemini's signature",
        ),
    ],
)
def test_tool_calls_of_a_stream(deltas: list[dict[str, Any]], blocks: tuple[Any, ...]) -> None:
    choice = streamed(*deltas, finish="stop")

    assert choice.blocks == blocks
    assert choice.finish is Finish.TOOL_CALLS, "even where the vendor says stop"


@pytest.mark.parametrize(
    ("deltas", "blocks"),
    [
        pytest.param([{"reasoning_content": "a"}, {"reasoning_content": "b"}], (Thinking("ab"),), id="DeepSeek"),
        pytest.param([{"reasoning": "a"}, {"reasoning": "b"}], (Thinking("ab"),), id="vLLM, Ollama"),
        pytest.param(
            [
                {"reasoning": "a", "reasoning_details": [{"type": "reasoning.text", "text": "a", "index": 0}]},
                {"reasoning": "b", "reasoning_details": [{"type": "reasoning.text", "text": "b", "index": 0}]},
                {
                    "reasoning_details": [
                        {"type": "reasoning.text", "signature": "sig", "format": "anthropic-claude-v1", "index": 0}
                    ]
                },
            ],
            (Thinking("ab", Signature("anthropic", "sig")),),
            id="OpenRouter: Anthropic",
        ),
        pytest.param(
            [
                {"reasoning_details": [{"type": "reasoning.summary", "summary": "a", "format": "openai-responses-v1"}]},
                {
                    "reasoning_details": [
                        {"type": "reasoning.encrypted", "data": "blob", "format": "openai-responses-v1", "id": "rs_1"}
                    ]
                },
            ],
            (Thinking("a", Signature("openai", "blob")),),
            id="OpenRouter: OpenAI",
        ),
        pytest.param(
            [{"reasoning_details": [{"type": "reasoning.server_tool_call", "tool_name": "x"}]}],
            (),
            id="OpenRouter: other",
        ),
        pytest.param(
            [
                {
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": "a"}]},
                        {"type": "text", "text": "b"},
                    ]
                }
            ],
            (Thinking("a"), Text("b")),
            id="Mistral",
        ),
        pytest.param([{"refusal": "N"}, {"refusal": "o"}], (Refusal("No"),), id="a refusal"),
        pytest.param(
            [{"content": "x", "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]}],
            (Text("x"), Image(Media("image/png", "AA"))),
            id="OpenRouter: images",
        ),
        pytest.param([{"audio": {"id": "x", "data": "AAAA"}}, {"audio": {"expires_at": 1}}], (), id="an audio tail"),
        pytest.param(
            [
                {"content": "x"},
                {
                    "annotations": [
                        {"type": "url_citation", "url_citation": {"url": "https://x", "start_index": 0, "end_index": 1}}
                    ]
                },
                {"content": "y"},
            ],
            (Text("xy", (Citation("https://x", None, 0, 1),)),),
            id="annotations",
        ),
        pytest.param([{"content": "\ud83d"}, {"content": "\ude00"}], (Text("\ud83d\ude00"),), id="half characters"),
    ],
)
def test_blocks_of_a_stream(deltas: list[dict[str, Any]], blocks: tuple[Any, ...]) -> None:
    assert streamed(*deltas).blocks == blocks


@pytest.mark.parametrize(
    ("frames", "usage"),
    [
        pytest.param(
            [
                b'{"id":"","model":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}',
                chunk(content="x"),
                chunk(finish="stop"),
                DONE,
            ],
            None,
            id="Azure: a first chunk without choices",
        ),
        pytest.param(
            [chunk(content="x"), chunk(finish="stop"), b'{"choices":[],"moderation":{}}', DONE], None, id="moderation"
        ),
        pytest.param([chunk(content="x"), chunk(finish="stop")], None, id="no end mark"),
        pytest.param([chunk(content="x"), chunk(finish="stop"), USAGE], COUNTED, id="usage, no end mark"),
        pytest.param(
            [
                chunk(content="x"),
                chunk(finish="stop")[:-1] + b',"usage":{"prompt_tokens":9,"completion_tokens":2}}',
                DONE,
            ],
            COUNTED,
            id="usage beside the end",
        ),
        pytest.param(
            [chunk(content="x"), b'{"choices":null}', chunk(finish="stop"), USAGE, DONE], COUNTED, id="null choices"
        ),
        pytest.param(
            [chunk(content="x"), b'{"choices":[{"index":0,"delta":null,"finish_reason":"stop"}]}', DONE],
            None,
            id="null delta",
        ),
        pytest.param([chunk(content="x"), DONE], None, id="no finish"),
    ],
)
def test_frames_of_a_stream(frames: list[bytes], usage: Usage | None) -> None:
    reader = FORMAT.open_reader(NOTHING)
    events = [event for frame in frames for event in reader.read(frame, None)]
    events += reader.end()

    assert events[:3] == [Started("c1", "up", 7), BlockStarted(Text("x")), BlockEnded()]
    assert events[3] == Finished(Finish.STOP)
    assert events[4:] == ([] if usage is None else [Reported(usage)])
    assert (reader.complete, reader.ended) == (True, True)
    assert list(reader.end()) == []


def test_a_reason_in_every_chunk_ends_nothing() -> None:
    late = chunk(finish="stop", tool_calls=[call(0, id="a", name="f", arguments='{"x":1}')])
    told = read_stream(chunk(content="x", finish="stop"), chunk(content="y", finish="stop"), late, DONE)

    assert told.choices == (Choice((Text("xy"), CALL), Finish.TOOL_CALLS),)


def test_a_call_without_a_name_is_the_upstreams_fault() -> None:
    reader = FORMAT.open_reader(NOTHING)
    reader.read(chunk(finish="stop", tool_calls=[call(0, id="a")]), None)
    (failed,) = reader.read(DONE, None)

    assert isinstance(failed, Failed)
    assert failed.error.code == "upstream_bad_response"


def test_a_stream_that_breaks_off_is_not_complete() -> None:
    reader = FORMAT.open_reader(NOTHING)
    reader.read(chunk(content="x"), None)

    assert (reader.complete, reader.ended) == (False, False)


def test_choices_that_come_interleaved() -> None:
    frames = (
        chunk(0, content="a"),
        chunk(1, content="b"),
        chunk(0, content="c"),
        chunk(0, "stop"),
        chunk(1, content="d"),
        chunk(1, "length"),
    )
    reader = FORMAT.open_reader(NOTHING)
    states = [(reader.read(frame, None), reader.complete)[1] for frame in frames]

    assert states == [False] * 5 + [True]
    assert read_stream(*frames).choices == (
        Choice((Text("ac"),), Finish.STOP, 0),
        Choice((Text("bd"),), Finish.LENGTH, 1),
    )


def test_probabilities_come_before_their_text() -> None:
    frame = json.loads(chunk(content="x"))
    frame["choices"][0]["logprobs"] = {"content": [{"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}]}

    assert events_of_stream(json.dumps(frame).encode())[1:] == [Weighed((Token("x", -0.5),)), BlockStarted(Text("x"))]


def test_xais_reasoning_is_added_up() -> None:
    quirks = frozenset({"reasoning_outside_completion"})
    counts = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 16}
    report = {**counts, "completion_tokens_details": {"reasoning_tokens": 5}}
    usage = json.dumps({"choices": [], "usage": report}).encode()

    answer = read_stream(chunk(content="x"), chunk(finish="stop"), usage, DONE, quirks=quirks)

    assert answer.usage == Usage(input_tokens=9, output_tokens=7, reasoning_tokens=5)


# -- what can't be read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "event", "code"),
    [
        pytest.param(b'{"error":{"message":"boom","code":502}}', None, "upstream_error", id="an error"),
        pytest.param(
            b'{"error":{"code":429,"message":"slow"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}',
            None,
            "upstream_error",
            id="OpenRouter: an error beside a choice",
        ),
        pytest.param(chunk(finish="error"), None, "upstream_error", id="OpenRouter: an end by error"),
        pytest.param(chunk(finish="insufficient_system_resource"), None, "upstream_overloaded", id="DeepSeek"),
        pytest.param(b'{"error":"boom"}', None, "upstream_error", id="Ollama: a bare string"),
        pytest.param(b'{"object":"error","message":"boom","code":400}', None, "400", id="vLLM"),
        pytest.param(b'{"message":"boom"}', b"error", "upstream_error", id="event: error"),
        pytest.param(b'{"choices":[', None, "upstream_bad_response", id="broken JSON"),
        pytest.param(b"[]", None, "upstream_bad_response", id="an array"),
        pytest.param(b'{"choices":{}}', None, "upstream_bad_response", id="choices"),
        pytest.param(b'{"choices":[1]}', None, "upstream_bad_response", id="a choice"),
        pytest.param(chunk(content=1), None, "upstream_bad_response", id="content"),
        pytest.param(chunk(content=[1]), None, "upstream_bad_response", id="a part"),
        pytest.param(chunk(reasoning_content=1), None, "upstream_bad_response", id="a thought"),
        pytest.param(chunk(tool_calls={}), None, "upstream_bad_response", id="calls"),
        pytest.param(chunk(tool_calls=[call(0, name=1)]), None, "upstream_bad_response", id="a call"),
        pytest.param(chunk(tool_calls=[call(0, name="f", arguments=1)]), None, "upstream_bad_response", id="arguments"),
        pytest.param(chunk(reasoning_details=[{"text": 1}]), None, "upstream_bad_response", id="details"),
    ],
)
def test_a_frame_that_fails(frame: bytes, event: bytes | None, code: str) -> None:
    reader = FORMAT.open_reader(NOTHING)
    reader.read(chunk(content="x"), None)
    (failed,) = reader.read(frame, event)

    assert isinstance(failed, Failed)
    assert failed.error.code == code
    assert (reader.complete, reader.ended) == (False, True)
    assert list(reader.read(chunk(content="y"), None)) == []


def test_calls_that_grow_side_by_side_fail() -> None:
    frames = (
        chunk(tool_calls=[call(0, id="a", name="f", arguments="{")]),
        chunk(tool_calls=[call(1, id="b", name="g", arguments="{")]),
        chunk(tool_calls=[call(0, arguments="}")]),
    )

    assert isinstance(events_of_stream(*frames)[-1], Failed)


def test_a_stream_of_an_end_mark_alone_fails() -> None:
    (failed,) = events_of_stream(DONE)

    assert isinstance(failed, Failed)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<html>", "upstream_bad_response"),
        (b"{}", "upstream_bad_response"),
        (b'{"choices":[1]}', "upstream_bad_response"),
        (b'{"choices":[{"message":{"content":1}}]}', "upstream_bad_response"),
        (b'{"error":{"message":"boom","code":400}}', "400"),
        (b'{"choices":[{"message":{"content":"x"},"finish_reason":"error"}]}', "upstream_error"),
    ],
)
def test_a_whole_answer_that_fails(body: bytes, code: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        FORMAT.read_answer(body, NOTHING)

    assert caught.value.code == code


@given(st.binary(max_size=60), st.booleans())
def test_nothing_makes_a_reader_raise(data: bytes, begun: bool) -> None:
    reader = FORMAT.open_reader(NOTHING)
    if begun:
        reader.read(chunk(content="x"), None)
    reader.read(data, None)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["type", "text", "id"]), inner)
    ),
    max_leaves=4,
)
DELTA = ["content", "reasoning", "reasoning_details", "refusal", "tool_calls", "annotations", "images", "function_call"]


@given(st.lists(st.dictionaries(st.sampled_from(DELTA), json_values, max_size=2), max_size=4))
def test_no_delta_makes_a_reader_raise(deltas: list[dict[str, Any]]) -> None:
    events = events_of_stream(*[chunk(**delta) for delta in deltas], chunk(finish="stop"), DONE)

    assert isinstance(events[0], Started | Failed)
    assert isinstance(events[-1], Finished | Failed)


# -- a stream says what the whole says ---------------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)


def pieces(text: str, cuts: list[int]) -> list[str]:
    places = sorted({cut % (len(text) + 1) for cut in cuts} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(places)]


@given(
    st.one_of(st.none(), words),
    st.one_of(st.none(), words),
    st.lists(words, max_size=2),
    st.booleans(),
    st.sampled_from(["stop", "length", "content_filter"]),
    st.lists(st.integers(0, 50), max_size=4),
    st.booleans(),
)
def test_a_stream_says_what_the_whole_says(
    thought: str | None, text: str | None, arguments: list[str], signed: bool, finish: str, cuts: list[int], fast: bool
) -> None:
    extra = {"extra_content": {"google": {"thought_signature": "sig"}}} if signed else {}
    calls = [
        {"id": f"call_{at}", "type": "function", "function": {"name": "f", "arguments": made}, **extra}
        for at, made in enumerate(arguments)
    ]
    message = {"role": "assistant", "content": text, "reasoning_content": thought, "tool_calls": calls}
    name = "reasoning_content" if fast else "reasoning"
    frames = [chunk(0, None, **{name: piece}) for piece in pieces(thought or "", cuts)]
    frames += [chunk(content=piece) for piece in pieces(text or "", cuts)]
    for at, made in enumerate(calls):
        first, *rest = pieces(arguments[at], cuts)
        told = {**made, "index": at, "function": {"name": "f", "arguments": first}}
        frames += [chunk(tool_calls=[told]), *[chunk(tool_calls=[call(at, arguments=piece)]) for piece in rest]]

    answer = whole(message, finish)
    assert read_stream(*frames, chunk(finish=finish), DONE) == answer
    assert read_stream(*frames, chunk(finish=finish)) == answer


def test_calls_that_grow_side_by_side_are_told_one_after_another() -> None:
    def piece(index: int, arguments: str, **named: Any) -> dict[str, Any]:
        return {"index": index, "function": {"arguments": arguments, **({"name": named["name"]} if named else {})}} | (
            {"id": named["id"]} if named else {}
        )

    deltas: list[list[dict[str, Any]]] = [
        [piece(0, "", id="a", name="f"), piece(1, "", id="b", name="g")],
        [piece(0, '{"x"')],
        [piece(1, '{"y"')],
        [piece(0, ":1}")],
        [piece(1, ":2}")],
    ]
    reader = FORMAT.open_reader(frozenset())
    events: list[Event] = []
    for calls in deltas:
        chunk = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": calls}}]}
        events += reader.read(json.dumps(chunk).encode(), None)
    last = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    events += [*reader.read(json.dumps(last).encode(), None), *reader.end()]
    assert assemble(events).choices[0].blocks == (ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", '{"y":2}'))
