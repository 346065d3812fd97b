"""What a board makes of attempts: when something is out, for how long, and how it comes back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.errors import UpstreamError
from app.routing.board import MAX_SEEN, RELAPSE, Board
from app.routing.health import LATENCY_SAMPLES, STREAK
from app.routing.outages import (
    ALL_KEYS,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    LONGEST_REQUESTED,
    PROBE_PATIENCE,
    WHOLE,
    Outage,
    OutageKind,
    Scope,
    pause_after,
)
from tests.routing.scene import (
    MODEL,
    START,
    Clock,
    channel,
    choose,
    fail,
    leg,
    pick_of,
    served,
    status,
    succeed,
    trip,
    unreachable,
)

FAILING, RATE_LIMITED, REFUSED = OutageKind.FAILING, OutageKind.RATE_LIMITED, OutageKind.REFUSED
JITTER = 1.2
"""Pauses are up to a fifth longer, at random."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board(clock)


def outage_of(board: Board, id: int = 1, model: str = MODEL, key: int = ALL_KEYS) -> Outage:
    """The one that there must be."""
    found = board.find(Scope(id, model, key))
    assert found is not None, board.all_outages()
    return found


def pause_of(board: Board, clock: Clock, id: int = 1) -> float:
    return outage_of(board, id).until - clock.now


# -- going out ---------------------------------------------------------------------------------------------------------


def test_the_second_failure_in_a_row_opens(board: Board, clock: Clock) -> None:
    one = channel(1)
    fail(board, one, times=STREAK - 1)
    assert board.all_outages() == {}
    fail(board, one)
    assert list(board.all_outages()) == [Scope(1, MODEL)]
    outage = outage_of(board)
    assert (outage.kind, outage.reason, outage.failures, outage.requested) == (FAILING, "status_500", 1, False)
    assert 1.0 <= pause_of(board, clock) <= 1.0 * JITTER


def test_half_of_many_opens_too(board: Board) -> None:
    one = channel(1)
    for _ in range(4):
        fail(board, one)
        succeed(board, one)
    assert board.all_outages() == {}
    fail(board, one)
    assert list(board.all_outages()) == [Scope(1, MODEL)]


def test_models_of_a_channel_fail_apart_but_unreachable_ones_together(board: Board) -> None:
    one = channel(1)
    for model in ("a", "b", "c"):
        pick = pick_of(board, one, upstream_model=model)
        board.failed(pick, status(500))
    assert board.all_outages() == {}
    for model in ("d", "e", "f"):
        pick = pick_of(board, one, upstream_model=model)
        board.failed(pick, unreachable())
    assert list(board.all_outages()) == [Scope(1)]


@pytest.mark.parametrize(
    ("error", "scope", "kind"),
    [
        pytest.param(status(401), Scope(1, WHOLE, 1), REFUSED, id="401"),
        pytest.param(status(402), Scope(1, WHOLE, 1), REFUSED, id="402"),
        pytest.param(status(429, upstream_code="insufficient_quota"), Scope(1, WHOLE, 1), REFUSED, id="no money"),
        pytest.param(status(403), Scope(1, MODEL, 1), REFUSED, id="403"),
        pytest.param(status(404), Scope(1, MODEL, ALL_KEYS), REFUSED, id="404"),
        pytest.param(status(429), Scope(1, MODEL, 1), RATE_LIMITED, id="429"),
        pytest.param(status(503, pause=5.0), Scope(1, MODEL, ALL_KEYS), RATE_LIMITED, id="503 with a pause"),
    ],
)
def test_one_is_proof_enough(board: Board, clock: Clock, error: UpstreamError, scope: Scope, kind: OutageKind) -> None:
    fail(board, channel(1, keys=2), error, key=1)
    assert list(board.all_outages()) == [scope]
    outage = board.all_outages()[scope]
    assert (outage.kind, outage.failures) == (kind, 1)
    first = error.pause or FIRST_PAUSE[kind]
    assert first - 1e-6 <= outage.until - clock.now <= first * JITTER
    assert board.changes == {scope: outage}


def test_what_the_client_got_wrong_counts_for_nothing(board: Board) -> None:
    error = status(400)
    error.retryable = False
    fail(board, channel(1), error, times=20)
    assert board.all_outages() == {}
    assert board.health(1, MODEL).error_rate(START) == 0.0


