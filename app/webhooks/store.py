"""Where an account is told that its quota runs low: set, changed, looked up, removed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalog.vault import Vault
from app.db.tables.ledger import account_balances
from app.db.tables.webhooks import webhooks
from app.errors import GatewayError
from app.ledger.wallets import lock_account

OVERLAP_HOURS = 24
"""For how long a replaced secret goes on signing, where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """An account's webhook without its secrets. `thresholds` are nano-dollars, the highest first."""

    account_id: int
    url: str
    thresholds: tuple[int, ...]
    previous_until: datetime | None


class WebhookIncomplete(ValueError):
    """A webhook was begun without all that it needs; `field` is what is missing."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


@dataclass(frozen=True, slots=True)
class Changes:
    """What to set; None leaves it as it is. A new secret's predecessor goes on signing for `overlap_hours`."""

    url: str | None = None
    secret: str | None = None
    thresholds: Sequence[int] | None = None
    overlap_hours: int = OVERLAP_HOURS


async def find_webhooks(connection: AsyncConnection, account_ids: Collection[int]) -> Mapping[int, Webhook]:
    """The webhooks of those accounts that have one."""
    columns = webhooks.c
    # A previous secret whose time is over is as good as none.
    until = text("CASE WHEN previous_until > now() THEN previous_until END AS previous_until")
    query = select(columns.account_id, columns.url, columns.thresholds, until).where(
        columns.account_id.in_(account_ids)
    )
    return {
        row.account_id: Webhook(
            row.account_id, row.url, tuple(sorted(row.thresholds, reverse=True)), row.previous_until
        )
        for row in await connection.execute(query)
    }


async def set_webhook(connection: AsyncConnection, vault: Vault, account_id: int, changes: Changes) -> None:
    """Sets or changes an account's webhook, and from which amount on the next charge is told.

    A threshold above what remains doesn't tell anything now: a top-up above it arms it. Raises WebhookIncomplete where
    there is no webhook yet and a part is missing; GatewayError 404 for an account that isn't there.
    """
    await lock_account(connection, account_id)
    query = select(webhooks).where(webhooks.c.account_id == account_id)
    before = (await connection.execute(query)).one_or_none()
    values: dict[str, Any] = {"updated_at": func.now()}
    if changes.url is not None:
        values["url"] = changes.url
    if changes.thresholds is not None:
        values["thresholds"] = sorted(set(changes.thresholds), reverse=True)
    if changes.secret is not None:
        values |= replace_secret(
            vault, None if before is None else before.secret, changes.secret, changes.overlap_hours
        )
    if before is None:
        for column, field in (("url", "webhook_url"), ("secret", "webhook_secret"), ("thresholds", "threshold")):
            if column not in values:
                raise WebhookIncomplete(field)
        await connection.execute(insert(webhooks).values(account_id=account_id, **values))
    else:
        await connection.execute(update(webhooks).where(webhooks.c.account_id == account_id).values(values))
    await _arm(connection, account_id)


async def remove_webhook(connection: AsyncConnection, account_id: int) -> None:
    """From here on nothing is told; deliveries that are still due fail. Raises GatewayError 404."""
    await lock_account(connection, account_id)
    await connection.execute(delete(webhooks).where(webhooks.c.account_id == account_id))
    await _arm(connection, account_id)


async def _arm(connection: AsyncConnection, account_id: int) -> None:
    """Under the account's lock: without thresholds `next_alert` is NULL, which is watched for by nobody."""
    counters = account_balances.c
    remaining = func.next_alert(counters.account_id, counters.balance + counters.held)
    await connection.execute(
        update(account_balances).where(counters.account_id == account_id).values(alert_below=remaining)
    )


def replace_secret(vault: Vault, old: bytes | None, secret: str, overlap_hours: int = OVERLAP_HOURS) -> dict[str, Any]:
    """The columns that change; none where it is the secret already, or repeating a call would end the overlap.

    `old` is encrypted; None: there was none.
    """
    current = None if old is None else _read(vault, old)
    if current == secret:
        return {}
    if current is None or overlap_hours == 0:
        return {"secret": vault.encrypt(secret), "previous_secret": None, "previous_until": None}
    until = func.now() + func.make_interval(0, 0, 0, 0, overlap_hours)
    return {"secret": vault.encrypt(secret), "previous_secret": old, "previous_until": until}


def _read(vault: Vault, secret: bytes) -> str | None:
    """None for one that was encrypted with a key that is gone: it can't go on signing, and whatever replaces it is new."""
    try:
        return vault.decrypt(secret)
    except GatewayError:
        return None
