"""Which channels may answer a request, in the order in which they are tried."""

from __future__ import annotations

import random
from dataclasses import dataclass

from app.accounts.principals import Principal
from app.catalog.prices import Price
from app.catalog.snapshot import Candidate, Model, Snapshot
from app.errors import Blame, GatewayError, Kind
from app.formats.base import Request


@dataclass(frozen=True, slots=True)
class Plan:
    """A model and the channels that serve it, best first. `price` is the dearest of theirs: what a hold assumes."""

    model: Model
    price: Price
    candidates: tuple[Candidate, ...]


def make_plan(snapshot: Snapshot, principal: Principal, request: Request, format: str, kind: str = "chat") -> Plan:
    """Raises GatewayError: 404 unknown model, 403 not for this key, 503 when no channel or no price is configured."""
    model = snapshot.models.get(request.model)
    if model is None or model.kind != kind:
        raise GatewayError(
            Kind.NOT_FOUND, "model_not_found", f"The model '{request.model[:200]}' does not exist.", param="model"
        )
    if not (principal.allows_model(request.model) or principal.allows_model(model.name)):
        raise GatewayError(
            Kind.PERMISSION,
            "model_not_allowed",
            f"This API key may not use the model '{request.model}'.",
            param="model",
        )
    if model.dearest is None:
        # The operator's omission, not the client's fault: no retry helps, and nothing may be served for a silent zero.
        raise _not_ready(
            "model_not_priced",
            f"The model '{request.model}' has no price yet. Operator: PUT or PATCH /admin/v1/models/{model.name} with a "
            "price, or with free: true.",
        )
    candidates = tuple(c for c in model.candidates if format in c.channel.urls)
    if not candidates:
        raise _not_ready("no_channel", f"No channel serves the model '{request.model}' at the moment.")
    return Plan(model, model.dearest, candidates if len(candidates) == 1 else in_order(candidates))


def in_order(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """By priority, and within one priority at random by weight.

    Sorting by u^(1/weight) draws without replacement (Efraimidis and Spirakis, 2006).
    """
    return tuple(
        sorted(
            candidates,
            key=lambda c: (-c.channel.priority, -(random.random() ** (1 / c.channel.weight))),  # noqa: S311
        )
    )


def _not_ready(code: str, message: str) -> GatewayError:
    return GatewayError(Kind.UNAVAILABLE, code, message, param="model", blame=Blame.GATEWAY)
