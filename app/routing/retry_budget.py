"""How many more calls than requests a process makes: retries that outgrow their share make an upstream's trouble worse."""

from __future__ import annotations

RESERVE = 20.0
"""Retries that are always to be had after a quiet time, so that a gateway with little traffic can fail over too."""

REFILL = 1.0
"""Retries a second that come back by themselves."""

SPAN = 400.0
"""Requests whose share may be saved up."""


class RetryBudget:
    """A bucket: each request puts its share in, each retry takes one out. Source of the idea: Finagle's RetryBudget."""

    __slots__ = ("_filled", "_share", "_tokens")

    def __init__(self, share: float) -> None:
        self._share = share
        self._tokens = RESERVE
        self._filled = 0.0

    def deposit(self) -> None:
        """A request has come."""
        most = RESERVE + self._share * SPAN
        if self._tokens < most:
            self._tokens = min(most, self._tokens + self._share)

    def withdraw(self, now: float) -> bool:
        """Whether a retry may be made."""
        if self._tokens < RESERVE:
            self._tokens = min(RESERVE, self._tokens + REFILL * min(now - self._filled, RESERVE / REFILL))
        self._filled = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
