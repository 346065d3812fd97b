"""Whose an object is, and which channel keeps it: written down before its owner hears of it, so that nobody else ever can."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from app.accounts.principals import Principal
from app.db.engine import DATABASE_ERRORS
from app.db.tables.relay import objects
from app.errors import GatewayError, Kind, unavailable
from app.routing.trip import Pin

MAX_ID = 500


@dataclass(frozen=True, slots=True)
class KeptObject:
    """An object of an account. `body`: as it was seen last; `memo`: what the gateway knows of it beside."""

    id: str
    family: str
    channel_id: int
    channel_key: int
    body: Mapping[str, Any]
    memo: Mapping[str, Any] | None

    @property
    def pin(self) -> Pin:
        return Pin(self.channel_id, self.channel_key)


_FIELDS = ("id", "family", "channel_id", "channel_key", "body", "memo")
_COLUMNS = [objects.c[name] for name in _FIELDS]


class ObjectStore:
    """All calls raise GatewayError `service_unavailable` while there is no database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def remember(
        self,
        principal: Principal,
        family: str,
        pin: Pin,
        body: Mapping[str, Any],
        memo: Mapping[str, Any] | None = None,
    ) -> None:
        """A new object, by the `id` in its body."""
        values = {
            "account_id": principal.account_id,
            "id": body["id"],
            "family": family,
            "key_id": principal.key_id,
            "channel_id": pin.channel_id,
            "channel_key": pin.key,
            "body": dict(body),
            "memo": None if memo is None else dict(memo),
        }
        query = insert(objects).values(values)
        # Its own account's alone can be there already: what an upstream told twice.
        await self._write(
            query.on_conflict_do_update(index_elements=["account_id", "id"], set_={"body": values["body"]})
        )

    async def see(self, account_id: int, body: Mapping[str, Any]) -> None:
        """An object as it looks now; nothing, where it isn't the account's."""
        mine = (objects.c.account_id == account_id) & (objects.c.id == str(body.get("id")))
        await self._write(update(objects).where(mine).values(body=dict(body)))

    async def forget(self, account_id: int, id: str) -> None:
        """Its upstream has deleted it."""
        await self._write(delete(objects).where(objects.c.account_id == account_id, objects.c.id == id))

    async def get(self, account_id: int, family: str, id: str) -> KeptObject:
        """Raises GatewayError 404 for another account's as for one that doesn't exist."""
        found = await self.find(account_id, [id])
        if not found or found[0].family != family:
            raise no_such_object(id)
        return found[0]

    async def find(self, account_id: int, ids: Collection[str]) -> list[KeptObject]:
        """Those of the ids that are the account's."""
        asked = [id for id in ids if 0 < len(id) <= MAX_ID and id.isprintable()]
        if not asked:
            return []
        query = select(*_COLUMNS).where(objects.c.account_id == account_id, objects.c.id.in_(asked))
        return [_read(row) for row in await self._read(query)]

    async def are_others(self, account_id: int, ids: Collection[str]) -> set[str]:
        """Those of the ids that are somebody's, and not this account's."""
        asked = [id for id in ids if 0 < len(id) <= MAX_ID and id.isprintable()]
        if not asked:
            return set()
        rows = await self._read(select(objects.c.id, objects.c.account_id).where(objects.c.id.in_(asked)))
        own = {row["id"] for row in rows if row["account_id"] == account_id}
        return {row["id"] for row in rows} - own

    async def page(
        self, account_id: int, family: str, *, limit: int, after: str | None, ascending: bool, purpose: str | None
    ) -> list[KeptObject]:
        """A page of an account's objects, and one more if there are more. `purpose`: of files, that it was made for.

        Raises GatewayError 404 for an `after` that isn't the account's.
        """
        mine = [objects.c.account_id == account_id, objects.c.family == family]
        if purpose is not None:
            mine.append(objects.c.body["purpose"].astext == purpose)
        place = (objects.c.created_at, objects.c.id)
        if after is not None:
            at = await self._read(select(*place).where(objects.c.account_id == account_id, objects.c.id == after))
            if not at:
                raise no_such_object(after)
            here = tuple_(at[0]["created_at"], at[0]["id"])
            mine.append(tuple_(*place) > here if ascending else tuple_(*place) < here)
        order = [column.asc() if ascending else column.desc() for column in place]
        return [
            _read(row) for row in await self._read(select(*_COLUMNS).where(*mine).order_by(*order).limit(limit + 1))
        ]

    async def _read(self, query: Any) -> Sequence[RowMapping]:
        try:
            async with self._engine.connect() as connection:
                return (await connection.execute(query)).mappings().all()
        except DATABASE_ERRORS as error:
            raise unavailable("The gateway can't reach its database.") from error

    async def _write(self, query: Any) -> None:
        try:
            async with self._engine.begin() as connection:
                await connection.execute(query)
        except DATABASE_ERRORS as error:
            raise unavailable("The gateway can't reach its database.") from error


def _read(row: RowMapping) -> KeptObject:
    return KeptObject(**{name: row[name] for name in _FIELDS})


def no_such_object(id: str) -> GatewayError:
    """The 404 for an object that doesn't exist as for another account's."""
    message = f"There is no '{id[:100]}' of this account's."
    return GatewayError(Kind.NOT_FOUND, "object_not_found", message, param="id")
