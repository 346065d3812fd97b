"""Answers written for Google's clients, judged by its SDK: whole, as events, and as a JSON array."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from google.genai import types

from app.core.assembly import events_of
from app.core.conversation import (
    Answer,
    Audio,
    Block,
    BlockEnded,
    BlockStarted,
    Choice,
    Citation,
    Event,
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
from app.core.usage import Usage
from app.errors import UpstreamError
from app.formats.gemini_generate import FORMAT
from app.formats.gemini_generate.thoughts import read_thought
from tests.formats.gemini_generate.shapes import PATH, STAMP, STREAM, ask, sdk

Fields = dict[str, Any]
ANTHROPIC = Signature("anthropic", "proof")
USAGE = Usage(input_tokens=7, output_tokens=5, cache_read_tokens=2, reasoning_tokens=3)


def whole(*blocks: Block, finish: Finish | None = Finish.STOP, **more: Any) -> Fields:
    answer = Answer(id="x", model="up", choices=(Choice(blocks, finish, **more),), usage=USAGE)
    request = ask()
    written: Fields = json.loads(FORMAT.write_answer(answer, request, FORMAT.read_ask(request), STAMP))
    return written


def write(*events: Event, query: bytes = b"alt=sse") -> bytes:
    request = ask(STREAM, query)
    writer = FORMAT.open_writer(request, FORMAT.read_ask(request), STAMP)
    return b"".join(map(writer.write, events)) + writer.end()


def chunks(*events: Event) -> list[Fields]:
    return [json.loads(line[6:]) for line in write(*events).splitlines() if line]


def parts(*events: Event) -> list[Fields]:
    return [part for chunk in chunks(*events) for part in chunk["candidates"][0]["content"]["parts"]]


def block(*events: Event, of: Block) -> list[Event]:
    return [BlockStarted(of), *events, BlockEnded()]


CALL = ToolCall("1", "f", '{"a":1}')


def test_a_whole_answer() -> None:
    assert whole(Thinking("hm"), Text("Hi"), CALL, finish=Finish.TOOL_CALLS) == {
        "candidates": [
            {
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "hm", "thought": True},
                        {"text": "Hi"},
                        {"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}},
                    ],
                },
                "index": 0,
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 7,
            "candidatesTokenCount": 2,
            "totalTokenCount": 12,
            "thoughtsTokenCount": 3,
            "cachedContentTokenCount": 2,
        },
        "modelVersion": "m",
        "responseId": STAMP.id,
    }


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        (Finish.STOP, "STOP"),
        (Finish.STOP_SEQUENCE, "STOP"),
        (Finish.TOOL_CALLS, "STOP"),
        (Finish.LENGTH, "MAX_TOKENS"),
        (Finish.FILTERED, "SAFETY"),
        (Finish.PAUSED, "OTHER"),
    ],
)
def test_finish_reasons(finish: Finish, reason: str) -> None:
    assert whole(Text("a"), finish=finish)["candidates"][0]["finishReason"] == reason
    last = chunks(Started("x", "up"), *block(of=Text("a")), Finished(finish))[-1]
    assert last["candidates"][0]["finishReason"] == reason


@pytest.mark.parametrize("query", [b"alt=sse", b""], ids=["events", "array"])
def test_a_stream(query: bytes) -> None:
    events = [
        Started("x", "up", usage=Usage(input_tokens=7)),
        *block(Grown("lo"), of=Text("Hel")),
        *block(Grown('{"a"'), Grown(":1}"), of=ToolCall("1", "f", "")),
        Finished(Finish.TOOL_CALLS),
        Reported(USAGE),
    ]
    stream = write(*events, query=query)

    told = json.loads(stream) if not query else [json.loads(line[6:]) for line in stream.splitlines() if line]
    for number, chunk in enumerate(told):
        types.GenerateContentResponse.model_validate(chunk)
        assert (chunk["modelVersion"], chunk["responseId"]) == ("m", STAMP.id)
        assert ("usageMetadata" in chunk) == (number == len(told) - 1)
    assert [chunk["candidates"][0]["content"]["parts"][0] for chunk in told] == [
        {"text": "Hel"},
        {"text": "lo"},
        {"functionCall": {"id": "1", "name": "f", "args": {"a": 1}}},
        {"text": ""},
    ]
    if not query:
        assert stream.startswith(b"[{")
        assert stream.endswith(b"}]")


def test_an_empty_answer_is_one_all_the_same() -> None:
    assert parts(Started("x", "up"), Finished(Finish.FILTERED)) == [{"text": ""}]
    assert json.loads(write(Started("x", "up"), query=b""))[0]["candidates"][0]["finishReason"] == "STOP"


def test_several_answers() -> None:
    told = chunks(
        Started("x", "up"),
        *(BlockStarted(Text("a"), 0), BlockStarted(Text("b"), 1), Grown("c", 0), Grown("d", 1)),
        *(BlockEnded(0), BlockEnded(1), Finished(Finish.STOP, 1), Finished(Finish.LENGTH, 0)),
    )

    assert [chunk["candidates"][0]["index"] for chunk in told[:-1]] == [0, 1, 0, 1]
    assert [candidate["finishReason"] for candidate in told[-1]["candidates"]] == ["MAX_TOKENS", "STOP"]


# -- signatures ----------------------------------------------------------------------------------------------------------


def read_signatures(told: list[Fields]) -> list[tuple[str, Thinking]]:
    return [
        (next(name for name in ("functionCall", "inlineData", "text") if name in part),
         read_thought(part["text"] if part.get("thought") else "", part["thoughtSignature"]))
        for part in told
        if "thoughtSignature" in part
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("blocks", "signed"),
    [
        ((Thinking("hm", ANTHROPIC), Text("a")), [("text", Thinking("hm", ANTHROPIC))]),
        ((Thinking("", ANTHROPIC), CALL), [("functionCall", Thinking("", ANTHROPIC))]),
        ((Thinking("", ANTHROPIC), Text("a"), CALL), [("text", Thinking("", ANTHROPIC))]),
        ((Text("a"), Thinking("", ANTHROPIC)), [("text", Thinking("", ANTHROPIC))]),
        ((Thinking("", ANTHROPIC), Thinking("", ANTHROPIC), CALL),
         [("text", Thinking("", ANTHROPIC)), ("functionCall", Thinking("", ANTHROPIC))]),
        ((Thinking("", ANTHROPIC, redacted=True), Text("a")), [("text", Thinking("", ANTHROPIC, redacted=True))]),
        ((Thinking("", ANTHROPIC), Image(Media("image/png", "AAAA"))), [("inlineData", Thinking("", ANTHROPIC))]),
    ],
)  # fmt: skip
def test_another_vendors_signatures_travel_sealed(blocks: tuple[Block, ...], signed: list[Any]) -> None:
    """In parts as a stream has them too; there a thought's signature comes after its text."""
    told = whole(*blocks)["candidates"][0]["content"]["parts"]
    assert read_signatures(told) == signed
    types.Content.model_validate({"parts": told})  # which decodes the signatures as base64

    answer = Answer(id="x", model="up", choices=(Choice(blocks, Finish.STOP),))
    streamed = read_signatures(parts(*events_of(answer)))
    assert [(kind, thought.signature, thought.redacted) for kind, thought in streamed] == [
        (kind, thought.signature, thought.redacted) for kind, thought in signed
    ]


