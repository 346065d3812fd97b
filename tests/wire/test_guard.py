"""The guard's counts: connections in all, and by address."""

from __future__ import annotations

import pytest

from app.wire.guard import Guard, Limits


class Link:
    """A connection that does nothing."""

    def is_closing(self) -> bool:
        return False

    def expire(self) -> None:
        """Nobody waits for it."""


@pytest.mark.parametrize(
    ("limits", "addresses", "may_stay"),
    [
        (Limits(connections=2), ["a", "b", "c"], [True, True, False]),
        (Limits(connections=0), ["a"] * 3, [True] * 3),
        (Limits(per_address=2), ["a", "a", "a", "b"], [True, True, False, True]),
        (Limits(connections=2, per_address=1), ["a", "b", "c"], [True, True, False]),
        # IPv6 by /64: whoever has one address has them all.
        (Limits(per_address=1), ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"], [True, False, True]),
    ],
)
def test_who_may_stay(limits: Limits, addresses: list[str], may_stay: list[bool]) -> None:
    guard = Guard(limits)
    links = [(Link(), address) for address in addresses]
    for _ in range(2):  # what is closed doesn't count
        assert [guard.open(*link) for link in links] == may_stay
        for link in links:
            guard.close(*link)
