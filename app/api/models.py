"""`GET /v1/models` and `/v1/models/{id}`: what the caller's key may call, in the contract's exact shape."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from app.accounts.principals import Principal
from app.api.context import ServicesDep
from app.catalog.snapshot import Model
from app.errors import GatewayError, Kind
from app.relay.authenticate import authenticate

router = APIRouter(tags=["models"])


async def _principal(request: Request, services: ServicesDep) -> Principal:
    return await authenticate(request.scope, services.principals, services.settings.trusted_proxies)


PrincipalDep = Annotated[Principal, Depends(_principal)]


@router.get("/v1/models")
@router.get("/models", include_in_schema=False)
async def list_models(principal: PrincipalDep, services: ServicesDep) -> dict[str, Any]:
    """The models that this key may call and that a channel serves, aliases included, by name."""
    models = services.catalog.snapshot.models
    names = sorted(name for name, model in models.items() if _is_visible(principal, name, model))
    return {"object": "list", "success": True, "data": [_write(name, models[name]) for name in names]}


@router.get("/v1/models/{model_id:path}")
@router.get("/models/{model_id:path}", include_in_schema=False)
async def get_model(model_id: str, principal: PrincipalDep, services: ServicesDep) -> dict[str, Any]:
    """One model; 404 for one that doesn't exist as for one that this key may not call."""
    model = services.catalog.snapshot.models.get(model_id)
    if model is None or not _is_visible(principal, model_id, model):
        raise GatewayError(
            Kind.NOT_FOUND, "model_not_found", f"The model '{model_id[:200]}' does not exist.", param="model"
        )
    return _write(model_id, model)


def _is_visible(principal: Principal, name: str, model: Model) -> bool:
    allowed = principal.allows_model(name) or principal.allows_model(model.name)
    return allowed and model.is_ready


def _write(name: str, model: Model) -> dict[str, Any]:
    digest = hashlib.sha256(name.encode()).hexdigest()  # stable per model, as clients expect of the permission id
    return {
        "id": name,
        "object": "model",
        "created": model.created,
        "owned_by": "custom",
        "permission": [
            {
                "id": f"modelperm-{digest[:24]}",
                "object": "model_permission",
                "created": model.created,
                "allow_create_engine": True,
                "allow_sampling": True,
                "allow_logprobs": True,
                "allow_search_indices": False,
                "allow_view": True,
                "allow_fine_tuning": False,
                "organization": "*",
                "group": None,
                "is_blocking": False,
            }
        ],
        "root": name,
        "parent": None,
    }
