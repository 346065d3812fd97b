"""Which channels may answer a request, in the order in which they are tried."""

from __future__ import annotations

import random
from dataclasses import dataclass

from app.accounts.principals import Principal
from app.catalog.prices import Price
from app.catalog.snapshot import Candidate, Model, Snapshot
from app.errors import Blame, GatewayError, Kind
from app.formats.base import Request
from app.relay.kept import Ground

UNKNOWN_CONTEXT = 32_000
"""Tokens that are held for what an answer was made of while its stream hasn't told, at a model of unknown context."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A model and the channels that serve it, best first. `price` is the dearest of theirs: what a hold assumes.

    `kept_tokens`: what an upstream feeds the model beside the request, since it builds on what is kept there.
    """

    model: Model
    price: Price
    candidates: tuple[Candidate, ...]
    kept_tokens: int = 0


def make_plan(
    snapshot: Snapshot, principal: Principal, request: Request, format: str, ground: Ground | None = None
) -> Plan:
    """`ground`: what the request builds on; only the channel that keeps it will do, in this format.

    Raises GatewayError: 404 unknown model, 403 not for this key, 503 when no channel or no price is configured.
    """
    model = snapshot.models.get(request.model)
    if model is None or model.kind != "chat":
        raise unknown_model(request.model)
    if not (principal.allows_model(request.model) or principal.allows_model(model.name)):
        raise model_not_allowed(request.model)
    if model.dearest is None:
        raise model_not_priced(request.model, model)
    candidates = tuple(c for c in model.candidates if c.channel.endpoints)
    kept_tokens = 0
    if ground is not None:
        candidates = tuple(c for c in candidates if c.channel.id == ground.channel_id and format in c.channel.endpoints)
        kept_tokens = (model.context_window or UNKNOWN_CONTEXT) if ground.tokens is None else ground.tokens
    if not candidates:
        raise no_channel(request.model)
    ordered = candidates if len(candidates) == 1 else in_order(candidates, format)
    return Plan(model, model.dearest, ordered, kept_tokens)


def in_order(candidates: tuple[Candidate, ...], format: str = "") -> tuple[Candidate, ...]:
    """By priority; within one priority those that speak the client's format before others; then at random by weight.

    Sorting by u^(1/weight) draws without replacement (Efraimidis and Spirakis, 2006).
    """
    return tuple(
        sorted(
            candidates,
            key=lambda c: (
                -c.channel.priority,
                format not in c.channel.endpoints,
                -(random.random() ** (1 / c.channel.weight)),  # noqa: S311
            ),
        )
    )


def unknown_model(name: str) -> GatewayError:
    """The 404 for a name that no model has, or one of another kind."""
    return GatewayError(Kind.NOT_FOUND, "model_not_found", f"The model '{name[:200]}' does not exist.", param="model")


def model_not_allowed(name: str) -> GatewayError:
    """The 403 for a model that the key may not call."""
    message = f"This API key may not use the model '{name[:200]}'."
    return GatewayError(Kind.PERMISSION, "model_not_allowed", message, param="model")


def model_not_priced(name: str, model: Model) -> GatewayError:
    """The 503 for a model without a price, by the name that the client used.

    The operator's omission, not the client's fault: no retry helps, and nothing may be served for a silent zero.
    """
    message = (
        f"The model '{name[:200]}' has no price yet. Operator: PUT or PATCH /admin/v1/models/{model.name} with a price, "
        "or with free: true."
    )
    return GatewayError(Kind.UNAVAILABLE, "model_not_priced", message, param="model", blame=Blame.GATEWAY)


def no_channel(name: str, param: str | None = "model") -> GatewayError:
    """The 503 for a model that no channel serves."""
    message = f"No channel serves the model '{name[:200]}' at the moment."
    return GatewayError(Kind.UNAVAILABLE, "no_channel", message, param=param, blame=Blame.GATEWAY)
