"""What the holder API's queries and answers are made of beside the admin API's shapes."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from app.api.admin.shapes import ErrorBody, Shape

REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorBody, "description": "No key, or one that is no good."},
    403: {"model": ErrorBody, "description": "The key may not be used from this address."},
    422: {"model": ErrorBody, "description": "A field breaks its rule, or isn't known; `param` names it."},
}


class HolderQuery(Shape):
    """What every query may hold beside its own fields: the key itself, where a client puts it there."""

    key: str | None = Field(None, exclude=True, description="The key, for clients that can't send a header")
