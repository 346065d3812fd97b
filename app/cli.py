"""The `relaygate` command."""

from __future__ import annotations

import typer

from app.commands import operate, secrets
from app.commands.accounts import accounts, grants
from app.commands.channels import channels
from app.commands.codes import codes
from app.commands.keys import keys
from app.commands.models import models
from app.commands.prices import prices
from app.commands.tokens import tokens
from app.serve import serve

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
app.command()(serve)
app.command()(operate.migrate)
app.command()(operate.audit)
app.command()(operate.demo)
app.command("admin-token")(operate.admin_token)
app.command("rotate-secrets")(secrets.rotate_secrets)
app.command()(operate.version)
app.add_typer(accounts, name="accounts")
app.add_typer(grants, name="grants")
app.add_typer(keys, name="keys")
app.add_typer(codes, name="codes")
app.add_typer(channels, name="channels")
app.add_typer(models, name="models")
app.add_typer(prices, name="prices")
app.add_typer(tokens, name="tokens")


@app.callback()
def relaygate() -> None:
    """A self-hosted, OpenAI-compatible AI API gateway."""


if __name__ == "__main__":
    app()
