"""Which channel a request tries, and which one next."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from app.errors import Kind, UpstreamError
from app.routing.board import Board
from app.routing.outages import Outage, OutageKind, Scope
from app.routing.trip import PROBE_STREAM, PROBE_WHOLE, Leg, Pin, probe_timeout
from tests.routing.scene import (
    MODEL,
    START,
    Clock,
    channel,
    choose,
    fail,
    ids,
    leg,
    pick_of,
    served,
    status,
    succeed,
    travel,
    trip,
    unreachable,
)

DRAWS = 4_000
SPREAD = 160
"""Five standard deviations of as many draws at an even chance: 5 · √(4000 · ½ · ½) = 158."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board(clock)


@pytest.fixture(autouse=True)
def same_dice() -> Iterator[None]:
    """The same draws each time: a bound of five deviations isn't to fail once in a million runs."""
    state = random.getstate()
    random.seed(20)
    yield
    random.setstate(state)


def draw(
    board: Board, *legs: Leg, draws: int = DRAWS, place: Callable[[int], float] | None = None
) -> Counter[int | None]:
    """What so many requests choose that change nothing."""
    places = (None if place is None else place(number) for number in range(draws))
    return Counter(choose(board, *legs, place=each) for each in places)


def out(
    board: Board, *scopes: Scope, seconds: float = 10.0, requested: bool = False, kind: OutageKind = OutageKind.FAILING
) -> None:
    """These are out, beside what was before."""
    until = board.clock() + seconds
    new = {scope: Outage(kind, "told", 1, until, requested, made=board.clock()) for scope in scopes}
    board.adopt({**board.all_outages(), **new})


# -- order ---------------------------------------------------------------------------------------------------------------


def test_the_highest_priority_and_in_it_the_clients_own_format(board: Board) -> None:
    channels = [
        channel(1, priority=0),
        channel(2, priority=5, provider="anthropic"),
        channel(3, priority=5),
        channel(4, priority=-5),
        channel(5, priority=0, provider="anthropic"),
    ]
    for _ in range(20):
        assert ids(travel(trip(Board(board.clock), leg(*channels)), board)) == [3, 2, 1, 5, 4]
        claude = leg(*channels, format="anthropic_messages")
        assert ids(travel(trip(Board(board.clock), claude), board)) == [2, 3, 5, 1, 4]


def test_draws_follow_the_weights(board: Board) -> None:
    counts = draw(board, leg(channel(1, weight=1), channel(2, weight=3), channel(3, weight=4)))
    expected = {1: DRAWS / 8, 2: DRAWS * 3 / 8, 3: DRAWS / 2}
    assert all(abs(counts[id] - share) < SPREAD for id, share in expected.items()), counts


def test_weights_hold_for_conversations(board: Board) -> None:
    counts = draw(board, leg(channel(1, weight=1), channel(2, weight=3)), place=lambda number: number / DRAWS)
    assert abs(counts[1] - DRAWS / 4) < SPREAD


def test_weights_hold_among_those_that_are_left(board: Board) -> None:
    """Most are out: three draws hit none that is well, and the choice is made among the rest."""
    channels = [channel(id, weight=10) for id in range(3, 60)]
    out(board, *(Scope(each.id) for each in channels))
    counts = draw(board, leg(channel(1, weight=1), channel(2, weight=3), *channels))
    assert set(counts) == {1, 2}
    assert abs(counts[1] - DRAWS / 4) < SPREAD


def test_requests_under_way_follow_the_weights(board: Board, clock: Clock) -> None:
    """While nothing ends, each has as much to do as its weight says."""
    channels = leg(channel(1, weight=1), channel(2, weight=4))
    counts: Counter[int] = Counter()
    for _ in range(500):
        pick = trip(board, channels).next()
        assert pick is not None
        board.begin(pick)
        counts[pick.channel.id] += 1
    assert 60 < counts[1] < 140


# -- the better of two -------------------------------------------------------------------------------------------------------


