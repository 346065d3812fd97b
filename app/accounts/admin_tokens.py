"""Admin tokens: what they may do, who holds them, and whose a presented one is. Kept only as digests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.accounts.secrets import digest_of, new_admin_token
from app.accounts.throttle import Address, Throttle
from app.db.tables.accounts import admin_tokens
from app.errors import GatewayError, Kind

ADMIN = "admin"
READ = "read"
SCOPES = (ADMIN, READ, "accounts", "catalog", "usage", "tokens", "metrics")
"""`admin`: everything; `read`: every GET; the others: one area each, reading and writing."""

MAX_MET = 1000
_USED_EVERY = text("interval '1 minute'")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who administers, and from where. `token_id` None: the configured token or the command line, as `name` says."""

    name: str
    token_id: int | None = None
    scopes: frozenset[str] = frozenset({ADMIN})
    expires_at: datetime | None = None
    address: str | None = None
    request_id: str | None = None

    def holds(self, scopes: Collection[str]) -> bool:
        """Whether it may do all that these allow."""
        return ADMIN in self.scopes or self.scopes.issuperset(scopes)

    def may(self, scope: str, *, reads: bool) -> bool:
        """Whether it may call something of this scope; `reads`: something that only looks."""
        return self.holds((scope,)) or (reads and READ in self.scopes)


COMMAND_LINE = Actor("cli")


@dataclass(frozen=True, slots=True)
class AdminToken:
    """What is kept of a token; the token itself is shown once and never stored."""

    id: int
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class AdminTokens:
    """Finds whose a token is, always in the database: a revoked one is dead with the next request."""

    def __init__(self, engine: AsyncEngine, throttle: Throttle) -> None:
        self._engine = engine
        self._throttle = throttle
        # Digests that were good here, the oldest first: never refused for what others at their address did.
        self._met: dict[bytes, None] = {}

    async def find(self, token: str, address: Address | None) -> Actor | None:
        """None for one that is unknown, expired or revoked.

        Raises GatewayError 429 `too_many_auth_failures` for one that was never good here, from an address that has failed
        too often.
        """
        digest = digest_of(token)
        if digest in self._met:
            return await self._look_up(digest, address)
        async with self._throttle.turn(address):
            return await self._look_up(digest, address)

    async def _look_up(self, digest: bytes, address: Address | None) -> Actor | None:
        actor = await _find(self._engine, digest)
        if actor is None:
            self._met.pop(digest, None)
            self._throttle.add(address)
            return None
        self._met[digest] = None
        if len(self._met) > MAX_MET:
            del self._met[next(iter(self._met))]
        return actor


async def _find(engine: AsyncEngine, digest: bytes) -> Actor | None:
    stale = or_(
        admin_tokens.c.last_used_at.is_(None),
        admin_tokens.c.last_used_at < func.now() - _USED_EVERY,
    )
    query = select(*_columns(), stale.label("stale")).where(
        admin_tokens.c.digest == digest,
        admin_tokens.c.revoked_at.is_(None),
        or_(admin_tokens.c.expires_at.is_(None), admin_tokens.c.expires_at > func.now()),
    )
    async with engine.begin() as connection:
        row = (await connection.execute(query)).mappings().one_or_none()
        if row is not None and row["stale"]:
            used = update(admin_tokens).where(admin_tokens.c.id == row["id"], stale).values(last_used_at=func.now())
            await connection.execute(used)
    if row is None:
        return None
    return Actor(row["name"], row["id"], frozenset(row["scopes"]), row["expires_at"])


def _columns() -> list[Any]:
    return [c for c in admin_tokens.c if c.name != "digest"]


def _token(row: Mapping[Any, Any]) -> AdminToken:
    return AdminToken(**row)


async def create_token(
    connection: AsyncConnection, name: str, scopes: Sequence[str] = (ADMIN,), expires_at: datetime | None = None
) -> tuple[AdminToken, str]:
    """Returns the row and the token itself."""
    secret = new_admin_token()
    values = {"name": name, "digest": digest_of(secret), "scopes": list(scopes), "expires_at": expires_at}
    query = insert(admin_tokens).values(**values).returning(*_columns())
    return _token((await connection.execute(query)).mappings().one()), secret


async def has_token(connection: AsyncConnection) -> bool:
    """Whether there is any, dead ones included: only the very first start makes one unasked."""
    return (await connection.execute(select(admin_tokens.c.id).limit(1))).first() is not None


async def list_tokens(connection: AsyncConnection, *, after: int, limit: int) -> list[AdminToken]:
    """In id order, with ids above `after`, dead ones included."""
    query = select(*_columns()).where(admin_tokens.c.id > after).order_by(admin_tokens.c.id).limit(limit)
    return [_token(row) for row in (await connection.execute(query)).mappings()]


async def get_token(connection: AsyncConnection, token_id: int, *, lock: bool = False) -> AdminToken:
    """`lock`: until the transaction ends nobody else changes it. Raises GatewayError 404."""
    query = select(*_columns()).where(admin_tokens.c.id == token_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).mappings().one_or_none()
    if row is None:
        raise GatewayError(Kind.NOT_FOUND, "admin_token_not_found", f"There is no admin token {token_id}.")
    return _token(row)


async def is_live(connection: AsyncConnection, token_id: int) -> bool:
    """Whether it is neither expired nor revoked; until the transaction ends nobody revokes it. One that this very
    transaction revokes still is: `now()` is when it began.
    """
    query = select(admin_tokens.c.id).where(
        admin_tokens.c.id == token_id,
        or_(admin_tokens.c.revoked_at.is_(None), admin_tokens.c.revoked_at == func.now()),
        or_(admin_tokens.c.expires_at.is_(None), admin_tokens.c.expires_at > func.clock_timestamp()),
    )
    return (await connection.execute(query.with_for_update(read=True))).first() is not None


async def revoke_token(connection: AsyncConnection, token_id: int) -> AdminToken:
    """Its row stays, dead. Revoking twice is revoking once. Raises GatewayError 404."""
    query = (
        update(admin_tokens)
        .where(admin_tokens.c.id == token_id, admin_tokens.c.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )
    await connection.execute(query)
    return await get_token(connection, token_id)
