"""What signs an account's callbacks: a secret that is made when it is first needed, shown to its holder, and replaced."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalog.vault import Vault
from app.db.tables.webhooks import callback_secrets
from app.errors import Blame, GatewayError, Kind
from app.webhooks.sign import PREFIX
from app.webhooks.store import replace_secret

SECRET_BYTES = 32
"""Standard Webhooks, "Signature scheme": between 24 and 64."""


@dataclass(frozen=True, slots=True)
class CallbackSecret:
    """An account's callback secret as its holder may see it. Until `previous_until` the one before it signs too."""

    secret: str
    created_at: datetime
    previous_until: datetime | None


_COLUMNS = (
    callback_secrets.c.secret,
    callback_secrets.c.created_at,
    # A previous secret whose time is over is as good as none.
    text("CASE WHEN previous_until > now() THEN previous_until END AS previous_until"),
)


async def get_callback_secret(connection: AsyncConnection, vault: Vault, account_id: int) -> CallbackSecret:
    """Makes it where there is none yet. Raises GatewayError 500 for one that can't be decrypted any more."""
    await make_callback_secrets(connection, vault, [account_id])
    query = select(*_COLUMNS).where(callback_secrets.c.account_id == account_id)
    row = (await connection.execute(query)).one()
    try:
        secret = vault.decrypt(row.secret)
    except GatewayError as error:
        message = (
            "The callback secret can't be decrypted: RELAYGATE_SECRET_KEY has changed. Rotate it to get a new one."
        )
        raise GatewayError(Kind.INTERNAL, error.code, message, blame=Blame.GATEWAY) from error
    return CallbackSecret(secret, row.created_at, row.previous_until)


async def rotate_callback_secret(connection: AsyncConnection, vault: Vault, account_id: int) -> CallbackSecret:
    """A new one; the one before goes on signing for a day, if there is one that can still be read."""
    await make_callback_secrets(connection, vault, [account_id])
    mine = callback_secrets.c.account_id == account_id
    old = (await connection.execute(select(callback_secrets.c.secret).where(mine).with_for_update())).scalar_one()
    secret = _new_secret()
    changed = (
        update(callback_secrets).where(mine).values(**replace_secret(vault, old, secret), created_at=text("now()"))
    )
    row = (await connection.execute(changed.returning(*_COLUMNS))).one()
    return CallbackSecret(secret, row.created_at, row.previous_until)


async def make_callback_secrets(
    connection: AsyncConnection, vault: Vault, account_ids: Collection[int]
) -> Mapping[int, bytes]:
    """The encrypted secrets of these accounts; those that have none yet get one."""
    # In one order everywhere, so that two workers that make the same ones wait for each other one way only.
    made = [{"account_id": account, "secret": vault.encrypt(_new_secret())} for account in sorted(set(account_ids))]
    if not made:
        return {}
    await connection.execute(insert(callback_secrets).values(made).on_conflict_do_nothing())
    columns = callback_secrets.c
    query = select(columns.account_id, columns.secret).where(
        columns.account_id.in_([row["account_id"] for row in made])
    )
    return {row.account_id: row.secret for row in await connection.execute(query)}


def _new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
