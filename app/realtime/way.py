"""Which model a session is for, and over which channels it may go."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from app.accounts.principals import Principal
from app.catalog.catalog import Catalog
from app.catalog.snapshot import Candidate, Model
from app.relay.plan import model_not_allowed, model_not_priced, no_channel, unknown_model
from app.routing.tiers import Tier
from app.routing.trip import Leg

SURFACE = "realtime"
FORMAT = "openai_realtime"
"""What stands on entries."""


@dataclass(frozen=True, slots=True)
class Way:
    """`name`: what the client calls the model."""

    name: str
    model: Model
    leg: Leg

    @property
    def likely(self) -> Candidate:
        return self.leg.tiers[0].candidates[0]


async def find_way(catalog: Catalog, principal: Principal, name: str) -> Way:
    """Raises GatewayError: 404 unknown model, 403 not for this key, 503 when no channel or no price is configured."""
    model = (await catalog.snapshot_for(name)).find(name)
    if model is None or model.kind != SURFACE:
        raise unknown_model(name)
    if not (principal.allows_model(name) or principal.allows_model(model.name)):
        raise model_not_allowed(name)
    if model.dearest is None:
        raise model_not_priced(name, model)
    ranks: dict[int, list[Candidate]] = {}
    for candidate in model.candidates:
        if SURFACE in candidate.channel.surfaces:
            ranks.setdefault(-candidate.channel.priority, []).append(candidate)
    if not ranks:
        raise no_channel(name)
    return Way(name, model, Leg(model, tuple(_tier(ranks[rank]) for rank in sorted(ranks))))


def _tier(candidates: list[Candidate]) -> Tier:
    return Tier(tuple(candidates), tuple(accumulate(c.channel.weight for c in candidates)), picky=False)
