"""Moving averages, and when they open the breaker."""

from __future__ import annotations

import pytest

from app.routing.health import HALF_LIFE, LATENCY_MEMORY, LATENCY_SAMPLES, STREAK, Health


def noted(health: Health, outcomes: str, *, step: float = 0.0, start: float = 0.0) -> list[bool]:
    """`+` and `-`, one every `step` seconds; whether each failure opened the breaker."""
    opened = []
    for number, outcome in enumerate(outcomes):
        now = start + number * step
        if outcome == "+":
            health.note_success(now)
        else:
            opened.append(health.note_failure(now))
    return opened


def measure(health: Health, now: float, seconds: float, *, stream: bool = False) -> None:
    """As many times as it takes to be believed."""
    for _ in range(LATENCY_SAMPLES):
        health.note_latency(now, seconds, stream=stream)


@pytest.mark.parametrize(
    ("outcomes", "opens"),
    [
        pytest.param("-", False, id="one"),
        pytest.param("--", True, id="two in a row"),
        pytest.param("++++++++++++++++++++--", True, id="two in a row after much that went well"),
        pytest.param("-+-+-", False, id="never two in a row, and few"),
        pytest.param("-+-+-+-+-", True, id="five of nine"),
        pytest.param("++-+-+-+-+-", False, id="five of eleven"),
    ],
)
def test_when_the_breaker_opens(outcomes: str, opens: bool) -> None:
    assert any(noted(Health(), outcomes)) is opens


def test_failures_far_apart_are_no_rate() -> None:
    """Every other one fails, but so seldom that five never come together."""
    assert not any(noted(Health(), "-+" * 50, step=HALF_LIFE))


def test_a_streak_has_no_time() -> None:
    """A channel that is asked once an hour, and fails each time, is out at the second."""
    assert noted(Health(), "-" * STREAK, step=3600.0) == [False] * (STREAK - 1) + [True]


def test_counts_fade_by_half() -> None:
    health = Health()
    noted(health, "----")
    assert health.error_rate(0.0) == pytest.approx(4 / 5)
    assert health.error_rate(HALF_LIFE) == pytest.approx(2 / 3)
    assert health.error_rate(20 * HALF_LIFE) == pytest.approx(0.0, abs=1e-5)


def test_one_fault_is_no_rate() -> None:
    health = Health()
    assert health.error_rate(0.0) == 0.0
    health.note_failure(0.0)
    assert health.error_rate(0.0) == 0.5


def test_what_has_come_back_starts_afresh() -> None:
    health = Health()
    noted(health, "-")
    health.forgive()
    assert health.error_rate(0.0) == 0.0
    assert noted(health, "-") == [False]


def test_latency_is_an_average_of_what_was_seen_lately() -> None:
    health = Health()
    assert health.latency(0.0, stream=False) is None
    assert health.typical(stream=False) is None
    measure(health, 0.0, 1.0)
    assert health.latency(0.0, stream=False) == 1.0
    health.note_latency(1.0, 2.0, stream=False)
    assert health.latency(1.0, stream=False) == pytest.approx(1.2)
    assert health.latency(1.0 + LATENCY_MEMORY, stream=False) is None
    assert health.typical(stream=False) == pytest.approx(1.2)  # a probe's bound has a longer memory
    measure(health, 100.0, 3.0)
    assert health.latency(100.0, stream=False) == 3.0  # what is forgotten weighs nothing


def test_a_few_latencies_say_nothing_yet() -> None:
    """The first calls make the connections: they are slow everywhere."""
    health = Health()
    for _ in range(LATENCY_SAMPLES - 1):
        health.note_latency(0.0, 5.0, stream=False)
        assert health.latency(0.0, stream=False) is None
    health.note_latency(0.0, 5.0, stream=False)
    assert health.latency(0.0, stream=False) == 5.0


def test_whole_answers_and_streams_are_measured_apart() -> None:
    health = Health()
    measure(health, 0.0, 5.0)
    measure(health, 0.0, 0.2, stream=True)
    assert health.latency(0.0, stream=False) == 5.0
    assert health.latency(0.0, stream=True) == 0.2
