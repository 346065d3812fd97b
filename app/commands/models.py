"""`relaygate models`: what may be called, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from app.api.admin.models import ModelDefinition
from app.api.admin.shapes import Name, Shape
from app.catalog import store
from app.catalog.store import ModelRow
from app.commands.desk import BATCH, Desk, at_desk, in_batches, print_table

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
    free: Annotated[bool, typer.Option("--free", help="Served without charge.")] = False,
) -> None:
    """Create a model, or replace it whole."""
    amounts = {"input_mtok": input_mtok, "output_mtok": output_mtok, "per_call": per_call}
    price = {field: amount for field, amount in amounts.items() if amount is not None}

    async def work(desk: Desk) -> ModelRow:
        _Named.model_validate({"name": name})
        values = {
            "kind": "chat",
            "max_output_tokens": max_output_tokens,
            "aliases": alias or [],
            "price": price or None,
            "free": free,
        }
        body = ModelDefinition.model_validate(values)
        columns = body.model_dump(exclude={"price", "aliases"})
        return await store.put_model(desk.connection, name, columns, body.price, body.aliases)

    made = at_desk(work)
    unpriced = "" if made.free or made.price is not None else "; it has no price yet, so it isn't served"
    typer.echo(f"Model {made.name}{unpriced}")


@models.command("list")
def list_models() -> None:
    """List models with their prices, in dollars."""

    async def work(desk: Desk) -> list[Sequence[object]]:
        async def fetch(last: ModelRow | None) -> list[ModelRow]:
            return await store.list_models(desk.connection, after="" if last is None else last.name, limit=BATCH)

        found = await in_batches(fetch)
        serving = await store.serving_channels(desk.connection, [model.name for model in found])
        return [_row(model, serving.get(model.name, [])) for model in found]

    print_table(("name", "price", "max_output", "aliases", "channels"), at_desk(work))


def _row(model: ModelRow, channels: list[str]) -> Sequence[object]:
    price: str | None = "free"
    if not model.free:
        price = None if model.price is None else " ".join(f"{k}={v}" for k, v in model.price.items() if v != "0")
    return [model.name, price, model.max_output_tokens, ",".join(model.aliases) or None, ",".join(channels) or None]
