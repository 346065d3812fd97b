"""The channels of a model in the order in which they come into question: tiers, and draws by weight inside one."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from app.catalog.snapshot import Candidate, Channel, Model

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


@dataclass(frozen=True, slots=True)
class Speech:
    """What a client speaks: a chat format, or a surface in one of its vendors' shapes (`wire`)."""

    name: str
    wire: str | None = None

    def is_foreign(self, channel: Channel) -> bool | None:
        """Whether the channel would have to be told in other words; None: it can't be told at all."""
        if self.wire is None:
            return self.name not in channel.endpoints if channel.endpoints else None
        endpoint = channel.surfaces.get(self.name)
        return None if endpoint is None else endpoint.dialect != self.wire


class TierBook:
    """Tiers by model and format, made when they are first asked for and again when the catalogue has changed."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str | None], tuple[Model, tuple[Tier, ...]]] = {}

    def tiers(self, model: Model, format: str, wire: str | None = None) -> tuple[Tier, ...]:
        """Of the candidates that speak a chat format at all; with a `wire`, of those that have the surface `format`."""
        known = self._known.get((model.name, format, wire))
        if known is not None and known[0] is model:
            return known[1]
        made = make_tiers(model.candidates, Speech(format, wire))
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[model.name, format, wire] = model, made
        return made


def make_tiers(candidates: Iterable[Candidate], speech: Speech | None) -> tuple[Tier, ...]:
    """By priority; within one priority those that speak as the client does before others. `speech` None: all do."""
    ranks: dict[tuple[int, bool], list[Candidate]] = {}
    for candidate in candidates:
        foreign = False if speech is None else speech.is_foreign(candidate.channel)
        if foreign is not None:
            ranks.setdefault((-candidate.channel.priority, foreign), []).append(candidate)
    return tuple(_tier(ranks[rank]) for rank in sorted(ranks))


def _tier(candidates: list[Candidate]) -> Tier:
    weights = accumulate(candidate.channel.weight for candidate in candidates)
    return Tier(tuple(candidates), tuple(weights), any(candidate.channel.lacks for candidate in candidates))
