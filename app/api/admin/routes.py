"""All admin routes; each resource's router brings the guard."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.admin import (
    accounts,
    actions,
    audit,
    channels,
    codes,
    deliveries,
    keys,
    model_groups,
    models,
    outages,
    price_catalogue,
    tasks,
    tokens,
    usage,
)

router = APIRouter(prefix="/admin/v1")
for resource in (
    accounts,
    keys,
    codes,
    outages,
    channels,
    models,
    model_groups,
    price_catalogue,
    usage,
    audit,
    tasks,
    deliveries,
    tokens,
    actions,
):
    router.include_router(resource.router)