def test_a_thought_that_is_signed_when_it_ends() -> None:
    told = parts(Started("x", "up"), *block(Grown("m"), Signed(ANTHROPIC), of=Thinking("h")), *block(of=Text("a")))

    assert [part["text"] for part in told] == ["h", "m", "", "a", ""]
    assert [part.get("thought") for part in told] == [True, True, True, None, None]
    assert read_signatures(told) == [("text", Thinking("", ANTHROPIC))]


# -- what else answers hold --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (Refusal("No."), {"text": "No."}),
        (Image(Media("image/png", "AAAA")), {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
        (Audio(Media("audio/wav", "AAAA")), {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}),
        (Image(Media(url="https://h/a.png")), {"fileData": {"mimeType": "image/png", "fileUri": "https://h/a.png"}}),
        (
            ToolCall("1", "f", "words", custom=True),
            {"functionCall": {"id": "1", "name": "f", "args": {"input": "words"}}},
        ),
        (ToolCall("1", "f", ""), {"functionCall": {"id": "1", "name": "f", "args": {}}}),
        (Opaque("gemini_generate", "toolCall", {"toolCall": {}}), {"toolCall": {}}),
    ],
)
def test_blocks(content: Block, part: Fields) -> None:
    assert whole(content)["candidates"][0]["content"]["parts"] == [part]
    assert parts(Started("x", "up"), *block(of=content)) == [part, {"text": ""}]


