"""The ASGI edge: relay paths branch off here, before FastAPI; everything else goes on to it.

Measured: a FastAPI endpoint costs 132 µs a request where this branch costs 40. The relay paths stand in OpenAPI through
documentation-only routes (`app/api/relay_docs.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from app.core.ids import new_id, request_label
from app.formats.base import Format
from app.realtime.serve import PATHS
from app.relay.exchange import Message, Receive, Scope, Send
from app.relay.objects.serve import find_object_path
from app.services import Services
from app.surfaces import SURFACES
from app.wire.guard import Guard, Limits

ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]


class Gateway:
    """Routes by exact path, or by how a path with a model's name begins. The path is the request's own: no header counts.

    `guard` bounds the connections that requests come over (`app/wire`).
    """

    def __init__(self, services: Services, formats: Sequence[Format], rest: ASGI) -> None:
        self._services = services
        self._formats = {path: format for format in formats for path in (*format.client_paths, *format.count_paths)}
        self._model_paths = {path: format for format in formats for path in format.model_paths}
        self._surfaces = {path: surface for surface in SURFACES for path in surface.paths}
        self._rest = rest
        settings = services.settings
        self.guard = Guard(
            Limits(
                settings.head_timeout,
                settings.body_timeout,
                settings.write_timeout,
                settings.max_connections,
                settings.max_connections_per_address,
            ),
            frozenset(path.encode() for path in PATHS),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if scope["method"] == "POST":
                path = scope["path"]
                format = self._formats.get(path) or self._of_model_path(path)
                if format is not None:
                    await self._services.relay.serve(format, scope, receive, send)
                    return
                surface = self._surfaces.get(path)
                if surface is not None:
                    await self._services.surface_relay.serve(surface, scope, receive, send)
                    return
            object_path = find_object_path(self._services.catalog.snapshot, scope["method"], scope["path"])
            if object_path is not None:
                await self._services.object_relay.serve(object_path, scope, receive, send)
                return
            send = _with_request_id(scope, send)
        elif scope["type"] == "websocket":
            await self._services.realtime.serve(scope, receive, send)
            return
        await self._rest(scope, receive, send)

    def _of_model_path(self, path: str) -> Format | None:
        """The format of `/v1beta/models/{model}:generateContent` and its like."""
        if ":" in path:
            for beginning, format in self._model_paths.items():
                if path.startswith(beginning):
                    return format
        return None


def _with_request_id(scope: Scope, send: Send) -> Send:
    label = request_label(new_id())
    scope["relaygate.request_id"] = label
    header = (b"x-request-id", label.encode())

    async def send_labelled(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), header]
        await send(message)

    return send_labelled
