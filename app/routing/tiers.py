"""The channels of a model in the order in which they come into question: tiers, and draws by weight inside one."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from app.catalog.snapshot import Candidate, Model

MAX_REMEMBERED = 5_000
"""Models times formats whose tiers are kept; names that match a wildcard are without number."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Candidates of one rank. `bounds`: running sums of their weights, for draws; `picky`: some lack an ability."""

    candidates: tuple[Candidate, ...]
    bounds: tuple[int, ...]
    picky: bool

    def at(self, place: float) -> Candidate:
        """The candidate at a place between 0 and 1, each having a stretch as long as its weight."""
        index = bisect(self.bounds, place * self.bounds[-1])
        return self.candidates[min(index, len(self.candidates) - 1)]


class TierBook:
    """Tiers by model and format, made when they are first asked for and again when the catalogue has changed."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[Model, tuple[Tier, ...]]] = {}

    def tiers(self, model: Model, format: str) -> tuple[Tier, ...]:
        """Of the candidates that speak a chat format at all."""
        known = self._known.get((model.name, format))
        if known is not None and known[0] is model:
            return known[1]
        made = make_tiers(model.candidates, format)
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[model.name, format] = model, made
        return made


def make_tiers(candidates: Iterable[Candidate], format: str) -> tuple[Tier, ...]:
    """By priority; within one priority those that speak the client's format before others."""
    ranks: dict[tuple[int, bool], list[Candidate]] = {}
    for candidate in candidates:
        channel = candidate.channel
        if channel.endpoints:
            ranks.setdefault((-channel.priority, format not in channel.endpoints), []).append(candidate)
    return tuple(_tier(ranks[rank]) for rank in sorted(ranks))


def _tier(candidates: list[Candidate]) -> Tier:
    weights = accumulate(candidate.channel.weight for candidate in candidates)
    return Tier(tuple(candidates), tuple(weights), any(candidate.channel.lacks for candidate in candidates))
