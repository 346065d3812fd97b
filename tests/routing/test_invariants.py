"""What holds of every choice, whatever the upstreams do: random outcomes, news, pauses and hang-ups on one board."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from app.catalog.snapshot import Channel
from app.errors import UpstreamError
from app.routing.board import Board, Pick
from app.routing.outages import ALL_KEYS, PROBE_PATIENCE, WHOLE, Outage, OutageKind, Scope
from app.routing.trip import Leg, Trip
from tests.routing.scene import Clock, channel, leg, status, trip, unreachable

ERRORS = (
    status(401),
    status(403),
    status(404),
    status(429),
    status(429, pause=0.0),
    status(429, pause=45.0),
    status(503, pause=20.0),
    status(500),
    unreachable(),
)
LONG = 2 * 24 * 3600.0
"""Longer than any pause."""


@dataclass
class Journey:
    """A request under way: its trip, what it has tried, and the attempt that is out."""

    trip: Trip
    tried: set[tuple[int, str, int]] = field(default_factory=set)
    pick: Pick | None = None


class Traffic(RuleBasedStateMachine):
    """Requests over a few channels in two models, one of them the other's stand-in."""

    journeys = Bundle("journeys")

    @initialize(
        keys=st.lists(st.integers(1, 3), min_size=2, max_size=5),
        ranks=st.lists(st.integers(0, 1), min_size=5, max_size=5),
        caps=st.lists(st.sampled_from([None, None, 1, 3]), min_size=5, max_size=5),
    )
    def open(self, keys: list[int], ranks: list[int], caps: list[int | None]) -> None:
        self.clock = Clock()
        self.board = Board(self.clock)
        self.channels = [
            channel(id, keys=count, priority=rank, concurrency=cap)
            for id, (count, rank, cap) in enumerate(zip(keys, ranks, caps, strict=False), start=1)
        ]
        middle = len(self.channels) // 2
        self.legs = (leg(*self.channels[: middle + 1], name="first"), leg(*self.channels[middle:], name="second"))
        self.open_picks: list[Pick] = []

    @rule(target=journeys, stream=st.booleans(), place=st.none() | st.floats(0, 0.999))
    def ask(self, stream: bool, place: float | None) -> Journey:
        return Journey(trip(self.board, *self.legs, stream=stream, place=place))

    @rule(journey=journeys)
    def attempt(self, journey: Journey) -> None:
        if journey.pick is not None:
            return
        pick = journey.trip.next()
        if pick is None:
            return
        self.check(journey, pick)
        journey.pick = pick
        journey.tried.add((pick.channel.id, pick.candidate.upstream_model, pick.key.number))
        self.board.begin(pick)
        self.open_picks.append(pick)

    def check(self, journey: Journey, pick: Pick) -> None:
        board, now = self.board, self.clock.now
        here = (pick.channel.id, pick.candidate.upstream_model, pick.key.number)
        assert here not in journey.tried, "tried twice for one request"
        outages = board.outages_of(pick.candidate, pick.key.number)
        assert not [each for each in outages if each.requested and now < each.until], "in a pause that was asked for"
        refused = [each for each in outages if each.kind is OutageKind.REFUSED]
        assert not [each for each in refused if now - each.probed < PROBE_PATIENCE], "two at once try what refuses"
        assert pick.key in pick.channel.keys
        if pick.load is not None and pick.channel.concurrency is not None:
            assert pick.load.under_way < pick.channel.concurrency
        well = [
            candidate.channel.id
            for each in self.legs
            for tier in each.tiers
            for candidate in tier.candidates
            if candidate.channel.concurrency is None
            and not any(tried[0] == candidate.channel.id for tried in journey.tried)
            and any(not board.outages_of(candidate, key.number) for key in candidate.channel.keys)
        ]
        if any(now < each.until for each in outages):
            assert not well, f"a last resort though {well} are well"

    @rule(journey=consumes(journeys), error=st.sampled_from(ERRORS))
    def fails(self, journey: Journey, error: UpstreamError) -> None:
        pick = self.end_of(journey)
        if pick is not None:
            journey.trip.learn(pick, self.board.failed(pick, error))
            self.board.end(pick, None)

    @rule(target=journeys, journey=consumes(journeys), error=st.sampled_from(ERRORS))
    def fails_and_goes_on(self, journey: Journey, error: UpstreamError) -> Journey:
        pick = self.end_of(journey)
        if pick is not None:
            journey.trip.learn(pick, self.board.failed(pick, error))
            self.board.end(pick, None)
        return journey

    @rule(journey=consumes(journeys), tokens=st.none() | st.integers(0, 500), breaks=st.booleans())
    def succeeds(self, journey: Journey, tokens: int | None, breaks: bool) -> None:
        pick = self.end_of(journey)
        if pick is not None:
            self.board.answered(pick)
            self.board.completed(pick)
            self.board.end(pick, tokens)
            if breaks:  # a stream, in the middle
                self.board.failed(pick, status(500))

    @rule(journey=consumes(journeys))
    def hangs_up(self, journey: Journey) -> None:
        pick = self.end_of(journey)
        if pick is not None:
            self.board.end(pick, None)

    def end_of(self, journey: Journey) -> Pick | None:
        pick, journey.pick = journey.pick, None
        if pick is not None:
            self.open_picks.remove(pick)
        return pick

    @rule(seconds=st.sampled_from([0.001, 0.3, 1.1, 7.0, 31.0, 120.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    @rule()
    def news_were_told(self) -> None:
        self.board.changes.clear()
        self.board.adopt(self.board.all_outages())

    @rule(id=st.integers(1, 5), whole=st.booleans(), key=st.integers(ALL_KEYS, 2), left=st.floats(-5, 60))
    def another_process_tells(self, id: int, whole: bool, key: int, left: float) -> None:
        if id > len(self.channels):
            return
        model = WHOLE if whole else self.legs[0].tiers[0].candidates[0].upstream_model
        number = key if key == ALL_KEYS else key % len(self.channels[id - 1].keys)
        outage = Outage(OutageKind.FAILING, "told", 2, self.clock.now + left, made=self.clock.now)
        self.board.adopt({**self.board.all_outages(), Scope(id, model, number): outage})

    @rule()
    def the_operator_says_all_is_well(self) -> None:
        self.board.changes.clear()
        self.board.adopt({})
        assert self.board.outages == {}
        assert self.board.next_probe == float("inf")

    @invariant()
    def loads_add_up(self) -> None:
        for one in getattr(self, "channels", ()):
            mine = [pick for pick in self.open_picks if pick.channel.id == one.id]
            seen = self.board.seen_of(one.id)
            assert sum(each.under_way for each in seen) == len(mine)
            assert all(each.under_way >= 0 and 0.0 <= each.error_rate <= 1.0 for each in seen)
            load = self.board.load(one)
            assert load is None or load.under_way == len(mine)

    @invariant()
    def the_next_probe_is_known(self) -> None:
        if hasattr(self, "board"):
            untils = [outage.until for outage in self.board.all_outages().values()]
            assert self.board.next_probe == min(untils, default=float("inf"))

    def teardown(self) -> None:
        """The upstreams have healed: each channel, key by key, is back with its first probe, at most its second."""
        if not hasattr(self, "board"):
            return
        for pick in self.open_picks:
            self.board.end(pick, None)
        self.open_picks.clear()
        self.clock.sleep(LONG)
        for one in self.channels:
            self.heal(one)
        assert self.board.outages == {}
        self.loads_add_up()

    def heal(self, one: Channel) -> None:
        own: Leg = leg(one)
        for _ in range(2 * len(one.keys)):
            if one.id not in self.board.outages:
                return
            pick = trip(self.board, own).next()
            assert pick is not None
            assert pick.probe, "what is back serves, and what is out is tried first"
            self.board.begin(pick)
            self.board.answered(pick)
            self.board.completed(pick)
            self.board.end(pick, None)
        assert one.id not in self.board.outages, "back within two probes of each key"


Traffic.TestCase.settings = settings(stateful_step_count=40, deadline=None)
TestTraffic = Traffic.TestCase
