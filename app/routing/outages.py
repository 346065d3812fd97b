"""What it means for a channel, one of its models or one of its keys to be out, for how long, and how it comes back."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

WHOLE = ""
"""The model of a scope that covers all models of a channel."""

ALL_KEYS = -1
"""The key of a scope that covers all keys of a channel."""

EVERYTHING = (WHOLE, ALL_KEYS)
"""The place of an outage of a channel as a whole."""

PROBE_PATIENCE = 30.0
"""Seconds after which a probe that says nothing no longer keeps others from trying."""


class OutageKind(StrEnum):
    """Why something is out. FAILING: errors and time-outs; RATE_LIMITED: the upstream asked for a pause; REFUSED: the
    upstream doesn't take the key, has no money for it or doesn't know the model: somebody has to do something.
    """

    FAILING = "failing"
    RATE_LIMITED = "rate_limited"
    REFUSED = "refused"


FIRST_PAUSE = {OutageKind.FAILING: 1.0, OutageKind.RATE_LIMITED: 1.0, OutageKind.REFUSED: 30.0}
LONGEST_PAUSE = {OutageKind.FAILING: 30.0, OutageKind.RATE_LIMITED: 60.0, OutageKind.REFUSED: 600.0}
LONGEST_REQUESTED = 24 * 3600.0
"""Seconds of a Retry-After that are believed: daily quotas come back by then."""


class Scope(NamedTuple):
    """What is out: a channel's model (the upstream's name; WHOLE: all) under a key's number (ALL_KEYS: all)."""

    channel_id: int
    model: str = WHOLE
    key: int = ALL_KEYS


@dataclass(slots=True)
class Outage:
    """`until` (monotonic seconds) nobody tries. Then one request at a time does: the probe; `probed` is when the last began.

    `failures`: how many times in a row it was out, which the pauses grow with. `requested`: the upstream named the pause.
    `made`: when this was found out; what was sent before says nothing about it.
    """

    kind: OutageKind
    reason: str
    failures: int
    until: float
    requested: bool = False
    made: float = float("-inf")
    probed: float = field(default=float("-inf"), compare=False)

    def is_out(self, now: float) -> bool:
        """Whether to keep away: during the pause, and while a probe is under way."""
        return now < self.until or now - self.probed < PROBE_PATIENCE

    def is_same(self, other: Outage) -> bool:
        """Whether both tell of one event, as far as clocks of two processes allow."""
        return self.kind is other.kind and self.failures == other.failures and abs(self.until - other.until) < 0.5


def pause_after(kind: OutageKind, failures: int, requested: float | None) -> float:
    """Seconds to keep away: what the upstream asked for, else twice as long each time, and up to a fifth more at random, so
    that processes don't come back in step.
    """
    if requested is not None:
        return min(max(requested, 0.1), LONGEST_REQUESTED)
    pause = min(FIRST_PAUSE[kind] * 2.0 ** min(failures - 1, 20), LONGEST_PAUSE[kind])
    return pause * (1.0 + random.random() / 5)  # noqa: S311
