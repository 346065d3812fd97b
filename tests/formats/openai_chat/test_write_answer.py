"""Canonical answers, written for clients of Chat Completions: OpenAI's SDK judges, and clients send back what they got."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from openai._models import construct_type
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from app.core.assembly import events_of
from app.core.conversation import (
    Answer,
    Block,
    BlockEnded,
    BlockStarted,
    Choice,
    Citation,
    Cited,
    Event,
    Finish,
    Finished,
    Grown,
    Image,
    Media,
    Message,
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
from app.core.usage import Usage
from app.formats.openai_chat import FORMAT
from app.formats.openai_chat.usage import read_usage, write_usage
from tests.formats.openai_chat.conversions import (
    STAMP,
    USER,
    frames_of,
    read,
    read_stream,
    write_stream,
    write_whole,
)

ANTHROPIC = Signature("anthropic", "sig")
GOOGLE = Signature("google", "sig")
OPENAI = Signature("openai", "blob")
USAGE = Usage(input_tokens=9, output_tokens=5, cache_read_tokens=3, reasoning_tokens=2)


def answer(*blocks: Block, finish: Finish | None = Finish.STOP, **fields: Any) -> Answer:
    return Answer(id="u1", model="up", choices=(Choice(blocks, finish, **fields),), usage=USAGE)


def message(*blocks: Block) -> dict[str, Any]:
    return dict(write_whole(answer(*blocks))["choices"][0]["message"])


def judge_stream(stream: bytes, *, strict: bool = True) -> ChatCompletion:
    """What OpenAI's SDK makes of a stream. Its types know no custom tool's call there (`strict`); its client bears one."""
    *frames, done = frames_of(stream)
    assert done == b"[DONE]"
    state = ChatCompletionStreamState()
    for frame in frames:
        chunk = json.loads(frame)
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk, strict=True) if strict else construct(chunk))
    return state.current_completion_snapshot


def construct(chunk: dict[str, Any]) -> ChatCompletionChunk:
    """As the SDK's client does with what it receives."""
    built = construct_type(type_=ChatCompletionChunk, value=chunk)
    assert isinstance(built, ChatCompletionChunk)
    return built


def test_a_whole_answer() -> None:
    written = write_whole(answer(Text("Hey")))

    assert written == {
        "id": "chatcmpl-0123456789abcdef0123456789abcdef",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hey", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": write_usage(USAGE),
    }
    ChatCompletion.model_validate(written, strict=True)


def test_a_stream_begins_with_the_role_and_ends_with_usage_and_mark() -> None:
    events: list[Event] = [
        Started("u1", "up"),
        BlockStarted(Text("H")),
        Grown("ey"),
        BlockEnded(),
        Finished(Finish.LENGTH),
        Reported(USAGE),
    ]
    role, first, second, finish, usage, done = frames_of(write_stream(events))
    head = {"id": "chatcmpl-" + STAMP.id, "object": "chat.completion.chunk", "created": STAMP.created, "model": "m"}

    assert [json.loads(frame)["choices"][0] for frame in (role, first, second, finish)] == [
        {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        for delta, reason in [
            ({"role": "assistant", "content": ""}, None),
            ({"content": "H"}, None),
            ({"content": "ey"}, None),
            ({}, "length"),
        ]
    ]
    assert all(head.items() <= json.loads(frame).items() for frame in (role, first, second, finish, usage))
    assert json.loads(usage) == {**head, "choices": [], "usage": write_usage(USAGE)}
    assert done == b"[DONE]"


def test_usage_is_told_to_those_who_ask() -> None:
    events = list(events_of(answer(Text("x"))))

    assert b"usage" not in write_stream(events, wants_usage=False)
    assert judge_stream(write_stream(events)).usage is not None


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        (Finish.STOP, "stop"),
        (Finish.STOP_SEQUENCE, "stop"),
        (Finish.LENGTH, "length"),
        (Finish.TOOL_CALLS, "tool_calls"),
        (Finish.FILTERED, "content_filter"),
        (Finish.PAUSED, "stop"),
        (None, "stop"),
    ],
)
def test_why_it_ended(finish: Finish | None, word: str) -> None:
    ended = answer(Text("x"), finish=finish)
    last = json.loads(frames_of(write_stream(list(events_of(ended))))[-3])

    assert write_whole(ended)["choices"][0]["finish_reason"] == word
    assert last["choices"][0]["finish_reason"] == word


