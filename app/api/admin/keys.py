"""`/admin/v1/keys`: the keys that clients call with, and what each may do."""

from __future__ import annotations

from datetime import datetime
from ipaddress import ip_network
from typing import Annotated, Any

from fastapi import Query
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accounts import store
from app.accounts.store import Key
from app.api.admin.guard import NOT_FOUND, ActorDep, admin_router
from app.api.admin.limits import LIMITS_EXAMPLE, LimitBody, LimitChanges, LimitFields, read_limits, write_limits
from app.api.admin.paging import Page, PageQuery, page_of, read_id_cursor
from app.api.admin.record import record
from app.api.admin.shapes import (
    MAX_ITEMS,
    Amount,
    Dollars,
    Flag,
    Id,
    Moment,
    Name,
    PathId,
    Pattern,
    QueryId,
    absent,
    refuse,
)
from app.api.context import ConnectionDep
from app.core.money import write_amount
from app.ledger import wallets
from app.ledger.issue import issue_key
from app.ledger.limits import NO_LIMITS, Limits, key_limits, set_limits
from app.ledger.wallets import Wallet

router = admin_router("/keys", "keys", "accounts")

MAX_NETWORK = 43
"""Characters of the longest IPv6 network."""


def _read_network(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_NETWORK or "%" in value:
        refuse('must be an IP address or a CIDR such as "10.0.0.0/8"')
    try:
        return str(ip_network(value))
    except ValueError as error:
        refuse(str(error))


Network = Annotated[
    str, BeforeValidator(_read_network), WithJsonSchema({"type": "string", "examples": ["10.0.0.0/8", "203.0.113.7"]})
]
Models = Annotated[
    list[Pattern] | None,
    Field(
        max_length=MAX_ITEMS,
        description="Models or aliases that the key may call, `gpt-*` too. Absent, null or []: all",
    ),
]
Networks = Annotated[
    list[Network] | None,
    Field(max_length=MAX_ITEMS, description="Addresses and CIDRs to call from. Absent, null or []: all"),
]
Quota = Annotated[
    Amount | None, Field(description="What the key may spend in all; null: whatever its account has left")
]
Expiry = Annotated[Moment | None, Field(description="RFC 3339 with an offset; null: never")]


class NewKey(LimitFields):
    """A key of an account."""

    account_id: Id
    name: Name
    quota: Quota = None
    expires_at: Expiry = None
    models: Models = None
    ips: Networks = None
    enabled: Flag = True

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "account_id": 1,
                    "name": "Notebook",
                    "quota": "2.5",
                    "expires_at": "2030-12-31T23:59:59Z",
                    "models": ["demo"],
                    "ips": ["10.0.0.0/8"],
                    "rpm": 60,
                    "budget": {"amount": "25", "period": "month"},
                }
            ]
        }
    )


class KeyChanges(LimitChanges):
    """What is given is changed. `quota: null` makes the key unlimited, `expires_at: null` everlasting."""

    name: Name = absent()
    quota: Quota = absent()
    expires_at: Expiry = absent()
    models: Models = absent()
    ips: Networks = absent()
    enabled: Flag = absent()

    model_config = ConfigDict(json_schema_extra={"examples": [{"quota": "10", "enabled": True}]})


KEY_EXAMPLE: dict[str, Any] = {
    "id": 1,
    "account_id": 1,
    "name": "Notebook",
    "hint": "sk-…9f3Q",
    "enabled": True,
    "expires_at": "2030-12-31T23:59:59Z",
    "models": ["demo"],
    "ips": ["10.0.0.0/8"],
    **LIMITS_EXAMPLE,
    "quota": "2.5",
    "balance": "2.25",
    "held": "0",
    "charged": "0.25",
    "created_at": "2030-01-31T12:00:00Z",
}


class KeyBody(LimitBody):
    """A key without the key: that is shown once, when it is made or rotated. quota = balance + held + charged."""

    id: int
    account_id: int
    name: str
    hint: str = Field(description="The first and last characters, to tell keys apart")
    enabled: bool
    expires_at: datetime | None
    models: list[str] | None = Field(description="null: all")
    ips: list[str] | None = Field(description="null: all")
    quota: Dollars | None
    balance: Dollars | None = Field(description="What is left of the quota; null without one")
    held: Dollars
    charged: Dollars
    created_at: datetime

    model_config = ConfigDict(json_schema_extra={"examples": [KEY_EXAMPLE]})


class IssuedKey(KeyBody):
    """A key that was made just now, shown this once."""

    key: str

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**KEY_EXAMPLE, "key": "sk-0123456789abcdef0123456789abcdef0123456789a"}]}
    )


