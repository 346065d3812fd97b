"""`relaygate models`: what may be called, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from app.accounts.admin_tokens import COMMAND_LINE
from app.api.admin.models import ModelDefinition, define_model, find_shown, show_model
from app.api.admin.record import record
from app.api.admin.shapes import Name, Shape
from app.catalog import store
from app.catalog.defaults import DefaultPrices
from app.catalog.store import ModelRow
from app.commands.desk import BATCH, Desk, at_desk, in_batches, print_table
from app.commands.prices import brief

models = typer.Typer(help="Models: what may be called, and what it costs.", no_args_is_help=True)


class _Named(Shape):
    name: Name


@models.command("set")
def set_model(
    name: str,
    input_mtok: Annotated[str | None, typer.Option(help="Dollars per million input tokens.")] = None,
    output_mtok: Annotated[str | None, typer.Option(help="Dollars per million output tokens.")] = None,
    per_call: Annotated[str | None, typer.Option(help="Dollars a call.")] = None,
    max_output_tokens: Annotated[int | None, typer.Option(help="Held for where a request names no cap.")] = None,
    alias: Annotated[list[str] | None, typer.Option(help="Another name for it, several times.")] = None,
    group: Annotated[str | None, typer.Option(help="The model group whose ratio multiplies the price.")] = None,
    free: Annotated[bool, typer.Option("--free", help="Served without charge.")] = False,
    fallback: Annotated[
        list[str] | None, typer.Option(help="A model that answers in its place, several times.")
    ] = None,
    max_attempts: Annotated[int | None, typer.Option(help="Upstream calls of one request.")] = None,
    lacks: Annotated[list[str] | None, typer.Option(help="What it can't do, several times.")] = None,
) -> None:
    """Create a model, or replace it whole. Without a price it gets the price catalogue's, if that knows it."""
    amounts = {"input_mtok": input_mtok, "output_mtok": output_mtok, "per_call": per_call}
    price = {field: amount for field, amount in amounts.items() if amount is not None}

    async def work(desk: Desk) -> ModelRow:
        _Named.model_validate({"name": name})
        values = {
            "kind": "chat",
            "max_output_tokens": max_output_tokens,
            "aliases": alias or [],
            "group": group,
            **({"price": price} if price else {}),
            "free": free,
            "options": {"fallbacks": fallback or [], "max_attempts": max_attempts, "lacks": lacks or []},
        }
        definition = ModelDefinition.model_validate(values)
        before = await find_shown(desk.connection, name)
        made = await define_model(desk.connection, DefaultPrices(), name, definition)
        action = f"models.{'create' if before is None else 'replace'}"
        await record(desk.connection, COMMAND_LINE, action, name, before, await show_model(desk.connection, made))
        return made

    made = at_desk(work)
    note = ""
    if made.price_ref is not None:
        note = f"; its price is the catalogue's: {made.price_ref}"
    elif made.price is None and not made.free:
        note = "; it has no price yet, so it isn't served"
    typer.echo(f"Model {made.name}{note}")


@models.command("list")
def list_models() -> None:
    """List models with their prices, in dollars."""

    async def work(desk: Desk) -> list[Sequence[object]]:
        async def fetch(last: ModelRow | None) -> list[ModelRow]:
            return await store.list_models(desk.connection, after="" if last is None else last.name, limit=BATCH)

        found = await in_batches(fetch)
        serving = await store.serving_channels(desk.connection, [model.name for model in found])
        return [_row(model, [item.channel for item in serving.get(model.name, [])]) for model in found]

    print_table(("name", "price", "from", "group", "max_output", "aliases", "channels"), at_desk(work))


def _row(model: ModelRow, channels: list[str]) -> Sequence[object]:
    price: str | None = "free"
    if not model.free:
        price = None if model.price is None else brief(model.price)
    names = ",".join(model.aliases) or None, ",".join(channels) or None
    return [model.name, price, model.price_ref, model.group, model.max_output_tokens, *names]
