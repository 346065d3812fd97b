"""Which channels may do a job, in order, and what the most is that it may cost there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.accounts.principals import Principal
from app.catalog.snapshot import Candidate, Model, Snapshot
from app.core.media import KIND_BY_SCOPE, Job, Scope
from app.core.usage import Usage
from app.errors import GatewayError, Kind, invalid_request
from app.providers.media import Media
from app.relay.plan import in_order, model_not_allowed, model_not_priced, no_channel, unknown_model


@dataclass(frozen=True, slots=True)
class Way:
    """A channel that can do the job, and what the job comes to there."""

    candidate: Candidate
    media: Media
    units: Usage


def find_model(snapshot: Snapshot, principal: Principal, job: Job, route: str | None = None) -> Model:
    """The catalogue's model of a job; `route`: under this name instead of the client's.

    Raises GatewayError: 404 unknown, or a model that makes something else; 403 not for this key; 503 not priced.
    """
    name = route or job.model
    model = snapshot.find(name)
    if model is None:
        raise unknown_model(job.model)
    if model.kind != KIND_BY_SCOPE[job.scope]:
        message = f"The model '{job.model[:200]}' makes no {job.scope.value}."
        raise GatewayError(Kind.NOT_FOUND, "model_not_found", message, param="model")
    if not any(principal.allows_model(known) for known in (job.model, name, model.name)):
        raise model_not_allowed(job.model)
    if model.dearest is None:
        raise model_not_priced(model.name, model)
    return model


def find_ways(model: Model, job: Job, pinned_to: int | None = None) -> list[Way]:
    """The channels that can do the job, in the order in which they are tried.

    Raises GatewayError: what stands in the way where none can: the first one's reason, 503 where none serves the model.
    """
    reasons: list[GatewayError] = []
    ways: list[Way] = []
    for candidate in in_order(model.candidates):
        media = candidate.channel.provider.media
        if media is None or job.scope not in media.scopes or pinned_to not in (None, candidate.channel.id):
            continue
        try:
            media.check(job, candidate.upstream_model)
            ways.append(Way(candidate, media, media.units(job, candidate.upstream_model)))
        except GatewayError as error:
            reasons.append(error)
    if ways:
        return ways
    if reasons:
        raise reasons[0]
    if pinned_to is not None:
        message = (
            f"The character or video that this refers to lives at an upstream that doesn't serve '{job.model[:200]}'."
        )
        raise invalid_request(message, "model")
    raise no_channel(job.model)


ASSUMED_MILLISECONDS = 10_000
"""What is held for each result where neither the request nor the upstream's defaults say how long it will be: Sora's usual
length. What is made is measured."""


def _held(way: Way, job: Job) -> Usage:
    # Speech has characters too: which of the two is paid, the price says.
    if job.scope is Scope.IMAGES or way.units.milliseconds:
        return way.units
    return replace(way.units, milliseconds=ASSUMED_MILLISECONDS * job.count)


def most(ways: Sequence[Way], principal: Principal, model: Model, job: Job) -> tuple[int, Way]:
    """What is held: the dearest way's price in nano-dollars, and that way."""
    ratios = principal.ratio_ppm, model.group_ppm
    costs = [(way.candidate.price.cost(_held(way, job), *ratios), way) for way in ways]
    return max(costs, key=lambda pair: pair[0])
