"""Streams, frame by frame: what upstreams really send, and what official SDKs make of what we write."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from app.core.assembly import assemble, events_of
from app.core.conversation import (
    Answer,
    BlockEnded,
    BlockStarted,
    Choice,
    Citation,
    Cited,
    Event,
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
    Signed,
    Started,
    Text,
    Thinking,
    Token,
    ToolCall,
    Weighed,
)
from app.core.signatures import seal
from app.core.usage import Usage
from app.errors import UpstreamError
from app.formats.anthropic_messages import FORMAT
from app.formats.anthropic_messages.thoughts import UNSIGNED
from tests.formats.anthropic_messages.shapes import STAMP, ask, body, frame, read_events, sdk

Frames = list[dict[str, Any]]
NO_QUIRKS: frozenset[str] = frozenset()
PROMPT: Any = [{"role": "user", "content": "x"}]
START: dict[str, Any] = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "claude", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}},
}
STARTED = Started("msg_1", "claude", usage=Usage(3, 1))
STOP = {"type": "message_stop"}


def ending(reason: str | None = "end_turn", **more: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason, **more}, "usage": {"output_tokens": 9}}


def opened(block: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def grown(delta: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def closed(index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def read(*frames: dict[str, Any], named: bool = True) -> list[Event]:
    return read_events(FORMAT.open_reader(NO_QUIRKS), b"".join(frame(value, named=named) for value in frames))


TEXT = {"type": "text", "text": ""}
CALL = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
HI = {"type": "text_delta", "text": "Hi"}

# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "events"),
    [
        ([opened(TEXT), grown(HI), closed()], [BlockStarted(Text("")), Grown("Hi"), BlockEnded()]),
        ([opened({"type": "text", "text": "H"}), grown({"type": "text_delta", "text": ""}), closed()],
         [BlockStarted(Text("H")), BlockEnded()]),
        ([opened({"type": "thinking", "thinking": "", "signature": ""}), grown({"type": "thinking_delta", "thinking": "T"}),
          grown({"type": "signature_delta", "signature": "s"}), closed()],
         [BlockStarted(Thinking("")), Grown("T"), Signed(Signature("anthropic", "s")), BlockEnded()]),
        ([opened({"type": "redacted_thinking", "data": "d"}), closed()],
         [BlockStarted(Thinking("", Signature("anthropic", "d"), redacted=True)), BlockEnded()]),
        ([opened(CALL), grown({"type": "input_json_delta", "partial_json": ""}),
          grown({"type": "input_json_delta", "partial_json": '{"a":'}),
          grown({"type": "input_json_delta", "partial_json": "1}"}), closed()],
         [BlockStarted(ToolCall("t", "f", "")), Grown('{"a":'), Grown("1}"), BlockEnded()]),
        ([opened(CALL), closed()], [BlockStarted(ToolCall("t", "f", "")), Grown("{}"), BlockEnded()]),
        ([opened({**CALL, "input": {"a": 1}}), closed()],
         [BlockStarted(ToolCall("t", "f", "")), Grown('{"a":1}'), BlockEnded()]),
        ([opened(TEXT), grown(HI),
          grown({"type": "citations_delta",
                 "citation": {"type": "web_search_result_location", "url": "https://x", "title": "t"}}),
          grown({"type": "citations_delta", "citation": {"type": "char_location", "cited_text": "x"}}), closed()],
         [BlockStarted(Text("")), Grown("Hi"), Cited(Citation("https://x", "t")), BlockEnded()]),
        ([opened({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
          grown({"type": "input_json_delta", "partial_json": '{"query":"q"}'}), closed()],
         [BlockStarted(Opaque("anthropic_messages", "server_tool_use",
                              {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}})),
          BlockEnded()]),
        ([opened(TEXT), opened(CALL, 1), closed(1)],
         [BlockStarted(Text("")), BlockEnded(), BlockStarted(ToolCall("t", "f", "")), Grown("{}"), BlockEnded()]),
        ([opened(TEXT), grown({"type": "aura_delta", "aura": 1}), {"type": "ping"}, {"type": "weather"}, closed()],
         [BlockStarted(Text("")), BlockEnded()]),
    ],
    ids=["text", "text at the start", "thought", "redacted", "call", "call of nothing", "input at the start (compatible)",
         "citations", "server tool", "no block stop (compatible)", "unknown events"],
)  # fmt: skip
@pytest.mark.parametrize("named", [True, False], ids=["", "data only"])
def test_blocks(frames: Frames, events: list[Event], named: bool) -> None:
    assert read(START, *frames, named=named) == [STARTED, *events]


@pytest.mark.parametrize(
    ("delta", "blocks", "events"),
    [
        (ending(), [], [Finished(Finish.STOP)]),
        (ending("stop_sequence", stop_sequence="END"), [], [Finished(Finish.STOP_SEQUENCE, stop_sequence="END")]),
        (ending("max_tokens"), [], [Finished(Finish.LENGTH)]),
        (ending("model_context_window_exceeded"), [], [Finished(Finish.LENGTH)]),
        (ending("tool_use"), [], [Finished(Finish.TOOL_CALLS)]),
        (ending("pause_turn"), [], [Finished(Finish.PAUSED)]),
        (ending("new_reason"), [], [Finished(Finish.STOP)]),
        (ending("end_turn"), [opened(CALL), closed()], [Finished(Finish.TOOL_CALLS)]),
        (ending("refusal", stop_details={"type": "refusal", "category": "bio", "explanation": "No."}), [],
         [BlockStarted(Refusal("No.")), BlockEnded(), Finished(Finish.FILTERED)]),
        (ending("refusal", stop_details=None), [], [Finished(Finish.FILTERED)]),
    ],
)  # fmt: skip
def test_ends(delta: dict[str, Any], blocks: Frames, events: list[Event]) -> None:
    got = read(START, *blocks, delta, STOP)

    assert got[len(got) - len(events) - 1 :] == [*events, Reported(Usage(3, 9))]


def test_usage_grows_and_nulls_do_not_erase_it() -> None:
    usage = {"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": 7}
    first = {**START, "message": {**START["message"], "usage": usage}}
    update = {"output_tokens": 9, "input_tokens": None, "cache_read_input_tokens": None,
              "output_tokens_details": {"thinking_tokens": 4}}  # fmt: skip

    events = read(first, {**ending(), "usage": update})

    assert events[-1] == Reported(Usage(10, 9, cache_read_tokens=7, reasoning_tokens=4))


@pytest.mark.parametrize(
    "frames",
    [
        [{"type": "error", "error": {"type": "overloaded_error", "message": "x"}}],
        [START, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}],
        [START, opened(TEXT), {"type": "error"}],
        [opened(TEXT)],
        [ending()],
        [STOP],
        [START, START],
        [{"type": "message_start"}],
        [START, grown(HI)],
        [START, closed()],
        [START, opened(TEXT), grown(HI, 1)],
        [START, opened(TEXT), opened(CALL, 1), grown(HI, 0)],
        [START, opened(TEXT), grown({"type": "text_delta", "text": 7})],
        [START, opened(TEXT), grown({"type": "text_delta"})],
        [START, opened(TEXT), grown({"type": "thinking_delta", "thinking": "x"})],
        [START, opened(TEXT), grown({"type": "input_json_delta", "partial_json": "{"})],
        [START, opened(TEXT), {"type": "content_block_delta", "index": 0, "delta": "Hi"}],
        [START, opened({"type": "text", "text": None})],
        [START, opened({"type": "tool_use", "id": 7, "name": "f", "input": {}})],
        [START, opened({"type": "tool_use", "id": "t", "name": "f", "input": "{}"}), closed()],
        [START, {"type": "content_block_start", "index": 0}],
        [
            START,
            opened({"type": "server_tool_use"}),
            grown({"type": "input_json_delta", "partial_json": "{"}),
            closed(),
        ],
    ],
)
def test_what_cannot_be_read_fails(frames: Frames) -> None:
    reader = FORMAT.open_reader(NO_QUIRKS)

    events = read_events(reader, b"".join(frame(value) for value in [*frames, opened(TEXT), ending(), STOP]))

    assert isinstance(events[-1], Failed)
    assert not reader.complete
    with pytest.raises(UpstreamError):
        assemble(events)


@pytest.mark.parametrize("data", [b"{", b"<html>", b"Overloaded", b'{"type":"content_block_delta","index":0'])
def test_a_frame_of_no_json_fails(data: bytes) -> None:
    assert isinstance(read_events(FORMAT.open_reader(NO_QUIRKS), frame(START) + b"data: " + data + b"\n\n")[-1], Failed)


def test_an_error_event_without_an_error_fails() -> None:
    assert isinstance(read_events(FORMAT.open_reader(NO_QUIRKS), b"event: error\ndata: {}\n\n")[-1], Failed)


def test_a_stray_end_mark_of_openai_is_ignored() -> None:
    stream = frame(START) + frame(ending()) + b"data: [DONE]\n\n" + frame(STOP)
    reader = FORMAT.open_reader(NO_QUIRKS)

    assert read_events(reader, stream) == [STARTED, Finished(Finish.STOP), Reported(Usage(3, 9))]
    assert (reader.complete, reader.ended) == (True, True)


@pytest.mark.parametrize(
    ("frames", "complete", "ended"),
    [
        ([START], False, False),
        ([START, opened(TEXT), grown(HI)], False, False),
        ([START, ending(None)], False, False),
        ([START, opened(TEXT), grown(HI), closed(), ending()], True, False),
        ([START, STOP], True, True),
    ],
    ids=["begun", "torn", "usage alone", "no message_stop", "no stop reason"],
)
def test_what_counts_as_complete(frames: Frames, complete: bool, ended: bool) -> None:
    reader = FORMAT.open_reader(NO_QUIRKS)
    events = read_events(reader, b"".join(frame(value) for value in frames))

    assert (reader.complete, reader.ended) == (complete, ended)
    assert sum(isinstance(event, Finished) for event in events) == complete


def test_what_follows_the_end_is_ignored() -> None:
    assert read(START, ending(), opened(TEXT), grown(HI), ending(), STOP, START) == [
        STARTED,
        Finished(Finish.STOP),
        Reported(Usage(3, 9)),
        Reported(Usage(3, 9)),
    ]


def test_half_a_character_is_kept() -> None:
    halves = [grown({"type": "text_delta", "text": half}) for half in ("\ud83d", "\ude00")]
    events = read(START, opened(TEXT), *halves, closed())

    assert events[2:4] == [Grown("\ud83d"), Grown("\ude00")]


# -- writing -----------------------------------------------------------------------------------------------------------

CITED = Text("Hi\u2028\ud83d", (Citation("https://x", "t"),))
GEMINI = Signature("google", "c2ln")
EVERYTHING = Answer(
    id="up",
    model="gemini",
    choices=(
        Choice(
            (
                Thinking("T"),
                Thinking("", GEMINI),
                Thinking("", Signature("openai", "o"), redacted=True),
                Thinking(""),
                Text(""),
                Text("Hi\u2028", (Citation("https://x", "t"),)),
                ToolCall("c", "f", '{"a":"é"}'),
                ToolCall("d", "g", ""),
                Opaque("gemini_generate", "executableCode", {"code": "x"}),
                Image(Media("image/png", "D")),
            ),
            Finish.TOOL_CALLS,
            logprobs=(Token("Hi", -1.0),),
        ),
        Choice((Text("another"),), Finish.STOP, 1),
    ),
    usage=Usage(10, 5, cache_read_tokens=4, reasoning_tokens=2),
)
CONTENT: list[tuple[str, dict[str, Any]]] = [
    ("thinking", {"thinking": "T", "signature": UNSIGNED}),
    ("thinking", {"thinking": "", "signature": seal(GEMINI, "anthropic")}),
    ("redacted_thinking", {"data": seal(Signature("openai", "o"), "anthropic")}),
    ("text", {"text": "Hi\u2028"}),
    ("tool_use", {"id": "c", "name": "f", "input": {"a": "é"}}),
    ("tool_use", {"id": "d", "name": "g", "input": {}}),
    ("text", {"text": "![image](data:image/png;base64,D)"}),
]


def write(*events: Event) -> bytes:
    request = ask(stream=True)
    writer = FORMAT.open_writer(request, FORMAT.read_ask(request), STAMP)
    return b"".join(writer.write(event) for event in events) + writer.end()


def check_message(message: Any) -> None:
    assert (message.id, message.model, message.role) == (f"msg_{STAMP.id}", "m", "assistant")
    assert message.stop_reason == "tool_use"
    assert [block.type for block in message.content] == [kind for kind, _ in CONTENT]
    for block, (_, fields) in zip(message.content, CONTENT, strict=True):
        assert {name: getattr(block, name) for name in fields} == fields
    assert [citation.url for citation in message.content[3].citations] == ["https://x"]
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (6, 4, 5)
    type(message).model_validate(message.model_dump())


def test_the_sdk_reads_a_whole_answer() -> None:
    request = ask()
    written = FORMAT.write_answer(EVERYTHING, request, FORMAT.read_ask(request), STAMP)

    check_message(sdk(written).messages.create(model="m", max_tokens=1, messages=PROMPT))


def test_the_sdk_reads_a_stream() -> None:
    client = sdk(write(*events_of(EVERYTHING)), stream=True)

    with client.messages.stream(model="m", max_tokens=1, messages=PROMPT) as stream:
        check_message(stream.get_final_message())


def test_the_sdk_reads_a_stream_in_pieces_whose_usage_comes_last() -> None:
    events: list[Event] = [
        Started("up", "gpt"),
        BlockStarted(Thinking("")), Grown("T"), Signed(GEMINI), BlockEnded(),
        Weighed((Token("H", -1.0),)),
        BlockStarted(Text("")), Grown("H"), Grown(""), Grown("\u2028i"), Cited(Citation("https://x")), BlockEnded(),
        BlockStarted(Text("other"), 1), Grown("!", 1), BlockEnded(1),
        BlockStarted(ToolCall("c", "f", "")), Grown('{"a":'), Grown("1}"), BlockEnded(),
        Finished(Finish.TOOL_CALLS), Finished(Finish.STOP, 1),
        Reported(Usage(10, 5, cache_read_tokens=4)),
    ]  # fmt: skip
    client = sdk(write(*events), stream=True)

    with client.messages.stream(model="m", max_tokens=1, messages=PROMPT) as stream:
        assert "".join(stream.text_stream) == "H\u2028i"
        message = stream.get_final_message()

    thought, text, call = cast("list[Any]", message.content)
    assert (thought.type, text.type, call.type) == ("thinking", "text", "tool_use")
    assert (thought.thinking, thought.signature) == ("T", seal(GEMINI, "anthropic"))
    assert call.input == {"a": 1}
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens) == (6, 4, 5)


def test_every_frame_has_its_event_and_ends() -> None:
    frames = write(*events_of(EVERYTHING)).split(b"\n\n")

    assert frames.pop() == b""
    for written in frames:
        event, data = written.split(b"\n")
        assert event == b"event: " + json.loads(data.removeprefix(b"data: "))["type"].encode()


def test_the_cumulative_input_stands_in_the_last_usage() -> None:
    stream = write(Started("up", "gpt"), Finished(Finish.STOP), Reported(Usage(10, 5, cache_read_tokens=4)))
    delta = next(line for line in stream.splitlines() if b'"message_delta"' in line and line.startswith(b"data"))
    usage = json.loads(delta[6:])["usage"]

    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (6, 4, 5)


@pytest.mark.parametrize(
    ("finish", "stop_sequence", "refusal", "wanted"),
    [
        (Finish.STOP, None, "", {"stop_reason": "end_turn", "stop_sequence": None}),
        (Finish.STOP_SEQUENCE, "END", "", {"stop_reason": "stop_sequence", "stop_sequence": "END"}),
        (Finish.LENGTH, None, "", {"stop_reason": "max_tokens", "stop_sequence": None}),
        (Finish.PAUSED, None, "", {"stop_reason": "pause_turn", "stop_sequence": None}),
        (Finish.FILTERED, None, "", {"stop_reason": "refusal", "stop_sequence": None,
         "stop_details": {"type": "refusal", "category": None, "explanation": None}}),
        (Finish.STOP, None, "No.", {"stop_reason": "refusal", "stop_sequence": None,
         "stop_details": {"type": "refusal", "category": None, "explanation": "No."}}),
        (None, None, "", {"stop_reason": "end_turn", "stop_sequence": None}),
    ],
)  # fmt: skip
def test_how_an_answer_ends(
    finish: Finish | None, stop_sequence: str | None, refusal: str, wanted: dict[str, Any]
) -> None:
    blocks = (Refusal(refusal),) if refusal else ()
    answer = Answer(id="x", model="x", choices=(Choice(blocks, finish, stop_sequence=stop_sequence),))
    request = ask()

    whole = json.loads(FORMAT.write_answer(answer, request, FORMAT.read_ask(request), STAMP))
    stream = write(*events_of(answer))

    assert {name: value for name, value in whole.items() if name.startswith("stop_")} == wanted
    assert json.dumps(wanted, separators=(",", ":")).encode() in stream
    assert whole["content"] == []


def test_arguments_that_are_no_json_are_the_upstreams_fault() -> None:
    request = ask()
    for arguments in ("{", "[]", "x"):
        answer = Answer(id="x", model="x", choices=(Choice((ToolCall("c", "f", arguments),), Finish.TOOL_CALLS),))
        with pytest.raises(UpstreamError):
            FORMAT.write_answer(answer, request, FORMAT.read_ask(request), STAMP)


@pytest.mark.parametrize(
    "answer",
    [
        {"content": [7]},
        {"content": [{"type": "text"}]},
        {"content": [{"type": "thinking", "thinking": "x", "signature": 7}]},
        {"content": [{"type": "tool_use", "id": "c", "name": "f", "input": "{}"}]},
        {"id": 7, "content": []},
    ],
)
def test_an_answer_that_is_not_what_it_promises(answer: dict[str, Any]) -> None:
    with pytest.raises(UpstreamError) as caught:
        FORMAT.read_answer(body(answer), NO_QUIRKS)

    assert caught.value.code == "upstream_bad_response"


def test_unknown_blocks_of_an_answer_stay_as_they_are() -> None:
    block = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    answer = FORMAT.read_answer(body({"content": [block], "stop_reason": "end_turn"}), NO_QUIRKS)

    assert answer.choices[0].blocks == (Opaque("anthropic_messages", "web_search_tool_result", block),)
