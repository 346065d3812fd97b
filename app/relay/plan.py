"""Which models and channels may answer a request."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from app.accounts.principals import Principal
from app.catalog.snapshot import Candidate, Model, Snapshot
from app.errors import Blame, GatewayError, Kind, invalid_request
from app.formats.base import Request
from app.relay.kept import Ground
from app.relay.needs import needs_of
from app.routing.tiers import Speech, TierBook, make_tiers
from app.routing.trip import Leg, Pin
from app.surfaces.base import Surface, SurfaceRequest

UNKNOWN_CONTEXT = 32_000
"""Tokens that are held for what an answer was made of while its stream hasn't told, at a model of unknown context."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The model that was asked for and those that may stand in for it, in order, each with its channels.

    `pin`: only this channel will do. `kept_tokens`: what an upstream feeds the model beside the request, since it builds on
    what is kept there.
    """

    model: Model
    legs: tuple[Leg, ...]
    pin: Pin | None = None
    kept_tokens: int = 0

    @property
    def likely(self) -> Candidate:
        """One of those that most likely answer."""
        return self.legs[0].tiers[0].candidates[0]

    def dearest(self, cost: Callable[[Model], int]) -> int:
        """The highest of a cost over all models that may answer: what has to be held."""
        if len(self.legs) == 1:
            return cost(self.legs[0].model)
        return max(cost(leg.model) for leg in self.legs)


def make_plan(
    snapshot: Snapshot,
    book: TierBook,
    principal: Principal,
    request: Request,
    format: str,
    *,
    chain: Sequence[str] = (),
    ground: Ground | None = None,
) -> Plan:
    """`chain`: what the request itself names as stand-ins. `ground`: what it builds on; only the channel that keeps it will
    do, in this format.

    Raises GatewayError: 404 unknown model, 403 not for this key, 503 when no channel or no price is configured.
    """
    model = _allowed_model(snapshot, principal, request.model)
    if ground is not None:
        return _pinned_plan(model, request, format, ground)
    models = [model]
    for name in chain:
        models.append(_allowed_model(snapshot, principal, name, "models"))
    for name in model.fallbacks:  # the operator's: what this key may not have is passed over
        stand_in = snapshot.find(name)
        if stand_in is not None and stand_in.kind == "chat" and may_call(principal, name, stand_in):
            models.append(stand_in)
    legs = [
        Leg(model, tiers)
        for model in {model.name: model for model in models}.values()
        if model.dearest is not None and (tiers := book.tiers(model, format))
    ]
    if not legs:
        raise model_not_priced(request.model, model) if model.dearest is None else no_channel(request.model)
    return Plan(model, _able(legs, request))


def make_surface_plan(
    snapshot: Snapshot,
    book: TierBook,
    principal: Principal,
    request: SurfaceRequest,
    surface: Surface,
    pin: Pin | None = None,
) -> Plan:
    """The same for what isn't chat: the model, and those that the operator lets stand in for it. `pin`: where the objects are
    that the request names.

    Raises GatewayError: 404 unknown model, or one of another kind; 403 not for this key; 503 no channel or no price.
    """
    model = _allowed_model(snapshot, principal, request.model, kinds=surface.kinds)
    models = [model]
    for name in model.fallbacks:
        stand_in = snapshot.find(name)
        if stand_in is not None and stand_in.kind in surface.kinds and may_call(principal, name, stand_in):
            models.append(stand_in)
    legs = [
        Leg(model, tiers)
        for model in {model.name: model for model in models}.values()
        if model.dearest is not None and (tiers := book.tiers(model, surface.name, request.wire))
    ]
    if not legs:
        raise model_not_priced(request.model, model) if model.dearest is None else no_channel(request.model)
    return Plan(model, tuple(legs), pin)


def _able(legs: list[Leg], request: Request) -> tuple[Leg, ...]:
    """Without models that lack what the request asks for. Raises GatewayError 400 where none is left."""
    if not any(leg.model.lacks or any(tier.picky for tier in leg.tiers) for leg in legs):
        return tuple(legs)
    needs = needs_of(request)
    able = tuple(
        replace(leg, needs=needs)
        for leg in legs
        if leg.model.lacks.isdisjoint(needs)
        and any(c.channel.lacks.isdisjoint(needs) for tier in leg.tiers for c in tier.candidates)
    )
    if not able:
        lacking = sorted(needs & frozenset().union(*(leg.model.lacks for leg in legs)) or needs)
        message = f"The model '{request.model[:200]}' doesn't support {', '.join(lacking)}."
        raise invalid_request(message, "model", "unsupported_by_model")
    return able


def _pinned_plan(model: Model, request: Request, format: str, ground: Ground) -> Plan:
    candidates = [c for c in model.candidates if c.channel.id == ground.channel_id and format in c.channel.endpoints]
    if model.dearest is None:
        raise model_not_priced(request.model, model)
    if not candidates:
        raise no_channel(request.model)
    kept_tokens = (model.context_window or UNKNOWN_CONTEXT) if ground.tokens is None else ground.tokens
    pin = Pin(ground.channel_id, ground.channel_key)
    return Plan(model, (Leg(model, make_tiers(candidates, Speech(format))),), pin, kept_tokens)


CHAT = frozenset({"chat"})


def _allowed_model(
    snapshot: Snapshot, principal: Principal, name: str, param: str = "model", kinds: frozenset[str] = CHAT
) -> Model:
    model = snapshot.find(name)
    if model is None:
        raise unknown_model(name, param)
    if model.kind not in kinds:
        raise unknown_model(name, param)
    if not may_call(principal, name, model):
        raise model_not_allowed(name, param)
    return model


def may_call(principal: Principal, name: str, model: Model) -> bool:
    """Whether this key may call the model under this name."""
    return principal.allows_model(name) or principal.allows_model(model.name)


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


def unknown_model(name: str, param: str = "model") -> GatewayError:
    """The 404 for a name that no model has, or one of another kind."""
    return GatewayError(Kind.NOT_FOUND, "model_not_found", f"The model '{name[:200]}' does not exist.", param=param)


def model_not_allowed(name: str, param: str = "model") -> GatewayError:
    """The 403 for a model that the key may not call."""
    message = f"This API key may not use the model '{name[:200]}'."
    return GatewayError(Kind.PERMISSION, "model_not_allowed", message, param=param)


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
