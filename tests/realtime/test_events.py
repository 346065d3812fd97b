"""The events that are read: whatever stands around them, and however they are written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.usage import Usage
from app.realtime import closing
from app.realtime.events import read_event, read_head, rename, write_event
from app.realtime.tally import Tally

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=12), VALUES, max_size=6), st.text(max_size=30), st.booleans())
def test_the_type_is_read_whatever_stands_beside_it(event: dict[str, Any], name: str, escaped: bool) -> None:
    written = json.dumps({**event, "type": name}, ensure_ascii=escaped)
    head = read_head(written)
    assert head is not None
    assert head.type == name
    assert read_event(written) == {**event, "type": name}


@pytest.mark.parametrize(
    "frame", ["", "nonsense", "[1]", "5", '{"type": 5}', '{"a":' * 50_000, '{"type":"x"} and more', b"\xff"]
)
def test_what_is_no_event_is_none(frame: str | bytes) -> None:
    assert read_head(frame) is None


def test_half_a_character_hides_no_usage() -> None:
    frame = (
        '{"type":"response.done","response":{"id":"r","text":"\\ud83d","usage":{"input_tokens":1,"output_tokens":2}}}'
    )
    head, event = read_head(frame), read_event(frame)
    assert head is not None
    assert head.type == "response.done"
    assert event is not None
    assert Tally().ended(event["response"])[0] == Usage(input_tokens=1, output_tokens=2)
    assert json.loads(write_event(event)) == event


def test_only_a_sessions_model_is_renamed() -> None:
    event = {"type": "session.created", "model": "theirs", "session": {"model": "theirs", "instructions": "theirs"}}
    assert rename(event, "ours")
    assert event == {
        "type": "session.created",
        "model": "theirs",
        "session": {"model": "ours", "instructions": "theirs"},
    }
    assert not rename(event, "ours")
    assert not rename({"session": {"voice": "marin"}}, "ours")
    assert not rename({"session": None}, "ours")


@pytest.mark.parametrize(
    ("code", "told"),
    [(1000, 1000), (1003, 1003), (1004, 1011), (1005, 1011), (1006, 1011), (1007, 1007), (1014, 1014), (1015, 1011),
     (1016, 1011), (2999, 1011), (3000, 3000), (4999, 4999), (5000, 1011), (0, 1011), (None, 1011)],
)  # fmt: skip
def test_codes_that_may_be_sent(code: int | None, told: int) -> None:
    assert closing.sendable(code) == told


def test_a_long_reason_is_cut_between_characters() -> None:
    assert closing.short("\u00e4" * 100) == "\u00e4" * 61


def test_many_responses_at_once_are_bounded() -> None:
    tally = Tally()
    for number in range(1000):
        tally.began({"id": f"r{number}"})
        head = read_head(json.dumps(delta(f"r{number}", "word")))
        assert head is not None
        tally.produced(head)
    assert tally.under_way
    assert len(tally.take_rest().texts) == 100
    assert not tally.under_way


def delta(response_id: str, text: str) -> dict[str, str]:
    return {"type": "response.output_text.delta", "response_id": response_id, "delta": text}


def test_audio_is_counted_by_its_format() -> None:
    for format, seconds in (({"type": "audio/pcm", "rate": 24000}, 1.0), ({"type": "audio/pcmu"}, 6.0)):
        tally = Tally()
        tally.configured({"audio": {"input": {"format": format}, "output": {"format": format}}})
        tally.began({"id": "r"})
        for name, field in (("input_audio_buffer.append", "audio"), ("response.output_audio.delta", "delta")):
            head = read_head(json.dumps({"type": name, "response_id": "r", field: "A" * 64_000}))
            assert head is not None
            (tally.heard if field == "audio" else tally.produced)(head)
        usage = tally.estimate(tally.take_rest())
        assert (usage.input_audio_tokens, usage.output_audio_tokens) == (10 * seconds, 20 * seconds)
