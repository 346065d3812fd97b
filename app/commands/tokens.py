"""`relaygate tokens`: who may administer, what, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from app.accounts import admin_tokens
from app.accounts.admin_tokens import COMMAND_LINE, SCOPES, AdminToken
from app.api.admin.record import record
from app.api.admin.shapes import MAX_ID
from app.api.admin.tokens import NewToken, write_token
from app.commands.desk import BATCH, Desk, at_desk, in_batches, print_table
from app.commands.keys import MAX_DAYS

tokens = typer.Typer(help="Admin tokens: who may administer.", no_args_is_help=True)

TokenId = Annotated[int, typer.Argument(min=1, max=MAX_ID)]


@tokens.command()
def create(
    name: str,
    scope: Annotated[list[str], typer.Option(help=f"What it may do, several times: {', '.join(SCOPES)}.")],
    expires_in_days: Annotated[int | None, typer.Option(min=1, max=MAX_DAYS)] = None,
) -> None:
    """Create an admin token. It is printed on stdout, this once."""
    show_token(*at_desk(lambda desk: issue_token(desk, name, scope, expires_in_days)))


@tokens.command("list")
def list_tokens() -> None:
    """List admin tokens, dead ones included."""

    async def work(desk: Desk) -> list[AdminToken]:
        async def fetch(last: AdminToken | None) -> list[AdminToken]:
            after = 0 if last is None else last.id
            return await admin_tokens.list_tokens(desk.connection, after=after, limit=BATCH)

        return await in_batches(fetch)

    print_table(("id", "name", "scopes", "expires", "used", "revoked"), [_row(token) for token in at_desk(work)])


@tokens.command()
def revoke(token_id: TokenId) -> None:
    """Revoke an admin token: it is refused from the next request on."""

    async def work(desk: Desk) -> None:
        before = await admin_tokens.get_token(desk.connection, token_id, lock=True)
        after = await admin_tokens.revoke_token(desk.connection, token_id)
        shown = write_token(before), write_token(after)
        await record(desk.connection, COMMAND_LINE, "tokens.revoke", token_id, *shown)

    at_desk(work)
    typer.echo(f"Admin token {token_id} is revoked")


async def issue_token(
    desk: Desk, name: str, scopes: Sequence[str], expires_in_days: int | None = None
) -> tuple[AdminToken, str]:
    """The row and the token itself. Raises ValidationError for a name or a scope that can't be."""
    expiry = None if expires_in_days is None else datetime.now(UTC) + timedelta(days=expires_in_days)
    expires_at = None if expiry is None else expiry.isoformat(timespec="seconds")
    body = NewToken.model_validate({"name": name, "scopes": list(scopes), "expires_at": expires_at})
    made, token = await admin_tokens.create_token(desk.connection, body.name, body.scopes, body.expires_at)
    await record(desk.connection, COMMAND_LINE, "tokens.create", made.id, None, write_token(made))
    return made, token


def show_token(made: AdminToken, token: str) -> None:
    """The token alone goes to stdout, so that a script can catch it."""
    typer.echo(f"Admin token {made.id} ({made.name}; {', '.join(made.scopes)}), shown this once:", err=True)
    typer.echo(token)


def _row(token: AdminToken) -> list[object]:
    moments = (token.expires_at, token.last_used_at, token.revoked_at)
    return [
        token.id,
        token.name,
        ",".join(token.scopes),
        *(None if at is None else at.isoformat(timespec="seconds") for at in moments),
    ]
