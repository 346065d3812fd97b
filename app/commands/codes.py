"""`relaygate codes`: redemption codes, made, listed and revoked in batches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from app.accounts.admin_tokens import COMMAND_LINE
from app.api.admin.codes import MAX_CODES, NewCodeBatch, write_batch
from app.api.admin.record import record
from app.api.admin.shapes import MAX_ID
from app.commands.desk import BATCH, Desk, at_desk, in_batches, print_table
from app.commands.keys import MAX_DAYS
from app.core.money import write_amount
from app.ledger import codes as store
from app.ledger.codes import Batch

codes = typer.Typer(help="Codes: what holders turn into money.", no_args_is_help=True)

BatchId = Annotated[int, typer.Argument(min=1, max=MAX_ID)]


@codes.command()
def create(
    amount: Annotated[str, typer.Argument(help="What each is worth, in dollars.")],
    count: Annotated[int, typer.Option(min=1, max=MAX_CODES)] = 1,
    name: Annotated[str, typer.Option()] = "default",
    expires_in_days: Annotated[int | None, typer.Option(min=1, max=MAX_DAYS)] = None,
) -> None:
    """Create a batch of codes. They are printed on stdout, one a line, this once."""

    async def work(desk: Desk) -> tuple[Batch, list[str]]:
        expiry = None if expires_in_days is None else datetime.now(UTC) + timedelta(days=expires_in_days)
        values = {
            "name": name,
            "amount": amount,
            "count": count,
            "expires_at": None if expiry is None else expiry.isoformat(timespec="seconds"),
        }
        batch, issued = await store.create_batch(desk.connection, **NewCodeBatch.model_validate(values).model_dump())
        await record(desk.connection, COMMAND_LINE, "code-batches.create", batch.id, None, write_batch(batch))
        return batch, issued

    batch, issued = at_desk(work)
    worth = write_amount(batch.amount)
    typer.echo(f"Batch {batch.id} ({batch.name}): {batch.count} codes of {worth} dollars, shown this once:", err=True)
    typer.echo("\n".join(issued))


@codes.command("list")
def list_batches() -> None:
    """List the batches, newest first, with how many of their codes were redeemed and still can be."""

    async def work(desk: Desk) -> list[Sequence[object]]:
        async def fetch(last: Batch | None) -> list[Batch]:
            before = None if last is None else last.id
            return await store.list_batches(desk.connection, before=before, limit=BATCH)

        return [_row(batch) for batch in await in_batches(fetch)]

    print_table(("id", "name", "amount", "count", "redeemed", "open", "expires", "revoked"), at_desk(work))


@codes.command()
def revoke(batch_id: BatchId) -> None:
    """Revoke a batch: its open codes are dead, what was redeemed stays."""

    async def work(desk: Desk) -> Batch:
        before = write_batch(await store.get_batch(desk.connection, batch_id))
        batch = await store.revoke_batch(desk.connection, batch_id)
        await record(desk.connection, COMMAND_LINE, "code-batches.revoke", batch_id, before, write_batch(batch))
        return batch

    batch = at_desk(work)
    typer.echo(f"Batch {batch.id} is revoked; {batch.redeemed} of its {batch.count} codes had been redeemed")


def _row(batch: Batch) -> list[object]:
    moments = [None if at is None else at.isoformat(timespec="seconds") for at in (batch.expires_at, batch.revoked_at)]
    return [batch.id, batch.name, write_amount(batch.amount), batch.count, batch.redeemed, batch.open, *moments]
