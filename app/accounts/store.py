"""Rows of accounts and keys: made, listed, changed, marked deleted. Counters are the ledger's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accounts.secrets import digest_of, hint_of, new_key
from app.db.tables.accounts import accounts, keys
from app.errors import GatewayError, Kind


@dataclass(frozen=True, slots=True)
class Account:
    """A customer, or a team: whoever has a balance."""

    id: int
    name: str
    email: str | None
    role: str
    price_ratio: Decimal
    enabled: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key; the key itself is shown once and never stored."""

    id: int
    account_id: int
    name: str
    hint: str
    enabled: bool
    expires_at: datetime | None
    models: list[str] | None
    ips: list[str] | None
    created_at: datetime


def _account_columns() -> list[Any]:
    return [c for c in accounts.c if c.name != "deleted_at"]


def _key_columns() -> list[Any]:
    return [c for c in keys.c if c.name not in ("deleted_at", "digest")]


def _key(row: Mapping[Any, Any]) -> Key:
    values = dict(row)
    values["ips"] = None if values["ips"] is None else [str(network) for network in values["ips"]]
    return Key(**values)


async def create_account(connection: AsyncConnection, values: Mapping[str, Any]) -> Account:
    """`values`: name, and any of email, role, price_ratio, enabled."""
    query = insert(accounts).values(**values).returning(*_account_columns())
    return Account(**(await connection.execute(query)).mappings().one())


async def get_account(connection: AsyncConnection, account_id: int) -> Account:
    """Raises GatewayError 404."""
    query = select(*_account_columns()).where(accounts.c.id == account_id, accounts.c.deleted_at.is_(None))
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise _no_account(account_id)
    return Account(**row)


async def find_account(connection: AsyncConnection, name: str) -> Account | None:
    """The oldest living account of that name."""
    query = select(*_account_columns()).where(accounts.c.name == name, accounts.c.deleted_at.is_(None))
    row = (await connection.execute(query.order_by(accounts.c.id).limit(1))).mappings().one_or_none()
    return None if row is None else Account(**row)


async def list_accounts(connection: AsyncConnection, *, after: int, limit: int) -> list[Account]:
    """In id order, with ids above `after`."""
    query = (
        select(*_account_columns())
        .where(accounts.c.id > after, accounts.c.deleted_at.is_(None))
        .order_by(accounts.c.id)
        .limit(limit)
    )
    return [Account(**row) for row in (await connection.execute(query)).mappings()]


async def update_account(connection: AsyncConnection, account_id: int, values: Mapping[str, Any]) -> Account:
    """Changes what is in `values`, no counter among it. Raises GatewayError 404."""
    if not values:
        return await get_account(connection, account_id)
    query = (
        update(accounts)
        .where(accounts.c.id == account_id, accounts.c.deleted_at.is_(None))
        .values(**values)
        .returning(*_account_columns())
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise _no_account(account_id)
    return Account(**row)


async def delete_account(connection: AsyncConnection, account_id: int) -> None:
    """Marks it deleted: its keys die at once, its entries stay. Raises GatewayError 404."""
    await update_account(connection, account_id, {"deleted_at": func.now()})
    await connection.execute(
        update(keys).where(keys.c.account_id == account_id, keys.c.deleted_at.is_(None)).values(deleted_at=func.now())
    )


async def create_key(connection: AsyncConnection, values: Mapping[str, Any]) -> tuple[Key, str]:
    """`values`: account_id, name, and any of enabled, expires_at, models, ips. Returns the row and the key itself."""
    await get_account(connection, values["account_id"])
    secret = new_key()
    query = insert(keys).values(**values, digest=digest_of(secret), hint=hint_of(secret)).returning(*_key_columns())
    return _key((await connection.execute(query)).mappings().one()), secret


async def get_key(connection: AsyncConnection, key_id: int) -> Key:
    """Raises GatewayError 404."""
    query = select(*_key_columns()).where(keys.c.id == key_id, keys.c.deleted_at.is_(None))
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise _no_key(key_id)
    return _key(row)


async def has_key(connection: AsyncConnection, secret: str) -> bool:
    """Whether this is a living key."""
    query = select(keys.c.id).where(keys.c.digest == digest_of(secret), keys.c.deleted_at.is_(None))
    return (await connection.execute(query)).first() is not None


async def list_keys(connection: AsyncConnection, *, account_id: int | None, after: int, limit: int) -> list[Key]:
    """In id order, with ids above `after`; of one account, or of all."""
    query = select(*_key_columns()).where(keys.c.id > after, keys.c.deleted_at.is_(None))
    if account_id is not None:
        query = query.where(keys.c.account_id == account_id)
    rows = await connection.execute(query.order_by(keys.c.id).limit(limit))
    return [_key(row) for row in rows.mappings()]


async def update_key(connection: AsyncConnection, key_id: int, values: Mapping[str, Any]) -> Key:
    """Changes what is in `values`. Raises GatewayError 404."""
    if not values:
        return await get_key(connection, key_id)
    query = (
        update(keys).where(keys.c.id == key_id, keys.c.deleted_at.is_(None)).values(**values).returning(*_key_columns())
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise _no_key(key_id)
    return _key(row)


async def rotate_key(connection: AsyncConnection, key_id: int) -> tuple[Key, str]:
    """A new secret for the same key; the old one dies with the transaction. Raises GatewayError 404."""
    secret = new_key()
    return await update_key(connection, key_id, {"digest": digest_of(secret), "hint": hint_of(secret)}), secret


async def delete_key(connection: AsyncConnection, key_id: int) -> None:
    """Marks it deleted; its entries and counters stay. Raises GatewayError 404."""
    await update_key(connection, key_id, {"deleted_at": func.now()})


def _no_account(account_id: int) -> GatewayError:
    return GatewayError(Kind.NOT_FOUND, "account_not_found", f"There is no account {account_id}.")


def _no_key(key_id: int) -> GatewayError:
    return GatewayError(Kind.NOT_FOUND, "key_not_found", f"There is no key {key_id}.")
