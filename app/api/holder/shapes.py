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

REPORT_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "It takes too long to look up, or the cursor isn't one of ours."},
    429: {"model": ErrorBody, "description": "Another report of this key is being made."},
    503: {"model": ErrorBody, "description": "Other reports are being made; `retry-after` says how long to wait."},
}
"""Of what is read from the entries."""


class HolderQuery(Shape):
    """What every query may hold beside its own fields: the key itself, where a client puts it there."""

    key: str | None = Field(None, exclude=True, description="The key, for clients that can't send a header")