CITED = Text("one", (Citation("https://x", "X"),))
SEALED = {"format": "openai-responses-v1", "id": "rs_1"}


@pytest.mark.parametrize(
    ("blocks", "fields"),
    [
        pytest.param(
            (Text("a"), Text("b"), Image(Media(url="https://x/i.png")), Text("c")), {"content": "ab\n\nc"}, id="texts"
        ),
        pytest.param((Refusal("No."),), {"content": None, "refusal": "No."}, id="refusal"),
        pytest.param(
            (Text("x"), CITED),
            {
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {"start_index": 1, "end_index": 4, "title": "X", "url": "https://x"},
                    }
                ]
            },
            id="citations",
        ),
        pytest.param(
            (Thinking("t"), Text("x"), Thinking("u")),
            {
                "reasoning_content": "t\n\nu",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "t", "index": 0},
                    {"type": "reasoning.text", "text": "u", "index": 1},
                ],
            },
            id="thoughts",
        ),
        pytest.param(
            (
                Thinking("t", ANTHROPIC),
                Thinking("", Signature("anthropic", "r"), redacted=True),
                Thinking("", ANTHROPIC),
            ),
            {
                "reasoning_content": "t",
                "reasoning_details": [
                    {
                        "type": "reasoning.text",
                        "text": "t",
                        "signature": "sig",
                        "format": "anthropic-claude-v1",
                        "index": 0,
                    },
                    {"type": "reasoning.encrypted", "data": "r", "format": "anthropic-claude-v1", "index": 1},
                    {
                        "type": "reasoning.text",
                        "text": "",
                        "signature": "sig",
                        "format": "anthropic-claude-v1",
                        "index": 2,
                    },
                ],
            },
            id="Anthropic's",
        ),
        pytest.param(
            (Thinking("t", OPENAI, id="rs_1"), Thinking("", OPENAI, redacted=True, id="rs_1")),
            {
                "reasoning_details": [
                    {"type": "reasoning.summary", "summary": "t", "index": 0, **SEALED},
                    {"type": "reasoning.encrypted", "data": "blob", "index": 1, **SEALED},
                    {"type": "reasoning.encrypted", "data": "blob", "index": 2, **SEALED},
                ]
            },
            id="OpenAI's",
        ),
        pytest.param(
            (Thinking("t"), Thinking("", GOOGLE), Text("x"), Thinking("", GOOGLE), ToolCall("c", "f", "{}")),
            {
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "t", "index": 0},
                    {"type": "reasoning.encrypted", "data": "sig", "format": "google-gemini-v1", "index": 1},
                    {"type": "reasoning.encrypted", "data": "sig", "format": "google-gemini-v1", "id": "c", "index": 2},
                ],
                "tool_calls": [
                    {
                        "id": "c",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                        "extra_content": {"google": {"thought_signature": "sig"}},
                    }
                ],
            },
            id="Google's",
        ),
        pytest.param(
            (Image(Media("image/png", "AA")), Image(Media(url="https://x"))),
            {
                "images": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}, "index": 0},
                    {"type": "image_url", "image_url": {"url": "https://x"}, "index": 1},
                ]
            },
            id="images",
        ),
        pytest.param(
            (ToolCall("a", "f", ""), ToolCall("b", "g", "plain", custom=True), Opaque("anthropic_messages", "x", {})),
            {
                "content": None,
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "b", "type": "custom", "custom": {"name": "g", "input": "plain"}},
                ],
            },
            id="calls",
        ),
    ],
)
def test_what_blocks_become(blocks: tuple[Block, ...], fields: dict[str, Any]) -> None:
    written = message(*blocks)

    assert {name: written.get(name) for name in fields} == fields
    strict = not any(isinstance(block, ToolCall) and block.custom for block in blocks)
    told = judge_stream(write_stream(list(events_of(answer(*blocks)))), strict=strict).choices[0].message.model_dump()
    for name in fields.keys() - {"tool_calls"}:
        assert (told.get(name) or None) == fields[name]


