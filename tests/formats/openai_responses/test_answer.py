"""Answers of an upstream, whole and streamed, as real servers send them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.core.conversation import (
    BlockEnded,
    BlockStarted,
    Choice,
    Citation,
    Failed,
    Finish,
    Finished,
    Grown,
    Image,
    Media,
    Opaque,
    Refusal,
    Reported,
    Signature,
    Started,
    Text,
    Thinking,
    Token,
    ToolCall,
)
from app.core.usage import Usage
from app.errors import Blame, UpstreamError
from app.formats.openai_responses import FORMAT
from tests.formats.openai_responses.examples import (
    NO_QUIRKS,
    answer_of,
    call,
    frame,
    message,
    read_stream,
    response,
    text,
    thought,
)
from tests.formats.openai_responses.openai_stream import stream_of

SOURCE = {"type": "url_citation", "url": "https://x.test", "title": "X", "start_index": 0, "end_index": 2}
FOREIGN = {"type": "file_citation", "file_id": "f", "filename": "a", "index": 0}
ODDS = [
    {"token": "ok", "bytes": [111, 107], "logprob": -0.1, "top_logprobs": [{"token": "no", "bytes": [], "logprob": -2}]}
]
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
CUSTOM = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "grep", "input": "a|b"}
PICTURE = {
    "type": "image_generation_call",
    "id": "ig_1",
    "status": "completed",
    "result": "AAAA",
    "output_format": "webp",
}


def read(*output: dict[str, Any], **fields: Any) -> Choice:
    """One answer, whole; the same answer streamed must read the same."""
    whole = response(*output, **fields)
    answer = FORMAT.read_answer(json.dumps(whole).encode(), NO_QUIRKS)
    assert answer_of(stream_of(whole, list)) == answer
    assert answer_of(frame(f"response.{whole['status']}", response=whole)) == answer
    return answer.choices[0]


BLOCKS: dict[str, tuple[dict[str, Any], Any]] = {
    "text": (message(text("ok", annotations=[SOURCE, FOREIGN])), Text("ok", (Citation("https://x.test", "X", 0, 2),))),
    "refusal": (message({"type": "refusal", "refusal": "no"}), Refusal("no")),
    "thought": (thought("hm", "so"), Thinking("hm\n\nso", Signature("openai", "gAAA"), id="rs_1")),
    "sealed thought": (thought(), Thinking("", Signature("openai", "gAAA"), True, "rs_1")),
    "unsigned thought": (thought("hm", encrypted=None), Thinking("hm", id="rs_1")),
    "call": (call('{"a":1}'), ToolCall("c1", "look", '{"a":1}')),
    "custom call": (CUSTOM, ToolCall("c2", "grep", "a|b", custom=True)),
    "picture": (PICTURE, Image(Media("image/webp", "AAAA"))),
    "what OpenAI does itself": (SEARCH, Opaque("openai_responses", "output[].web_search_call", SEARCH)),
}


@pytest.mark.parametrize(("item", "block"), BLOCKS.values(), ids=BLOCKS)
def test_blocks(item: dict[str, Any], block: Any) -> None:
    assert read(item).blocks == (block,)


def test_a_whole_answer() -> None:
    raw = json.dumps(
        response(thought("hm"), message(text("a"), text("b")), message(text("c")), call(), CUSTOM)
    ).encode()
    answer = FORMAT.read_answer(raw, NO_QUIRKS)

    assert (answer.id, answer.model, answer.created, answer.usage) == (
        "resp_1",
        "gpt-6-astra",
        1_750_000_000,
        Usage(9, 3),
    )
    assert [type(block) for block in answer.choices[0].blocks] == [Thinking, Text, Text, Text, ToolCall, ToolCall]


@pytest.mark.parametrize(
    ("output", "fields", "finish"),
    [
        ((message(text("a")),), {}, Finish.STOP),
        ((message(text("a")), call()), {}, Finish.TOOL_CALLS),
        ((CUSTOM,), {}, Finish.TOOL_CALLS),
        ((), {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, Finish.LENGTH),
        ((call(),), {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, Finish.LENGTH),
        ((), {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, Finish.FILTERED),
        ((), {"status": "incomplete", "incomplete_details": {"reason": "max_messages"}}, Finish.PAUSED),
        ((), {"status": "incomplete", "incomplete_details": {"reason": "something_new"}}, Finish.LENGTH),
        ((), {"status": "incomplete", "incomplete_details": None}, Finish.LENGTH),
    ],
)
def test_why_it_ended(output: tuple[dict[str, Any], ...], fields: dict[str, Any], finish: Finish) -> None:
    assert read(*output, **fields).finish is finish


def test_log_probabilities() -> None:
    assert read(message(text("ok", logprobs=ODDS))).logprobs == (Token("ok", -0.1, (("no", -2.0),)),)


@pytest.mark.parametrize(
    ("fields", "code", "blame"),
    [
        ({"status": "failed", "error": {"code": "server_error", "message": "oh"}}, "upstream_error", Blame.CHANNEL),
        ({"status": "failed", "error": {"code": "invalid_prompt", "message": "oh"}}, "invalid_prompt", Blame.CLIENT),
        ({"status": "in_progress"}, "upstream_bad_response", Blame.CHANNEL),
        ({"output": None}, "upstream_bad_response", Blame.CHANNEL),
        ({"output": [5]}, "upstream_bad_response", Blame.CHANNEL),
        ({"output": [message({"text": "a"})]}, "upstream_bad_response", Blame.CHANNEL),
        ({"output": [message({"type": "output_text", "text": 5})]}, "upstream_bad_response", Blame.CHANNEL),
        ({"output": [{**call(), "name": None}]}, "upstream_bad_response", Blame.CHANNEL),
    ],
)
def test_what_is_no_answer(fields: dict[str, Any], code: str, blame: Blame) -> None:
    with pytest.raises(UpstreamError) as caught:
        FORMAT.read_answer(json.dumps(response(**fields)).encode(), NO_QUIRKS)

    assert (caught.value.code, caught.value.blame) == (code, blame)


# -- streams -----------------------------------------------------------------------------------------------------------

CREATED = frame("response.created", response=response(status="in_progress", usage=None))
START = Started("resp_1", "gpt-6-astra", 1_750_000_000)
ENDED = frame("response.completed", response=response())


def at(type: str, index: int = 0, part: int = 0, **fields: Any) -> bytes:
    return frame(f"response.{type}", output_index=index, content_index=part, **fields)


def test_the_events_of_a_text() -> None:
    stream = stream_of(response(message(text("Hi!"))), lambda words: ["Hi", "!"])

    assert read_stream(stream) == [
        START,
        BlockStarted(Text("")),
        Grown("Hi"),
        Grown("!"),
        BlockEnded(),
        Finished(Finish.STOP),
        Reported(Usage(9, 3)),
    ]


def test_a_sealed_thought_comes_whole() -> None:
    events = read_stream(stream_of(response(thought()), list))

    assert events[1:3] == [BlockStarted(Thinking("", Signature("openai", "gAAA"), True, "rs_1")), BlockEnded()]


def test_whether_it_came_to_its_end() -> None:
    reader = FORMAT.open_reader(NO_QUIRKS)
    reader.read(b'{"type":"response.created","response":{"id":"a","model":"m"}}', None)
    reader.read(b"[DONE]", None)
    assert (reader.complete, reader.ended) == (False, False)

    reader.read(b'{"type":"response.completed","response":{"id":"a","model":"m"}}', None)
    assert (reader.complete, reader.ended) == (True, True)
    assert reader.read(b'{"type":"response.output_text.delta","delta":"x"}', None) == ()


@pytest.mark.parametrize(
    "middle",
    [
        pytest.param(at("content_part.added", part_=None, part=0), id="a part of nothing"),
        pytest.param(at("something.new", delta={"a": 1}, text=5), id="an event of another kind"),
        pytest.param(frame("keepalive"), id="a sign of life"),
        pytest.param(at("output_text.annotation.added", annotation=FOREIGN), id="a source without an address"),
        pytest.param(at("output_text.delta", delta="", logprobs=[]), id="an empty delta"),
    ],
)
def test_what_says_nothing(middle: bytes) -> None:
    before = CREATED + at("output_item.added", item=message()) + frame("response.output_text.delta", delta="ok")

    assert answer_of(before + middle + ENDED).choices[0].blocks == (Text("ok"),)


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(
            frame("response.content_part.added", part=text(""))
            + frame("response.output_text.done", text="ok")
            + frame("response.content_part.done", part=text("ok")),
            id="no deltas",
        ),
        pytest.param(frame("response.output_item.done", item=message(text("ok"))), id="items alone"),
        pytest.param(frame("response.output_text.delta", delta="ok"), id="deltas alone"),
        pytest.param(
            frame("response.output_text.delta", delta="ok").replace(b"event: response.output_text.delta\n", b""),
            id="no event lines",
        ),
        pytest.param(frame("response.output_text.delta", delta="ok") + b"data: [DONE]\n\n", id="a mark too many"),
    ],
)
@pytest.mark.parametrize("begin", [CREATED, b""], ids=["created", "not created"])
def test_servers_that_stream_less(begin: bytes, stream: bytes) -> None:
    assert answer_of(begin + stream + ENDED).choices == (Choice((Text("ok"),), Finish.STOP),)


def test_a_call_without_deltas() -> None:
    item = call('{"a":1}')
    stream = (
        frame("response.output_item.added", item={**item, "arguments": ""})
        + frame("response.function_call_arguments.done", arguments='{"a":1}')
        + frame("response.output_item.done", item=item)
    )

    assert answer_of(CREATED + stream + ENDED).choices[0].blocks == (ToolCall("c1", "look", '{"a":1}'),)


def test_vllm_streams_a_thought_in_words() -> None:
    words = {"type": "reasoning_text", "text": "hm so"}
    item = {"id": "rs_1", "type": "reasoning", "summary": [], "content": [words]}
    part = {"type": "reasoning_text", "text": ""}
    stream = (
        frame("response.output_item.added", item={**item, "content": []})
        + frame("response.reasoning_part.added", part=part)
        + frame("response.content_part.added", part=part)
        + frame("response.reasoning_text.delta", delta="hm ")
        + frame("response.reasoning_text.delta", delta="so")
        + frame("response.reasoning_text.done", text="hm so")
        + frame("response.content_part.done", part=words)
        + frame("response.output_item.done", item=item)
    )

    assert answer_of(CREATED + stream + ENDED).choices[0].blocks == (Thinking("hm so", id="rs_1"),)
    raw = json.dumps(response(item)).encode()
    assert FORMAT.read_answer(raw, NO_QUIRKS).choices[0].blocks == (Thinking("hm so", id="rs_1"),)


def test_half_characters_find_together() -> None:
    halves = [frame("response.output_text.delta", delta=half) for half in ("\ud83d", "\ude00")]
    block = answer_of(CREATED + b"".join(halves) + ENDED).choices[0].blocks[0]

    assert block == Text("\ud83d\ude00")


FAILURES: dict[str, tuple[bytes, str]] = {
    "failed": (
        frame("response.failed", response=response(status="failed", error={"code": "server_error"})),
        "upstream_error",
    ),
    "openai: error": (frame("error", code="invalid_prompt", message="oh", param=None), "invalid_prompt"),
    "openai: nested error": (frame("error", error={"code": "invalid_prompt", "message": "oh"}), "invalid_prompt"),
    "openrouter: bare error": (b'data: {"error":{"code":400,"message":"oh"}}\n\n', "400"),
    "broken JSON": (b'data: {"type":"response.output_text.delta"\n\n', "upstream_bad_response"),
    "text of another type": (frame("response.output_text.delta", delta=5), "upstream_bad_response"),
    "no text": (frame("response.output_text.delta"), "upstream_bad_response"),
    "a call that never began": (frame("response.function_call_arguments.delta", delta="{"), "upstream_bad_response"),
    "interleaved": (
        frame("response.output_item.added", output_index=0, item=call("", "c1"))
        + frame("response.output_item.added", output_index=1, item=call("", "c2"))
        + frame("response.function_call_arguments.delta", output_index=0, delta="{"),
        "upstream_bad_response",
    ),
}


@pytest.mark.parametrize(("failure", "code"), FAILURES.values(), ids=FAILURES)
def test_failures(failure: bytes, code: str) -> None:
    events = read_stream(CREATED + failure + ENDED)

    assert isinstance(events[-1], Failed)
    assert events[-1].error.code == code
    assert [type(event) for event in events].count(Failed) == 1


def test_a_failure_may_come_first() -> None:
    events = read_stream(FAILURES["failed"][0])

    assert [type(event) for event in events] == [Failed]
