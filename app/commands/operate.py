"""What keeps a gateway in order: migrate, audit, admin-token, demo, version."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as version_of
from typing import Annotated

import typer

from app.api.admin.audit import AuditBody, write_audit
from app.bootstrap import database_of, ensure_schema
from app.commands.desk import Desk, at_desk, faults_reported
from app.commands.tokens import issue_token, show_token
from app.db.revision import head_revision
from app.ledger.audit import audit as audit_ledger
from app.settings import Settings


def migrate() -> None:
    """Bring the database's schema to this version's."""
    with faults_reported(), database_of(Settings()) as settings:
        ensure_schema(settings)
    typer.echo(f"The schema is at {head_revision()}")


def audit(json: Annotated[bool, typer.Option("--json", help="As GET /admin/v1/audit answers.")] = False) -> None:
    """Recompute every balance from its rows. Exit code 1 if anything differs."""

    async def work(desk: Desk) -> AuditBody:
        return write_audit(await audit_ledger(desk.database.engine))

    found = at_desk(work)
    typer.echo(found.model_dump_json(indent=2) if json else _describe(found))
    if not found.ok:
        raise typer.Exit(1)


def admin_token(name: Annotated[str, typer.Option(help="To tell tokens apart.")] = "command line") -> None:
    """Make one more admin token that may do everything. It is printed on stdout, this once."""
    show_token(*at_desk(lambda desk: issue_token(desk, name, ["admin"])))


def demo(
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8001,
) -> None:
    """Run the demo upstream: it speaks the upstreams' formats, costs nothing and fails on request."""
    command = [sys.executable, "-m", "app.demo", "--host", host, "--port", str(port)]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606 - becomes our own module


def version() -> None:
    """Print the version."""
    typer.echo(f"relaygate {version_of('relaygate')}")


def _describe(found: AuditBody) -> str:
    lines = [
        "The books balance." if found.ok else f"DRIFT: the books differ by {found.drift_nano} nano-dollars.",
        f"accounts {found.accounts}, keys {found.keys}, entries {found.entries}, open holds {found.open_holds}",
        f"held {found.held}, charged {found.charged}, uncollected {found.uncollected} (dollars)",
    ]
    if found.doubled:
        lines.append(f"{found.doubled} holds are open though they have an entry")
    if found.stray_tasks:
        lines.append(f"{found.stray_tasks} media tasks and their holds don't match")
    for drift in found.drifts:
        whose = f"account {drift.account_id}" + ("" if drift.key_id is None else f", key {drift.key_id}")
        amounts = drift.model_dump(exclude={"account_id", "key_id"}, exclude_none=True)
        lines.append(f"{whose}: " + ", ".join(f"{field} {amount}" for field, amount in amounts.items()))
    return "\n".join(lines)
