"""What is measured: the scenarios, and how one of them is run against one target."""

import dataclasses
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from bench.plan import LoadResult, Plan
from bench.processes import (
    ROOT,
    BenchError,
    Cores,
    cpu_seconds,
    finished_children_seconds,
    machine_seconds,
    memory_mb,
    on_core,
    tree,
)
from bench.targets import CHUNKS, Kind, Target

GRACE = 30.0  # seconds that a load process may need beyond its plan


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load. `stretch` multiplies the time of a measurement; `rounds` says whether it is repeated.

    With `direct` the upstream itself is measured too, as the base that the others add to.
    """

    name: str
    title: str
    kind: Kind
    connections: int
    rounds: bool
    direct: bool = False
    stretch: float = 1.0
    warmup: float = 0.5
    rate: float | None = None
    ramp: float = 0.0

    def plan(self, target: Target, seconds: float) -> Plan:
        return Plan(
            url=target.base_url,
            model=target.models[self.kind],
            connections=self.connections,
            seconds=seconds * self.stretch,
            warmup=self.warmup,
            rate=self.rate,
            ramp=self.ramp,
            chunks=CHUNKS if self.kind in ("stream", "paced") else None,
            authorization=target.authorization,
        )


REQUESTS_32 = Scenario("requests-32", "requests/s, 32 connections", "plain", 32, rounds=True)
REQUESTS_128 = Scenario("requests-128", "requests/s, 128 connections", "plain", 128, rounds=True)
STREAMS_32 = Scenario("streams-32", f"zero-delay streams/s of {CHUNKS} chunks, 32 clients", "stream", 32, rounds=True)
LATENCY_100 = Scenario(
    "latency-100",
    "at 100 requests/s, 50 ms upstream",
    "slow",
    32,
    rounds=False,
    direct=True,
    stretch=2.5,
    warmup=1.0,
    rate=100.0,
)
# The clients start evenly over one stream's length. Started in the same millisecond they would measure for how long
# a herd of 128 queues at one core, and closed loops of equal length would keep them a herd.
PACED_128 = Scenario(
    "paced-128",
    f"128 paced streams (10 ms a chunk, {CHUNKS} chunks)",
    "paced",
    128,
    rounds=False,
    direct=True,
    stretch=1.5,
    warmup=1.3,
    ramp=0.6,
)
SCENARIOS = (REQUESTS_32, REQUESTS_128, STREAMS_32, LATENCY_100, PACED_128)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One scenario against one target.

    `cpu_us` is CPU time a request by who spent it; `busy` the share of the time that each of the two cores was taken
    by processes of this benchmark; `strangers` how much of a core all other processes of the machine took meanwhile;
    `memory_mb` the worker's resident memory right after.
    """

    scenario: str
    target: str
    round: int
    load: LoadResult
    cpu_us: dict[str, float]
    busy: dict[str, float]
    strangers: float
    memory_mb: float


def run_load(plan: Plan, core: int | None) -> LoadResult:
    """Run the load generator as a process of its own. Raises BenchError."""
    command = [sys.executable, "-m", "bench.load"]
    for field in dataclasses.fields(plan):
        value = getattr(plan, field.name)
        if value is not None:
            command += [f"--{field.name}", str(value)]
    with on_core(core):
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=plan.warmup + plan.seconds + GRACE if plan.requests is None else 600,
            check=False,
        )
    if done.returncode:
        raise BenchError(f"the load generator failed:\n{done.stderr.decode(errors='replace')[-2000:]}")
    return msgspec.json.decode(done.stdout, type=LoadResult)


def measure(
    scenario: str, plan: Plan, target: Target, upstream: Target | None, cores: Cores, turn: int = 0
) -> Measurement:
    """Load one target and note who spent how much CPU time on it."""
    watched: dict[str, Target] = {"target": target}
    if upstream is not None and upstream is not target:
        watched["upstream"] = upstream
    began, all_before, before = time.monotonic(), machine_seconds(cores), _cpu(watched, target)
    started = finished_children_seconds()
    load = run_load(plan, cores.others)
    after, loader = _cpu(watched, target), finished_children_seconds() - started
    strangers = machine_seconds(cores) - all_before - loader - sum(after.values()) + sum(before.values())
    spent = {name: after[name] - before[name] for name in before} | {"load": load.cpu_seconds}
    elapsed = plan.warmup + plan.seconds if plan.requests is None else load.seconds
    on_gateway_core = set() if target is upstream else {"target"}
    return Measurement(
        scenario=scenario,
        target=target.name,
        round=turn,
        load=load,
        cpu_us={name: round(seconds / max(load.sent, 1) * 1e6, 1) for name, seconds in spent.items()},
        busy={
            "gateway": _busy(spent, on_gateway_core, elapsed),
            "others": _busy(spent, spent.keys() - on_gateway_core, elapsed),
        },
        strangers=round(max(0.0, strangers) / (time.monotonic() - began), 2),
        memory_mb=memory_mb(target.worker),
    )


def _cpu(watched: Mapping[str, Target], target: Target) -> dict[str, float]:
    found = {name: cpu_seconds(tree(one.pid, without=one.store)) for name, one in watched.items()}
    if target.store is not None:
        found["postgres"] = cpu_seconds(tree(target.store))
    return found


def _busy(spent: Mapping[str, float], names: Iterable[str], elapsed: float) -> float:
    return round(sum(spent[name] for name in names) / max(elapsed, 1e-9), 2)