@pytest.mark.parametrize(
    ("asked", "kept"),
    [(0.0, 0.1), (2.5, 2.5), (600.0, 600.0), (LONGEST_REQUESTED, LONGEST_REQUESTED), (1e9, LONGEST_REQUESTED)],
)
def test_a_pause_that_an_upstream_asks_for_is_kept_exactly(
    board: Board, clock: Clock, asked: float, kept: float
) -> None:
    one = channel(1)
    fail(board, one, status(429, pause=asked))
    outage = outage_of(board, key=0)
    assert outage.until == clock.now + kept
    assert outage.requested
    clock.sleep(kept * 0.999)
    assert choose(board, leg(one)) is None
    clock.sleep(kept * 0.002)
    assert choose(board, leg(one)) == 1


@pytest.mark.parametrize("kind", OutageKind)
def test_pauses_double_up_to_a_bound(kind: OutageKind) -> None:
    for failures in range(1, 40):
        least = min(FIRST_PAUSE[kind] * 2 ** (failures - 1), LONGEST_PAUSE[kind])
        assert least <= pause_after(kind, failures, None) <= least * JITTER


# -- half open -----------------------------------------------------------------------------------------------------------


def relapse(board: Board, clock: Clock, seconds: float) -> None:
    """Its pause passes, a probe fails."""
    clock.sleep(seconds)
    pick = trip(board, leg(channel(1), channel(2))).next()
    assert pick is not None
    assert (pick.channel.id, pick.probe) == (1, True)
    board.begin(pick)
    board.failed(pick, status(500))
    board.end(pick, None)


def test_each_failed_probe_doubles_the_pause(board: Board, clock: Clock) -> None:
    fail(board, channel(1), times=3)
    for failures in range(2, 10):
        relapse(board, clock, pause_of(board, clock))
        assert outage_of(board).failures == failures
        least = min(2.0 ** (failures - 1), 30.0)
        assert least <= pause_of(board, clock) <= least * JITTER


def test_nobody_tries_during_the_pause_and_one_does_after_it(board: Board, clock: Clock) -> None:
    one, two = channel(1), channel(2, priority=-1)
    fail(board, one, times=3)
    assert {choose(board, leg(one, two)) for _ in range(50)} == {2}
    clock.sleep(pause_of(board, clock))
    probe = trip(board, leg(one, two)).next()
    assert probe is not None
    assert (probe.channel.id, probe.probe) == (1, True)
    board.begin(probe)
    assert {choose(board, leg(one, two)) for _ in range(50)} == {2}
    board.answered(probe)
    board.completed(probe)
    board.end(probe, None)
    assert board.all_outages() == {}
    assert {choose(board, leg(one, two)) for _ in range(50)} == {1}


def test_a_probe_that_says_nothing_lets_the_next_one_go(board: Board, clock: Clock) -> None:
    """Its client hung up, say."""
    one, two = channel(1), channel(2, priority=-1)
    fail(board, one, times=3)
    clock.sleep(pause_of(board, clock))
    probe = trip(board, leg(one, two)).next()
    assert probe is not None
    board.begin(probe)
    assert choose(board, leg(one, two)) == 2
    board.end(probe, None)
    assert outage_of(board).failures == 1
    assert choose(board, leg(one, two)) == 1


def test_a_probe_that_never_ends_keeps_others_away_for_a_while_only(board: Board, clock: Clock) -> None:
    one, two = channel(1), channel(2, priority=-1)
    fail(board, one, times=3)
    clock.sleep(pause_of(board, clock))
    probe = trip(board, leg(one, two)).next()
    assert probe is not None
    board.begin(probe)
    clock.sleep(PROBE_PATIENCE - 0.1)
    assert choose(board, leg(one, two)) == 2
    clock.sleep(0.2)
    assert choose(board, leg(one, two)) == 1


def test_stragglers_neither_prolong_nor_end_an_outage(board: Board, clock: Clock) -> None:
    one = channel(1)
    early = [pick_of(board, one) for _ in range(10)]
    for pick in early:
        board.begin(pick)
    clock.sleep(0.1)
    fail(board, one, times=3)
    before = outage_of(board)
    until = before.until
    for pick in early[:5]:
        board.failed(pick, status(500))
        board.end(pick, None)
    clock.sleep(10.0)  # the pause is over, and still they say nothing of what is now
    for pick in early[5:9]:
        board.failed(pick, status(500))
        board.end(pick, None)
    board.answered(early[9])
    board.completed(early[9])
    board.end(early[9], None)
    assert outage_of(board) is before
    assert (before.failures, before.until) == (1, until)


