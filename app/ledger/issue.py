"""Accounts and keys together with the counters that their money needs; one transaction makes both or neither."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.accounts.store import Account, Key, create_account, create_key
from app.ledger.wallets import add_grant, open_account, open_key


async def issue_account(
    connection: AsyncConnection, values: Mapping[str, Any], grant: int | None = None, *, note: str | None = None
) -> Account:
    """A new account with its counters, and a first top-up of `grant` nano-dollars.

    `values`: name, and any of email, role, price_ratio, enabled. Raises GatewayError 400 for a grant out of range.
    """
    account = await create_account(connection, values)
    await open_account(connection, account.id)
    if grant is not None:
        await add_grant(connection, account.id, grant, note=note)
    return account


async def issue_key(connection: AsyncConnection, values: Mapping[str, Any], quota: int | None) -> tuple[Key, str]:
    """A new key with its counters, and the key itself, which is kept nowhere.

    `values`: account_id, name, and any of enabled, expires_at, models, ips. `quota` is what it may spend in all, in
    nano-dollars; None: whatever the account has. Raises GatewayError 404 for an account that isn't there.
    """
    key, secret = await create_key(connection, values)
    await open_key(connection, key.account_id, key.id, quota)
    return key, secret
