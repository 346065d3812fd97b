"""How often tasks are looked at: poll after poll, after faults, and between rounds of all channels."""

from __future__ import annotations

import random

FIRST_POLL = 2.0
SLOWEST_POLL = 10.0
GROWTH = 1.25

SHORTEST_POLL, LONGEST_POLL = 0.2, 60.0
"""Whatever an upstream asks for."""

MOST_AFTER_FAULT = 60.0

ROUNDS = 4
"""How many times all channels of a model are tried to take a job, some two minutes in all."""

POLL_TIMEOUT = 30.0
SUBMIT_TIMEOUT = 120.0
"""Seconds for an upstream to accept a job; those that answer with the result itself say how long they take."""

ORDERS = 128
"""Submissions under way at a time: an upstream that answers with the result itself takes a minute, and megabytes."""

COPIES, COPIES_PER_CHANNEL = 24, 8
"""Results that are copied at a time."""

BUSY_PAUSE, MOST_BUSY_PAUSE = 0.5, 5.0

FIRST_DOUBT = 1.0
"""Seconds before an upstream is asked for the first time whether it has a job: it may still be taking it in."""

RESULT_PATIENCE = 3600.0
"""Seconds past its deadline for which a result that was made is tried to be fetched."""


def pause_before_poll(polls: int, chance: float) -> float:
    """Seconds before the next poll after so many: 2 at first, growing to 10. `chance`, 0 to 1, spreads tasks that began
    together by a tenth.
    """
    pause = SLOWEST_POLL if polls > 8 else min(SLOWEST_POLL, FIRST_POLL * float(GROWTH**polls))
    return pause * (0.95 + 0.1 * chance)


def pause_after_fault(faults: int, retry_after: float | None = None) -> float:
    """Seconds before another try after so many faults in a row, at least what the upstream asks for."""
    pause = min(MOST_AFTER_FAULT, 2.0 * float(2 ** min(faults, 8))) * (0.9 + 0.2 * random.random())  # noqa: S311
    return max(pause, min(retry_after or 0.0, MOST_AFTER_FAULT))


def may_send(of_channel: int, in_all: int) -> bool:
    """Whether a channel with so many submissions under way may have another: it gets half of what the others leave.

    One upstream that hangs takes 64 of 128, a second one 32, and so on: there is always a place for the next.
    """
    return of_channel < ORDERS - in_all


def pause_when_busy(faults: int) -> float:
    """Seconds before another look for a place, after so many in vain: a long queue must not ask all the time."""
    return min(MOST_BUSY_PAUSE, BUSY_PAUSE * float(1.5 ** min(faults, 8))) * (0.9 + 0.2 * random.random())  # noqa: S311


def pause_between_polls(wanted: float | None, polls: int) -> float:
    """Seconds before the next poll after so many: what the upstream asks for, within reason; ours, where it doesn't."""
    if wanted is None or not wanted >= 0.0:  # which is what NaN isn't
        return pause_before_poll(polls, random.random())  # noqa: S311
    return min(max(wanted, SHORTEST_POLL), LONGEST_POLL)


def pause_before_round(rounds: int) -> float:
    """Seconds before all channels are tried again: 3, 12, 48."""
    return 3.0 * float(4**rounds)
