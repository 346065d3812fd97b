"""Channels, models and boards for tests of routing: all in memory, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from multidict import CIMultiDict

from app.catalog.load import open_channel
from app.catalog.prices import FREE
from app.catalog.snapshot import Candidate, Channel, ChannelKey, Model
from app.errors import Kind, UpstreamError
from app.providers import discover
from app.routing.board import Board, Pick
from app.routing.health import LATENCY_SAMPLES
from app.routing.tiers import Speech, make_tiers
from app.routing.trip import Leg, Pin, Trip

PROVIDERS = discover()
MODEL = "upstream-model"
FORMAT = "openai_chat"
START = 1_000.0


class Clock:
    """Monotonic seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def channel(
    id: int, *, provider: str = "openai", priority: int = 0, weight: int = 1, keys: int = 1, **fields: Any
) -> Channel:
    """A channel `c<id>` with so many keys; `fields` are those of the dataclass."""
    opened = open_channel(id, f"c{id}", PROVIDERS, provider, "http://127.0.0.1:9/v1", "secret", priority, weight, {})
    own = tuple(ChannelKey(number, f"secret-{number}", CIMultiDict()) for number in range(keys))
    return replace(opened, keys=own, **fields)


def candidate(of: Channel, upstream_model: str = MODEL) -> Candidate:
    return Candidate(of, upstream_model, FREE, None, None, None)


def model(channels: Iterable[Channel], name: str = "model", **fields: Any) -> Model:
    """A free chat model that these channels serve."""
    candidates = tuple(candidate(each) for each in channels)
    return Model(name, "chat", 0, None, None, None, FREE, None, FREE, 1_000_000, candidates, **fields)


def leg(*channels: Channel, name: str = "model", needs: Iterable[str] = (), format: str = FORMAT) -> Leg:
    made = model(channels, name)
    return Leg(made, make_tiers(made.candidates, Speech(format)), frozenset(needs))


def trip(
    board: Board,
    *legs: Leg,
    stream: bool = False,
    tokens: int = 100,
    place: float | None = None,
    pin: Pin | None = None,
) -> Trip:
    return Trip(board, legs, stream=stream, tokens=tokens, place=place, pin=pin)


def choose(board: Board, *legs: Leg, **options: Any) -> int | None:
    """The id of the channel that a new request would try first."""
    pick = trip(board, *legs, **options).next()
    return None if pick is None else pick.channel.id


def pick_of(board: Board, of: Channel, key: int = 0, upstream_model: str = MODEL, *, stream: bool = False) -> Pick:
    """An attempt over this channel and no other, begun now, whatever speaks against it."""
    chosen = candidate(of, upstream_model)
    health = board.health(of.id, upstream_model)
    return Pick(model([of]), chosen, of.keys[key], health, board.load(of), 100, stream, board.clock())


def fail(board: Board, of: Channel, error: UpstreamError | None = None, *, times: int = 1, key: int = 0) -> None:
    """So many attempts one after the other, each of which ends in this error; a 500 unless told."""
    for _ in range(times):
        pick = pick_of(board, of, key)
        board.begin(pick)
        board.failed(pick, error or status(500))
        board.end(pick, None)


def succeed(board: Board, of: Channel, *, times: int = 1, key: int = 0, seconds: float = 0.01) -> None:
    """So many attempts that were answered just now, after so many seconds each."""
    for _ in range(times):
        pick = pick_of(board, of, key)
        pick.began -= seconds
        board.begin(pick)
        board.answered(pick)
        board.completed(pick)
        board.end(pick, None)


def served(board: Board, clock: Clock, of: Channel, seconds: float, *, stream: bool = False) -> None:
    """So many attempts at once that their latency is believed, each answered after so many seconds."""
    picks = [pick_of(board, of, stream=stream) for _ in range(LATENCY_SAMPLES)]
    clock.sleep(seconds)
    for pick in picks:
        board.answered(pick)
        board.completed(pick)


_KINDS: Mapping[int, Kind] = {429: Kind.RATE_LIMIT, 503: Kind.UNAVAILABLE, 529: Kind.UNAVAILABLE}


def status(code: int, *, pause: float | None = None, upstream_code: str | None = None) -> UpstreamError:
    """What an upstream's refusal with this status becomes. `pause`: its Retry-After, in seconds."""
    error = UpstreamError(
        _KINDS.get(code, Kind.UPSTREAM), f"status_{code}", "No.", upstream_status=code, upstream_code=upstream_code
    )
    error.pause = pause
    return error


def unreachable() -> UpstreamError:
    return UpstreamError(Kind.UPSTREAM, "upstream_unreachable", "The upstream can't be reached.")


def ids(picks: Sequence[Pick]) -> list[int]:
    return [pick.channel.id for pick in picks]


def travel(journey: Trip, board: Board, error: UpstreamError | None = None) -> list[Pick]:
    """Tries until nothing is left, each attempt ending in this error; what was tried, in order."""
    picks: list[Pick] = []
    while (pick := journey.next()) is not None:
        assert len(picks) < 1_000, "the trip has no end"
        board.begin(pick)
        journey.learn(pick, board.failed(pick, error or status(500)))
        board.end(pick, None)
        picks.append(pick)
    return picks
