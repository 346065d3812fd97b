"""The options of a model: who answers in its place, how long it may take, and what it can't do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.admin.channel_options import Abilities, Seconds, check_once
from app.api.admin.shapes import Name, Shape, refuse, refused
from app.core.wildcards import STAR, read_wildcard
from app.db.tables.catalog import aliases, models

MAX_FALLBACKS = 10


def _check_plain(value: str) -> str:
    if STAR in value:
        refuse("must be one model; a pattern stands for many")
    return value


Fallbacks = Annotated[
    list[Annotated[Name, AfterValidator(_check_plain)]], Field(max_length=MAX_FALLBACKS), AfterValidator(check_once)
]


class ModelOptions(Shape):
    """Deviations of one model. Times are seconds; where its channel has its own, the shorter one counts."""

    fallbacks: Fallbacks = Field(
        default_factory=list, description="Models that answer, in this order, where no channel of this one can"
    )
    first_byte_timeout: Seconds | None = Field(None, description="From the call to the beginning of the answer")
    idle_timeout: Seconds | None = Field(None, description="Between two reads of an answer that has begun")
    max_attempts: Annotated[int, Field(strict=True, ge=1, le=20)] | None = Field(
        None, description="Upstream calls of one request at most; null: as the gateway is set"
    )
    lacks: Abilities = Field(
        default_factory=list, description="What it can't do: requests that need it go to a fallback, or are a 400"
    )

    def column(self) -> dict[str, Any]:
        return {name: value for name, value in self.model_dump(exclude_none=True).items() if value != []}


def check_aliases(name: str, names: Sequence[str]) -> None:
    """Raises GatewayError 422 for an alias that doesn't say what the model's star stands for."""
    if STAR in name and any(STAR not in alias for alias in names):
        raise refused("aliases", f"those of a pattern hold a {STAR} too, which stands for the same text")


async def check_fallbacks(connection: AsyncConnection, name: str, fallbacks: Sequence[str]) -> None:
    """A misspelt name would never be noticed. Raises GatewayError 422 for one that is no model, or the model itself."""
    if name in fallbacks:
        raise refused("options.fallbacks", "a model can't stand in for itself")
    if not fallbacks:
        return
    known = select(models.c.name).union(select(aliases.c.alias))
    names = set((await connection.execute(known)).scalars())
    wildcards = [wildcard for known in names if (wildcard := read_wildcard(known)) is not None]
    for fallback in fallbacks:
        if fallback not in names and not any(wildcard.match(fallback) is not None for wildcard in wildcards):
            raise refused("options.fallbacks", f"there is no model '{fallback}'")
