"""The catalogue as gateways load it: whose price applies where, and what is left out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalog import store
from app.catalog.groups import put_group
from app.catalog.price_rows import price_row
from app.catalog.prices import FREE, PPM, Price
from app.catalog.snapshot import Model, load_snapshot
from app.catalog.store import ServedModel
from app.catalog.vault import Vault
from app.db.engine import Database
from app.db.tables.catalog import models, prices
from app.providers import discover
from tests.gateway import SECRET_KEY
from tests.ledger.bank import migrated

VAULT = Vault([SECRET_KEY])
CHEAP, DEAR, OWN = Price(1, 2), Price(3, 1), Price(per_call=7)


@pytest.fixture(scope="module")
def url(new_database: Callable[[], str]) -> str:
    return asyncio.run(migrated(new_database()))


async def _channel(connection: AsyncConnection, *served: ServedModel, **fields: Any) -> int:
    values = {
        "name": uuid4().hex,
        "provider": "ollama",
        "base_url": "http://127.0.0.1:1/v1",
        "secret": VAULT.encrypt(""),
    }
    return (await store.create_channel(connection, {**values, **fields}, served)).id


async def _model(connection: AsyncConnection, name: str, price: Price | None, **values: Any) -> None:
    await store.put_model(connection, name, {"kind": "chat", "free": False, **values}, price, [])


async def _load(connection: AsyncConnection) -> Mapping[str, Model]:
    return (await load_snapshot(connection, discover(), VAULT)).models


@pytest.fixture
def on(url: str) -> Callable[[Callable[[AsyncConnection], Any]], None]:
    """Runs a test's steps in one transaction that is rolled back."""

    def run(work: Callable[[AsyncConnection], Any]) -> None:
        async def session() -> None:
            database = Database(url, pool_size=1)
            try:
                async with database.engine.connect() as connection:
                    await work(connection)
                    await connection.rollback()
            finally:
                await database.close()

        asyncio.run(session())

    return run


On = Callable[[Callable[[AsyncConnection], Any]], None]


def test_without_prices_of_channels_the_ceiling_is_the_price_itself(on: On) -> None:
    async def work(connection: AsyncConnection) -> None:
        await _model(connection, "m", CHEAP)
        await _channel(connection, ServedModel("m", "up"))
        await _channel(connection, ServedModel("m", "up", cost=DEAR))
        model = (await _load(connection))["m"]
        assert model.dearest is model.price
        assert [candidate.price is model.price for candidate in model.candidates] == [True, True]
        assert {candidate.price_id for candidate in model.candidates} == {model.price_id}
        assert [candidate.cost for candidate in model.candidates] == [None, DEAR]

    on(work)


def test_a_channels_price_goes_before_the_models(on: On) -> None:
    async def work(connection: AsyncConnection) -> None:
        await _model(connection, "m", CHEAP)
        await _channel(connection, ServedModel("m", "up"))
        await _channel(connection, ServedModel("m", "up", price=DEAR), priority=1)
        model = (await _load(connection))["m"]
        assert model.price == CHEAP
        assert [candidate.price for candidate in model.candidates] == [DEAR, CHEAP]
        assert model.candidates[1].price_id == model.price_id != model.candidates[0].price_id
        assert model.dearest == Price(3, 2, per_call=0)

    on(work)


def test_what_has_no_price_isnt_a_candidate(on: On) -> None:
    async def work(connection: AsyncConnection) -> None:
        await _model(connection, "none", None)
        await _model(connection, "some", None)
        await _channel(connection, ServedModel("none", "up"), ServedModel("some", "up"))
        priced = await _channel(connection, ServedModel("some", "up", price=OWN))
        known = await _load(connection)
        assert (known["none"].is_ready, known["none"].dearest, known["none"].candidates) == (False, None, ())
        assert (known["some"].is_ready, known["some"].price, known["some"].dearest) == (True, None, OWN)
        assert [candidate.channel.id for candidate in known["some"].candidates] == [priced]

    on(work)


def test_a_free_model_stays_free(on: On) -> None:
    async def work(connection: AsyncConnection) -> None:
        await _model(connection, "m", None, free=True)
        await _channel(connection, ServedModel("m", "up", price=DEAR, cost=OWN))
        model = (await _load(connection))["m"]
        (candidate,) = model.candidates
        assert model.price is FREE
        assert model.dearest is FREE
        assert (candidate.price, candidate.price_id, candidate.cost) == (FREE, None, OWN)

    on(work)


def test_a_price_that_cant_be_read_is_no_price(on: On) -> None:
    """Written by hand, or by a later release: the rest of the catalogue is served."""

    async def work(connection: AsyncConnection) -> None:
        await _model(connection, "broken", None)
        await _model(connection, "whole", CHEAP)
        await _channel(connection, ServedModel("broken", "up"), ServedModel("whole", "up"))
        made = insert(prices).values(model="broken", body={"per_thought": "1"}).returning(prices.c.id)
        price_id = (await connection.execute(made)).scalar_one()
        await connection.execute(models.update().where(models.c.name == "broken").values(price_id=price_id))
        known = await _load(connection)
        assert (known["broken"].is_ready, known["whole"].is_ready) == (False, True)

    on(work)


def test_a_groups_ratio_is_its_models(on: On) -> None:
    async def work(connection: AsyncConnection) -> None:
        await put_group(connection, "g", Decimal("1.234567"))
        await _model(connection, "in", CHEAP, model_group="g")
        await _model(connection, "out", CHEAP)
        known = await _load(connection)
        assert (known["in"].group_ppm, known["out"].group_ppm) == (1_234_567, PPM)

    on(work)


def test_what_says_the_same_is_one_row(on: On) -> None:
    async def work(connection: AsyncConnection) -> None:
        first = await price_row(connection, "m", CHEAP)
        assert await price_row(connection, "m", DEAR) != first
        assert await price_row(connection, "m", Price(1, 2)) == first
        assert await price_row(connection, "other", CHEAP) != first
        assert await price_row(connection, "m", None) is None
        rows = (await connection.execute(select(prices.c.id).where(prices.c.model == "m"))).all()
        assert len(rows) == 2

    on(work)
