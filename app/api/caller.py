"""Whose key a request to the gateway's own `/v1` pages carries, and which models that key may call."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from app.accounts.principals import Principal
from app.api.context import ServicesDep
from app.catalog.snapshot import Model
from app.errors import GatewayError
from app.relay.authenticate import authenticate
from app.relay.plan import unknown_model
from app.services import Services


async def _principal(request: Request, services: ServicesDep) -> Principal:
    return await authenticate(request.scope, services.principals, services.settings.trusted_proxies)


PrincipalDep = Annotated[Principal, Depends(_principal)]
"""Put it before every other parameter: strangers are then refused before anything is read for them."""


async def find_model(services: Services, name: str) -> Model | None:
    """A model by its name; one that isn't known or can't be called yet is looked up anew: it may have been made just now."""
    return (await services.catalog.snapshot_for(name)).find(name)


def may_call(principal: Principal, name: str, model: Model) -> bool:
    """Whether this key may call the model under this name, and whether it can be called at all."""
    allowed = principal.allows_model(name) or principal.allows_model(model.name)
    return allowed and model.is_ready


def no_such_model(name: str) -> GatewayError:
    """The 404 for a model that doesn't exist as for one that this key may not call."""
    return unknown_model(name)
