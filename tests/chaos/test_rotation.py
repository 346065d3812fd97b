"""A channel that dies leaves the rotation of every replica within two seconds, and is back within two probes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.chaos.crowd import Crowd, ask, open_session
from tests.chaos.dialects import Verdict
from tests.chaos.faults import Fault
from tests.chaos.vitals import read_attempts, read_metrics
from tests.chaos.world import World

RATE = 40.0
OUT_WITHIN = 2.0
WATCHED = 2.0
"""Seconds that the dead channel is watched for; in rotation it would get a third of all requests."""

KNOWN = 10
MOST_PROBES = 2
PATIENCE = 30.0
BURST = 20

DEATHS = {
    "reset": Fault("reset_accept"),
    "hang": Fault("hang"),
    "refused": Fault("refused"),
    "ignored": Fault("hang_accept"),
    "errors": Fault("error"),
    "half-answers": Fault("hang_headers"),
    "garbage": Fault("broken_json"),
    "expired": Fault("expired"),
    "busy": Fault("rate_limit"),
    "truncated": Fault("cut_clean"),
}


@pytest.mark.long
@pytest.mark.xdist_group("chaos")
@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS.keys())
async def test_out_within_two_seconds_and_back_within_two_probes(world: World, death: Fault) -> None:
    crowd = Crowd(world.gateways, world.customers, world.model, rate=RATE, clients=24)
    async with crowd.calling():
        # Some calls each: of a channel that is hardly known, few faults are enough to be avoided and too few to be out.
        await until(lambda: all(calls(world, replica)["ok"] >= KNOWN for replica in (0, 1)), "both replicas use it")
        died = await asyncio.to_thread(world.upstreams.become, 0, death)
        await asyncio.sleep(OUT_WITHIN)
        known = refusals(world)
        await asyncio.sleep(WATCHED)
        late = refusals(world) - known
    if death.kind != "refused":  # a closed port can't count its callers
        late = len(world.upstreams.log(0, died + OUT_WITHIN))
    assert late <= MOST_PROBES, f"both replicas, in the {WATCHED} s after the first {OUT_WITHIN}"
    assert [world.outages(0, replica) != [] for replica in (0, 1)] == [True, True]
    assert [outcome for outcome in crowd.outcomes if outcome.verdict in (Verdict.ERROR, Verdict.WRONG)] == []
    await comes_back(world)


async def comes_back(world: World) -> None:
    """One request after the other, at both replicas in turn, so that it is known which of them brought the channel back."""
    well = await asyncio.to_thread(world.upstreams.become, 0)
    deadline = time.monotonic() + PATIENCE
    number = 0
    async with open_session() as session:
        while world.outages(0):
            assert time.monotonic() < deadline, (world.outages(0), world.upstreams.log(0, well))
            await ask(session, world.gateways[number % 2], world.customers[0], world.model, number)
            number += 1
        assert len(world.upstreams.log(0, well)) <= MOST_PROBES
    before = [calls(world, replica)["ok"] for replica in (0, 1)]
    crowd = Crowd(world.gateways, world.customers, world.model, rate=RATE, clients=24)
    async with crowd.calling():
        await until(
            lambda: all(calls(world, replica)["ok"] > before[replica] for replica in (0, 1)), "it is used again"
        )


@pytest.mark.xdist_group("chaos")
async def test_a_replica_learns_of_a_dead_channel_without_users_of_its_own(world: World) -> None:
    await asyncio.to_thread(world.upstreams.become, 0, Fault("error"))
    async with open_session() as session:
        while not world.outages(0):  # many at once: one by one they would soon avoid it, and never be sure
            asked = [ask(session, world.gateways[0], world.customers[0], world.model, step) for step in range(BURST)]
            await asyncio.gather(*asked)
        await until(lambda: read_metrics(world.gateways[1])["relaygate_outages"] >= 1, "the other replica knows it")
        asked = [ask(session, world.gateways[1], world.customers[1], world.model, step) for step in range(BURST)]
        outcomes = await asyncio.gather(*asked)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.RIGHT}
    retries = sum((outcome.attempts or 0) - 1 for outcome in outcomes)
    assert retries <= 1, "more than a probe"


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.05)


def calls(world: World, replica: int) -> dict[str, int]:
    """Of one replica to the first upstream, by result."""
    return read_attempts(world.gateways[replica], world.names[0])


def refusals(world: World) -> int:
    """Calls of both replicas to the first upstream that found nobody there."""
    return sum(calls(world, replica)["upstream_unreachable"] for replica in (0, 1))