def test_a_straggler_may_bring_a_longer_pause(board: Board, clock: Clock) -> None:
    """Of several that were sent together each is told for how long to stay away: the longest counts."""
    one = channel(1)
    late, later = pick_of(board, one), pick_of(board, one)
    fail(board, one, status(429, pause=5.0))
    clock.sleep(1.0)
    board.failed(late, status(429, pause=2.0))
    assert outage_of(board, key=0).until == START + 5.0
    board.failed(later, status(429, pause=60.0))
    outage = outage_of(board, key=0)
    assert (outage.until, outage.failures) == (START + 61.0, 1)


def test_a_last_resort_that_fails_changes_nothing_and_one_that_succeeds_ends_it(board: Board, clock: Clock) -> None:
    one = channel(1)
    fail(board, one, times=3)
    until = outage_of(board).until
    clock.sleep(0.5)
    fail(board, one, times=5)
    assert (outage_of(board).until, outage_of(board).failures) == (until, 1)
    succeed(board, one)
    assert board.all_outages() == {}


def test_who_fails_again_soon_after_coming_back_stays_away_longer(board: Board, clock: Clock) -> None:
    one = channel(1)
    fail(board, one, times=3)
    relapse(board, clock, pause_of(board, clock))
    clock.sleep(pause_of(board, clock))
    succeed(board, one)
    assert board.all_outages() == {}
    clock.sleep(RELAPSE - 1.0)
    fail(board, one, times=3)
    assert outage_of(board).failures == 3
    clock.sleep(pause_of(board, clock))
    succeed(board, one)
    clock.sleep(RELAPSE + 1.0)
    fail(board, one, times=3)
    assert outage_of(board).failures == 1


def test_what_was_seen_before_an_outage_says_nothing_after_it(board: Board, clock: Clock) -> None:
    one = channel(1)
    fail(board, one, times=3)
    clock.sleep(pause_of(board, clock))
    succeed(board, one)
    fail(board, one, times=STREAK - 1)
    assert board.all_outages() == {}


def test_who_is_said_to_be_well_has_a_clean_slate(board: Board) -> None:
    one = channel(1)
    fail(board, one, times=3)
    board.changes.clear()
    board.adopt({})
    fail(board, one, times=STREAK - 1)
    assert board.all_outages() == {}
    fail(board, one)
    assert len(board.all_outages()) == 1


@pytest.mark.parametrize("error", [status(401), status(403), status(404), status(429), status(500), unreachable()])
def test_one_probe_that_goes_well_brings_back_whatever_was_out(
    board: Board, clock: Clock, error: UpstreamError
) -> None:
    one = channel(1)
    fail(board, one, error, times=3)
    assert len(board.all_outages()) == 1
    (outage,) = board.all_outages().values()
    clock.sleep(outage.until - clock.now)
    assert choose(board, leg(one, channel(2, priority=-1))) == 1
    succeed(board, one)
    assert board.all_outages() == {}
    assert list(board.changes.values()) == [None]


def test_load_is_counted_even_where_nothing_went_well(board: Board) -> None:
    capped = channel(1, concurrency=5)
    picks = [pick_of(board, capped) for _ in range(3)]
    for pick in picks:
        board.begin(pick)
    load = board.load(capped)
    assert load is not None
    assert (load.under_way, board.health(1, MODEL).under_way) == (3, 3)
    board.failed(picks[0], status(401))
    for pick in picks:
        board.end(pick, None)
    assert (load.under_way, board.health(1, MODEL).under_way) == (0, 0)


def test_what_is_seen_of_a_channel(board: Board, clock: Clock) -> None:
    one = channel(1)
    served(board, clock, one, 0.25, stream=True)
    board.begin(pick_of(board, one, stream=True))
    fail(board, one)
    (seen,) = board.seen_of(1)
    assert (seen.model, seen.answer, seen.first_frame, seen.under_way) == (MODEL, None, 0.25, 1)
    assert seen.error_rate == pytest.approx(1 / (LATENCY_SAMPLES + 2), abs=0.01)
    assert board.seen_of(2) == []


# -- what other processes say ----------------------------------------------------------------------------------------------


