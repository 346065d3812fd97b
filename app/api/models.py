"""`GET /v1/models` and `/v1/models/{id}`: what the caller's key may call, in the contract's exact shape."""

from __future__ import annotations

import hashlib
from typing import Any

from fastapi import APIRouter

from app.api.caller import PrincipalDep, find_model, may_call, no_such_model
from app.api.context import ServicesDep
from app.catalog.snapshot import Model

router = APIRouter(tags=["models"])


@router.get("/v1/models")
@router.get("/models", include_in_schema=False)
async def list_models(principal: PrincipalDep, services: ServicesDep) -> dict[str, Any]:
    """The models that this key may call and that a channel serves, aliases included, by name."""
    models = services.catalog.snapshot.models
    names = sorted(name for name, model in models.items() if may_call(principal, name, model))
    return {"object": "list", "success": True, "data": [_write(name, models[name]) for name in names]}


@router.get("/v1/models/{model_id:path}")
@router.get("/models/{model_id:path}", include_in_schema=False)
async def get_model(model_id: str, principal: PrincipalDep, services: ServicesDep) -> dict[str, Any]:
    """One model; 404 for one that doesn't exist as for one that this key may not call."""
    model = await find_model(services, model_id)
    if model is None or not may_call(principal, model_id, model):
        raise no_such_model(model_id)
    return _write(model_id, model)


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
