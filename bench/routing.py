"""What choosing a channel costs, in microseconds of one core: 500 models, each served by 50 channels."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from app.accounts.principals import Principal
from app.catalog.load import open_channel
from app.catalog.prices import FREE
from app.catalog.snapshot import Candidate, Channel, Model, Snapshot
from app.formats.openai_chat import FORMAT
from app.providers import discover
from app.relay.plan import make_plan
from app.routing.board import Board
from app.routing.outages import Outage, OutageKind, Scope
from app.routing.sticky import stickiness_of
from app.routing.trip import Trip

MUST = 30.0
MODELS = 500
CHANNELS = 50
ROUNDS = 7
CALLS = 4_000

PRINCIPAL = Principal(1, 1, True, None, None, None, 1_000_000)
SHORT = b'{"model":"model-%d","messages":[{"role":"user","content":"Hello"}]}'
LONG = b'{"model":"model-%d","messages":[{"role":"user","content":"' + b"word " * 2000 + b'"}]}'


@dataclass(frozen=True, slots=True)
class Cost:
    """One situation's cost, in microseconds a request."""

    situation: str
    microseconds: float


def bench_routing() -> list[Cost]:
    """Planning, choosing, and what an attempt tells the board, in four situations."""
    snapshot = _catalogue()
    return [
        Cost("all well", _measure(snapshot, Board(), SHORT)),
        Cost("a conversation that keeps to its channel", _measure(snapshot, Board(), LONG)),
        Cost("ten channels are out", _measure(snapshot, _troubled(snapshot, 10), SHORT)),
        Cost("all but one are out", _measure(snapshot, _troubled(snapshot, CHANNELS - 1), SHORT)),
    ]


def format_routing(costs: list[Cost]) -> str:
    """A table, with the budget's verdict in the last column."""
    lines = [f"Routing, µs a request: {MODELS} models over {CHANNELS} channels (must {MUST:.0f})", ""]
    for cost in costs:
        verdict = "must" if cost.microseconds <= MUST else "below"
        lines.append(f"{cost.situation:42} {cost.microseconds:6.1f}  {verdict}")
    return "\n".join(lines)


def _catalogue() -> Snapshot:
    providers = discover()
    channels = [
        open_channel(
            number, f"channel-{number}", providers, "openai", f"http://127.0.0.1:{9000 + number}/v1", "secret",
            0, 1 + number % 5, {},
        )
        for number in range(CHANNELS)
    ]  # fmt: skip
    models = {f"model-{number}": _model(f"model-{number}", channels) for number in range(MODELS)}
    return Snapshot(models, {channel.id: channel for channel in channels})


def _model(name: str, channels: list[Channel]) -> Model:
    candidates = tuple(Candidate(channel, name, FREE, None, None, None) for channel in channels)
    return Model(name, "chat", 0, None, None, None, FREE, None, FREE, 1_000_000, candidates)


def _troubled(snapshot: Snapshot, count: int) -> Board:
    """A board on which so many channels are out, for longer than this takes."""
    board = Board()
    outage = Outage(OutageKind.FAILING, "upstream_unreachable", 1, until=board.clock() + 3600.0)
    board.adopt({Scope(id): outage for id in list(snapshot.channels)[:count]})
    return board


def _measure(snapshot: Snapshot, board: Board, body: bytes) -> float:
    requests = [FORMAT.read_request(body % number, "/v1/chat/completions", b"") for number in range(MODELS)]

    def route(number: int) -> None:
        request = requests[number % MODELS]
        plan = make_plan(snapshot, board.book, PRINCIPAL, request, FORMAT.name)
        place = stickiness_of(PRINCIPAL.account_id, request, [])
        trip = Trip(board, plan.legs, stream=False, tokens=100, place=place)
        pick = trip.next()
        assert pick is not None
        board.begin(pick)
        board.answered(pick)
        board.completed(pick)
        board.end(pick, None)

    return min(_time(route) for _ in range(ROUNDS))


def _time(work: Callable[[int], None]) -> float:
    started = time.perf_counter()
    for number in range(CALLS):
        work(number)
    return (time.perf_counter() - started) / CALLS * 1e6