def test_another_vendors_working_notes_are_left_out() -> None:
    notes = Opaque("anthropic_messages", "server_tool_use", {"type": "server_tool_use"})

    assert whole(notes, Text("a"))["candidates"][0]["content"]["parts"] == [{"text": "a"}]
    assert parts(Started("x", "up"), *block(of=notes)) == [{"text": ""}]


@pytest.mark.parametrize("arguments", ["{", "[1]", "7"])
def test_arguments_that_are_no_object_are_the_upstreams_fault(arguments: str) -> None:
    call = ToolCall("1", "f", arguments)
    with pytest.raises(UpstreamError) as caught:
        whole(call)
    assert caught.value.code == "upstream_bad_response"
    with pytest.raises(UpstreamError):
        write(Started("x", "up"), *block(of=call), Finished(Finish.TOOL_CALLS))


def test_sources_count_in_bytes() -> None:
    cited = Text("grün, ja", (Citation("https://a", "A", 0, 4), Citation("https://b")))
    wanted = {
        "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"web": {"uri": "https://b"}}],
        "groundingSupports": [
            {"segment": {"startIndex": 0, "endIndex": 5, "text": "grün"}, "groundingChunkIndices": [0]}
        ],
    }

    assert whole(cited)["candidates"][0]["groundingMetadata"] == wanted
    answer = Answer(id="x", model="up", choices=(Choice((cited,), Finish.STOP),))
    assert chunks(*events_of(answer))[-1]["candidates"][0]["groundingMetadata"] == wanted
    read = FORMAT.read_answer(json.dumps(whole(cited)).encode(), frozenset())
    assert read.choices[0].blocks == (cited,)


def test_logprobs() -> None:
    token = Token("Hi", -0.5, (("Hi", -0.5), ("Ho", -1.5)))
    wanted = {
        "chosenCandidates": [{"token": "Hi", "logProbability": -0.5}],
        "topCandidates": [
            {"candidates": [{"token": "Hi", "logProbability": -0.5}, {"token": "Ho", "logProbability": -1.5}]}
        ],
    }

    assert whole(Text("Hi"), logprobs=(token,))["candidates"][0]["logprobsResult"] == wanted
    last = chunks(Started("x", "up"), *block(Weighed((token,)), of=Text("Hi")), Finished(Finish.STOP))[-1]
    assert (last["candidates"][0]["logprobsResult"], last["candidates"][0]["avgLogprobs"]) == (wanted, -0.5)


# -- the SDK ---------------------------------------------------------------------------------------------------------------


def test_googles_sdk_reads_a_whole_answer() -> None:
    answer = json.dumps(whole(Thinking("hm", ANTHROPIC), Text("Hi"), CALL)).encode()

    read = sdk(answer).models.generate_content(model="m", contents="hi")

    assert read.text == "Hi"
    assert read.function_calls is not None
    assert (read.function_calls[0].name, read.function_calls[0].args) == ("f", {"a": 1})
    assert read.usage_metadata is not None
    assert (read.usage_metadata.prompt_token_count, read.usage_metadata.thoughts_token_count) == (7, 3)


def test_googles_chats_send_back_what_was_streamed() -> None:
    """The chat takes the conversation for sound, and the signature comes back as it was."""
    seen: list[httpx2.Request] = []
    stream = write(
        Started("x", "up"),
        *block(Grown("m"), Signed(ANTHROPIC), of=Thinking("h")),
        *block(Grown("i \u2028"), of=Text("H")),
        *block(of=CALL),
        Finished(Finish.TOOL_CALLS),
        Reported(USAGE),
    )
    chat = sdk(stream, seen=seen).chats.create(model="m")
    assert "".join(chunk.text or "" for chunk in chat.send_message_stream("hi")) == "Hi \u2028"

    assert list(chat.send_message_stream("more"))
    sent = FORMAT.read_ask(FORMAT.read_request(seen[1].read(), PATH))

    assert [message.role for message in sent.messages] == ["user", "assistant", "user"]
    assert sent.messages[1].blocks == (Thinking("hm", ANTHROPIC), Text("Hi \u2028"), CALL)
