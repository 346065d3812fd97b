"""Moving averages of one model over one channel: how often it fails, how long it takes, how much is under way."""

from __future__ import annotations

HALF_LIFE = 5.0
"""Seconds after which what was seen counts half."""

STREAK = 2
"""Failures in a row that open the breaker. Not more: a channel that has failed is given less to do, so a third comes late."""

LEAST_FAILURES = 5.0
LEAST_RATE = 0.5
"""So many failures (by the moving count) that are so large a share of all open it too."""

LATENCY_WEIGHT = 0.2
"""What the newest latency counts in the average."""

LATENCY_SAMPLES = 5
"""Latencies before which the average says nothing: the first calls also make connections."""

LATENCY_MEMORY = 15.0
"""Seconds after which a latency is forgotten: a channel that was slow gets another chance."""


class Health:
    """Counts fade with time, so that an hour-old fault says nothing of now. All times are monotonic seconds."""

    __slots__ = ("_faded", "_latency", "_measured", "_samples", "failures", "streak", "total", "under_way")

    def __init__(self) -> None:
        self.failures = 0.0
        self.total = 0.0
        self.streak = 0
        self.under_way = 0
        self._faded = 0.0
        # Whole answers and streams apart: a stream's first frame comes long before a whole answer does.
        self._latency = [0.0, 0.0]
        self._measured = [float("-inf"), float("-inf")]
        self._samples = [0, 0]

    def note_success(self, now: float) -> None:
        """An answer was whole."""
        self._fade(now)
        self.total += 1.0
        self.streak = 0

    def note_latency(self, now: float, seconds: float, *, stream: bool) -> None:
        """`seconds` to the whole answer, or to the first frame of a stream."""
        fresh = now - self._measured[stream] < LATENCY_MEMORY
        old = self._latency[stream]
        self._latency[stream] = old + LATENCY_WEIGHT * (seconds - old) if fresh else seconds
        self._samples[stream] = self._samples[stream] + 1 if fresh else 1
        self._measured[stream] = now

    def note_failure(self, now: float) -> bool:
        """Whether the breaker should open."""
        self._fade(now)
        self.total += 1.0
        self.failures += 1.0
        self.streak += 1
        return self.streak >= STREAK or (self.failures >= LEAST_FAILURES and self.failures >= LEAST_RATE * self.total)

    def forgive(self) -> None:
        """It has come back: what was before says nothing any more."""
        self.failures = self.total = 0.0
        self.streak = 0

    def error_rate(self, now: float) -> float:
        """Between 0 and 1. Drawn towards 0 while little was seen: one fault isn't a rate."""
        self._fade(now)
        return self.failures / (self.total + 1.0)

    def latency(self, now: float, *, stream: bool) -> float | None:
        """Seconds; None: not known yet, or not any more."""
        known = now - self._measured[stream] < LATENCY_MEMORY and self._samples[stream] >= LATENCY_SAMPLES
        return self._latency[stream] if known else None

    def typical(self, *, stream: bool) -> float | None:
        """Seconds that it took when it was last measured, however long ago that was."""
        return self._latency[stream] if self._measured[stream] > float("-inf") else None

    def _fade(self, now: float) -> None:
        passed = now - self._faded
        if passed > 0.05:  # finer steps change nothing and cost a power each
            factor = 0.5 ** (passed / HALF_LIFE)
            self.failures *= factor
            self.total *= factor
            self._faded = now
