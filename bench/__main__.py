"""`python -m bench`: starts everything, runs the scenarios in rounds, prints the verdicts, stops everything."""

import argparse
import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.conversion import Cost, bench_conversion, format_conversion
from bench.entries import ENTRIES, bench_entries
from bench.gateway import FullGateway, start_full
from bench.processes import ROOT, BenchError, Cores, choose_cores, memory_mb
from bench.report import (
    LOADED_REQUESTS,
    MemorySample,
    build_figures,
    describe_machine,
    format_costs,
    format_figures,
    number,
    save,
)
from bench.routing import Cost as RoutingCost
from bench.routing import bench_routing, format_routing
from bench.scenarios import REQUESTS_32, SCENARIOS, STREAMS_32, Measurement, Scenario, measure
from bench.targets import Target, start_floor, start_static, start_upstream
from bench.tasks import TASKS, bench_tasks

CEILINGS = "ceilings"
MEMORY = "memory"
CONVERSION = "conversion"
ROUTING = "routing"
DISTURBED = 0.1  # of a core, by other processes


@dataclass(frozen=True, slots=True)
class Choice:
    """What the command line asks for."""

    rounds: int
    seconds: float
    quick: bool
    floor_only: bool
    only: str
    entries: int | None = None
    tasks: int | None = None

    def wants(self, name: str) -> bool:
        return self.only in name


@dataclass(slots=True)
class Run:
    """One run of the benchmark: what is up, and what was measured so far."""

    choice: Choice
    cores: Cores
    upstream: Target
    targets: list[Target]
    static: Target | None
    measurements: list[Measurement] = field(default_factory=list)
    ceilings: list[Measurement] = field(default_factory=list)
    memory: list[MemorySample] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=dict)
    conversion: list[Cost] = field(default_factory=list)
    routing: list[RoutingCost] = field(default_factory=list)

    def run(self) -> None:
        """Everything that was asked for, in order; rounds alternate between the targets."""
        for target in self.targets:
            self.memory.append(MemorySample(target.name, 0, memory_mb(target.worker)))
        chosen = [scenario for scenario in SCENARIOS if self.choice.wants(scenario.name)]
        for turn in range(1, self.choice.rounds + 1):
            for scenario in chosen:
                if scenario.rounds:
                    self._measure_all(scenario, turn)
        for scenario in chosen:
            if not scenario.rounds:
                self._measure_all(scenario, 1)
        if self.choice.wants(MEMORY) and not self.choice.quick:
            for target in self.targets:
                self._fill_up(target)
        if self.choice.wants(CEILINGS):
            self._measure_ceilings()
        if self.choice.wants(CONVERSION):
            self.conversion = bench_conversion()
        if self.choice.wants(ROUTING):
            self.routing = bench_routing()

    def _measure_all(self, scenario: Scenario, turn: int) -> None:
        for target in [self.upstream, *self.targets] if scenario.direct else self.targets:
            plan = scenario.plan(target, self.choice.seconds)
            one = measure(scenario.name, plan, target, self.upstream, self.cores, turn)
            self.measurements.append(one)
            self._note(one)

    def _fill_up(self, target: Target) -> None:
        missing = LOADED_REQUESTS - self.requests.get(target.name, 0)
        if missing > 0:
            plan = replace(REQUESTS_32.plan(target, self.choice.seconds), requests=missing)
            one = measure(MEMORY, plan, target, self.upstream, self.cores)
            self.measurements.append(one)
            self._note(one)

    def _measure_ceilings(self) -> None:
        pairs = [(REQUESTS_32, self.static), (REQUESTS_32, self.upstream), (STREAMS_32, self.upstream)]
        for scenario, target in pairs:
            if target is not None:
                plan = scenario.plan(target, self.choice.seconds)
                one = measure(scenario.name, plan, target, self.upstream, self.cores)
                self.ceilings.append(one)
                self._note(one)

    def _note(self, one: Measurement) -> None:
        load = one.load
        total = self.requests[one.target] = self.requests.get(one.target, 0) + load.sent
        if one.target in [target.name for target in self.targets]:
            self.memory.append(MemorySample(one.target, total, one.memory_mb))
        spread, first = load.latency_ms, load.first_ms
        parts = [f"{one.scenario} {one.target}".ljust(24), f"{number(load.per_second)}/s"]
        parts += [f"p50 {spread.p50:.1f} ms, p99 {spread.p99:.1f} ms"] if spread else []
        parts += [f"first chunk p50 {first.p50:.1f} ms"] if first else []
        parts += [f"errors {load.errors} {load.error_body}"] if load.errors else []
        print("  ".join(parts), flush=True)


