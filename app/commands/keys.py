"""`relaygate keys`: made, listed, revoked, rotated."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from app.accounts import store
from app.accounts.admin_tokens import COMMAND_LINE
from app.accounts.store import Key
from app.api.admin.keys import NewKey, show_key
from app.api.admin.record import record
from app.api.admin.shapes import MAX_ID
from app.commands.accounts import find_account
from app.commands.desk import BATCH, Desk, at_desk, in_batches, print_table
from app.ledger import wallets
from app.ledger.issue import issue_key

keys = typer.Typer(help="Keys: what clients call with.", no_args_is_help=True)

KeyId = Annotated[int, typer.Argument(min=1, max=MAX_ID)]
MAX_DAYS = 36_500


@keys.command()
def create(
    account: Annotated[str, typer.Option(help="Its id or its name.")],
    name: Annotated[str, typer.Option()] = "default",
    quota: Annotated[str | None, typer.Option(help="Dollars in all; absent: what the account has.")] = None,
    expires_in_days: Annotated[int | None, typer.Option(min=1, max=MAX_DAYS)] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model it may call, several times; absent: all.")] = None,
) -> None:
    """Create a key. It is printed on stdout, this once."""

    async def work(desk: Desk) -> tuple[Key, str]:
        owner = await find_account(desk.connection, account)
        expiry = None if expires_in_days is None else datetime.now(UTC) + timedelta(days=expires_in_days)
        values = {
            "account_id": owner.id,
            "name": name,
            "quota": quota,
            "expires_at": None if expiry is None else expiry.isoformat(timespec="seconds"),
            "models": model,
        }
        body = NewKey.model_validate(values)
        columns = body.model_dump(exclude={"quota", "models"}) | {"models": body.models or None}
        key, secret = await issue_key(desk.connection, columns, body.quota)
        shown = await show_key(desk.connection, key)
        await record(desk.connection, COMMAND_LINE, "keys.create", key.id, None, shown)
        return key, secret

    _show(*at_desk(work))


@keys.command("list")
def list_keys(account: Annotated[str | None, typer.Option(help="Only this one's, by id or name.")] = None) -> None:
    """List keys with their quotas, in dollars."""

    async def work(desk: Desk) -> list[Sequence[object]]:
        owner = None if account is None else (await find_account(desk.connection, account)).id

        async def fetch(last: Key | None) -> list[Key]:
            after = 0 if last is None else last.id
            return await store.list_keys(desk.connection, account_id=owner, after=after, limit=BATCH)

        found = await in_batches(fetch)
        money = await wallets.key_wallets(desk.connection, [key.id for key in found])
        return [_row(key, money[key.id].amounts()) for key in found]

    columns = ("id", "account", "name", "key", "enabled", "expires", "models", "quota", "balance", "charged")
    print_table(columns, at_desk(work))


@keys.command()
def revoke(key_id: KeyId) -> None:
    """Revoke a key: every gateway refuses it within a second."""

    async def work(desk: Desk) -> None:
        before = await show_key(desk.connection, await store.get_key(desk.connection, key_id))
        await store.delete_key(desk.connection, key_id)
        await record(desk.connection, COMMAND_LINE, "keys.revoke", key_id, before)

    at_desk(work)
    typer.echo(f"Key {key_id} is revoked")


@keys.command()
def rotate(key_id: KeyId) -> None:
    """Replace a key by a new one with the same rules. The new one is printed on stdout, this once."""

    async def work(desk: Desk) -> tuple[Key, str]:
        before = await show_key(desk.connection, await store.get_key(desk.connection, key_id))
        key, secret = await store.rotate_key(desk.connection, key_id)
        after = await show_key(desk.connection, key)
        await record(desk.connection, COMMAND_LINE, "keys.rotate", key_id, before, after)
        return key, secret

    _show(*at_desk(work))


def _show(key: Key, secret: str) -> None:
    """The key alone goes to stdout, so that a script can catch it."""
    typer.echo(f"Key {key.id} ({key.name}) of account {key.account_id}, shown this once:", err=True)
    typer.echo(secret)


def _row(key: Key, amounts: dict[str, str | None]) -> list[object]:
    return [
        key.id,
        key.account_id,
        key.name,
        key.hint,
        "yes" if key.enabled else "no",
        None if key.expires_at is None else key.expires_at.isoformat(timespec="seconds"),
        "all" if key.models is None else ",".join(key.models),
        amounts["granted"],
        amounts["balance"],
        amounts["charged"],
    ]
