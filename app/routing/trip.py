"""One request's way through the channels that may answer it: the best one first, and after a failure the next best.

Within a tier: a draw by weight (or, for a conversation, the place that it keeps to), compared with a second draw. The second
wins where the first does clearly worse: the power of two choices (Mitzenmacher, 2001), which still honours weights.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from app.catalog.snapshot import Candidate, Channel, ChannelKey, Model
from app.errors import Blame, GatewayError, Kind, UpstreamError
from app.routing.board import Board, Pick
from app.routing.health import Health
from app.routing.outages import ALL_KEYS, EVERYTHING, PROBE_PATIENCE, WHOLE, OutageKind
from app.routing.tiers import Tier
from app.routing.verdicts import Verdict

CLEARLY = 2.0
"""How many times as bad the first draw must look for the second to be taken."""

CLEARLY_FOR_CACHE = 4.0
"""The same, where a prompt cache would be lost."""

DRAWS = 3
LOOK_AGAIN = 1.0
"""Seconds after which a client may try again where nothing could be tried."""

QUEUE = 4.0
"""Requests under way, on top of the real ones, that channels are compared with: one more or less says nothing yet."""

PROBE_STREAM = (10.0, 4.0)
PROBE_WHOLE = (30.0, 10.0)
"""A probe is given up after so many seconds, or so many times what the channel took before, if that is more."""


@dataclass(frozen=True, slots=True)
class Pin:
    """The only channel, and the only one of its keys, that will do."""

    channel_id: int
    key: int


@dataclass(frozen=True, slots=True)
class Leg:
    """One model of a request's chain, and its channels. `needs`: what a channel must be able to do."""

    model: Model
    tiers: tuple[Tier, ...]
    needs: frozenset[str] = frozenset()