def test_the_slower_one_gets_less(board: Board, clock: Clock) -> None:
    fast, slow = channel(1), channel(2)
    for each, seconds in ((fast, 0.1), (slow, 2.0)):
        served(board, clock, each, seconds)
    counts = draw(board, leg(fast, slow))
    assert counts[2] < DRAWS * 0.2
    assert counts[2] > 0  # of three second draws each may hit the same one again


def test_a_little_slower_is_as_good(board: Board, clock: Clock) -> None:
    fast, slow = channel(1), channel(2)
    for each, seconds in ((fast, 0.2), (slow, 0.3)):
        served(board, clock, each, seconds)
    assert abs(draw(board, leg(fast, slow))[1] - DRAWS / 2) < SPREAD


def test_a_slow_one_gets_another_chance(board: Board, clock: Clock) -> None:
    fast, slow = channel(1), channel(2)
    for each, seconds in ((fast, 0.1), (slow, 9.0)):
        served(board, clock, each, seconds)
    clock.sleep(20.0)
    assert abs(draw(board, leg(fast, slow))[1] - DRAWS / 2) < SPREAD


def test_the_one_that_fails_gets_less(board: Board) -> None:
    good, bad = channel(1), channel(2)
    for _ in range(4):
        succeed(board, good, times=2)
        fail(board, bad)
        succeed(board, bad)
    assert board.all_outages() == {}
    assert draw(board, leg(good, bad))[2] < DRAWS * 0.2


def test_the_one_with_more_to_do_gets_less(board: Board) -> None:
    idle, busy = channel(1), channel(2)
    for _ in range(30):
        board.begin(pick_of(board, busy))
    assert draw(board, leg(idle, busy))[2] < DRAWS * 0.2


# -- conversations -----------------------------------------------------------------------------------------------------------


def test_a_conversation_keeps_to_its_channel(board: Board) -> None:
    channels = [channel(id, weight=1 + id % 3) for id in range(1, 9)]
    for number in range(100):
        assert len(draw(board, leg(*channels), draws=20, place=lambda _, at=number / 100: at)) == 1  # type: ignore[misc]


def test_it_keeps_to_its_key_too(board: Board) -> None:
    many = leg(channel(1, keys=7))
    for number in range(20):
        keys = set()
        for _ in range(10):
            pick = trip(board, many, place=number / 20).next()
            assert pick is not None
            keys.add(pick.key.number)
        assert len(keys) == 1
    spread = Counter(
        pick.key.number for number in range(700) if (pick := trip(board, many, place=number / 700).next()) is not None
    )
    assert len(spread) == 7


def test_only_those_of_a_dead_channel_move(board: Board) -> None:
    """And they all move to the same place, each to its own."""
    channels = leg(*(channel(id) for id in range(1, 6)))
    before = {at: choose(board, channels, place=at / 100) for at in range(100)}
    out(board, Scope(3))
    after = {at: choose(board, channels, place=at / 100) for at in range(100)}
    again = {at: choose(board, channels, place=at / 100) for at in range(100)}
    moved = {at for at in before if before[at] != after[at]}
    assert moved == {at for at, id in before.items() if id == 3}
    assert after == again
    assert len({after[at] for at in moved}) > 1
    board.adopt({})
    assert {at: choose(board, channels, place=at / 100) for at in range(100)} == before


def test_it_yields_to_health_where_that_is_much_worse(board: Board, clock: Clock) -> None:
    home, other = channel(1), channel(2)
    at = 0.25
    assert draw(board, leg(home, other), draws=50, place=lambda _: at) == {1: 50}
    for each, seconds in ((home, 0.3), (other, 0.1)):
        served(board, clock, each, seconds)
    assert draw(board, leg(home, other), draws=50, place=lambda _: at) == {
        1: 50
    }  # three times as slow: the cache is worth it
    for _ in range(30):
        pick = pick_of(board, home)
        clock.sleep(0.9)
        board.answered(pick)
        board.completed(pick)
    served(board, clock, other, 0.1)
    assert draw(board, leg(home, other), draws=200, place=lambda _: at)[2] > 150


