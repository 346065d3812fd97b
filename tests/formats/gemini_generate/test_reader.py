"""Google's answers read into the canonical ones: finish reasons, signatures, sources, and the traps of its dialect."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.assembly import assemble
from app.core.conversation import (
    Answer,
    Audio,
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
    Reported,
    Signature,
    Started,
    Text,
    Thinking,
    Token,
    ToolCall,
)
from app.core.usage import Usage
from app.errors import UpstreamError
from app.formats.gemini_generate import FORMAT
from tests.formats.gemini_generate.shapes import NO_QUIRKS, body, frame, read_events

Fields = dict[str, Any]


DRAFT = {"thought": True, "inlineData": {"mimeType": "image/png", "data": "AAAA"}}
"""A picture that a model thinks with."""


def candidate(*parts: Fields, **more: Any) -> Fields:
    return {"content": {"role": "model", "parts": list(parts)}, **more}


def read(*candidates: Fields, **more: Any) -> Answer:
    told = {"candidates": list(candidates), "modelVersion": "m", "responseId": "r", **more}
    return FORMAT.read_answer(body(told), NO_QUIRKS)


def choice(*parts: Fields, **more: Any) -> Choice:
    return read(candidate(*parts, **{"finishReason": "STOP", **more})).choices[0]


def stream(*chunks: Fields) -> list[Any]:
    return read_events(FORMAT.open_reader(NO_QUIRKS), b"".join(map(frame, chunks)))


def test_a_stream() -> None:
    first = {"candidates": [candidate({"text": "Hel"})], "usageMetadata": {"promptTokenCount": 5}, "responseId": "r"}
    last = {
        "candidates": [candidate({"text": "!"}, finishReason="STOP", index=0)],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 3},
    }
    assert stream({**first, "modelVersion": "m"}, {"candidates": [candidate({"text": "lo"})]}, last) == [
        Started("r", "m", usage=Usage(input_tokens=5)),
        BlockStarted(Text("Hel")),
        Grown("lo"),
        Grown("!"),
        BlockEnded(),
        Finished(Finish.STOP),
        Reported(Usage(input_tokens=5, output_tokens=3)),
    ]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", Finish.STOP),
        ("MAX_TOKENS", Finish.LENGTH),
        ("CONTINUATION", Finish.LENGTH),
        ("OTHER", Finish.STOP),
        ("SOMETHING_NEW", Finish.STOP),
        ("FINISH_REASON_UNSPECIFIED", None),
        *((reason, Finish.FILTERED) for reason in (
            "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_OTHER",
            "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR", "ESCALATION")),
    ],
)  # fmt: skip
def test_finish_reasons(reason: str, finish: Finish | None) -> None:
    assert choice({"text": "a"}, finishReason=reason).finish == finish


def test_google_says_stop_beside_calls() -> None:
    call: Fields = {"functionCall": {"name": "f"}}

    assert choice(call).finish is Finish.TOOL_CALLS
    assert choice(call, finishReason="MAX_TOKENS").finish is Finish.LENGTH
    events = stream({"candidates": [candidate(call)]}, {"candidates": [candidate({"text": ""}, finishReason="STOP")]})
    assert events[-1] == Finished(Finish.TOOL_CALLS)


@pytest.mark.parametrize(
    "reason",
    ["MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
     "MISSING_THOUGHT_SIGNATURE", "PUP_LIMITED_DISABLED"],
)  # fmt: skip
def test_an_answer_of_no_use_is_an_error(reason: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        choice({"text": "a"}, finishReason=reason, finishMessage="Words.")
    assert (caught.value.code, caught.value.upstream_code) == ("upstream_error", reason)
    assert "Words." in caught.value.message

    reader = FORMAT.open_reader(NO_QUIRKS)
    events = read_events(reader, frame({"candidates": [{"finishReason": reason}]}))
    assert isinstance(events[-1], Failed)
    assert (reader.complete, reader.ended) == (False, True)


def test_a_blocked_prompt() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 5}}

    answer = FORMAT.read_answer(body(blocked), NO_QUIRKS)

    assert answer.choices == (Choice((), Finish.FILTERED),)
    assert answer.usage == Usage(input_tokens=5)
    reader = FORMAT.open_reader(NO_QUIRKS)
    assert assemble(read_events(reader, frame(blocked))) == answer
    assert reader.complete


def test_a_candidate_without_content() -> None:
    assert read({"finishReason": "SAFETY"}).choices == (Choice((), Finish.FILTERED),)
    assert read({"finishReason": "MAX_TOKENS", "content": {"role": "model"}}).choices == (Choice((), Finish.LENGTH),)


@pytest.mark.parametrize(
    ("parts", "blocks"),
    [
        ([{"text": "a"}, {"text": "b"}], (Text("ab"),)),
        ([{"text": "a"}, {"text": ""}], (Text("a"),)),
        ([{"text": "a", "thought": True}, {"text": "b", "thought": True}, {"text": "c"}], (Thinking("ab"), Text("c"))),
        ([{"text": "a"}, {"text": "", "thoughtSignature": "AAAA"}],
         (Text("a"), Thinking("", Signature("google", "AAAA")))),
        ([{"text": "a", "thoughtSignature": "AAAA"}, {"text": "b"}],
         (Thinking("", Signature("google", "AAAA")), Text("a"), Text("b"))),
        ([{"text": "a", "thought": True}, {"text": "b", "thought": True, "thoughtSignature": "AAAA"}],
         (Thinking("ab", Signature("google", "AAAA")),)),
        ([{"text": "a", "thought": True}, {"text": "b", "thoughtSignature": "AAAA"}],
         (Thinking("a"), Thinking("", Signature("google", "AAAA")), Text("b"))),
        ([{"functionCall": {"id": "1", "name": "f", "args": {"a": [1, None]}}, "thoughtSignature": "AAAA"}],
         (Thinking("", Signature("google", "AAAA")), ToolCall("1", "f", '{"a":[1,null]}'))),
        ([{"functionCall": {"name": "f"}}, {"functionCall": {"name": "g", "args": {}}}],
         (ToolCall("call_r_0", "f", "{}"), ToolCall("call_r_1", "g", "{}"))),
        ([{"inlineData": {"mimeType": "image/png", "data": "-_8="}}], (Image(Media("image/png", "+/8=")),)),
        ([{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}], (Image(Media("image/png", "AAAA")),)),
        ([{"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "AAAA"}}],
         (Audio(Media("audio/L16;rate=24000", "AAAA")),)),
        ([{"text": "a"}, {"executableCode": {"code": "1"}}, {"text": "b"}],
         (Text("a"), Opaque("gemini_generate", "executableCode", {"executableCode": {"code": "1"}}), Text("b"))),
        ([DRAFT],
         (Opaque("gemini_generate", "inlineData", DRAFT),)),
    ],
)  # fmt: skip
def test_parts(parts: list[Fields], blocks: tuple[object, ...]) -> None:
    assert choice(*parts).blocks == blocks


def test_calls_without_ids_get_one_that_no_other_answer_has() -> None:
    def ids(**more: Any) -> list[str]:
        told = {"candidates": [candidate({"functionCall": {"name": "f"}}, finishReason="STOP")], **more}
        return [b.id for b in FORMAT.read_answer(body(told), NO_QUIRKS).choices[0].blocks if isinstance(b, ToolCall)]

    assert ids() != ids()
    assert ids(responseId="a/b+c=") == ["call_abc_0"]


def test_candidates_of_their_own() -> None:
    a, b = candidate({"text": "a"}, index=0), candidate({"text": "b"}, index=1)
    ends = [{"finishReason": "STOP", "index": 1}, {"finishReason": "STOP"}]
    reader = FORMAT.open_reader(NO_QUIRKS)
    events, complete = [], []
    for told in (a, b, a, *ends):
        events += read_events(reader, frame({"candidates": [told]}))
        complete.append(reader.complete)

    assert complete == [False, False, False, False, True]
    assert [choice.blocks for choice in assemble(events).choices] == [(Text("aa"),), (Text("b"),)]


def test_every_chunk_may_have_a_reason() -> None:
    chunks = [{"candidates": [candidate({"text": text}, finishReason="STOP")]} for text in ("a", "b")]

    assert assemble(stream(*chunks)).choices == (Choice((Text("ab"),), Finish.STOP),)


def test_logprobs() -> None:
    told = choice(
        {"text": "Hi"},
        logprobsResult={
            "chosenCandidates": [{"token": "Hi", "tokenId": 4, "logProbability": -0.5}, {"token": "!"}],
            "topCandidates": [{"candidates": [{"token": "Hi", "logProbability": -0.5}]}],
        },
    )

    assert told.logprobs == (Token("Hi", -0.5, (("Hi", -0.5),)), Token("!", 0.0))


GROUNDING = {
    "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"web": {"uri": "https://b"}}, {"odd": {}}],
    "groundingSupports": [
        {"segment": {"endIndex": 4, "text": "grün"[:3]}, "groundingChunkIndices": [0, 7]},
        {"segment": {"startIndex": 6, "endIndex": 10, "text": "wrong"}, "groundingChunkIndices": [0]},
    ],
}


def test_sources_count_in_characters() -> None:
    """Google counts bytes: "grü" is four. A place where another text stands is left out, and the source kept."""
    (block,) = choice({"text": "grün, ja"}, groundingMetadata=GROUNDING).blocks

    assert block == Text(
        "grün, ja", (Citation("https://a", "A", 0, 3), Citation("https://a", "A"), Citation("https://b"))
    )


def test_sources_at_the_end_of_a_stream_are_told_once() -> None:
    events = stream(
        {"candidates": [candidate({"text": "grün"})]},
        {"candidates": [candidate({"text": ", ja"}, groundingMetadata=GROUNDING)]},
        {"candidates": [candidate({"text": ""}, groundingMetadata=GROUNDING, finishReason="STOP")]},
    )

    assert assemble(events).choices[0] == choice({"text": "grün, ja"}, groundingMetadata=GROUNDING)


@pytest.mark.parametrize("name", ["citations", "citationSources"])
def test_citations(name: str) -> None:
    told = {name: [{"startIndex": 2, "endIndex": 4, "uri": "https://a", "title": "A"}, {"license": "mit"}]}

    assert choice({"text": "abcd"}, citationMetadata=told).blocks == (
        Text("abcd", (Citation("https://a", "A", 2, 4),)),
    )


@pytest.mark.parametrize(
    "told",
    [
        {"candidates": {}},
        {"candidates": [1]},
        {"candidates": [{"content": "Hi"}]},
        {"candidates": [{"content": {"parts": "Hi"}}]},
        {"candidates": [{"content": {"parts": ["Hi"]}}]},
        {"candidates": [candidate({"text": 1})]},
        {"candidates": [candidate({"text": "a", "thoughtSignature": 1})]},
        {"candidates": [candidate({"functionCall": {"args": {}}})]},
        {"candidates": [candidate({"functionCall": {"name": "f", "args": "{}"}})]},
        {"candidates": [candidate({"functionCall": {"name": "f", "willContinue": True}})]},
        {"candidates": [candidate({"text": "a"}, index="0")]},
        {"candidates": [candidate({"inlineData": {"data": "AAAA"}})]},
        {"candidates": []},
        {},
        [],
        "Hi",
    ],
)
def test_what_is_no_answer(told: Any) -> None:
    with pytest.raises(UpstreamError) as caught:
        FORMAT.read_answer(body(told), NO_QUIRKS)
    assert caught.value.code == "upstream_bad_response"


@pytest.mark.parametrize("raw", [b"<html>", b'{"candidates":[', b'[{"text":1}]', b"[DONE]"])
def test_what_is_no_json(raw: bytes) -> None:
    with pytest.raises(UpstreamError):
        FORMAT.read_answer(raw, NO_QUIRKS)


ERROR = {"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}}


@pytest.mark.parametrize("told", [ERROR, [ERROR]], ids=["object", "array of one"])
def test_an_error_is_the_end(told: Any) -> None:
    with pytest.raises(UpstreamError) as caught:
        FORMAT.read_answer(body(told), NO_QUIRKS)
    assert (caught.value.upstream_status, caught.value.upstream_code) == (429, "RESOURCE_EXHAUSTED")

    reader = FORMAT.open_reader(NO_QUIRKS)
    events = read_events(reader, frame({"candidates": [candidate({"text": "a"})]}) + frame(told) + frame(told))
    assert [type(event) for event in events] == [Started, BlockStarted, Failed]
    assert reader.ended


def test_a_stray_end_mark_and_half_characters() -> None:
    reader = FORMAT.open_reader(NO_QUIRKS)
    halves = [
        b'data: {"candidates":[{"content":{"parts":[{"text":"\\u%b"}]}}]}\n\n' % half for half in (b"d83d", b"de00")
    ]
    events = read_events(reader, b"data: [DONE]\n\n" + b"".join(halves))

    assert events[1:] == [BlockStarted(Text("\ud83d")), Grown("\ude00")]
