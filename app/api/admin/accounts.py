"""`/admin/v1/accounts`: accounts, and the grants that their money comes from."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accounts import store
from app.accounts.store import Account
from app.api.admin.guard import CONFLICT, NOT_FOUND, admin_router
from app.api.admin.paging import Page, PageQuery, page_of, read_id_cursor
from app.api.admin.shapes import (
    Dollars,
    Email,
    Flag,
    Name,
    PathId,
    Ratio,
    Shape,
    SignedAmount,
    Text,
    absent,
    write_ratio,
)
from app.api.context import ConnectionDep
from app.core.money import write_amount
from app.ledger import wallets
from app.ledger.issue import issue_account
from app.ledger.wallets import Grant, Wallet

router = admin_router("/accounts", "accounts")

Role = Literal["user", "admin"]


class NewAccount(Shape):
    """A customer or a team: whoever has a balance."""

    name: Name
    email: Email | None = None
    role: Role = "user"
    price_ratio: Ratio = Field(Decimal(1))
    enabled: Flag = True

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Research", "email": "ai@example.com", "price_ratio": "0.9"}]}
    )


class AccountChanges(Shape):
    """What is given is changed; `email: null` clears it."""

    name: Name = absent()
    email: Email | None = absent()
    role: Role = absent()
    price_ratio: Ratio = absent()
    enabled: Flag = absent()

    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": False}]})


class AccountBody(Shape):
    """An account and its money: granted = balance + held + charged."""

    id: int
    name: str
    email: str | None
    role: Role
    price_ratio: str
    enabled: bool
    created_at: datetime
    balance: Dollars
    held: Dollars
    charged: Dollars
    granted: Dollars

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    "name": "Research",
                    "email": "ai@example.com",
                    "role": "user",
                    "price_ratio": "0.9",
                    "enabled": True,
                    "created_at": "2030-01-31T12:00:00Z",
                    "balance": "4.25",
                    "held": "0.25",
                    "charged": "0.5",
                    "granted": "5",
                }
            ]
        }
    )


class NewGrant(Shape):
    """A top-up, or below zero a correction that never reaches into what is held or spent."""

    amount: SignedAmount
    note: Text | None = None
    idempotency_key: Name | None = Field(None, description="The same one counts once, and answers the first grant")

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"amount": "5", "note": "Invoice 17", "idempotency_key": "invoice-17"}]}
    )


class GrantBody(Shape):
    """One top-up or correction."""

    id: int
    account_id: int
    amount: Dollars
    note: str | None
    idempotency_key: str | None
    created_at: datetime

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    "account_id": 1,
                    "amount": "5",
                    "note": "Invoice 17",
                    "idempotency_key": "invoice-17",
                    "created_at": "2030-01-31T12:00:00Z",
                }
            ]
        }
    )


@router.post("", status_code=201, summary="Create an account")
async def create_account(body: NewAccount, connection: ConnectionDep) -> AccountBody:
    """Starts with nothing: top it up with a grant, and give it keys."""
    account = await issue_account(connection, body.model_dump())
    return await _with_money(connection, account)


@router.get("", summary="List accounts")
async def list_accounts(query: Annotated[PageQuery, Query()], connection: ConnectionDep) -> Page[AccountBody]:
    """In the order in which they were made."""
    after = read_id_cursor(query.cursor) or 0
    found = await store.list_accounts(connection, after=after, limit=query.limit + 1)
    money = await wallets.account_wallets(connection, [account.id for account in found])
    return page_of(found, query.limit, lambda account: _write(account, money[account.id]), lambda account: account.id)


@router.get("/{account_id}", summary="Get an account", responses=NOT_FOUND)
async def get_account(account_id: PathId, connection: ConnectionDep) -> AccountBody:
    """The account with what it was granted, what is left, what open requests hold and what was charged."""
    return await _with_money(connection, await store.get_account(connection, account_id))


@router.patch("/{account_id}", summary="Change an account", responses=NOT_FOUND)
async def change_account(account_id: PathId, body: AccountChanges, connection: ConnectionDep) -> AccountBody:
    """Changes the fields that are given, never its money. A disabled account's keys are refused within a second."""
    account = await store.update_account(connection, account_id, body.model_dump(exclude_unset=True))
    return await _with_money(connection, account)


@router.delete("/{account_id}", status_code=204, summary="Delete an account", responses=NOT_FOUND)
async def delete_account(account_id: PathId, connection: ConnectionDep) -> None:
    """Its keys die within a second; its entries stay. Requests that are open are still settled."""
    await store.delete_account(connection, account_id)


@router.post("/{account_id}/grants", status_code=201, summary="Grant money", responses={**NOT_FOUND, **CONFLICT})
async def add_grant(account_id: PathId, body: NewGrant, connection: ConnectionDep) -> GrantBody:
    """Adds to what the account may spend. A correction above the balance is refused; so is an idempotency key that was
    used for another amount (409).
    """
    await store.get_account(connection, account_id)
    values: dict[str, Any] = {"note": body.note, "idempotency_key": body.idempotency_key}
    return _write_grant(await wallets.add_grant(connection, account_id, body.amount, **values))


@router.get("/{account_id}/grants", summary="List grants", responses=NOT_FOUND)
async def list_grants(
    account_id: PathId, query: Annotated[PageQuery, Query()], connection: ConnectionDep
) -> Page[GrantBody]:
    """The newest first."""
    before = read_id_cursor(query.cursor)
    await store.get_account(connection, account_id)
    found = await wallets.list_grants(connection, account_id, before=before, limit=query.limit + 1)
    return page_of(found, query.limit, _write_grant, lambda grant: grant.id)


async def _with_money(connection: AsyncConnection, account: Account) -> AccountBody:
    return _write(account, (await wallets.account_wallets(connection, [account.id]))[account.id])


def _write(account: Account, wallet: Wallet) -> AccountBody:
    assert wallet.balance is not None
    assert wallet.granted is not None
    return AccountBody(
        id=account.id,
        name=account.name,
        email=account.email,
        role="admin" if account.role == "admin" else "user",
        price_ratio=write_ratio(account.price_ratio),
        enabled=account.enabled,
        created_at=account.created_at,
        balance=write_amount(wallet.balance),
        held=write_amount(wallet.held),
        charged=write_amount(wallet.charged),
        granted=write_amount(wallet.granted),
    )


def _write_grant(grant: Grant) -> GrantBody:
    return GrantBody(
        id=grant.id,
        account_id=grant.account_id,
        amount=write_amount(grant.amount),
        note=grant.note,
        idempotency_key=grant.idempotency_key,
        created_at=grant.created_at,
    )