class KeyQuery(PageQuery):
    """Which keys."""

    account_id: QueryId | None = Field(None, description="Only the keys of this account")


@router.post("", status_code=201, summary="Create a key", responses=NOT_FOUND)
async def create_key(body: NewKey, connection: ConnectionDep, actor: ActorDep) -> IssuedKey:
    """The answer holds the key itself, this once: only its digest is kept."""
    values = _columns(body.model_dump(exclude={"quota"}))
    key, secret = await issue_key(connection, values, body.quota)
    await set_limits(connection, key.account_id, read_limits(body), key_id=key.id)
    shown = await show_key(connection, key)
    await record(connection, actor, "keys.create", key.id, None, shown)
    return IssuedKey(key=secret, **shown.model_dump())


@router.get("", summary="List keys")
async def list_keys(query: Annotated[KeyQuery, Query()], connection: ConnectionDep) -> Page[KeyBody]:
    """In the order in which they were made."""
    after = read_id_cursor(query.cursor) or 0
    found = await store.list_keys(connection, account_id=query.account_id, after=after, limit=query.limit + 1)
    money = await wallets.key_wallets(connection, [key.id for key in found])
    limits = await key_limits(connection, [(key.account_id, key.id) for key in found])
    return page_of(
        found,
        query.limit,
        lambda key: KeyBody(**_write(key, money[key.id], limits.get(key.id, NO_LIMITS))),
        lambda key: key.id,
    )


@router.get("/{key_id}", summary="Get a key", responses=NOT_FOUND)
async def get_key(key_id: PathId, connection: ConnectionDep) -> KeyBody:
    """The key's rules, and what is left of its quota."""
    return await show_key(connection, await store.get_key(connection, key_id))


@router.patch("/{key_id}", summary="Change a key", responses=NOT_FOUND)
async def change_key(key_id: PathId, body: KeyChanges, connection: ConnectionDep, actor: ActorDep) -> KeyBody:
    """Changes the fields that are given; every gateway knows within a second.

    A new quota counts what the key has spent so far: below it, the key is exhausted, and nothing is taken back.
    """
    key = await store.get_key(connection, key_id)
    before = await show_key(connection, key)
    changes = body.model_dump(exclude_unset=True)
    if "quota" in changes:
        await wallets.set_quota(connection, key.account_id, key.id, changes.pop("quota"))
    await set_limits(connection, key.account_id, read_limits(body), key_id=key.id)
    after = await show_key(connection, await store.update_key(connection, key_id, _columns(changes)))
    await record(connection, actor, "keys.update", key_id, before, after)
    return after


@router.delete("/{key_id}", status_code=204, summary="Revoke a key", responses=NOT_FOUND)
async def revoke_key(key_id: PathId, connection: ConnectionDep, actor: ActorDep) -> None:
    """Every gateway refuses it within a second; its entries stay."""
    before = await show_key(connection, await store.get_key(connection, key_id))
    await store.delete_key(connection, key_id)
    await record(connection, actor, "keys.revoke", key_id, before)


@router.post("/{key_id}/rotate", summary="Rotate a key", responses=NOT_FOUND)
async def rotate_key(key_id: PathId, connection: ConnectionDep, actor: ActorDep) -> IssuedKey:
    """A new key with the same rules and counters. The old one is refused within a second."""
    before = await show_key(connection, await store.get_key(connection, key_id))
    key, secret = await store.rotate_key(connection, key_id)
    after = await show_key(connection, key)
    await record(connection, actor, "keys.rotate", key_id, before, after)
    return IssuedKey(key=secret, **after.model_dump())


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    """An empty list restricts nothing, as no list does."""
    return {name: None if name in ("models", "ips") and not value else value for name, value in values.items()}


async def show_key(connection: AsyncConnection, key: Key) -> KeyBody:
    """With its limits, and what is left of its quota."""
    money = await wallets.key_wallets(connection, [key.id])
    limits = await key_limits(connection, [(key.account_id, key.id)])
    return KeyBody(**_write(key, money[key.id], limits.get(key.id, NO_LIMITS)))


def _write(key: Key, wallet: Wallet, limits: Limits) -> dict[str, Any]:
    return {
        "id": key.id,
        "account_id": key.account_id,
        "name": key.name,
        "hint": key.hint,
        "enabled": key.enabled,
        "expires_at": key.expires_at,
        "models": key.models,
        "ips": key.ips,
        **write_limits(limits),
        "quota": None if wallet.granted is None else write_amount(wallet.granted),
        "balance": None if wallet.balance is None else write_amount(wallet.balance),
        "held": write_amount(wallet.held),
        "charged": write_amount(wallet.charged),
        "created_at": key.created_at,
    }