# -- keys ----------------------------------------------------------------------------------------------------------------


def keys_of(board: Board, legs: Leg, count: int) -> list[int]:
    """The keys of so many attempts, one after the other."""
    found = []
    for _ in range(count):
        pick = trip(board, legs).next()
        assert pick is not None
        board.begin(pick)
        board.end(pick, None)
        found.append(pick.key.number)
    return found


@pytest.mark.parametrize("keys", [1, 2, 3, 4])
def test_keys_take_turns(board: Board, keys: int) -> None:
    one, two = channel(1, keys=keys), channel(2, keys=keys, priority=-1)
    assert keys_of(board, leg(one), 9) == [number % keys for number in range(9)]
    assert keys_of(board, leg(two, one), 9) == [number % keys for number in range(9, 18)]
    assert keys_of(board, leg(two), 9) == [number % keys for number in range(9)]


def test_around_a_dead_key(board: Board) -> None:
    many = channel(1, keys=3)
    fail(board, many, status(401), key=1)
    assert Counter(keys_of(board, leg(many), 30)).keys() == {0, 2}
    assert board.load(many) is None


def test_a_refused_key_is_tried_again_alone(board: Board, clock: Clock) -> None:
    many = channel(1, keys=3)
    fail(board, many, status(401), key=1)
    clock.sleep(40.0)
    probe = trip(board, leg(many)).next()
    assert probe is not None
    assert (probe.key.number, probe.probe) == (1, True)
    board.begin(probe)
    assert set(keys_of(board, leg(many), 30)) == {0, 2}
    board.answered(probe)
    board.completed(probe)
    board.end(probe, None)
    assert set(keys_of(board, leg(many), 30)) == {0, 1, 2}


def test_the_next_key_before_the_next_channel(board: Board) -> None:
    many, other = channel(1, keys=3), channel(2, priority=-1)
    picks = travel(trip(board, leg(many, other)), board, status(429))
    assert [(pick.channel.id, pick.key.number) for pick in picks] == [(1, 0), (1, 1), (1, 2), (2, 0)]


def test_what_isnt_the_keys_fault_is_the_channels(board: Board) -> None:
    many, other = channel(1, keys=3), channel(2, priority=-1)
    assert ids(travel(trip(board, leg(many, other)), board, status(500))) == [1, 2]


def test_a_key_that_is_refused_for_one_model_serves_others(board: Board) -> None:
    many = channel(1, keys=2)
    fail(board, many, status(403), key=0)
    assert set(keys_of(board, leg(many), 10)) == {1}
    pick = pick_of(board, many, upstream_model="another")
    assert board.outages_of(pick.candidate, 0) == []


# -- pins ----------------------------------------------------------------------------------------------------------------


def test_a_pin_holds_channel_and_key(board: Board) -> None:
    channels = leg(channel(1, keys=3), channel(2, keys=3))
    for _ in range(30):
        pick = trip(board, channels, pin=Pin(2, 1)).next()
        assert pick is not None
        assert (pick.channel.id, pick.key.number) == (2, 1)
    picks = travel(trip(board, channels, pin=Pin(2, 1)), board, status(429, pause=60.0))
    assert [(pick.channel.id, pick.key.number) for pick in picks] == [(2, 1)]
    assert trip(board, channels, pin=Pin(2, 1)).next() is None
    assert choose(board, channels, pin=Pin(2, 2)) == 2


# -- caps ----------------------------------------------------------------------------------------------------------------


def test_what_is_full_is_passed_over_and_waited_for_when_all_is(board: Board) -> None:
    first, second = channel(1, concurrency=1), channel(2, concurrency=2, priority=-1)
    taken = []
    for expected in (1, 2, 2):
        pick = trip(board, leg(first, second)).next()
        assert pick is not None
        assert pick.channel.id == expected
        board.begin(pick)
        taken.append(pick)
    journey = trip(board, leg(first, second))
    assert journey.next() is None
    assert journey.waits_for_room
    refusal = journey.refusal("model")
    assert (refusal.code, refusal.status, refusal.retry_after) == ("channels_busy", 429, 1.0)
    board.end(taken[2], None)
    pick = journey.next()
    assert pick is not None
    assert pick.channel.id == 2


