"""Liveness, readiness and metrics."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import orjson
from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from app.api.admin.guard import require_admin
from app.api.context import ServicesDep
from app.db.engine import DATABASE_ERRORS
from app.db.revision import current_revision, head_revision

READY_TIMEOUT = 2.0

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process is alive. Says nothing of its database, so that a restart loop can't follow an outage."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "The database is away, or its schema isn't current."}})
async def readyz(services: ServicesDep) -> Response:
    """The database answers and its migrations are current: send traffic here."""
    checks: dict[str, Any] = {"database": "ok", "migrations": "ok"}
    try:
        revision = await asyncio.wait_for(current_revision(services.database.engine), READY_TIMEOUT)
        if revision != head_revision():
            checks["migrations"] = f"at {revision}, this version needs {head_revision()}"
    except DATABASE_ERRORS as error:
        checks = {"database": f"unreachable ({type(error).__name__})", "migrations": "unknown"}
    ready = all(value == "ok" for value in checks.values())
    body = orjson.dumps({"status": "ready" if ready else "not_ready", **checks})
    return Response(body, 200 if ready else 503, media_type="application/json")


async def _may_see_metrics(request: Request, services: ServicesDep) -> None:
    if not services.settings.metrics_public:
        await require_admin(request, services, "metrics")


@router.get("/metrics", response_class=Response, dependencies=[Depends(_may_see_metrics)])
async def metrics(services: ServicesDep) -> Response:
    """Prometheus metrics of all workers of this replica. Needs an admin token of the scope `metrics` or `read`, unless
    RELAYGATE_METRICS_PUBLIC is set.
    """
    registry = services.registry
    if (
        "PROMETHEUS_MULTIPROC_DIR" in os.environ
    ):  # set by `relaygate serve` for several workers; prometheus-client's own
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
