"""Money from the operator's side: top-ups and corrections, key quotas, and what accounts and keys have left."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.money import MAX_NANO, write_amount
from app.db.tables.ledger import account_balances, grants, key_balances
from app.errors import GatewayError, Kind


@dataclass(frozen=True, slots=True)
class Wallet:
    """Nano-dollars; granted = balance + held + charged. `granted` and `balance` are None for a key without a quota."""

    granted: int | None
    balance: int | None
    held: int
    charged: int

    def amounts(self) -> dict[str, str | None]:
        """As decimal strings in dollars."""
        return {
            "granted": None if self.granted is None else write_amount(self.granted),
            "balance": None if self.balance is None else write_amount(self.balance),
            "held": write_amount(self.held),
            "charged": write_amount(self.charged),
        }


@dataclass(frozen=True, slots=True)
class Grant:
    """One top-up or correction of an account."""

    id: int
    account_id: int
    amount: int
    note: str | None
    idempotency_key: str | None
    created_at: datetime


async def open_account(connection: AsyncConnection, account_id: int) -> None:
    """Gives a new account its counters, at zero."""
    await connection.execute(insert(account_balances).values(account_id=account_id))


async def open_key(connection: AsyncConnection, account_id: int, key_id: int, quota: int | None) -> None:
    """Gives a new key its counters; `quota` None means bounded by the account alone."""
    await connection.execute(
        insert(key_balances).values(account_id=account_id, key_id=key_id, granted=quota, balance=quota)
    )


async def set_quota(connection: AsyncConnection, account_id: int, key_id: int, quota: int | None) -> None:
    """Changes what a key may spend in all. What it holds and was charged is never touched, only what is left."""
    await lock_account(connection, account_id)
    counters = key_balances.c
    await connection.execute(
        update(key_balances)
        .where(counters.account_id == account_id, counters.key_id == key_id)
        .values(granted=quota, balance=None if quota is None else quota - counters.held - counters.charged)
    )


async def add_grant(
    connection: AsyncConnection,
    account_id: int,
    amount: int,
    *,
    note: str | None = None,
    idempotency_key: str | None = None,
) -> Grant:
    """Books a top-up, or a correction below zero that never reaches into what is held or spent.

    The same idempotency key counts once and returns the first grant. Raises GatewayError: 409 when that grant had another
    amount, 400 when a correction exceeds the balance or a total leaves the range.
    """
    wallet = await lock_account(connection, account_id)
    if idempotency_key is not None:
        earlier = await _find_grant(connection, account_id, idempotency_key)
        if earlier is not None:
            if earlier.amount != amount:
                raise GatewayError(
                    Kind.CONFLICT,
                    "idempotency_conflict",
                    "This idempotency key was used for another amount.",
                    param="idempotency_key",
                )
            return earlier
    assert wallet.balance is not None
    assert wallet.granted is not None
    if wallet.balance + amount < 0:
        raise GatewayError(
            Kind.INVALID,
            "balance_too_low",
            f"The correction exceeds the balance of {write_amount(wallet.balance)}.",
            param="amount",
        )
    if wallet.granted + amount > MAX_NANO:
        raise GatewayError(Kind.INVALID, "amount_out_of_range", "The account would exceed the range.", param="amount")
    values = {"account_id": account_id, "amount": amount, "note": note, "idempotency_key": idempotency_key}
    row = (await connection.execute(insert(grants).values(values).returning(grants))).mappings().one()
    await connection.execute(
        update(account_balances)
        .where(account_balances.c.account_id == account_id)
        .values(granted=account_balances.c.granted + amount, balance=account_balances.c.balance + amount)
    )
    return Grant(**row)


async def list_grants(connection: AsyncConnection, account_id: int, *, before: int | None, limit: int) -> list[Grant]:
    """Newest first, with ids below `before`."""
    query = select(grants).where(grants.c.account_id == account_id).order_by(grants.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(grants.c.id < before)
    return [Grant(**row) for row in (await connection.execute(query)).mappings()]


async def account_wallets(connection: AsyncConnection, account_ids: Collection[int]) -> Mapping[int, Wallet]:
    """The counters of the accounts that exist."""
    counters = account_balances.c
    rows = await connection.execute(select(account_balances).where(counters.account_id.in_(account_ids)))
    return {row["account_id"]: _wallet(row) for row in rows.mappings()}


async def key_wallets(connection: AsyncConnection, key_ids: Collection[int]) -> Mapping[int, Wallet]:
    """The counters of the keys that exist."""
    rows = await connection.execute(select(key_balances).where(key_balances.c.key_id.in_(key_ids)))
    return {row["key_id"]: _wallet(row) for row in rows.mappings()}


async def lock_account(connection: AsyncConnection, account_id: int) -> Wallet:
    """Its counters, which nobody else moves until the transaction ends. Raises GatewayError 404."""
    query = select(account_balances).where(account_balances.c.account_id == account_id).with_for_update(key_share=True)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise GatewayError(Kind.NOT_FOUND, "account_not_found", f"There is no account {account_id}.")
    return _wallet(row)


async def _find_grant(connection: AsyncConnection, account_id: int, idempotency_key: str) -> Grant | None:
    query = select(grants).where(grants.c.account_id == account_id, grants.c.idempotency_key == idempotency_key)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else Grant(**row)


def _wallet(row: Mapping[Any, Any]) -> Wallet:
    return Wallet(granted=row["granted"], balance=row["balance"], held=row["held"], charged=row["charged"])
