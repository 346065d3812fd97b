"""Which requests belong together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.formats.openai_chat import FORMAT
from app.routing.sticky import LEAST, stickiness_of

LONG = "word " * LEAST
Headers = list[tuple[bytes, bytes]]


def place(
    account: int = 1, headers: Headers | None = None, *, texts: tuple[str, ...] = ("hi",), **fields: Any
) -> float | None:
    messages = [{"role": "user", "content": text} for text in texts]
    body = json.dumps({"model": "m", "messages": messages, **fields}).encode()
    return stickiness_of(account, FORMAT.read_request(body, "/v1/chat/completions", b""), headers or [])


GROK: Headers = [(b"x-grok-conv-id", b"abc")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(place(prompt_cache_key="a"), place(texts=("other",), prompt_cache_key="a"), id="prompt_cache_key"),
        pytest.param(
            place(prompt_cache_key="a"), place(texts=(LONG,), prompt_cache_key="a"), id="goes before the text"
        ),
        pytest.param(place(headers=GROK), place(headers=GROK, texts=("other",)), id="x-grok-conv-id"),
        pytest.param(place(texts=(LONG,)), place(texts=(LONG, "and", "on")), id="a long beginning"),
    ],
)
def test_what_belongs_together(one: float | None, other: float | None) -> None:
    assert one is not None
    assert one == other
    assert 0.0 <= one < 1.0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(place(prompt_cache_key="a"), place(prompt_cache_key="b"), id="prompt_cache_key"),
        pytest.param(place(headers=GROK), place(headers=[(b"x-grok-conv-id", b"b")]), id="x-grok-conv-id"),
        pytest.param(place(texts=(LONG,)), place(texts=("another " + LONG,)), id="the beginning"),
        pytest.param(
            place(1, prompt_cache_key="a"), place(2, prompt_cache_key="a"), id="accounts: keys are chosen freely"
        ),
    ],
)
def test_what_does_not(one: float | None, other: float | None) -> None:
    assert None not in (one, other)
    assert one != other


def test_what_is_too_short_to_be_cached_goes_anywhere() -> None:
    assert place() is None


def test_places_are_spread_evenly() -> None:
    """So that weights hold for conversations, too."""
    places = [place(prompt_cache_key=str(number)) for number in range(2_000)]
    low = sum(1 for each in places if each is not None and each < 0.25)
    assert 420 < low < 580  # four standard deviations of 500 are 77
