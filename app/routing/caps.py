"""What a channel may be given at most: requests at once, requests and tokens a minute, a share of each for this process."""

from __future__ import annotations

from app.catalog.snapshot import Channel

MINUTE = 60.0


class Load:
    """What one process has given a channel. A minute slides: the last one counts by the part of it that is still inside."""

    __slots__ = ("_began", "_last_requests", "_last_tokens", "_requests", "_tokens", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self._began = 0.0
        self._requests = 0
        self._tokens = 0
        self._last_requests = 0
        self._last_tokens = 0

    def has_room(self, channel: Channel, tokens: int, now: float, share: int) -> bool:
        """Whether one more request of so many tokens fits. `share`: among how many processes the caps are divided.

        A process may always have one under way, so that small caps over many processes still serve.
        """
        if channel.concurrency is not None and self.under_way >= max(1, channel.concurrency // share):
            return False
        if channel.rpm is None and channel.tpm is None:
            return True
        inside = self._slide(now)
        if channel.rpm is not None and self._requests + self._last_requests * inside >= max(1, channel.rpm // share):
            return False
        if channel.tpm is None:
            return True
        used = self._tokens + self._last_tokens * inside
        # One that is larger than the whole cap goes when nothing else does: it would wait for ever.
        return used == 0 or used + tokens <= channel.tpm // share

    def take(self, tokens: int, now: float) -> None:
        """A request goes out."""
        self._slide(now)
        self.under_way += 1
        self._requests += 1
        self._tokens += tokens

    def give_back(self, surplus: int) -> None:
        """It has ended; `surplus`: the tokens by which it was smaller than thought (below 0: larger)."""
        self.under_way -= 1
        self._tokens = max(0, self._tokens - surplus)

    def _slide(self, now: float) -> float:
        """The part of the last minute that is still inside the window."""
        passed = now - self._began
        if passed >= MINUTE:
            gone = passed >= 2 * MINUTE
            self._last_requests = 0 if gone else self._requests
            self._last_tokens = 0 if gone else self._tokens
            self._requests = self._tokens = 0
            self._began += MINUTE * (passed // MINUTE)
            passed = now - self._began
        return 1.0 - passed / MINUTE
