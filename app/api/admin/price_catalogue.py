"""`/admin/v1/price-catalogue`: what vendors charge, looked up, brought up to date, and applied to models that follow it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Annotated, Any

from fastapi import Query
from pydantic import ConfigDict, Field

from app.api.admin.guard import ActorDep, admin_router
from app.api.admin.paging import Page, PageQuery, page_of, read_name_cursor
from app.api.admin.price_fields import EXAMPLE, PriceOut
from app.api.admin.record import record
from app.api.admin.shapes import ErrorBody, Flag, Shape
from app.api.context import ConnectionDep, ServicesDep
from app.catalog.defaults import DefaultCatalogue, store_list, today
from app.catalog.differences import Difference, apply_list
from app.catalog.pricelist import Entry, search
from app.catalog.prices import write_price
from app.catalog.tiers import read_offer

router = admin_router("/price-catalogue", "prices", "catalog")

UPDATE_ERRORS: dict[int | str, dict[str, object]] = {
    502: {"model": ErrorBody, "description": "The published prices can't be fetched, or aren't a price list."}
}


class SearchQuery(PageQuery):
    """What to look for."""

    query: str = Field("", max_length=200, description="Words that the provider and model hold, in any order")


class EntryOut(Shape):
    """A model of a vendor, priced as it would be stored."""

    ref: str = Field(description="Names the entry: provider/model")
    provider: str
    model: str
    name: str | None
    context_window: int | None
    price: PriceOut | None = Field(description="The price in force today; null: the catalogue lists none")
    left_out: list[str] = Field(description="What the vendor charges for beside, and the gateway can't")
    pricing_url: str | None = Field(description="The vendor's own page of prices")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "ref": "google/gemini-2.5-pro",
                    "provider": "google",
                    "model": "gemini-2.5-pro",
                    "name": "Gemini 2.5 Pro",
                    "context_window": 1000000,
                    "price": EXAMPLE,
                    "left_out": [],
                    "pricing_url": "https://ai.google.dev/gemini-api/docs/pricing",
                }
            ]
        }
    )


class CataloguePage(Page[EntryOut]):
    """Entries by provider and model, and where they are from."""

    source: str = Field(description="The release's genai-prices, or the address of a newer list")
    fetched_at: datetime | None = Field(description="When the newer list was fetched; null: it came with the release")


class UpdateBody(Shape):
    """What was fetched."""

    source: str
    fetched_at: datetime
    providers: int
    models: int

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "source": "https://prices.example.com/data.json",
                    "fetched_at": "2030-01-31T12:00:00Z",
                    "providers": 47,
                    "models": 2330,
                }
            ]
        }
    )


class ApplyRequest(Shape):
    """`dry_run` shows what would change, and changes nothing."""

    dry_run: Flag = False

    model_config = ConfigDict(json_schema_extra={"examples": [{"dry_run": True}]})


class DifferenceOut(Shape):
    """A model's price, or the cost of a model at a channel, that the catalogue says differently."""

    model: str
    channel: str | None = Field(description="null: the model's price; else what the model costs at this channel")
    ref: str
    before: PriceOut | None
    after: PriceOut | None = Field(description="null: the catalogue has no price any more, so it stays as it is")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "gpt-small",
                    "channel": None,
                    "ref": "openai/gpt-4o-mini",
                    "before": {"input_mtok": "0.15", "output_mtok": "0.6"},
                    "after": {"input_mtok": "0.1", "output_mtok": "0.4"},
                }
            ]
        }
    )


class ApplyBody(Shape):
    """The differences; none, if everything is as the catalogue says."""

    dry_run: bool
    data: list[DifferenceOut]


@router.get("", summary="Search the price catalogue")
async def search_catalogue(
    query: Annotated[SearchQuery, Query()], services: ServicesDep, connection: ConnectionDep
) -> CataloguePage:
    """Vendors' list prices, out of genai-prices. A model that is made without a price takes its own from here."""
    catalogue = await services.catalog.defaults.load(connection)
    after = read_name_cursor(query.cursor) or ""
    found = (entry for entry in search(catalogue.prices, query.query) if _place(entry) > after)
    page = page_of(list(islice(found, query.limit + 1)), query.limit, _write_entry, _place)
    return CataloguePage(
        data=page.data, next_cursor=page.next_cursor, source=catalogue.source, fetched_at=catalogue.fetched_at
    )


@router.post("/update", summary="Fetch today's price catalogue", responses=UPDATE_ERRORS)
async def update_catalogue(services: ServicesDep, actor: ActorDep) -> UpdateBody:
    """Fetches what genai-prices publishes and keeps it in place of what came with the release. No model changes by that:
    see `apply`. Prices are never fetched unasked.
    """
    defaults = services.catalog.defaults
    text, source = await defaults.fetch(services.settings.price_update_url)
    # The transaction begins once everything was fetched: a slow source must not keep one open.
    async with services.database.engine.begin() as connection:
        await store_list(connection, text, source)
        fetched = await defaults.load(connection)
        await record(connection, actor, "price-catalogue.update", None, None, origin_of(fetched))
        return _write_update(fetched)


@router.post("/apply", summary="Bring prices up to the catalogue")
async def apply_catalogue(
    services: ServicesDep, connection: ConnectionDep, actor: ActorDep, body: ApplyRequest | None = None
) -> ApplyBody:
    """Changes the prices of models and the costs at channels that were taken from the catalogue to what it says today.
    Those that an operator set are never touched.
    """
    dry_run = body is not None and body.dry_run
    catalogue = await services.catalog.defaults.load(connection)
    found = await apply_list(connection, catalogue.prices, dry_run=dry_run)
    if not dry_run:
        await record(connection, actor, "price-catalogue.apply", None, None, write_changes(found))
    return ApplyBody(dry_run=dry_run, data=[_write_difference(difference) for difference in found])


def origin_of(catalogue: DefaultCatalogue) -> dict[str, str | None]:
    """Where the list is from and since when, for the log of actions."""
    fetched = catalogue.fetched_at
    return {"source": catalogue.source, "fetched_at": None if fetched is None else fetched.isoformat()}


def write_changes(found: Sequence[Difference]) -> dict[str, Any]:
    """The prices and costs that were changed, for the log of actions; those without an offer stayed as they were."""
    changed = [_write_difference(difference) for difference in found if difference.after is not None]
    return {"changed": [difference.model_dump(mode="json") for difference in changed]}


def _place(entry: Entry) -> str:
    return entry.ref


def _write_entry(entry: Entry) -> EntryOut:
    offer = read_offer(entry.model, today())
    return EntryOut(
        ref=entry.ref,
        provider=entry.provider.id,
        model=entry.model.id,
        name=entry.model.name,
        context_window=entry.model.context_window,
        price=None if offer.price is None else write_price(offer.price),
        left_out=list(offer.left_out),
        pricing_url=entry.provider.pricing_url,
    )


def _write_update(catalogue: DefaultCatalogue) -> UpdateBody:
    assert catalogue.fetched_at is not None
    providers = catalogue.prices.providers
    return UpdateBody(
        source=catalogue.source,
        fetched_at=catalogue.fetched_at,
        providers=len(providers),
        models=sum(len(provider.shelf) for provider in providers),
    )


def _write_difference(difference: Difference) -> DifferenceOut:
    return DifferenceOut(
        model=difference.model,
        channel=difference.channel,
        ref=difference.ref,
        before=difference.before,
        after=difference.after,
    )