def report(run: Run) -> dict[str, Any]:
    """Print the tables; the answer is what goes into the file."""
    figures = build_figures(run.measurements, run.memory if run.choice.wants(MEMORY) else [])
    if figures:
        print(f"\n{format_figures(figures)}")
    if run.measurements:
        print("\nCPU time a request, how busy the cores were, and what other processes took of them\n")
        print(format_costs(run.measurements))
    if run.ceilings:
        print("\nCeilings: the load generator against a static responder, and against the upstream alone\n")
        print(format_costs(run.ceilings))
    if run.conversion:
        print(f"\n{format_conversion(run.conversion)}")
    if run.routing:
        print(f"\n{format_routing(run.routing)}")
    strangers = max((one.strangers for one in [*run.measurements, *run.ceilings]), default=0.0)
    if strangers > DISTURBED:
        print(f"\nnote: other processes took up to {strangers:.0%} of a core; repeat this on a quiet machine")
    print()
    for target in run.targets:
        samples = [f"{one.requests:,}: {one.mb:.0f}" for one in run.memory if one.target == target.name]
        print(f"memory of {target.name}, MB by requests: {', '.join(samples)}")
    return {
        "figures": [{"verdict": figure.verdict, "figure": figure} for figure in figures],
        "measurements": run.measurements,
        "ceilings": run.ceilings,
        "memory": run.memory,
        "conversion": run.conversion,
        "routing": run.routing,
    }


@contextlib.contextmanager
def everything(choice: Choice, cores: Cores, folder: Path) -> Iterator[tuple[Run, FullGateway | None]]:
    """Upstream, floor and gateway up for as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(start_upstream(cores, folder))
        floor = stack.enter_context(start_floor(upstream, cores, folder))
        gateway = None if choice.floor_only else stack.enter_context(start_full(upstream, cores, folder))
        static = stack.enter_context(start_static(cores, folder)) if choice.wants(CEILINGS) else None
        targets = [floor] if gateway is None else [floor, gateway.target]
        yield Run(choice, cores, upstream, targets, static), gateway


def bench(choice: Choice) -> int:
    """Run it all; 1 when the ledger drifted or an answer was wrong."""
    cores = choose_cores()
    machine = describe_machine(cores)
    print(f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}")
    if cores.note:
        print(f"note: {cores.note}")
    audit: Any = None
    ok = True
    with (
        tempfile.TemporaryDirectory(prefix="relaygate-bench-") as folder,
        everything(choice, cores, Path(folder)) as (run, gateway),
    ):
        run.run()
        if gateway is not None:
            ok, audit = gateway.audit()
            print(f"\naudit: {'ok' if ok else 'DRIFT'} {audit}")
    content = report(run)
    errors = sum(sum(one.load.errors.values()) for one in [*run.measurements, *run.ceilings])
    if errors:
        print(f"{errors} requests went wrong")
    file = save(ROOT / "bench-results", {"machine": machine, "choice": choice, "audit": audit, **content})
    print(f"written to {file.relative_to(ROOT)}")
    return 0 if ok and not errors else 1


def read_choice() -> Choice:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of 2 seconds, no 100,000 requests")
    parser.add_argument("--floor-only", action="store_true", help="leave the gateway out")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="a measurement's time")
    names = ", ".join([*(scenario.name for scenario in SCENARIOS), MEMORY, CEILINGS, CONVERSION, ROUTING])
    parser.add_argument(
        "--entries",
        type=int,
        nargs="?",
        const=ENTRIES,
        metavar="COUNT",
        help=f"instead: usage pages, with so many entries ({ENTRIES:,}; takes minutes and gigabytes)",
    )
    parser.add_argument(
        "--tasks",
        type=int,
        nargs="?",
        const=TASKS,
        metavar="COUNT",
        help=f"instead: so many open media tasks on one worker ({TASKS:,}; takes four minutes)",
    )
    parser.add_argument("--only", default="", metavar="PART", help=f"only what has this in its name: {names}")
    args = parser.parse_args()
    return Choice(
        rounds=args.rounds or (1 if args.quick else 3),
        seconds=args.seconds or (2.0 if args.quick else 4.0),
        quick=args.quick,
        floor_only=args.floor_only,
        only=args.only,
        entries=args.entries,
        tasks=args.tasks,
    )


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        choice = read_choice()
        if choice.tasks is not None:
            sys.exit(bench_tasks(choice.tasks))
        sys.exit(bench(choice) if choice.entries is None else bench_entries(choice.entries))
    except BenchError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
