"""Bounds of the connections of one process, and the sweep that ends those which take too long."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Protocol

SWEEP = 1.0
"""Seconds between looks at the connections that are waited for: none has a timer of its own."""

CLOSING_EVERY = 10
"""Sweeps between looks at all connections, for those that are closed but can't get rid of what they have to say."""


class Connection(Protocol):
    """What the guard needs of a connection."""

    def is_closing(self) -> bool:
        """It is closed, and gone once its last bytes are."""

    def expire(self) -> None:
        """It has taken too long."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and numbers; of the numbers, 0 is any.

    `head_timeout`: to a whole head, from its first byte. `body_timeout`: for the rest of a body that nobody wants any more.
    `write_timeout`: without a byte taken of what is to be read. `connections` and `per_address`: open at once.
    """

    head_timeout: float = 10.0
    body_timeout: float = 60.0
    write_timeout: float = 120.0
    connections: int = 20_000
    per_address: int = 0


class Guard:
    """Knows the open connections, and until when each of those that somebody waits for may take."""

    def __init__(self, limits: Limits, websocket_paths: frozenset[bytes] = frozenset()) -> None:
        """`websocket_paths`: where a WebSocket may be opened; everywhere else one is refused."""
        self.limits = limits
        self.websocket_paths = websocket_paths
        self._open: set[Connection] = set()
        self._by_source: dict[str | int, int] = {}
        self._deadlines: dict[Connection, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sweeps = 0

    def open(self, connection: Connection, address: str) -> bool:
        """One more connection; whether it may stay. Each is ended by `close`."""
        self._open.add(connection)
        limits = self.limits
        if limits.per_address:
            source = _source_of(address)
            count = self._by_source[source] = self._by_source.get(source, 0) + 1
            if count > limits.per_address:
                return False
        return not limits.connections or len(self._open) <= limits.connections

    def close(self, connection: Connection, address: str) -> None:
        """A connection that was opened is gone."""
        self._open.discard(connection)
        self._deadlines.pop(connection, None)
        if self.limits.per_address:
            source = _source_of(address)
            count = self._by_source.pop(source) - 1
            if count:
                self._by_source[source] = count

    def wait(self, connection: Connection, seconds: float) -> None:
        """It has so long to go on; not longer, if it is waited for already."""
        loop = asyncio.get_running_loop()
        self._deadlines.setdefault(connection, loop.time() + seconds)
        if self._timer is None:
            self._timer = loop.call_later(SWEEP, self._sweep, loop)

    def came(self, connection: Connection) -> None:
        """What it was waited for has come."""
        self._deadlines.pop(connection, None)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in [connection for connection, deadline in self._deadlines.items() if deadline < now]:
            del self._deadlines[connection]
            connection.expire()
        self._sweeps += 1
        if self._sweeps % CLOSING_EVERY == 0:
            for connection in self._open:
                if connection.is_closing():
                    self._deadlines.setdefault(connection, now + self.limits.write_timeout)
        self._timer = loop.call_later(SWEEP, self._sweep, loop) if self._open else None


def _source_of(address: str) -> str | int:
    """IPv6 by /64, which is what one customer has at least (RFC 6177)."""
    return int(IPv6Address(address)) >> 64 if ":" in address else address
