"""Three channels that fail in turn, in every way, under steady traffic: clients hardly notice, and the books stay exact."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from tests.chaos.crowd import Crowd, Outcome, ask, open_session
from tests.chaos.dialects import CHAT_STREAM, MIX, Verdict
from tests.chaos.faults import Fault
from tests.chaos.figures import HEADER, Figures, figures_of
from tests.chaos.schedule import QUICK, TWENTY_MINUTES, Phase, play
from tests.chaos.vitals import Vitals
from tests.chaos.world import CHANNELS, World, check_ledger

MOST_ERRORS = 0.001
MOST_ATTEMPTS = 1.2
MINUTE = 60.0
CLIENTS = 24
SHOWN = 20
SETTLE = 10.0


@pytest.mark.xdist_group("chaos")
async def test_a_quick_storm(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Phases of a minute in 2 seconds each: thirty times as many changes a minute as the figures allow for."""
    await weather(world, QUICK, compression=30, rate=40, capsys=capsys)


@pytest.mark.long
@pytest.mark.timeout(500)
async def test_twenty_minutes_of_storm(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty phases of a minute in 12 seconds each: five times as many changes a minute as the figures allow for."""
    await warm_up(world)
    _, half, after = await weather(world, TWENTY_MINUTES, compression=5, rate=40, capsys=capsys)
    for gateway in range(len(world.gateways)):
        assert after[gateway].rss < half[gateway].rss + 10, (half, after)


async def warm_up(world: World) -> None:
    """Has each gateway estimate an answer that breaks off: the tokens' tables, loaded then, are no leak."""
    for front in range(CHANNELS):
        world.upstreams.become(front, Fault("cut_clean", frames=4))
    stranger = world.operator.customer()
    async with open_session() as session:
        for gateway in world.gateways:
            outcome = await ask(session, gateway, stranger, world.model, MIX.index(CHAT_STREAM))
            assert outcome.verdict is Verdict.BROKEN
    for front in range(CHANNELS):
        world.upstreams.become(front)


async def weather(
    world: World, phases: Sequence[Phase], *, compression: float, rate: float, capsys: pytest.CaptureFixture[str]
) -> tuple[Sequence[Vitals], Sequence[Vitals], Sequence[Vitals]]:
    """A run, judged. Returns the gateways' vitals in the calm, at half time and when all was over."""
    crowd = Crowd(world.gateways, world.customers, world.model, rate=rate, clients=CLIENTS)
    spans: list[tuple[Phase, float]] = []
    vitals: list[Sequence[Vitals]] = []
    began = time.monotonic()
    async with crowd.calling():
        async for span in play(world, phases, MINUTE / compression):
            spans.append(span)
            if len(spans) in (1, len(phases) // 2):
                vitals.append(await asyncio.to_thread(world.vitals))
    entries = world.entries(crowd.outcomes)
    logs = [world.upstreams.log(front, began) for front in range(CHANNELS)]
    starts = [start for _, start in spans] + [float("inf")]
    rows = [
        figures_of(
            phase.name,
            [outcome for outcome in crowd.outcomes if start <= outcome.began < end],
            entries,
            [sum(start <= when < end for when, _ in log) for log in logs],
        )
        for (phase, start), end in zip(spans, starts[1:], strict=True)
    ]
    total = figures_of("total", crowd.outcomes, entries, [len(log) for log in logs])
    told = [line for gateway in world.gateways for line in gateway.log.splitlines()]
    shown = report([*rows, total], crowd.outcomes, told)
    with capsys.disabled():
        print(shown)
    bugs = [line for line in told if "relay_bug" in line]
    assert bugs == []
    assert total.wrong == 0
    check_ledger(world, crowd.outcomes, entries)
    assert total.errors <= MOST_ERRORS * total.requests, shown
    assert total.attempts <= MOST_ATTEMPTS
    assert sum(total.received) <= MOST_ATTEMPTS * total.requests
    assert world.upstreams.open_connections() <= 2 * CLIENTS
    for front in range(CHANNELS):
        world.upstreams.become(front, Fault("refused"))  # idle connections are kept for a while: not any more
    calm, half = vitals
    return calm, half, await settled(world, calm)


async def settled(world: World, calm: Sequence[Vitals]) -> Sequence[Vitals]:
    """The gateways' vitals as soon as nothing is left of the run. Raises AssertionError if something is."""
    until = time.monotonic() + SETTLE
    while True:
        now = world.vitals()
        left = [
            vitals.open_requests or vitals.half_closed or vitals.tasks > before.tasks or vitals.sockets > before.sockets
            for vitals, before in zip(now, calm, strict=True)
        ]
        if not any(left):
            return now
        assert time.monotonic() < until, (calm, now)
        await asyncio.sleep(0.25)


def report(rows: Sequence[Figures], outcomes: Sequence[Outcome], told: Sequence[str]) -> str:
    """The figures, and the first of what clients saw that wasn't an answer, with what the gateways told of it."""
    lines = ["", HEADER, *map(str, rows)]
    for outcome in [outcome for outcome in outcomes if outcome.verdict is not Verdict.RIGHT][:SHOWN]:
        what = f"{outcome.verdict}: {outcome.detail}, after {outcome.seconds:.2f} s"
        lines.append(f"{outcome.request_id} {outcome.dialect.name} stream={outcome.dialect.stream} {what}")
        lines += [f"    {line}" for line in told if outcome.request_id and outcome.request_id in line]
    return "\n".join(lines)