def test_tokens_count_at_the_choice_and_are_corrected_at_the_end(board: Board) -> None:
    small = channel(1, tpm=1_000)
    pick = trip(board, leg(small), tokens=900).next()
    assert pick is not None
    board.begin(pick)
    assert choose(board, leg(small), tokens=200) is None
    board.end(pick, 100)
    assert choose(board, leg(small), tokens=900) == 1
    assert choose(board, leg(small), tokens=901) is None


def test_caps_are_divided_among_processes(board: Board) -> None:
    small = channel(1, rpm=6)
    board.processes = 3
    for _ in range(2):
        pick = trip(board, leg(small)).next()
        assert pick is not None
        board.begin(pick)
        board.end(pick, None)
    assert choose(board, leg(small)) is None


def test_nobody_waits_for_room_where_it_wouldnt_help(board: Board) -> None:
    full = channel(1, rpm=1)
    fail(board, full, status(401))
    journey = trip(board, leg(full))
    assert journey.next() is None
    assert not journey.waits_for_room
    assert journey.refusal("model").code == "no_channel"
    assert choose(board, leg(full, channel(2, priority=-1))) == 2


# -- what can't be done ------------------------------------------------------------------------------------------------------


def test_channels_that_lack_what_is_needed_are_passed_over(board: Board) -> None:
    blind, seeing = channel(1, priority=5, lacks=frozenset({"vision"})), channel(2)
    assert choose(board, leg(blind, seeing, needs=["vision", "tools"])) == 2
    assert choose(board, leg(blind, seeing, needs=["tools"])) == 1
    out(board, Scope(2))
    assert ids(travel(trip(board, leg(blind, seeing, needs=["vision"])), board)) == [2]


# -- stand-ins -------------------------------------------------------------------------------------------------------------


def test_the_next_model_where_the_first_has_no_channel_left(board: Board) -> None:
    first, second = leg(channel(1), channel(2), name="first"), leg(channel(3), name="second")
    picks = travel(trip(board, first, second), board)
    assert {pick.channel.id for pick in picks[:2]} == {1, 2}
    assert [pick.model.name for pick in picks] == ["first", "first", "second"]


def test_the_next_model_at_once_where_the_first_is_out(board: Board) -> None:
    out(board, Scope(1))
    pick = trip(board, leg(channel(1), name="first"), leg(channel(2), name="second")).next()
    assert pick is not None
    assert pick.model.name == "second"


def test_a_channel_that_failed_isnt_tried_for_the_next_model_unless_the_fault_was_the_models(board: Board) -> None:
    def models(error: UpstreamError) -> list[str]:
        own = Board(board.clock)
        one = channel(1)
        first, second = leg(one, name="first"), leg(one, name="second")
        other = Leg(
            second.model, (type(first.tiers[0])((pick_of(own, one, upstream_model="b").candidate,), (1,), False),)
        )
        return [pick.candidate.upstream_model for pick in travel(trip(own, first, other), own, error)]

    assert models(status(500)) == [MODEL, "b"]
    assert models(status(404)) == [MODEL, "b"]
    assert models(unreachable()) == [MODEL]
    assert models(status(401)) == [MODEL]


# -- nothing twice -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [status(500), status(429), status(404), unreachable(), status(401)], ids=str)
def test_nothing_is_tried_twice(board: Board, error: UpstreamError) -> None:
    channels = [channel(id, priority=id % 3, weight=1 + id, keys=1 + id % 2) for id in range(1, 9)]
    picks = travel(trip(board, leg(*channels)), board, error)
    tried = [(pick.channel.id, pick.key.number) for pick in picks]
    assert len(set(tried)) == len(tried)
    assert {id for id, _ in tried} == set(range(1, 9))


