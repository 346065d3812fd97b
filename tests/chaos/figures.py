"""What became of a run: figures of each phase, and a table of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.crowd import Outcome
from tests.chaos.dialects import Verdict

HEADER = (
    f"{'phase':<44} {'requests':>8} {'errors':>6} {'broken':>6} {'wrong':>5} "
    f"{'attempts':>8} {'p50':>7} {'p99':>7}  received by a / b / c"
)


@dataclass(frozen=True, slots=True)
class Figures:
    """`errors`: told in place of an answer; `broken`: streams that couldn't be finished. `attempts`: upstream calls a
    request, by its entry. Times in milliseconds, of all requests. `received`: by each upstream, broken connections included.
    """

    name: str
    requests: int
    errors: int
    broken: int
    wrong: int
    attempts: float
    p50: float
    p99: float
    received: Sequence[int]

    def __str__(self) -> str:
        return (
            f"{self.name:<44} {self.requests:>8} {self.errors:>6} {self.broken:>6} {self.wrong:>5} "
            f"{self.attempts:>8.3f} {self.p50:>7.0f} {self.p99:>7.0f}  " + " / ".join(map(str, self.received))
        )


def figures_of(
    name: str, outcomes: Sequence[Outcome], entries: Mapping[str, Mapping[str, Any]], received: Sequence[int]
) -> Figures:
    """`entries` by request id; a request that was refused before it had one counts no attempt."""
    verdicts = Counter(outcome.verdict for outcome in outcomes)
    times = sorted(outcome.seconds * 1000 for outcome in outcomes) or [0.0]
    attempts = sum(entries[outcome.request_id]["attempts"] for outcome in outcomes if outcome.request_id in entries)
    return Figures(
        name,
        len(outcomes),
        verdicts[Verdict.ERROR],
        verdicts[Verdict.BROKEN],
        verdicts[Verdict.WRONG],
        attempts / max(1, len(outcomes)),
        times[len(times) // 2],
        times[min(len(times) - 1, len(times) * 99 // 100)],
        received,
    )
