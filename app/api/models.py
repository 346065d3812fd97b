"""Lists of models: what the caller's key may call, in the shape of whichever vendor's client asks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from app.accounts.principals import Principal
from app.api.caller import PrincipalDep, find_model, may_call, no_such_model
from app.api.context import ServicesDep
from app.api.dialect import ANTHROPIC, GOOGLE, OPENAI, dialect_of
from app.catalog.snapshot import Model
from app.errors import invalid_request
from app.services import Services

_REFUSALS: Mapping[int, str] = MappingProxyType(
    {
        400: "The page's neighbour or token isn't one.",
        401: "No key, or one that is no good.",
        403: "The key may not be used from this address.",
        404: "There is no such model, or the key may not call it.",
        503: "The gateway can't reach its database.",
    }
)


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Without a schema: they are told in the dialect of whichever vendor's client asks."""
    return {status: {"description": _REFUSALS[status]} for status in statuses}


router = APIRouter(tags=["models"], responses=_refusals(401, 403, 503))

GOOGLE_METHODS = ("generateContent", "streamGenerateContent", "countTokens")
MAX_PAGE = 1000

Limit = Annotated[int | None, Query(ge=1, le=MAX_PAGE, description="Anthropic's clients: how many")]
Neighbour = Annotated[str | None, Query(max_length=500, description="Anthropic's clients: the page's neighbour")]
PageSize = Annotated[int | None, Query(alias="pageSize", ge=1, le=MAX_PAGE, description="Google's clients: how many")]
PageToken = Annotated[
    str | None, Query(alias="pageToken", max_length=500, description="Google's clients: where to go on")
]


@router.get("/v1/models", responses=_refusals(400))
@router.get("/models", include_in_schema=False)
async def list_models(
    request: Request,
    principal: PrincipalDep,
    services: ServicesDep,
    limit: Limit = None,
    after_id: Neighbour = None,
    before_id: Neighbour = None,
    page_size: PageSize = None,
    page_token: PageToken = None,
) -> dict[str, Any]:
    """The models that this key may call and that a channel serves, aliases included, by name.

    Clients that send `anthropic-version` get Anthropic's list, those that send `x-goog-api-client` Google's: of chat models.
    """
    models = _callable(principal, services)
    match dialect_of(request):
        case "anthropic_messages":
            return _list_anthropic(models, limit or 20, after_id, before_id)
        case "gemini_generate":
            return _list_google(models, page_size or 50, page_token)
    return {"object": "list", "success": True, "data": [_write(name, model) for name, model in models.items()]}


@router.get("/v1beta/models", summary="List models, as Google does", responses=_refusals(400))
async def list_google_models(
    principal: PrincipalDep, services: ServicesDep, page_size: PageSize = None, page_token: PageToken = None
) -> dict[str, Any]:
    """The chat models that this key may call, in the shape of Google's `models.list`."""
    return _list_google(_callable(principal, services), page_size or 50, page_token)


@router.get("/v1/models/{model_id:path}", responses=_refusals(404))
@router.get("/models/{model_id:path}", include_in_schema=False)
async def get_model(model_id: str, request: Request, principal: PrincipalDep, services: ServicesDep) -> dict[str, Any]:
    """One model; 404 for one that doesn't exist as for one that this key may not call."""
    return await _get(model_id, dialect_of(request), principal, services)


@router.get("/v1beta/models/{model_id:path}", summary="Get a model, as Google does", responses=_refusals(404))
async def get_google_model(model_id: str, principal: PrincipalDep, services: ServicesDep) -> dict[str, Any]:
    """One chat model in the shape of Google's `models.get`."""
    return await _get(model_id, GOOGLE, principal, services)


async def _get(name: str, dialect: str, principal: Principal, services: Services) -> dict[str, Any]:
    model = await find_model(services, name)
    if model is None or not may_call(principal, name, model) or (dialect != OPENAI and model.kind != "chat"):
        raise no_such_model(name)
    if dialect == ANTHROPIC:
        return _write_anthropic(name, model)
    return _write_google(name, model) if dialect == GOOGLE else _write(name, model)


def _callable(principal: Principal, services: Services) -> dict[str, Model]:
    models = services.catalog.snapshot.models
    return {name: models[name] for name in sorted(models) if may_call(principal, name, models[name])}


def _list_anthropic(
    models: Mapping[str, Model], limit: int, after_id: str | None, before_id: str | None
) -> dict[str, Any]:
    names = [name for name, model in models.items() if model.kind == "chat"]
    if after_id is not None:
        rest = [name for name in names if name > after_id]
        page = rest[:limit]
    elif before_id is not None:
        rest = [name for name in names if name < before_id]
        page = rest[-limit:]
    else:
        rest = names
        page = rest[:limit]
    return {
        "data": [_write_anthropic(name, models[name]) for name in page],
        "has_more": len(rest) > len(page),
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }


def _list_google(models: Mapping[str, Model], size: int, token: str | None) -> dict[str, Any]:
    names = [name for name, model in models.items() if model.kind == "chat"]
    if token is not None and token not in models:
        raise invalid_request("pageToken: not a token of this list.", "pageToken")
    rest = names if token is None else [name for name in names if name > token]
    page = rest[:size]
    answer: dict[str, Any] = {"models": [_write_google(name, models[name]) for name in page]}
    if len(rest) > len(page):
        answer["nextPageToken"] = page[-1]
    return answer


def _write_anthropic(name: str, model: Model) -> dict[str, Any]:
    """Anthropic's `ModelInfo`; what the catalogue doesn't know of a model is null."""
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": datetime.fromtimestamp(model.created, UTC).isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": model.context_window,
        "max_tokens": model.max_output_tokens,
        "capabilities": None,
    }


def _write_google(name: str, model: Model) -> dict[str, Any]:
    """Google's `Model`."""
    entry: dict[str, Any] = {
        "name": f"models/{name}",
        "displayName": name,
        "supportedGenerationMethods": list(GOOGLE_METHODS),
    }
    if model.context_window is not None:
        entry["inputTokenLimit"] = model.context_window
    if model.max_output_tokens is not None:
        entry["outputTokenLimit"] = model.max_output_tokens
    return entry


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
