"""`relaygate accounts` and `relaygate grants`: who has a balance, and how it is topped up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accounts import store
from app.accounts.admin_tokens import COMMAND_LINE
from app.accounts.store import Account
from app.api.admin.accounts import NewAccount, NewGrant, show_account, write_grant
from app.api.admin.record import record
from app.api.admin.shapes import MAX_ID, write_ratio
from app.commands.desk import BATCH, Desk, at_desk, in_batches, print_table
from app.core.money import write_amount
from app.errors import GatewayError, Kind
from app.ledger import wallets
from app.ledger.issue import issue_account

accounts = typer.Typer(help="Accounts: who has a balance.", no_args_is_help=True)
grants = typer.Typer(help="Grants: what accounts may spend.", no_args_is_help=True)

AccountId = Annotated[int, typer.Argument(min=1, max=MAX_ID)]


@accounts.command()
def create(
    name: str,
    grant: Annotated[str | None, typer.Option(help="A first top-up, in dollars.")] = None,
    email: Annotated[str | None, typer.Option()] = None,
    price_ratio: Annotated[str, typer.Option(help="What it pays, as a multiple of each price.")] = "1",
) -> None:
    """Create an account."""

    async def work(desk: Desk) -> Account:
        body = NewAccount.model_validate({"name": name, "email": email, "price_ratio": price_ratio})
        amount = None if grant is None else NewGrant.model_validate({"amount": grant}).amount
        account = await issue_account(desk.connection, body.model_dump(), amount)
        shown = await show_account(desk.connection, account)
        first = {} if amount is None else {"grant": write_amount(amount)}
        made = {**shown.model_dump(mode="json"), **first}
        await record(desk.connection, COMMAND_LINE, "accounts.create", account.id, None, made)
        return account

    made = at_desk(work)
    typer.echo(f"Account {made.id} ({made.name})")


@accounts.command("list")
def list_accounts() -> None:
    """List accounts with their money, in dollars."""
    print_table(("id", "name", "enabled", "ratio", "granted", "balance", "held", "charged"), at_desk(_rows))


async def _rows(desk: Desk) -> list[Sequence[object]]:
    async def fetch(last: Account | None) -> list[Account]:
        return await store.list_accounts(desk.connection, after=0 if last is None else last.id, limit=BATCH)

    found = await in_batches(fetch)
    money = await wallets.account_wallets(desk.connection, [account.id for account in found])
    rows: list[Sequence[object]] = []
    for account in found:
        amounts = money[account.id].amounts()
        sums = [amounts[name] for name in ("granted", "balance", "held", "charged")]
        enabled = "yes" if account.enabled else "no"
        rows.append([account.id, account.name, enabled, write_ratio(account.price_ratio), *sums])
    return rows


# An amount may begin with a minus sign, which would else be taken for an option.
@grants.command(context_settings={"ignore_unknown_options": True})
def add(
    account_id: AccountId,
    amount: Annotated[str, typer.Argument(help="Dollars; below zero: a correction.")],
    note: Annotated[str | None, typer.Option()] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same one counts once.")] = None,
) -> None:
    """Top an account up, or correct it."""

    async def work(desk: Desk) -> str:
        body = NewGrant.model_validate({"amount": amount, "note": note, "idempotency_key": idempotency_key})
        account = await store.get_account(desk.connection, account_id)
        made = await wallets.add_grant(
            desk.connection, account_id, body.amount, note=body.note, idempotency_key=body.idempotency_key
        )
        await record(desk.connection, COMMAND_LINE, "accounts.grant", account_id, None, write_grant(made))
        left = (await wallets.account_wallets(desk.connection, [account_id]))[account_id].amounts()["balance"]
        return (
            f"Grant {made.id} of {write_amount(made.amount)} to account {account_id} ({account.name}); balance {left}"
        )

    typer.echo(at_desk(work))


async def find_account(connection: AsyncConnection, id_or_name: str) -> Account:
    """By id if it is a number, else the oldest of that name. Raises GatewayError 404."""
    if id_or_name.isascii() and id_or_name.isdigit() and int(id_or_name) <= MAX_ID:
        return await store.get_account(connection, int(id_or_name))
    account = await store.find_account(connection, id_or_name)
    if account is None:
        raise GatewayError(Kind.NOT_FOUND, "account_not_found", f"There is no account named '{id_or_name}'.")
    return account