class Trip:
    """Gives attempts, one after the other, until none is left. Learns from those that failed."""

    __slots__ = (
        "_board",
        "_dead_channels",
        "_dead_keys",
        "_legs",
        "_pin",
        "_place",
        "_stream",
        "_tokens",
        "_tried",
        "opens_at",
        "waits_for_room",
    )

    def __init__(
        self,
        board: Board,
        legs: Sequence[Leg],
        *,
        stream: bool,
        tokens: int,
        place: float | None = None,
        pin: Pin | None = None,
    ) -> None:
        """`tokens`: an estimate of the input, for channels with caps. `place`: from `stickiness_of`."""
        self._board = board
        self._legs = legs
        self._stream = stream
        self._tokens = tokens
        self._place = place
        self._pin = pin
        self._tried: set[tuple[int, str]] = set()
        self._dead_channels: set[int] = set()
        self._dead_keys: set[tuple[int, int]] = set()
        self.waits_for_room = False
        self.opens_at = float("inf")

    def next(self) -> Pick | None:
        """The next attempt; None: there is nothing left. `waits_for_room`: but there will be, when others have ended.
        `opens_at`: or when a pause that an upstream asked for is over.
        """
        now = self._board.clock()
        self.waits_for_room = False
        self.opens_at = float("inf")
        for leg in self._legs:
            for tier in leg.tiers:
                pick = self._choose(leg, tier, now)
                if pick is not None:
                    return pick
        return None if self.waits_for_room or not self._board.outages else self._last_resort(now)

    def learn(self, pick: Pick, verdict: Verdict | None) -> None:
        """This attempt failed: its channel is out of question for this request, or, if it was the key's fault, the key is."""
        id = pick.channel.id
        if verdict is not None and verdict.scope.key != ALL_KEYS and len(pick.channel.keys) > 1:
            self._dead_keys.add((id, pick.key.number))
            return
        self._tried.add((id, pick.candidate.upstream_model))
        if verdict is not None and verdict.scope.model == WHOLE:
            self._dead_channels.add(id)

    def skip(self, pick: Pick) -> None:
        """This channel can't be told what the request asks."""
        self._tried.add((pick.channel.id, pick.candidate.upstream_model))

    def refusal(self, model: str) -> GatewayError:
        """Why nothing could be tried at all: 429 while the upstreams ask for a pause, else 503."""
        if self.waits_for_room:
            message = f"All channels of the model '{model[:200]}' are busy. Try again soon."
            return GatewayError(Kind.RATE_LIMIT, "channels_busy", message, blame=Blame.GATEWAY, retry_after=1.0)
        now = self._board.clock()
        waits = [
            outage.until - now
            for leg in self._legs
            for tier in leg.tiers
            for candidate in tier.candidates
            for key in candidate.channel.keys
            for outage in self._board.outages_of(candidate, key.number)
            if outage.kind is OutageKind.RATE_LIMITED and outage.until > now
        ]
        if waits:
            message = "The upstream is over its rate limit."
            return UpstreamError(Kind.RATE_LIMIT, "upstream_rate_limited", message, retry_after=min(waits))
        message = f"No channel serves the model '{model[:200]}' at the moment."
        error = GatewayError(Kind.UNAVAILABLE, "no_channel", message, param="model", blame=Blame.GATEWAY)
        error.retry_after = LOOK_AGAIN if self._board.outages else None
        return error

    # -- choosing ------------------------------------------------------------------------------------------------------

    def _choose(self, leg: Leg, tier: Tier, now: float) -> Pick | None:
        board = self._board
        if now >= board.next_probe:
            probe = self._probe(leg, tier, now)
            if probe is not None:
                return probe
        first = self._draw(leg, tier, now, self._place)
        if first is None:
            return None
        if len(tier.candidates) > 1:
            second = self._draw(leg, tier, now, None, other_than=first)
            if second is not None and self._is_worse(tier, first, second, now):
                first = second
        key = self._key(first)
        assert key is not None, "it was drawn because it has one"
        return self._pick(leg, first, key, now)

    def _draw(
        self, leg: Leg, tier: Tier, now: float, place: float | None, *, other_than: Candidate | None = None
    ) -> Candidate | None:
        """One by weight; None: none will do, or (for a second one) none was found quickly."""
        if len(tier.candidates) > 1:
            for _ in range(DRAWS):
                candidate = tier.at(random.random() if place is None else place)  # noqa: S311
                if candidate is not other_than and self._will_do(leg, tier, candidate, now):
                    return candidate
                if place is not None:
                    place = place * 7919.0 % 1.0  # the same for the whole conversation, too
        if other_than is not None:
            return None
        usable = [candidate for candidate in tier.candidates if self._will_do(leg, tier, candidate, now)]
        if len(usable) <= 1:
            return usable[0] if usable else None
        if place is not None:
            return usable[int(place * len(usable))]
        return random.choices(usable, [candidate.channel.weight for candidate in usable])[0]  # noqa: S311

    def _will_do(self, leg: Leg, tier: Tier, candidate: Candidate, now: float) -> bool:
        own = self._board.outages.get(candidate.channel.id)
        if own is not None and (EVERYTHING in own or (candidate.upstream_model, ALL_KEYS) in own):
            return False  # the quick way: where much is out, this is asked most
        return self._key(candidate) is not None and self._is_open(leg, tier, candidate, now)

    def _is_open(self, leg: Leg, tier: Tier, candidate: Candidate, now: float) -> bool:
        """Whether nothing but an outage speaks against it."""
        channel = candidate.channel
        if self._tried and (channel.id, candidate.upstream_model) in self._tried:
            return False
        if channel.id in self._dead_channels or (self._pin is not None and channel.id != self._pin.channel_id):
            return False
        if tier.picky and leg.needs and not channel.lacks.isdisjoint(leg.needs):
            return False
        load = self._board.load(channel)
        if load is not None and not load.has_room(channel, self._tokens, now, self._board.processes):
            self.waits_for_room = True
            return False
        return True

    def _key(self, candidate: Candidate) -> ChannelKey | None:
        """One of the channel's keys that isn't out; None: none is left, or the channel is out itself."""
        channel, board = candidate.channel, self._board
        keys = channel.keys
        if not board.outages and not self._dead_keys and self._pin is None:
            return keys[0] if len(keys) == 1 else keys[self._turn(channel) % len(keys)]
        turn = self._turn(channel) if len(keys) > 1 else 0
        for step in range(len(keys)):
            key = keys[(turn + step) % len(keys)]
            if self._may_use(channel, key) and not board.outages_of(candidate, key.number):
                return key
        return None

    def _turn(self, channel: Channel) -> int:
        return self._board.turn(channel.id) if self._place is None else int(self._place * 1_000_003)

    def _may_use(self, channel: Channel, key: ChannelKey) -> bool:
        if self._pin is not None and key.number != self._pin.key:
            return False
        return (channel.id, key.number) not in self._dead_keys

    def _probe(self, leg: Leg, tier: Tier, now: float) -> Pick | None:
        """A channel of this tier whose pause is over, and that nobody is trying out yet."""
        for candidate in tier.candidates:
            if candidate.channel.id not in self._board.outages:
                continue
            for key in candidate.channel.keys:
                outages = self._board.outages_of(candidate, key.number)
                if not outages or any(outage.is_out(now) for outage in outages):
                    continue
                if self._may_use(candidate.channel, key) and self._is_open(leg, tier, candidate, now):
                    # Given up early only where another channel can still answer.
                    return self._pick(
                        leg, candidate, key, now, probe=True, bounded=self._draw(leg, tier, now, None) is not None
                    )
        return None

    def _last_resort(self, now: float) -> Pick | None:
        """Everything is out. What only fails is tried all the same: it can't answer worse than with an error. What refuses is
        tried by one request at a time; a pause that an upstream asked for is kept.
        """
        best: tuple[float, Leg, Candidate, ChannelKey] | None = None
        for leg in self._legs:
            for tier in leg.tiers:
                for candidate in tier.candidates:
                    if not self._is_open(leg, tier, candidate, now):
                        continue
                    for key in candidate.channel.keys:
                        if not self._may_use(candidate.channel, key):
                            continue
                        until = self._resort_until(candidate, key, now)
                        if until is not None and (not best or until < best[0]):
                            best = until, leg, candidate, key
        self.waits_for_room = False  # for what is out anyway nobody waits
        return None if best is None else self._pick(best[1], best[2], best[3], now)

    def _resort_until(self, candidate: Candidate, key: ChannelKey, now: float) -> float | None:
        """When its pause would be over; None: it isn't to be tried before."""
        latest = 0.0
        for outage in self._board.outages_of(candidate, key.number):
            if outage.requested and outage.is_out(now):
                self.opens_at = min(self.opens_at, outage.until)
                return None
            if outage.kind is OutageKind.REFUSED and now - outage.probed < PROBE_PATIENCE:
                return None
            latest = max(latest, outage.until)
        return latest

    # -- comparing -----------------------------------------------------------------------------------------------------

    def _is_worse(self, tier: Tier, first: Candidate, second: Candidate, now: float) -> bool:
        board = self._board
        a = board.health(first.channel.id, first.upstream_model)
        b = board.health(second.channel.id, second.upstream_model)
        a_time, b_time = a.latency(now, stream=self._stream), b.latency(now, stream=self._stream)
        if a_time is None or b_time is None:
            a_time = b_time = 1.0
        clearly = CLEARLY if self._place is None else CLEARLY_FOR_CACHE
        mean = tier.bounds[-1] / len(tier.candidates)
        a_share, b_share = mean / first.channel.weight, mean / second.channel.weight
        return _badness(a, a_time, a_share, now) > clearly * _badness(b, b_time, b_share, now)

    def _pick(
        self, leg: Leg, candidate: Candidate, key: ChannelKey, now: float, *, probe: bool = False, bounded: bool = False
    ) -> Pick:
        board, channel = self._board, candidate.channel
        health = board.health(channel.id, candidate.upstream_model)
        return Pick(
            leg.model, candidate, key, health, board.load(channel), self._tokens, self._stream, now, probe, bounded
        )


def _badness(health: Health, seconds: float, share: float, now: float) -> float:
    """Expected seconds: by latency, by the queue in proportion to its weight, by how often it has to be done again."""
    queue = QUEUE + health.under_way * share
    return seconds * queue / max(0.05, 1.0 - health.error_rate(now)) ** 3


def probe_timeout(pick: Pick) -> float | None:
    """Seconds after which a probe is given up; None: nothing is known of what is usual."""
    typical = pick.health.typical(stream=pick.stream)
    least, times = PROBE_STREAM if pick.stream else PROBE_WHOLE
    return None if typical is None else max(least, times * typical)
