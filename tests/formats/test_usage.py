"""Every vendor's report of usage, in its own shape (`usage/*.json`), and what it comes to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.usage import MAX_PLAUSIBLE_TOKENS, Usage
from app.formats.anthropic_messages.usage import merge_usage
from app.formats.anthropic_messages.usage import read_usage as read_anthropic
from app.formats.gemini_generate.usage import read_usage as read_gemini
from app.formats.openai_chat import FORMAT as CHAT
from app.formats.openai_media.usage import read_images, read_speech, read_transcription
from app.formats.openai_responses.usage import read_usage as read_responses

FOLDER = Path(__file__).parent / "usage"
FIXTURES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def read_chat(reply: dict[str, Any], quirks: frozenset[str]) -> Usage | None:
    return CHAT.read_reply(json.dumps(reply).encode(), quirks).usage


READERS: dict[str, Callable[[dict[str, Any], frozenset[str]], Usage | None]] = {
    "openai_chat": read_chat,
    "openai_responses": lambda reply, _: read_responses(reply["usage"], reply.get("service_tier")),
    "anthropic_messages": lambda reply, _: read_anthropic(reply["usage"]),
    "gemini_generate": lambda reply, _: read_gemini(reply["usageMetadata"]),
    "openai_images": lambda reply, _: read_images(reply),
    "openai_transcription": lambda reply, _: read_transcription(reply["usage"]),
    "openai_speech": lambda reply, _: read_speech(reply["usage"]),
}


@pytest.mark.parametrize("fixture", FIXTURES.values(), ids=FIXTURES)
def test_vendors(fixture: dict[str, Any]) -> None:
    usage = READERS[fixture["format"]](fixture["reply"], frozenset(fixture["quirks"]))

    assert (None if usage is None else usage.counts()) == fixture["usage"]


@pytest.mark.parametrize(
    "fixture", [pytest.param(f, id=name) for name, f in FIXTURES.items() if f["format"] == "openai_chat" and f["usage"]]
)
def test_a_stream_reads_as_the_whole_answer_does(fixture: dict[str, Any]) -> None:
    ask = CHAT.read_request(b'{"model":"m","messages":[],"stream":true}')
    tap = CHAT.open_tap(ask, frozenset(fixture["quirks"]))
    last = {**fixture["reply"], "object": "chat.completion.chunk", "choices": []}
    tier = fixture["reply"].get("service_tier")
    first = {"choices": [{"index": 0, "delta": {"content": "x"}}], "service_tier": tier, "usage": None}

    for chunk in (first, last):
        tap.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    assert tap.usage is not None
    assert tap.usage.counts() == fixture["usage"]


def test_every_reader_has_a_fixture() -> None:
    assert {fixture["format"] for fixture in FIXTURES.values()} == set(READERS)


# -- what can't be -----------------------------------------------------------------------------------------------------

IMPOSSIBLE = [-1, MAX_PLAUSIBLE_TOKENS + 1, 10**40, "10", 10.0, float("nan"), True, [10], {"a": 1}]


def tokens(inside: object = 10, outside: object = 5, **more: object) -> dict[str, object]:
    return {"input_tokens": inside, "output_tokens": outside, **more}


def gemini(inside: object = 10, outside: object = 5, **more: object) -> dict[str, object]:
    return {"promptTokenCount": inside, "candidatesTokenCount": outside, **more}


@pytest.mark.parametrize("value", IMPOSSIBLE, ids=repr)
@pytest.mark.parametrize(
    ("read", "report"),
    [
        (read_anthropic, lambda v: tokens(v)),
        (read_anthropic, lambda v: tokens(10, v)),
        (read_anthropic, lambda v: tokens(cache_read_input_tokens=v)),
        (read_anthropic, lambda v: tokens(cache_creation_input_tokens=v)),
        (read_anthropic, lambda v: tokens(cache_creation={"ephemeral_1h_input_tokens": v})),
        (read_responses, lambda v: tokens(v)),
        (read_responses, lambda v: tokens(10, v)),
        (read_gemini, lambda v: gemini(v)),
        (read_gemini, lambda v: gemini(10, v)),
        (read_gemini, lambda v: gemini(thoughtsTokenCount=v)),
        (read_gemini, lambda v: gemini(toolUsePromptTokenCount=v)),
        (read_speech, lambda v: tokens(10, v)),
        (read_transcription, lambda v: tokens(v, type="tokens")),
    ],
)
def test_a_count_that_cannot_be_is_no_report(
    read: Callable[[object], Usage | None], report: Callable[[object], object], value: object
) -> None:
    assert read(report(5)) is not None
    assert read(report(value)) is None


@pytest.mark.parametrize("read", [read_anthropic, read_gemini, read_responses, read_images, read_speech])
@pytest.mark.parametrize("report", [None, [], "x", 5, True, {}, {"total_tokens": 3}, {"totalTokenCount": 3}], ids=repr)
def test_what_holds_no_counts_is_no_report(read: Callable[[object], Usage | None], report: object) -> None:
    assert read(report) is None


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [
        (0, 0),
        (1, 1000),
        (1.0004, 1001),
        (0.1 + 0.2, 300),
        (7 * 86400, 7 * 86_400_000),
        (7 * 86400 + 1, None),
        (-1, None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
        ("3", None),
        (True, None),
        (None, None),
    ],
    ids=repr,
)
def test_a_length_in_seconds(seconds: object, milliseconds: int | None) -> None:
    usage = read_transcription({"type": "duration", "seconds": seconds})

    assert (None if usage is None else usage.milliseconds) == milliseconds


@pytest.mark.parametrize(
    "tier", ["default", "standard", "auto", "on_demand", "", "x" * 65, "a\nb", "é", 5, None, ["flex"]]
)
def test_the_ordinary_tier_and_nonsense_are_no_tier(tier: object) -> None:
    usage = read_responses(tokens(), tier)

    assert usage == Usage(10, 5)


def test_sums_beyond_belief_are_no_report() -> None:
    most = MAX_PLAUSIBLE_TOKENS

    assert read_anthropic(tokens(most, cache_read_input_tokens=1)) is None
    assert read_gemini(gemini(10, most, thoughtsTokenCount=1)) is None


def test_a_stream_of_anthropic_overwrites_with_what_is_there() -> None:
    start = merge_usage({}, {"input_tokens": 20, "cache_read_input_tokens": 7, "output_tokens": 1})
    end = merge_usage(start, {"input_tokens": None, "output_tokens": 90, "cache_read_input_tokens": None})

    assert read_anthropic(merge_usage(end, None)) == Usage(27, 90, cache_read_tokens=7)


# -- whatever comes ----------------------------------------------------------------------------------------------------

NAMES = sorted(
    {
        name
        for fixture in FIXTURES.values()
        for report in (fixture["reply"].get("usage"), fixture["reply"].get("usageMetadata"))
        for name in report or {}
    }
    | {"cached_tokens", "ephemeral_1h_input_tokens", "image_tokens", "modality", "tokenCount", "type", "data"}
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["AUDIO", "duration", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(NAMES), JSON | st.integers(0, 10**6), min_size=2, max_size=12))
def test_whatever_comes_parts_stay_inside_their_wholes(report: dict[str, object]) -> None:
    for read in (read_anthropic, read_gemini, read_responses, read_images, read_speech, read_transcription):
        usage = read(report)
        if usage is not None:
            for inside in (usage.cache_read_tokens, usage.cache_write_tokens, usage.input_audio_tokens):
                assert 0 <= inside <= usage.input_tokens <= MAX_PLAUSIBLE_TOKENS
            for inside in (usage.reasoning_tokens, usage.output_audio_tokens, usage.output_image_tokens):
                assert 0 <= inside <= usage.output_tokens <= MAX_PLAUSIBLE_TOKENS
            assert usage.cache_write_1h_tokens <= usage.cache_write_tokens
            assert usage.cache_audio_read_tokens <= min(usage.cache_read_tokens, usage.input_audio_tokens)
