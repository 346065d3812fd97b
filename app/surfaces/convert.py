"""What wires that convert have in common: whole answers in JSON, and no field of the client's that is lost in silence."""

from __future__ import annotations

from app.errors import invalid_request
from app.formats.base import Tap
from app.formats.body import is_set
from app.surfaces.base import SurfaceRequest
from app.surfaces.openai import JSON


class ConvertingWire:
    """`carried`: the client's fields that the vendor is told; `advisory`: those that may be left out, and are named then."""

    carried: frozenset[str] = frozenset()
    advisory: frozenset[str] = frozenset()
    vendor = "this model's upstream"

    def check(self, request: SurfaceRequest) -> None:
        """Raises GatewayError 400 naming a field that can't be carried."""
        for name, value in request.fields.items():
            if name not in self.carried and name not in self.advisory and is_set(value):
                message = f"'{name[:200]}' can't be converted for {self.vendor}."
                raise invalid_request(message, name[:200], "field_not_supported")

    def dropped(self, request: SurfaceRequest) -> tuple[str, ...]:
        return tuple(name for name in request.fields if name in self.advisory and is_set(request.fields[name]))

    def answer_type(self, request: SurfaceRequest, said: str) -> bytes:
        return JSON

    def stream_type(self, request: SurfaceRequest, said: str) -> bytes | None:
        return None

    def comes_whole(self, request: SurfaceRequest, said: str) -> bool:
        return False

    def open_tap(self, request: SurfaceRequest) -> Tap:
        raise NotImplementedError("converted answers come whole")
