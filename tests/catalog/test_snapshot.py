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
from app.catalog.load import Opened, load_snapshot
from app.catalog.price_rows import price_row
from app.catalog.prices import FREE, PPM, Price
from app.catalog.snapshot import KEYS_BETWEEN, MAX_MATCHED, Model
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


def test_what_has_not_changed_is_not_read_anew(on: On) -> None:
    async def work(connection: AsyncConnection) -> None:
        await _model(connection, "m", CHEAP)
        ids = [await _channel(connection, ServedModel("m", "m"), name=name) for name in ("same", "changed", "gone")]
        opened = Opened()
        before = (await load_snapshot(connection, discover(), VAULT, opened)).channels
        await store.update_channel(connection, ids[1], {"weight": 7}, None)
        await store.delete_channel(connection, ids[2])
        after = await load_snapshot(connection, discover(), VAULT, opened)
        assert after.channels.keys() == set(ids[:2])
        assert after.channels[ids[0]] is before[ids[0]]
        assert after.channels[ids[1]].weight == 7
        assert [candidate.channel.id for candidate in after.models["m"].candidates] == ids[:2]

    on(work)


# -- wildcards, keys, options ------------------------------------------------------------------------------------------


def test_a_name_finds_itself_then_the_longest_pattern(on: On) -> None:
    async def work(connection: AsyncConnection) -> None:
        for name in ("gpt-*", "gpt-4*", "gpt-4o", "odd*one*"):
            await _model(connection, name, CHEAP)
        served = (ServedModel("gpt-*", "vendor/*"), ServedModel("gpt-4*", "four"), ServedModel("gpt-4o", "gpt-4o"))
        await _channel(connection, *served)
        snapshot = await load_snapshot(connection, discover(), VAULT)
        found = {name: snapshot.find(name) for name in ("gpt-5/x", "gpt-4.1", "gpt-4o", "gpt", "gpt-*", "odd-one-x")}
        shown = {
            name: (model.name, model.pattern, [candidate.upstream_model for candidate in model.candidates])
            for name, model in found.items()
            if model is not None
        }
        assert shown == {
            "gpt-5/x": ("gpt-5/x", "gpt-*", ["vendor/5/x"]),
            "gpt-4.1": ("gpt-4.1", "gpt-4*", ["four"]),
            "gpt-4o": ("gpt-4o", None, ["gpt-4o"]),
        }
        assert sorted(snapshot.models) == ["gpt-4o", "odd*one*"], "two stars, written by hand, are no pattern"
        assert snapshot.find("gpt-5/x") is found["gpt-5/x"]

    on(work)


def test_what_an_alias_with_a_star_leads_to(on: On) -> None:
    async def work(connection: AsyncConnection) -> None:
        await store.put_model(connection, "one", {"kind": "chat", "free": True}, None, ["my-*"])
        await store.put_model(connection, "gpt-*", {"kind": "chat", "free": True}, None, ["oai/*", "plain"])
        await _channel(connection, ServedModel("one", "one"), ServedModel("gpt-*", "gpt-*"))
        snapshot = await load_snapshot(connection, discover(), VAULT)
        one, many = snapshot.find("my-anything"), snapshot.find("oai/5")
        assert one is snapshot.models["one"]
        assert many is not None
        assert (many.name, many.candidates[0].upstream_model) == ("gpt-5", "gpt-5")
        assert snapshot.find("plain") is None, "nothing says what the star of its model stands for"

    on(work)


def test_what_is_remembered_of_matches_is_bounded(on: On) -> None:
    async def work(connection: AsyncConnection) -> None:
        await _model(connection, "*", CHEAP)
        snapshot = await load_snapshot(connection, discover(), VAULT)
        for number in range(MAX_MATCHED * 2 + 1):
            assert snapshot.find(f"name-{number}") is not None
            assert len(snapshot.matched) <= MAX_MATCHED

    on(work)


def test_keys_and_options_of_channels_and_models(on: On) -> None:
    async def work(connection: AsyncConnection) -> None:
        options = {
            "fallbacks": ["n"],
            "first_byte_timeout": 2,
            "idle_timeout": 3,
            "max_attempts": 4,
            "lacks": ["tools"],
        }
        await _model(connection, "m", CHEAP, options=options)
        await _model(connection, "n", CHEAP)
        caps = {"class": "east", "concurrency": 1, "rpm": 2, "tpm": 3, "lacks": ["vision"]}
        secret = VAULT.encrypt(KEYS_BETWEEN.join(("k1", "k2")))
        first = await _channel(connection, ServedModel("m", "m"), provider="openai", secret=secret, options=caps)
        second = await _channel(connection, ServedModel("m", "m"))
        snapshot = await load_snapshot(connection, discover(), VAULT)
        model, plain = snapshot.models["m"], snapshot.models["n"]
        assert (model.fallbacks, model.first_byte_timeout, model.idle_timeout) == (("n",), 2, 3)
        assert (model.max_attempts, model.lacks) == (4, frozenset({"tools"}))
        assert (plain.fallbacks, plain.max_attempts, plain.lacks) == ((), None, frozenset())
        channel, other = snapshot.channels[first], snapshot.channels[second]
        assert [(key.number, key.headers["Authorization"]) for key in channel.keys] == [
            (0, "Bearer k1"),
            (1, "Bearer k2"),
        ]
        assert (channel.secret, channel.secrets, channel.label) == ("k1", ("k1", "k2"), "east")
        assert (channel.concurrency, channel.rpm, channel.tpm, channel.lacks) == (1, 2, 3, frozenset({"vision"}))
        assert (len(other.keys), other.secrets, other.label, other.rpm) == (1, (), "ollama", None)

    on(work)
