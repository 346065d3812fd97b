"""Bounds of the connections of one process, and the sweep that ends those which take too long to say what they want."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

SWEEP = 1.0
"""Seconds between sweeps: no connection has a timer of its own."""


class Connection(Protocol):
    """What the guard needs of a connection."""

    def expire(self) -> None:
        """It has taken too long."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`head_timeout`: seconds to a whole head, from the connection or from the first byte of a later request. `body_timeout`:
    for the rest of a body that nobody wants any more. `connections` and `per_address`: open at once; 0: any number.
    """

    head_timeout: float = 10.0
    body_timeout: float = 60.0
    connections: int = 20_000
    per_address: int = 0


class Guard:
    """Counts connections, and remembers those that somebody waits for."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._deadlines: dict[Connection, float] = {}
        self._open = 0
        self._by_address: Counter[str] = Counter()
        self._sweep: asyncio.TimerHandle | None = None

    def open(self, address: str) -> bool:
        """One more connection; whether it may stay. Each is ended by `close`."""
        self._open += 1
        limits = self.limits
        if limits.per_address:
            self._by_address[address] += 1
            if self._by_address[address] > limits.per_address:
                return False
        return not limits.connections or self._open <= limits.connections

    def close(self, connection: Connection, address: str) -> None:
        self._open -= 1
        self._deadlines.pop(connection, None)
        if self.limits.per_address:
            self._by_address -= Counter([address])  # drops what has come to zero

    def wait(self, connection: Connection, seconds: float) -> None:
        """It has so long to go on; not longer, if it is waited for already."""
        loop = asyncio.get_running_loop()
        self._deadlines.setdefault(connection, loop.time() + seconds)
        if self._sweep is None:
            self._sweep = loop.call_later(SWEEP, self._run, loop)

    def came(self, connection: Connection) -> None:
        """What it was waited for has come."""
        self._deadlines.pop(connection, None)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in [connection for connection, deadline in self._deadlines.items() if deadline < now]:
            del self._deadlines[connection]
            connection.expire()
        self._sweep = loop.call_later(SWEEP, self._run, loop) if self._deadlines else None