def test_probabilities_go_with_their_text() -> None:
    events: list[Event] = [
        Started("u1", "up"),
        Weighed((Token("He", -0.5, (("Hi", -1.5),)),)),
        BlockStarted(Text("He")),
        Weighed((Token("\ud83d", -1.0),)),
        BlockEnded(),
        Finished(Finish.STOP),
    ]
    told = [json.loads(frame)["choices"][0] for frame in frames_of(write_stream(events))[1:3]]

    assert told[0]["delta"] == {"content": "He"}
    assert told[0]["logprobs"]["content"] == [
        {
            "token": "He",
            "logprob": -0.5,
            "bytes": [72, 101],
            "top_logprobs": [{"token": "Hi", "logprob": -1.5, "bytes": [72, 105]}],
        }
    ]
    assert told[1]["delta"] == {}
    assert told[1]["logprobs"]["content"] == [{"token": "\ud83d", "logprob": -1.0, "bytes": None, "top_logprobs": []}]


def test_every_choice_begins_and_ends() -> None:
    events: list[Event] = [
        Started("u1", "up"),
        BlockStarted(Text("a"), 1),
        BlockStarted(Text("b"), 0),
        Grown("c", 1),
        BlockEnded(1),
        BlockEnded(0),
        Finished(Finish.LENGTH, 1),
    ]
    told = judge_stream(write_stream(events))

    assert [(choice.message.content, choice.finish_reason) for choice in told.choices] == [
        ("b", "stop"),
        ("ac", "length"),
    ]


def test_text_that_readers_of_lines_stumble_over_is_escaped() -> None:
    stream = write_stream(list(events_of(answer(Text("\ud83d\u2028\x85")))))

    assert b"\\ud83d\\u2028\\u0085" in stream
    assert stream.isascii()


# -- what was written is read back -------------------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)
thoughts = st.one_of(
    st.builds(Thinking, words),
    st.builds(Thinking, words, st.sampled_from([ANTHROPIC, GOOGLE])),
    st.builds(Thinking, words, st.just(OPENAI), st.just(False), st.sampled_from(["rs_1", "rs_2"])),
    st.builds(lambda id: Thinking("", OPENAI, True, id), st.sampled_from(["rs_3", "rs_4"])),
    st.just(Thinking("", ANTHROPIC, redacted=True)),
)
bound = st.sampled_from([(), (Thinking("", GOOGLE),)])
texts = st.builds(
    lambda text, url: Text(text, tuple(Citation(u, "T", 0, 1) for u in url)),
    words,
    st.lists(st.just("https://x"), max_size=1),
)
calls = st.lists(
    st.builds(
        lambda name, made: ToolCall(f"call_{name}", name, made), st.from_regex("[a-z]{1,5}", fullmatch=True), words
    ),
    max_size=3,
    unique_by=lambda call: call.id,
)


@st.composite
def turns(draw: st.DrawFn) -> tuple[Block, ...]:
    """In the order that this format has: thoughts, text, calls."""
    blocks: list[Block] = draw(st.lists(thoughts, max_size=3))
    said = draw(st.lists(texts, max_size=1))
    if said:
        blocks += [*draw(bound), *said]
    blocks += draw(st.lists(words.map(Refusal), max_size=1))
    for call in draw(calls):
        blocks += [*draw(bound), call]
    return tuple(blocks)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    choices = []
    for index in range(draw(st.integers(1, 2))):
        blocks = draw(turns())
        called = any(isinstance(block, ToolCall) for block in blocks)
        finish = Finish.TOOL_CALLS if called else draw(st.sampled_from([Finish.STOP, Finish.LENGTH, Finish.FILTERED]))
        tokens = draw(st.lists(st.builds(Token, words, st.floats(-9, 0), st.just((("x", -1.0),))), max_size=2))
        choices.append(Choice(blocks, finish, index, logprobs=tuple(tokens)))
    return Answer(id="chatcmpl-" + STAMP.id, model="m", created=STAMP.created, choices=tuple(choices), usage=USAGE)


@given(answers())
def test_a_whole_answer_is_read_back(given: Answer) -> None:
    assert FORMAT.read_answer(json.dumps(write_whole(given)).encode(), frozenset()) == given


