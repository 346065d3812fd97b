"""What happens to the three upstreams, phase by phase. At every moment one of them is healthy at least, and hasn't just asked
to be left alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from tests.chaos.faults import Fault
from tests.chaos.world import CHANNELS, World

NEWS = 0.25
"""Seconds for a change of the catalogue to be known everywhere: more than ten times what it takes."""

OVERLAP = 1.2
"""Seconds between getting well and falling ill: longer than one attempt may hang. A request that has tried somebody in vain
still meets who is well now, if it takes that long; else it could find all of them ill, each at another time.
"""

FLAP = 1.5
"""Seconds that a flapping upstream is up or down, whatever the compression."""

Weather = tuple[Fault, ...]

ERRORS = (Fault("error", 0.3),)
DEAD = (Fault("refused"),)


def storm(style: str, ms: int = 0, share: float = 1.0) -> Weather:
    """429s."""
    return (Fault("rate_limit", share, ms=ms, style=style),)


def mixed(*kinds: str, share: float) -> Weather:
    """Each kind at its part of the share."""
    return tuple(Fault(kind, share / len(kinds)) for kind in kinds)


def cuts(share: float, *frames: int) -> Weather:
    """Streams that end too soon, after so many frames, as if all was well and by resets."""
    kinds = ("cut_clean", "cut_reset")
    each = share / len(frames) / len(kinds)
    return tuple(Fault(kind, each, frames=count) for kind in kinds for count in frames)


@dataclass(frozen=True, slots=True)
class Phase:
    """`a`, `b`, `c`: the weather of each. `unresolved`: whose name DNS doesn't know; `flapping`: who dies and comes back."""

    name: str
    a: Weather = ()
    b: Weather = ()
    c: Weather = ()
    unresolved: frozenset[int] = frozenset()
    flapping: int | None = None

    @property
    def weather(self) -> Sequence[Weather]:
        return self.a, self.b, self.c

    def is_well(self, front: int) -> bool:
        """Whether it answers all that it is asked."""
        faulty = any(fault.kind != "slow" for fault in self.weather[front])
        return not faulty and front not in self.unresolved and front != self.flapping


CALM = Phase("nothing")
GARBAGE = ("broken_json", "html", "wrong_type", "empty", "error_200", "not_http")

QUICK = (
    Phase("calm"),
    Phase("30 % 5xx / resets after the headers / -", a=ERRORS, b=(Fault("reset_headers"),)),
    Phase("- / dead / 429 with retry-after", b=DEAD, c=storm("retry_after", 1000)),
    Phase("hangs / - / garbage", a=(Fault("hang"),), c=mixed(*GARBAGE, share=0.9)),
    Phase("429 without / cut streams / -", a=storm("plain"), b=cuts(0.3, 0, 3)),
    Phase("expired / no DNS / slow", a=(Fault("expired"),), c=(Fault("slow", 0.3, ms=500),), unresolved=frozenset({1})),
)

TWENTY_MINUTES = (
    Phase("calm"),
    Phase("cut streams / - / slow", a=cuts(0.3, 0, 1, 5), c=(Fault("slow", 0.5, ms=400),)),
    Phase("30 % 5xx / 30 % 5xx / -", a=ERRORS, b=ERRORS),
    Phase("dead / - / 5xx", a=DEAD, c=(Fault("error"),)),
    Phase("- / 429 with retry-after / 429 half", b=storm("retry_after", 2000), c=storm("retry_after_ms", 800, 0.5)),
    Phase("- / 429 without / 429, reset headers", b=storm("plain"), c=storm("reset_headers", 1000)),
    Phase("429, a date to wait for / - / -", a=storm("retry_after_date", 2000)),
    Phase("slow / 30 % 5xx / -", a=(Fault("slow", 0.3, ms=700),), b=ERRORS),
    Phase("hangs / ignores connections / -", a=(Fault("hang"),), b=(Fault("hang_accept"),)),
    Phase("- / headers, then nothing / some hang", b=(Fault("hang_headers"),), c=(Fault("hang", 0.1),)),
    Phase("resets / - / resets after the headers", a=(Fault("reset_accept"),), c=(Fault("reset_headers"),)),
    Phase("- / garbage / not TLS", b=mixed(*GARBAGE, share=0.9), c=(Fault("not_tls"),)),
    Phase("garbage, a third / - / 30 % 5xx", a=mixed(*GARBAGE, share=0.3), c=ERRORS),
    Phase("- / cut before the first frame / resets", b=cuts(0.5, 0, 1), c=(Fault("reset", 0.5),)),
    Phase("expired / wrong host / -", a=(Fault("expired"),), b=(Fault("wrong_host"),)),
    Phase("self-signed / - / no DNS", a=(Fault("self_signed"),), unresolved=frozenset({2})),
    Phase("401 / 402 / -", a=(Fault("auth"),), b=(Fault("payment"),)),
    Phase("- / quota / dead", b=(Fault("quota"),), c=DEAD),
    Phase("flapping / 30 % 5xx / -", b=ERRORS, flapping=0),
    Phase("calm again"),
)


async def play(world: World, phases: Sequence[Phase], seconds: float) -> AsyncIterator[tuple[Phase, float]]:
    """Makes each phase happen for so long; yields it and when it began (monotonic) as soon as it is over.

    Who gets well does so before anybody else falls ill, and the gateways hear of it.
    """
    before = CALM
    for phase in (*phases, CALM):
        for front in filter(phase.is_well, range(CHANNELS)):
            await _change(world, front, before, phase)
        await asyncio.sleep(OVERLAP)
        for front in (front for front in range(CHANNELS) if not phase.is_well(front)):
            await _change(world, front, before, phase)
        if phase is CALM:
            return
        began = time.monotonic()
        await _last(world, phase, began + seconds)
        yield phase, began
        before = phase


async def _change(world: World, front: int, before: Phase, phase: Phase) -> None:
    if phase.weather[front] != before.weather[front] or before.flapping == front:
        await world.become(front, before.weather[front], phase.weather[front])
    if (front in phase.unresolved) != (front in before.unresolved):
        await world.resolve(front, known=front not in phase.unresolved)
        await asyncio.sleep(NEWS)


async def _last(world: World, phase: Phase, until: float) -> None:
    if phase.flapping is None:
        await asyncio.sleep(until - time.monotonic())
        return
    weather: Weather = ()
    while (left := until - time.monotonic()) > 0:
        weather = () if weather else DEAD
        await world.become(phase.flapping, (), weather)
        await asyncio.sleep(min(FLAP, left))
