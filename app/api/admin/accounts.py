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
from app.api.admin.guard import CONFLICT, NOT_FOUND, ActorDep, admin_router
from app.api.admin.limits import LIMITS_EXAMPLE, LimitBody, LimitChanges, LimitFields, read_limits, write_limits
from app.api.admin.notify import (
    NOTIFY_EXAMPLE,
    NotifyBody,
    NotifyChanges,
    check_notify,
    save_notify,
    write_notify,
)
from app.api.admin.paging import Page, PageQuery, page_of, read_id_cursor
from app.api.admin.record import record, replaced, with_secrets
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
from app.api.context import ConnectionDep, ServicesDep
from app.core.money import write_amount
from app.ledger import wallets
from app.ledger.issue import issue_account
from app.ledger.limits import NO_LIMITS, Limits, account_limits, set_limits
from app.ledger.wallets import Grant, Wallet
from app.webhooks.store import Webhook, find_webhooks

router = admin_router("/accounts", "accounts", "accounts")

Role = Literal["user", "admin"]


class NewAccount(LimitFields):
    """A customer or a team: whoever has a balance."""

    name: Name
    email: Email | None = None
    role: Role = "user"
    price_ratio: Ratio = Field(Decimal(1))
    enabled: Flag = True
    notify: NotifyChanges | None = Field(
        None, exclude=True, description="A webhook that is told when the quota runs low"
    )

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Research", "email": "ai@example.com", "price_ratio": "0.9"}]}
    )


class AccountChanges(LimitChanges):
    """What is given is changed; `email: null` clears it, `notify: null` removes the webhook."""

    name: Name = absent()
    email: Email | None = absent()
    role: Role = absent()
    price_ratio: Ratio = absent()
    enabled: Flag = absent()
    notify: NotifyChanges | None = Field(None, exclude=True)

    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": False}]})


class AccountBody(LimitBody):
    """An account and its money: granted = balance + held + charged."""

    id: int
    name: str
    email: str | None
    role: Role
    price_ratio: str
    enabled: bool
    created_at: datetime
    notify: NotifyBody | None
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
                    "notify": NOTIFY_EXAMPLE,
                    **LIMITS_EXAMPLE,
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
async def create_account(body: NewAccount, services: ServicesDep, actor: ActorDep) -> AccountBody:
    """Starts with nothing: top it up with a grant, and give it keys."""
    await check_notify(services.egress, body.notify)
    async with services.database.engine.begin() as connection:
        account = await issue_account(connection, body.model_dump())
        await set_limits(connection, account.id, read_limits(body))
        if body.notify is not None:
            await save_notify(connection, services, account.id, body.notify)
        shown = await show_account(connection, account)
        await record(connection, actor, "accounts.create", account.id, None, shown)
        return shown


@router.get("", summary="List accounts")
async def list_accounts(query: Annotated[PageQuery, Query()], connection: ConnectionDep) -> Page[AccountBody]:
    """In the order in which they were made."""
    after = read_id_cursor(query.cursor) or 0
    found = await store.list_accounts(connection, after=after, limit=query.limit + 1)
    ids = [account.id for account in found]
    money = await wallets.account_wallets(connection, ids)
    webhooks = await find_webhooks(connection, ids)
    limits = await account_limits(connection, ids)
    return page_of(
        found,
        query.limit,
        lambda account: _write(account, money[account.id], webhooks.get(account.id), limits.get(account.id, NO_LIMITS)),
        lambda account: account.id,
    )


@router.get("/{account_id}", summary="Get an account", responses=NOT_FOUND)
async def get_account(account_id: PathId, connection: ConnectionDep) -> AccountBody:
    """The account with what it was granted, what is left, what open requests hold and what was charged."""
    return await show_account(connection, await store.get_account(connection, account_id))


@router.patch("/{account_id}", summary="Change an account", responses=NOT_FOUND)
async def change_account(
    account_id: PathId, body: AccountChanges, services: ServicesDep, actor: ActorDep
) -> AccountBody:
    """Changes the fields that are given, never its money. A disabled account's keys are refused within a second."""
    await check_notify(services.egress, body.notify)
    async with services.database.engine.begin() as connection:
        before = await show_account(connection, await store.get_account(connection, account_id))
        if "notify" in body.model_fields_set:
            # Before the account's row: whoever moves money locks the counters first.
            await save_notify(connection, services, account_id, body.notify)
        await set_limits(connection, account_id, read_limits(body))
        account = await store.update_account(connection, account_id, body.model_dump(exclude_unset=True))
        after = await show_account(connection, account)
        secrets = _secrets_in(body.notify)
        shown = with_secrets(before, secrets), with_secrets(after, secrets)
        await record(connection, actor, "accounts.update", account_id, *shown)
        return after


@router.delete("/{account_id}", status_code=204, summary="Delete an account", responses=NOT_FOUND)
async def delete_account(account_id: PathId, connection: ConnectionDep, actor: ActorDep) -> None:
    """Its keys die within a second; its entries stay. Requests that are open are still settled."""
    before = await show_account(connection, await store.get_account(connection, account_id))
    await store.delete_account(connection, account_id)
    await record(connection, actor, "accounts.delete", account_id, before)


@router.post("/{account_id}/grants", status_code=201, summary="Grant money", responses={**NOT_FOUND, **CONFLICT})
async def add_grant(account_id: PathId, body: NewGrant, connection: ConnectionDep, actor: ActorDep) -> GrantBody:
    """Adds to what the account may spend. A correction above the balance is refused; so is an idempotency key that was
    used for another amount (409).
    """
    await store.get_account(connection, account_id)
    values: dict[str, Any] = {"note": body.note, "idempotency_key": body.idempotency_key}
    grant = write_grant(await wallets.add_grant(connection, account_id, body.amount, **values))
    await record(connection, actor, "accounts.grant", account_id, None, grant)
    return grant


@router.get("/{account_id}/grants", summary="List grants", responses=NOT_FOUND)
async def list_grants(
    account_id: PathId, query: Annotated[PageQuery, Query()], connection: ConnectionDep
) -> Page[GrantBody]:
    """The newest first."""
    before = read_id_cursor(query.cursor)
    await store.get_account(connection, account_id)
    found = await wallets.list_grants(connection, account_id, before=before, limit=query.limit + 1)
    return page_of(found, query.limit, write_grant, lambda grant: grant.id)


def _secrets_in(notify: NotifyChanges | None) -> dict[str, str]:
    given = notify is not None and "webhook_secret" in notify.model_fields_set
    return replaced("webhook_secret") if given else {}


async def show_account(connection: AsyncConnection, account: Account) -> AccountBody:
    """With its money, its limits and its webhook."""
    wallet = (await wallets.account_wallets(connection, [account.id]))[account.id]
    webhook = (await find_webhooks(connection, [account.id])).get(account.id)
    limits = (await account_limits(connection, [account.id])).get(account.id, NO_LIMITS)
    return _write(account, wallet, webhook, limits)


def _write(account: Account, wallet: Wallet, webhook: Webhook | None, limits: Limits) -> AccountBody:
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
        notify=write_notify(webhook),
        **write_limits(limits),
        balance=write_amount(wallet.balance),
        held=write_amount(wallet.held),
        charged=write_amount(wallet.charged),
        granted=write_amount(wallet.granted),
    )


def write_grant(grant: Grant) -> GrantBody:
    """As it is answered."""
    return GrantBody(
        id=grant.id,
        account_id=grant.account_id,
        amount=write_amount(grant.amount),
        note=grant.note,
        idempotency_key=grant.idempotency_key,
        created_at=grant.created_at,
    )
