"""Which entries an operator asks for: the filter that lists, sums and exports share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from app.api.admin.shapes import ErrorBody, Moment, Name, QueryId, Shape, refuse
from app.ledger.entries import Filter, Group
from app.ledger.records import Status

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "It takes too long to look up, or the cursor isn't one of ours."},
    503: {"model": ErrorBody, "description": "Other reports are being made; `retry-after` says how long to wait."},
}


class UsageFilter(Shape):
    """Which entries."""

    account_id: QueryId | None = None
    key_id: QueryId | None = None
    model: Name | None = None
    channel_id: QueryId | None = Field(None, description="The channel that answered, or that was tried last")
    status: Status | None = None
    since: Moment | None = Field(None, description="From this time on", examples=["2030-01-01T00:00:00Z"])
    until: Moment | None = Field(None, description="Before this time", examples=["2030-02-01T00:00:00Z"])

    def filter(self) -> Filter:
        return Filter(self.account_id, self.key_id, self.model, self.channel_id, self.status, self.since, self.until)


def read_groups(choices: Sequence[Group], value: object) -> object:
    """What sums are split by: `day,model`, each of the choices once at most."""
    parts = value if isinstance(value, list | tuple) else [value]
    names = [name for part in parts for name in str(part).split(",")]
    if len(set(names)) < len(names) or not set(names) <= set(choices):
        refuse(f"must be {_choice(choices)}")
    return tuple(names)


def groups_schema(choices: Sequence[Group]) -> dict[str, Any]:
    """How such a field stands in OpenAPI."""
    return {"type": "string", "description": f"Must be {_choice(choices)}", "default": "day", "examples": ["day,model"]}


def _choice(choices: Sequence[Group]) -> str:
    return f"a comma-separated choice of {', '.join(choices)}"
