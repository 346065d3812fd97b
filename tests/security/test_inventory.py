"""Inventory: every route is known to be billed, authenticated or open, and one that nobody has classed fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from app.api.admin.guard import AdminRoute
from app.api.caller import _principal
from app.api.guarded import GuardedRoute
from app.api.realtime import _identity
from app.formats import by_name
from app.main import create_app
from app.providers.base import OPENAI_OBJECTS
from app.settings import Settings
from app.surfaces import SURFACES
from tests.gateway import SECRET_KEY, Gateway

OPEN = {
    "/healthz": "says that the process is alive",
    "/readyz": "says that the database is there",
    "/metrics": "asks for an admin token by itself, unless the operator opens it",
    "/v2/files/{key:path}": "the link is signed",
    "/docs": "the page of the documentation",
}
"""Routes that ask for no credential at the door, and why that is right."""


@pytest.fixture(scope="module")
def api() -> FastAPI:
    """The application that gateways serve, behind the branch of the relay and the headers."""
    settings = Settings(_env_file=None, database_url="postgresql://nobody@127.0.0.1:1/none", secret_key=SECRET_KEY)
    app: Any = create_app(settings)
    found = app._rest._app
    assert isinstance(found, FastAPI)
    return found


def _routes(routes: Iterable[Any]) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):
            yield from _routes(route.original_router.routes)


def _asks_for_a_key(route: APIRoute) -> bool:
    calls = [dependency.call for dependency in route.dependant.dependencies]
    return isinstance(route, GuardedRoute) or _principal in calls or _identity in calls


def _is_documentation_only(route: APIRoute) -> bool:
    """Relay paths stand in OpenAPI, but requests branch off before: test_inventory_of_relay_paths asks them."""
    return route.endpoint.__module__ == "app.api.relay_docs"


def unguarded(routes: Iterable[Any]) -> list[str]:
    """The paths of routes that neither ask for a credential nor are known to be open."""
    return [
        route.path
        for route in _routes(routes)
        if not _asks_for_a_key(route) and route.path not in OPEN and not _is_documentation_only(route)
    ]


def test_inventory_of_guards(api: FastAPI) -> None:
    assert len(list(_routes(api.routes))) > 80
    assert unguarded(api.routes) == []


def test_inventory_of_admin_guards(api: FastAPI) -> None:
    guarded = [route for route in _routes(api.routes) if isinstance(route, AdminRoute)]
    published = [path for path in api.openapi()["paths"] if path.startswith("/admin/")]
    assert len({route.path for route in guarded}) >= len(published) > 20


def test_inventory_finds_a_route_that_somebody_forgot(api: FastAPI) -> None:
    router = APIRouter()

    @router.post("/v1/new-thing")
    async def new_thing() -> None:
        """Bills nobody."""

    assert unguarded([*api.routes, *router.routes]) == ["/v1/new-thing"]


def _paths_of_the_relay() -> list[str]:
    paths = [path for format in by_name().values() for path in (*format.client_paths, *format.count_paths)]
    models = [f"{path}any-model:generateContent" for format in by_name().values() for path in format.model_paths]
    surfaces = [path for surface in SURFACES for path in surface.paths]
    objects = [f"/v1/{family}{rest}" for family in OPENAI_OBJECTS for rest in ("", "/any-id", "/any-id/any/thing")]
    return [*paths, *models, *surfaces, *objects]


@pytest.mark.parametrize("path", _paths_of_the_relay())
def test_inventory_of_relay_paths(gateway: Gateway, path: str) -> None:
    """Nothing is read for a stranger: the key is asked for before the body is found to be no request."""
    answer = httpx2.post(gateway.url + path, content=b"{")
    assert answer.status_code == 401, answer.text


def test_inventory_of_the_application(gateway: Gateway) -> None:
    """Every operation that is published asks strangers for a credential, but for the open ones."""
    document = httpx2.get(f"{gateway.url}/openapi.json").json()
    for path, item in document["paths"].items():
        for method in {"get", "post", "put", "patch", "delete"} & item.keys():
            url = gateway.url + path.replace("{", "").replace("}", "")
            status = httpx2.request(method, url, content=b"{}").status_code
            assert status == {"/healthz": 200, "/readyz": 200, "/v2/files/{key}": 403}.get(path, 401), (method, path)
