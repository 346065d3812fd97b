"""Pauses between attempts, without waiting for them."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.webhooks.retry import pause_after, read_retry_after

NOW = datetime(2030, 1, 31, 12, 0, 0, tzinfo=UTC)


def test_pauses_double_up_to_an_hour() -> None:
    pauses = [pause_after(tries, base=5, chance=0.5) for tries in range(1, 13)]
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
    # A day of attempts: quick ones at first, then one an hour.
    moments = list(accumulate(pause_after(tries, base=5, chance=0.5) for tries in range(1, 100)))
    assert len([moment for moment in moments if moment < 3600]) == 9
    assert len([moment for moment in moments if moment < 24 * 3600]) == 32


@given(
    tries=st.integers(1, 32767),
    chance=st.floats(0, 1),
    retry_after=st.none() | st.floats(0, 1e12),
)
def test_pauses_stay_in_bounds(tries: int, chance: float, retry_after: float | None) -> None:
    pause = pause_after(tries, base=5, chance=chance, retry_after=retry_after)
    assert 4 <= pause <= 3600
    assert pause >= min(retry_after or 0, 3600)
    assert pause_after(tries, base=5, chance=0) <= pause


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("120", 120),
        ("9" * 4000, 999_999_999),
        ("Thu, 31 Jan 2030 12:02:00 GMT", 120),
        ("Thu, 31 Jan 2030 11:00:00 GMT", 0),
        ("Thu, 31 Jan 2030 12:02:00", 120),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Thu, 99 Jan 2030 12:02:00 GMT", None),
        ("Mon, 01 Jan 2024 00:00:00 +9999999999999999999", None),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value, NOW) == seconds
