"""`relaygate prices`: what vendors charge, looked up, brought up to date, and applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Annotated, Any

import typer

from app.accounts.admin_tokens import COMMAND_LINE
from app.api.admin.price_catalogue import origin_of, write_changes
from app.api.admin.record import record
from app.catalog.defaults import DefaultCatalogue, DefaultPrices, store_list, today
from app.catalog.differences import Difference, apply_list
from app.catalog.pricelist import search
from app.catalog.prices import write_price
from app.catalog.tiers import read_offer
from app.commands.desk import Desk, at_desk, print_table

prices = typer.Typer(help="Prices: the catalogue of what vendors charge.", no_args_is_help=True)


@prices.command("search")
def search_prices(
    words: Annotated[list[str], typer.Argument(help="Words of the provider and model, such as: openai gpt-4o")],
    limit: Annotated[int, typer.Option(min=1, help="Entries at most.")] = 50,
) -> None:
    """Look up vendors' prices, in dollars."""

    async def work(desk: Desk) -> DefaultCatalogue:
        return await DefaultPrices().load(desk.connection)

    catalogue = at_desk(work)
    rows: list[Sequence[object]] = []
    for entry in islice(search(catalogue.prices, " ".join(words)), limit):
        price = read_offer(entry.model, today()).price
        rows.append([entry.ref, None if price is None else brief(write_price(price))])
    print_table(("ref", "price"), rows)
    typer.echo(f"From {_origin(catalogue)}.")


@prices.command()
def update() -> None:
    """Fetch the prices that genai-prices publishes today. No model changes by that: see apply."""

    async def work(desk: Desk) -> DefaultCatalogue:
        defaults = DefaultPrices()
        text, source = await defaults.fetch(desk.settings.price_update_url)
        await store_list(desk.connection, text, source)
        fetched = await defaults.load(desk.connection)
        await record(desk.connection, COMMAND_LINE, "price-catalogue.update", None, None, origin_of(fetched))
        return fetched

    typer.echo(f"The price catalogue is now from {_origin(at_desk(work))}. Next: relaygate prices apply --dry-run")


@prices.command("apply")
def apply_prices(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
) -> None:
    """Bring prices and costs that were taken from the catalogue up to it; never those that were set by hand."""

    async def work(desk: Desk) -> list[Difference]:
        catalogue = await DefaultPrices().load(desk.connection)
        found = await apply_list(desk.connection, catalogue.prices, dry_run=dry_run)
        if not dry_run:
            changes = write_changes(found)
            await record(desk.connection, COMMAND_LINE, "price-catalogue.apply", None, None, changes)
        return found

    found = at_desk(work)
    if not found:
        typer.echo("Everything is as the catalogue says.")
        return
    rows = [[item.model, item.channel, item.ref, _brief(item.before), _brief(item.after)] for item in found]
    print_table(("model", "cost at", "ref", "before", "after"), rows)
    if dry_run:
        typer.echo("Nothing was changed.")


def brief(price: Mapping[str, Any]) -> str:
    """A price on one line; of variants only how many there are."""
    parts = [f"{name}={amount}" for name, amount in price.items() if name != "variants"]
    count = len(price.get("variants", ()))
    return " ".join([*parts, *([f"+{count} variants"] if count else [])])


def _brief(price: Mapping[str, Any] | None) -> str | None:
    return None if price is None else brief(price)


def _origin(catalogue: DefaultCatalogue) -> str:
    if catalogue.fetched_at is None:
        return catalogue.source
    return f"{catalogue.source}, fetched {catalogue.fetched_at:%Y-%m-%d %H:%M} UTC"
