"""The catalogue in memory: what routing looks at, replaced as a whole when the database announces a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from multidict import CIMultiDict

from app.catalog.endpoints import Endpoint, SurfaceEndpoint
from app.catalog.families import KIND
from app.catalog.prices import PPM, Price, ceiling
from app.core.wildcards import STAR, Wildcard, fill_in, may_match
from app.providers.base import Provider
from app.providers.media import Site

KEYS_BETWEEN = "\n"
"""What stands between several keys of a channel: none of them holds a line break."""

MAX_MATCHED = 1_000
"""Names that are remembered to match a wildcard."""


@dataclass(frozen=True, slots=True)
class ChannelKey:
    """One of a channel's keys at its upstream: its place among them, and the headers of a call that is signed with it."""

    number: int
    secret: str
    headers: CIMultiDict[str]


@dataclass(frozen=True, slots=True)
class Channel:
    """One way to an upstream, ready to be called: URLs by format and headers are made once, not for each request.

    `endpoints`: the formats that it speaks, the preferred one first; `surfaces`: what it serves beside chat; `passes`: what
    by its path alone, at which price. `fixed_headers`: those that the operator has set, in small letters: no client's header
    replaces them. `keys`: at least one; `secret` and `headers` are those of the first. `concurrency`, `rpm` and `tpm` cap
    what it is given, over all processes. `label`: what clients are told of it. `lacks`: what its models can't do there.
    """

    id: int
    name: str
    provider: Provider
    endpoints: Mapping[str, Endpoint]
    headers: CIMultiDict[str]
    fixed_headers: frozenset[str]
    secret: str
    priority: int
    weight: int
    site: Site
    connect_timeout: float | None = None
    first_byte_timeout: float | None = None
    idle_timeout: float | None = None
    keys: tuple[ChannelKey, ...] = ()
    concurrency: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    label: str = ""
    lacks: frozenset[str] = frozenset()
    surfaces: Mapping[str, SurfaceEndpoint] = field(default_factory=dict)
    passes: Mapping[str, Price] = field(default_factory=dict)

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(key.secret for key in self.keys if key.secret)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A channel that serves a model, under the upstream's name for it.

    `price` is what clients pay when this channel answers, the model's own unless the channel has one. `cost` is what the
    operator pays the vendor; None: unknown. `filled`: the name holds what a client wrote where the operator has a star, so
    there may be no such model.
    """

    channel: Channel
    upstream_model: str
    price: Price
    price_id: int | None
    cost: Price | None
    cost_id: int | None
    filled: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """A model that clients may name. `price` None: it has none of its own; `candidates` are only those that are priced.

    `dearest` is no cheaper than any candidate's price: what a hold assumes. It is `price` itself where no channel has a price
    of its own, and None where nothing is priced: then the model is refused. `group_ppm` is the model group's ratio.
    `task_timeout`: seconds that a media task of it may take; None: what its kind is given. `fallbacks`: the models that
    answer where it can't. `lacks`: what it can't do (`app.relay.needs`). `pattern`: the wildcard that its name has matched.
    """

    name: str
    kind: str
    created: int
    context_window: int | None
    max_output_tokens: int | None
    task_timeout: int | None
    price: Price | None
    price_id: int | None
    dearest: Price | None
    group_ppm: int
    candidates: tuple[Candidate, ...]
    fallbacks: tuple[str, ...] = ()
    first_byte_timeout: float | None = None
    idle_timeout: float | None = None
    max_attempts: int | None = None
    lacks: frozenset[str] = frozenset()
    pattern: str | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it can be called at all: a channel serves it at a price that is known."""
        return bool(self.candidates)


def family_model(family: str, candidates: Sequence[Candidate]) -> Model:
    """A family of paths as routing sees it: a model without a row."""
    dearest = ceiling(candidate.price for candidate in candidates)
    return Model(family, KIND, 0, None, None, None, dearest, None, dearest, PPM, tuple(candidates))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`models` holds aliases too, pointing at the model they stand for; `wildcards` those with a star, the longest first, and
    `matched` what they have been found to mean. `channels` are all that there are, by id, disabled
    ones too: what was begun over one is ended over it. `families`: what is passed on by its path (`app.catalog.families`).
    """

    models: Mapping[str, Model]
    channels: Mapping[int, Channel]
    wildcards: Sequence[tuple[Wildcard, Model]] = ()
    matched: dict[str, Model] = field(default_factory=dict, compare=False, repr=False)
    families: Mapping[str, Model] = field(default_factory=dict)

    def find(self, name: str) -> Model | None:
        """The model that a client means: by its name or an alias, else by the wildcard with the longest fixed part."""
        model = self.models.get(name)
        if model is None and self.wildcards:
            model = self.matched.get(name) or self._match(name)
        return model

    def _match(self, name: str) -> Model | None:
        if not may_match(name):
            return None
        for wildcard, model in self.wildcards:
            star = wildcard.match(name)
            if star is None:
                continue
            if model.pattern is not None:  # the star of an alias may lead to a model without one
                filled = tuple(
                    replace(
                        candidate,
                        upstream_model=fill_in(candidate.upstream_model, star),
                        filled=STAR in candidate.upstream_model,
                    )
                    for candidate in model.candidates
                )
                model = replace(model, name=fill_in(model.pattern, star), candidates=filled)
            if len(self.matched) >= MAX_MATCHED:
                self.matched.clear()
            self.matched[name] = model
            return model
        return None


EMPTY = Snapshot({}, {})
