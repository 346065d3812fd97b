"""What a channel may be given at most."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.routing.caps import MINUTE, Load
from tests.routing.scene import channel

BARE = channel(1)


def test_requests_at_once() -> None:
    capped, load = replace(BARE, concurrency=2), Load()
    for _ in range(2):
        assert load.has_room(capped, 0, 0.0, 1)
        load.take(0, 0.0)
    assert not load.has_room(capped, 0, 1_000.0, 1)
    load.give_back(0)
    assert load.has_room(capped, 0, 0.0, 1)


@pytest.mark.parametrize(("cap", "processes", "fit"), [(6, 1, 6), (6, 2, 3), (7, 2, 3), (6, 6, 1), (6, 50, 1)])
def test_processes_share_a_cap_and_none_gets_nothing(cap: int, processes: int, fit: int) -> None:
    for capped in (replace(BARE, concurrency=cap), replace(BARE, rpm=cap)):
        load, taken = Load(), 0
        while load.has_room(capped, 0, 0.0, processes):
            load.take(0, 0.0)
            taken += 1
        assert taken == fit


def test_requests_a_minute_slide() -> None:
    capped, load = replace(BARE, rpm=10), Load()
    for _ in range(10):
        load.take(0, 0.0)
        load.give_back(0)
    assert not load.has_room(capped, 0, MINUTE - 1, 1)
    assert not load.has_room(capped, 0, MINUTE, 1)  # the whole last minute is still inside
    assert load.has_room(capped, 0, MINUTE + 7, 1)  # a tenth of it has left
    for _ in range(2):  # it holds 8.8, and a part of one more fits
        load.take(0, MINUTE + 7)
        load.give_back(0)
    assert not load.has_room(capped, 0, MINUTE + 7, 1)
    assert load.has_room(capped, 0, 3 * MINUTE + 7, 1)


def test_whoever_takes_all_there_is_gets_the_cap_and_no_more() -> None:
    """Ten looks a second for ten minutes: no minute holds more than the cap, but for one or two of rounding."""
    capped, load, taken = replace(BARE, rpm=80), Load(), []
    for tick in range(10 * 60 * 10):
        now = tick / 10
        while load.has_room(capped, 0, now, 1):
            load.take(0, now)
            load.give_back(0)
            taken.append(now)
    minutes = [sum(1 for when in taken if start <= when < start + MINUTE) for start in range(0, 9 * 60, 5)]
    assert max(minutes) <= 82
    assert 80 * 9 <= len(taken) <= 80 * 10 + 2


def test_tokens_a_minute_are_corrected_by_what_was_really_used() -> None:
    capped, load = replace(BARE, tpm=1_000), Load()
    load.take(600, 0.0)
    assert load.has_room(capped, 400, 0.0, 1)
    assert not load.has_room(capped, 401, 0.0, 1)
    load.give_back(500)  # it used 100
    assert load.has_room(capped, 900, 0.0, 1)
    load.take(100, 0.0)
    load.give_back(-700)  # it used 800
    assert load.has_room(capped, 100, 0.0, 1)
    assert not load.has_room(capped, 101, 0.0, 1)


def test_what_is_larger_than_the_cap_goes_alone() -> None:
    capped, load = replace(BARE, tpm=1_000), Load()
    assert load.has_room(capped, 5_000, 0.0, 1)
    load.take(5_000, 0.0)
    assert not load.has_room(capped, 1, 0.0, 1)
    assert not load.has_room(capped, 1, MINUTE + 1, 1)
    assert load.has_room(capped, 5_000, 2 * MINUTE, 1)


def test_nothing_is_given_back_below_zero() -> None:
    capped, load = replace(BARE, tpm=1_000), Load()
    load.take(10, 0.0)
    load.give_back(10_000)
    assert load.has_room(capped, 1_000, 0.0, 1)
    load.take(1_000, 0.0)
    assert not load.has_room(capped, 1, 0.0, 1)