def test_what_cant_be_told_all_is_skipped(board: Board) -> None:
    journey = trip(board, leg(channel(1), channel(2, priority=-1)))
    first = journey.next()
    assert first is not None
    journey.skip(first)
    second = journey.next()
    assert second is not None
    assert (first.channel.id, second.channel.id) == (1, 2)
    journey.skip(second)
    assert journey.next() is None


# -- the last resort, and refusals -------------------------------------------------------------------------------------------


def test_what_only_fails_is_tried_when_nothing_else_is_left(board: Board, clock: Clock) -> None:
    first, second, third = channel(1), channel(2), channel(3, priority=-1)
    out(board, Scope(1, MODEL), seconds=20.0)
    out(board, Scope(2), seconds=5.0)
    out(board, Scope(3), seconds=10.0)
    assert ids(travel(trip(board, leg(first, second, third)), board)) == [2, 3, 1]  # who is soonest back goes first


def test_a_refusal_is_probed_by_one_at_a_time(board: Board) -> None:
    one = channel(1)
    fail(board, one, status(401))
    pick = trip(board, leg(one)).next()
    assert pick is not None
    board.begin(pick)
    journey = trip(board, leg(one))
    assert journey.next() is None
    refusal = journey.refusal("model")
    assert (refusal.kind, refusal.code, refusal.retry_after) == (Kind.UNAVAILABLE, "no_channel", 1.0)
    board.end(pick, None)
    assert choose(board, leg(one)) == 1


def test_a_pause_that_was_asked_for_is_no_resort(board: Board, clock: Clock) -> None:
    one, two = channel(1), channel(2)
    fail(board, one, status(429, pause=30.0))
    fail(board, two, status(503, pause=12.0))
    journey = trip(board, leg(one, two))
    assert journey.next() is None
    refusal = journey.refusal("model")
    assert (refusal.kind, refusal.code, refusal.status) == (Kind.RATE_LIMIT, "upstream_rate_limited", 429)
    assert refusal.retry_after == pytest.approx(12.0)
    clock.sleep(12.0)
    assert choose(board, leg(one, two)) == 2


def test_a_pause_of_our_own_making_is_one(board: Board) -> None:
    """A 429 without Retry-After: the pause is a guess."""
    one = channel(1)
    fail(board, one, status(429))
    assert choose(board, leg(one, channel(2, priority=-1))) == 2
    assert choose(board, leg(one)) == 1


def test_nothing_at_all(board: Board) -> None:
    journey = trip(board, leg())
    assert journey.next() is None
    refusal = journey.refusal("model")
    assert (refusal.code, refusal.status, refusal.retry_after) == ("no_channel", 503, None)


# -- probes ----------------------------------------------------------------------------------------------------------------


def test_a_probe_goes_before_all_others_but_stays_in_its_tier(board: Board, clock: Clock) -> None:
    first, second, third = channel(1, priority=5), channel(2), channel(3)
    out(board, Scope(3), seconds=1.0)
    clock.sleep(1.0)
    assert choose(board, leg(first, second, third)) == 1
    assert {choose(board, leg(second, third)) for _ in range(20)} == {3}


@pytest.mark.parametrize(("stream", "bounds"), [(False, PROBE_WHOLE), (True, PROBE_STREAM)])
def test_a_probe_is_given_up_in_time(board: Board, clock: Clock, stream: bool, bounds: tuple[float, float]) -> None:
    least, times = bounds
    one = channel(1)
    assert probe_timeout(pick_of(board, one, stream=stream)) is None
    pick = pick_of(board, one, stream=stream)
    clock.sleep(1.0)
    board.answered(pick)
    board.completed(pick)
    assert probe_timeout(pick_of(board, one, stream=stream)) == least
    two = channel(2)
    pick = pick_of(board, two, stream=stream)
    clock.sleep(50.0)
    board.answered(pick)
    board.completed(pick)
    assert probe_timeout(pick_of(board, two, stream=stream)) == times * 50.0


def test_the_clock_of_a_pick_is_the_boards(board: Board) -> None:
    pick = trip(board, leg(channel(1))).next()
    assert pick is not None
    assert (pick.began, pick.bounded, pick.tokens) == (START, False, 100)
