"""Leases: a living process renews its own; the holds of a dead one are resolved, each exactly once.

Every time here is the database's: replicas' clocks may differ.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

BATCH = 500
STRAY_AGE = 60.0
"""Seconds after which a hold that its living owner doesn't know is a stray: far above a statement's time-out."""

_RENEW = text(
    "INSERT INTO instances (id, lease_until) VALUES (:id, now() + make_interval(secs => :lease)) "
    "ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until"
)
_DEAD_OWNERS = text(
    "SELECT DISTINCT owner FROM holds h WHERE NOT EXISTS "
    "(SELECT 1 FROM instances i WHERE i.id = h.owner AND i.lease_until > now())"
)
_RESOLVE = text(
    "SELECT resolve_holds(:owner, now() - make_interval(secs => :age), CAST(:known AS uuid[]), :status, :error, :limit)"
)
# The owner of media tasks' holds has a lease without end and is no process.
_COUNT = text("SELECT count(*) FROM instances WHERE lease_until > now() AND isfinite(lease_until)")
_FORGET = text(
    "DELETE FROM instances i WHERE lease_until < now() - interval '1 hour' "
    "AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.owner = i.id)"
)


async def renew_lease(engine: AsyncEngine, owner: UUID, lease: float) -> None:
    """Says that `owner` lives for `lease` more seconds."""
    async with engine.begin() as connection:
        await connection.execute(_RENEW, {"id": owner, "lease": lease})


async def end_lease(engine: AsyncEngine, owner: UUID) -> None:
    """The process goes in good order; whatever it still holds may be resolved at once."""
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM instances WHERE id = :id"), {"id": owner})


async def count_instances(engine: AsyncEngine) -> int:
    """How many processes live: those that serve and those that only work."""
    async with engine.connect() as connection:
        return int((await connection.execute(_COUNT)).scalar_one())


async def find_dead_owners(engine: AsyncEngine) -> set[UUID]:
    """Owners of open holds whose lease has run out."""
    async with engine.connect() as connection:
        return set((await connection.execute(_DEAD_OWNERS)).scalars())


async def resolve_orphans(engine: AsyncEngine, owner: UUID) -> int:
    """Ends all holds of a dead owner: the input estimate is charged, the rest given back. Returns how many."""
    total = await _resolve(engine, owner, age=0.0, known=(), status="orphaned", error="process_died")
    async with engine.begin() as connection:
        await connection.execute(_FORGET)
    return total


async def release_strays(engine: AsyncEngine, owner: UUID, known: Collection[UUID]) -> int:
    """Gives back holds that a living owner doesn't know it has: asked for over a connection that was then lost."""
    return await _resolve(engine, owner, age=STRAY_AGE, known=known, status="released", error="stray")


async def _resolve(
    engine: AsyncEngine, owner: UUID, *, age: float, known: Collection[UUID], status: str, error: str
) -> int:
    total = 0
    while True:
        async with engine.begin() as connection:
            values = {
                "owner": owner,
                "age": age,
                "known": list(known),
                "limit": BATCH,
                "status": status,
                "error": error,
            }
            count = int((await connection.execute(_RESOLVE, values)).scalar_one())
        total += count
        if count < BATCH:
            return total