def cut(events: list[Event], sizes: list[int]) -> list[Event]:
    """The same events, with the text of blocks in pieces."""
    out: list[Event] = []
    for event in events:
        match event:
            case BlockStarted(Text(text, citations), choice):
                out += [
                    BlockStarted(Text(""), choice),
                    *grown(text, choice, sizes),
                    *(Cited(c, choice) for c in citations),
                ]
            case BlockStarted(Thinking(text, signature, redacted=False) as block, choice) if text:
                out += [BlockStarted(replace(block, text="", signature=None), choice), *grown(text, choice, sizes)]
                out += [] if signature is None else [Signed(signature, choice)]
            case BlockStarted(ToolCall(arguments=arguments) as block, choice):
                out += [BlockStarted(replace(block, arguments=""), choice), *grown(arguments, choice, sizes)]
            case BlockStarted(Refusal(text), choice):
                out += [BlockStarted(Refusal(""), choice), *grown(text, choice, sizes)]
            case _:
                out.append(event)
    return out


def grown(text: str, choice: int, sizes: list[int]) -> list[Event]:
    pieces: list[Event] = []
    for size in [*sizes, len(text)]:
        pieces, text = [*pieces, Grown(text[:size], choice)], text[size:]
    return pieces


def unnumbered(given: Answer) -> Answer:
    """Without the ids of thoughts in words: a stream tells them when the thought has begun already."""
    choices = [
        replace(
            choice,
            blocks=tuple(replace(b, id=None) if isinstance(b, Thinking) and b.text else b for b in choice.blocks),
        )
        for choice in given.choices
    ]
    return replace(given, choices=tuple(choices))


@given(answers(), st.lists(st.integers(1, 4), max_size=3))
def test_a_stream_is_read_back_and_judged(given: Answer, sizes: list[int]) -> None:
    events = cut(list(events_of(given)), sizes)
    stream = write_stream(events)
    judged = judge_stream(stream)
    whole = write_whole(given)

    assert unnumbered(read_stream(*frames_of(stream))) == unnumbered(given)
    for choice, expected in zip(judged.choices, whole["choices"], strict=True):
        told = choice.message.model_dump(exclude_none=True)
        wanted = {name: value for name, value in expected["message"].items() if value is not None}
        for name in ("reasoning_content", "reasoning_details", "refusal"):
            assert told.get(name) == wanted.get(name)
        assert (told.get("content") or None) == wanted.get("content")
        made = [(call["id"], call["function"]) for call in wanted.get("tool_calls", ())]
        assert [
            (c.id, c.function.model_dump(exclude={"parsed_arguments"}, exclude_none=True))
            for c in choice.message.tool_calls or ()
            if c.type == "function"
        ] == made
        assert choice.finish_reason == expected["finish_reason"]


@given(answers())
def test_a_client_that_sends_a_message_back_sends_its_thoughts_along(given: Answer) -> None:
    parsed = ChatCompletion.model_validate(write_whole(given)).choices[0].message
    replayed = json.loads(json.dumps(parsed.model_dump()))
    ask = read([USER, replayed])

    assert ask.messages[1] == Message("assistant", given.choices[0].blocks)
    assert ask.dropped == ()


def test_a_client_that_keeps_what_it_gathered_of_a_stream_sends_thoughts_back() -> None:
    blocks = (
        Thinking("one", ANTHROPIC),
        Thinking("", ANTHROPIC, redacted=True),
        Text("x"),
        Thinking("", GOOGLE),
        ToolCall("call_1", "f", '{"a":1}'),
    )
    events = cut(list(events_of(answer(*blocks, finish=Finish.TOOL_CALLS))), [1, 2])
    kept = judge_stream(write_stream(events)).choices[0].message.model_dump(exclude_none=True)

    assert read([USER, json.loads(json.dumps(kept))]).messages[1].blocks == blocks


counts = st.integers(0, 1000)


@given(counts, counts, st.lists(counts, min_size=7, max_size=7))
def test_usage_is_told_exactly(input: int, output: int, parts: list[int]) -> None:
    usage = Usage(
        input_tokens=input,
        output_tokens=output,
        cache_read_tokens=min(parts[0], input),
        cache_write_tokens=min(parts[1], input),
        input_audio_tokens=min(parts[2], input),
        input_image_tokens=min(parts[3], input),
        reasoning_tokens=min(parts[4], output),
        output_audio_tokens=min(parts[5], output),
        output_image_tokens=min(parts[6], output),
    )

    assert read_usage(json.loads(json.dumps(write_usage(usage)))) == usage
