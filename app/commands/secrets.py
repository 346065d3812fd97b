"""`relaygate rotate-secrets`: everything that is encrypted, under the first of the secret keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import typer
from sqlalchemy import Column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accounts.admin_tokens import COMMAND_LINE
from app.api.admin.record import record
from app.catalog.vault import Vault
from app.commands.desk import Desk, at_desk, fail
from app.db.tables.catalog import channels
from app.db.tables.webhooks import callback_secrets, webhooks
from app.errors import GatewayError

ROWS = 200
"""Of one transaction: a moment's work, so that nobody waits long for a row."""


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A column of encrypted values, the key of its table, and what a row of it is."""

    kind: str
    key: Column[Any]
    column: Column[Any]


ENCRYPTED = (
    Encrypted("channel", channels.c.id, channels.c.secret),
    # The previous ones come second: a secret that is replaced meanwhile moves there.
    Encrypted("webhook of account", webhooks.c.account_id, webhooks.c.secret),
    Encrypted("previous webhook secret of account", webhooks.c.account_id, webhooks.c.previous_secret),
    Encrypted("callback secret of account", callback_secrets.c.account_id, callback_secrets.c.secret),
    Encrypted("previous callback secret of account", callback_secrets.c.account_id, callback_secrets.c.previous_secret),
)
"""All there are."""


@dataclass(slots=True)
class Tally:
    """What became of the rows of all columns."""

    renewed: int = 0
    current: int = 0
    overtaken: int = 0
    unreadable: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        return {
            "renewed": self.renewed,
            "current": self.current,
            "overtaken": self.overtaken,
            "unreadable": len(self.unreadable),
        }


def rotate_secrets() -> None:
    """Encrypt all stored secrets anew, with the first key of RELAYGATE_SECRET_KEY. Exit code 1 if one can't be read, or was
    changed by somebody else meanwhile: run it again then.
    """

    async def work(desk: Desk) -> Tally:
        tally = Tally()
        for place in ENCRYPTED:
            await _renew_column(desk, place, tally)
        await record(desk.connection, COMMAND_LINE, "secrets.rotate", None, None, tally.counts())
        return tally

    tally = at_desk(work)
    typer.echo(f"Encrypted anew: {tally.renewed}; under the first key already: {tally.current}")
    for name in tally.unreadable:
        typer.echo(f"Can't be read with any of the keys: {name}")
    if tally.unreadable:
        fail(
            f"{len(tally.unreadable)} secrets can't be read: add the key that they were encrypted with, or set them anew"
        )
    if tally.overtaken:
        fail(f"{tally.overtaken} secrets were changed by somebody else meanwhile: run this once more")


async def _renew_column(desk: Desk, place: Encrypted, tally: Tally) -> None:
    last = 0
    while True:
        query = select(place.key, place.column).where(place.key > last, place.column.is_not(None))
        # Apart from the command's own transaction: each batch stands once it is done.
        async with desk.database.engine.begin() as connection:
            rows = (await connection.execute(query.order_by(place.key).limit(ROWS))).all()
            for number, old in rows:
                await _renew(connection, desk.vault, place, number, old, tally)
        if len(rows) < ROWS:
            return
        last = rows[-1][0]


async def _renew(
    connection: AsyncConnection, vault: Vault, place: Encrypted, number: int, old: bytes, tally: Tally
) -> None:
    """Compare and set: a gateway that runs may have written another secret since the row was read."""
    try:
        renewed = vault.renew(old)
    except GatewayError:
        tally.unreadable.append(f"{place.kind} {number}")
        return
    if renewed is None:
        tally.current += 1
        return
    change = update(place.key.table).where(place.key == number, place.column == old).values({place.column: renewed})
    if (await connection.execute(change)).rowcount:
        tally.renewed += 1
    else:
        tally.overtaken += 1