def told(clock: Clock, seconds: float = 10.0, failures: int = 1, kind: OutageKind = FAILING) -> Outage:
    """An outage as another process tells of it."""
    return Outage(kind, "upstream_error", failures, clock.now + seconds, made=clock.now)


def test_what_others_found_is_kept_away_from(board: Board, clock: Clock) -> None:
    one, two = channel(1), channel(2, priority=-1)
    board.adopt({Scope(1): told(clock)})
    assert {choose(board, leg(one, two)) for _ in range(20)} == {2}
    assert board.changes == {}  # it isn't ours to tell
    board.adopt({})
    assert choose(board, leg(one, two)) == 1


def test_what_is_not_yet_told_stays(board: Board, clock: Clock) -> None:
    one, two = channel(1), channel(2)
    fail(board, one, times=3)
    board.adopt({Scope(2): told(clock)})
    assert set(board.all_outages()) == {Scope(1, MODEL), Scope(2)}
    clock.sleep(1.0)
    succeed(board, two)  # and what has just come back isn't out again by old news
    assert board.changes[Scope(2)] is None
    board.adopt({Scope(2): told(clock)})
    assert set(board.all_outages()) == {Scope(1, MODEL)}
    board.changes.clear()  # told
    board.adopt({})
    assert board.all_outages() == {}


def test_ones_own_news_heard_again_change_nothing(board: Board, clock: Clock) -> None:
    one = channel(1)
    fail(board, one, times=3)
    own = outage_of(board)
    board.changes.clear()
    clock.sleep(own.until - clock.now)
    probe = trip(board, leg(one)).next()
    assert probe is not None
    board.begin(probe)
    heard = Outage(own.kind, own.reason, own.failures, own.until + 0.2, made=clock.now)
    board.adopt({Scope(1, MODEL): heard})
    assert outage_of(board) is own
    board.answered(probe)
    board.completed(probe)
    assert board.all_outages() == {}


def test_a_probe_under_way_survives_news_of_a_longer_pause(board: Board, clock: Clock) -> None:
    one, two = channel(1), channel(2, priority=-1)
    fail(board, one, times=3)
    board.changes.clear()
    clock.sleep(pause_of(board, clock))
    probe = trip(board, leg(one, two)).next()
    assert probe is not None
    board.begin(probe)
    board.adopt({Scope(1, MODEL): told(clock, seconds=2.0, failures=2)})
    clock.sleep(2.5)
    assert choose(board, leg(one, two)) == 2  # ours is still on its way


def test_each_change_is_announced(board: Board, clock: Clock) -> None:
    announced: list[int] = []
    board.on_change = lambda: announced.append(len(board.changes))
    one = channel(1)
    fail(board, one, times=3)
    assert announced == [1]
    clock.sleep(pause_of(board, clock))
    succeed(board, one)
    assert announced == [1, 1]
    assert board.opened == [("c1", FAILING)]


# -- names that clients make up ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [403, 404])
def test_a_name_that_only_a_client_knows_puts_nothing_out(board: Board, code: int) -> None:
    """Else whoever may call `gpt-*` could fill the table, and alarm the operator, with models that don't exist."""
    one = channel(1)
    pick = pick_of(board, one, upstream_model="gpt-made-up")
    pick.candidate = replace(pick.candidate, filled=True)
    assert board.failed(pick, status(code)) is None
    assert board.all_outages() == {}
    pick.candidate = replace(pick.candidate, filled=False)
    board.failed(pick, status(code))
    assert len(board.all_outages()) == 1


def test_health_is_kept_of_so_many_names_and_always_of_what_is_under_way(board: Board) -> None:
    one = channel(1)
    busy = pick_of(board, one, upstream_model="busy")
    board.begin(busy)
    for number in range(MAX_SEEN + 10):
        board.health(1, f"gpt-{number}")
    assert len(board.seen_of(1)) < 100
    assert board.health(1, "busy") is busy.health
    board.end(busy, None)
    assert busy.health.under_way == 0


def test_streams_that_begin_and_break_off_put_their_channel_out(board: Board) -> None:
    """Each begins well, so none of them is a success before it has come to its end."""
    one = channel(1)
    for _ in range(STREAK):
        pick = pick_of(board, one, stream=True)
        board.begin(pick)
        board.answered(pick)
        board.failed(pick, status(500))
        board.end(pick, None)
    assert [outage.kind for outage in board.all_outages().values()] == [OutageKind.FAILING]
