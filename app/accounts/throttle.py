"""How often an address may present credentials that nobody knows: counted in memory, bounded, one process's own."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address
from weakref import WeakValueDictionary

from app.errors import GatewayError, Kind

Address = IPv4Address | IPv6Address
AddressOf = Callable[[], Address | None]
"""Whose request it is. Called only where it counts: reading X-Forwarded-For costs more than finding a key."""

MAX_SOURCES = 10_000
"""Remembered at a time, those that failed last: three megabytes. Whoever has more networks than that isn't slowed by this."""

WINDOW = 60.0

AT_ONCE = 4
"""Look-ups of one source under way. Any number would pass the check together, before the first of them has failed; and the
database has few more connections than these."""


class Throttle:
    """A bucket for each source: so many failures at once, and as many again in a minute, evenly.

    What it protects is the database, where each unknown credential costs a look-up; credentials of 256 random bits aren't
    guessed at any rate. So callers ask it only before such a look-up. A credential that has been good in this process is
    never refused, whoever else shares its address (an office, a provider's NAT, a proxy that isn't trusted): else anybody
    there could lock the others out. One that is good but new here may have to wait for the next drop of the bucket, a
    second with 60 a minute, and only good ones cost nothing.
    """

    def __init__(self, failures_per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`failures_per_minute` 0: no bound."""
        self._step = WINDOW / failures_per_minute if failures_per_minute else 0.0
        self._clock = clock
        self._full_at: OrderedDict[tuple[int, int] | None, float] = OrderedDict()
        # Kept by those who wait at them.
        self._gates: WeakValueDictionary[tuple[int, int] | None, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, address: Address | None) -> AsyncIterator[None]:
        """The block looks a credential up, and calls `add` if that was in vain; it waits until few others of the address do.

        Raises as `check` does, before the block.
        """
        if not self._step:
            yield
            return
        self.check(address)
        source = _source_of(address)
        gate = self._gates.get(source)
        if gate is None:
            gate = self._gates[source] = asyncio.Semaphore(AT_ONCE)
        async with gate:
            self.check(address)
            yield

    def check(self, address: Address | None) -> None:
        """Raises GatewayError 429 `too_many_auth_failures` while the address's bucket is empty."""
        full_at = self._full_at.get(_source_of(address))
        if full_at is None:
            return
        wait = full_at - self._clock() - (WINDOW - self._step)
        # A millionth of a second of patience: sums of floats don't come out even.
        if wait > 1e-6:
            message = "Too many failed authentications came from your address. Wait before you try again."
            raise GatewayError(Kind.RATE_LIMIT, "too_many_auth_failures", message, retry_after=math.ceil(wait))

    def add(self, address: Address | None) -> None:
        """One more failure of the address."""
        if not self._step:
            return
        now = self._clock()
        source = _source_of(address)
        full_at = max(self._full_at.pop(source, now), now) + self._step
        # Failures that were under way when the bucket ran dry don't add to the wait.
        self._full_at[source] = min(full_at, now + WINDOW)
        if len(self._full_at) > MAX_SOURCES:
            self._full_at.popitem(last=False)


def _source_of(address: Address | None) -> tuple[int, int] | None:
    """IPv6 by /64, which is what one customer has at least (RFC 6177). None, an address that can't be read, is one source."""
    if address is None:
        return None
    return (6, int(address) >> 64) if isinstance(address, IPv6Address) else (4, int(address))
