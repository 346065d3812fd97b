"""Prices as people write them: read, refused by name, and written back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from app.catalog.prices import AMOUNTS, MAX_VARIANTS, Price, read_price, write_price
from app.catalog.variants import TRAITS, Condition, PriceError, Variant
from tests.catalog.test_prices import FULL, prices


@given(prices().filter(lambda price: price != Price()))
def test_what_is_written_reads_back(price: Price) -> None:
    assert read_price(json.loads(json.dumps(write_price(price)))) == price


def test_prices_as_people_write_them() -> None:
    price = read_price({"per_call": "0.001", "output_mtok": 0.6, "input_mtok": "0.150", "cache_read_mtok": 0})
    assert price == Price(150_000_000, 600_000_000, cache_read_mtok=0, per_call=1_000_000)
    assert list(write_price(price).items()) == [
        ("input_mtok", "0.15"),
        ("output_mtok", "0.6"),
        ("cache_read_mtok", "0"),
        ("per_call", "0.001"),
    ]


def test_only_what_is_set_is_written() -> None:
    assert write_price(Price(per_call=0)) == {"per_call": "0"}
    assert set(write_price(FULL)) < set(AMOUNTS)


def test_conditions_as_people_write_them() -> None:
    body = {
        "variants": [
            {"when": {"resolution": "1080P", "duration": 8, "hd": True, "audio": False}, "per_second": "0.5"},
            {"when": {"context_over": 200000, "service_tier": "Batch"}, "input_mtok": 1},
        ]
    }
    facts = (("audio", "false"), ("duration", "8"), ("hd", "true"), ("resolution", "1080p"))
    price = read_price(body)
    assert price.variants == (
        Variant(Condition(traits=facts), (("per_second", 500_000_000),)),
        Variant(Condition("batch", 200_000), (("input_mtok", 10**9),)),
    )
    assert write_price(price) == {
        "variants": [
            {"when": dict(facts), "per_second": "0.5"},
            {"when": {"service_tier": "batch", "context_over": 200000}, "input_mtok": "1"},
        ]
    }


@pytest.mark.parametrize("trait", TRAITS)
def test_every_documented_trait_is_a_condition(trait: str) -> None:
    body = {"variants": [{"when": {trait: "x"}, "per_call": "1"}]}
    assert write_price(read_price(body)) == body


def _variant(**fields: Any) -> dict[str, Any]:
    return {"variants": [{"when": {"size": "s"}, "per_call": "1"} | fields]}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "must be an object"),
        ("1", "must be an object"),
        ({}, "at least one amount"),
        ({"input": "1"}, "^input: this kind of price isn't known"),
        ({"input_mtok": "-1"}, "^input_mtok: the amount must not be negative"),
        ({"input_mtok": None}, "^input_mtok: an amount is a decimal string"),
        ({"input_mtok": ["1"]}, "^input_mtok: an amount is a decimal string"),
        ({"input_mtok": True}, "^input_mtok: an amount is a decimal string"),
        ({"output_mtok": "NaN"}, "^output_mtok: an amount must be finite"),
        ({"output_mtok": float("inf")}, "^output_mtok: an amount must be finite"),
        ({"per_call": "0.0000000001"}, "^per_call: an amount has at most 9 decimal places"),
        ({"variants": []}, "^variants: must be a list of 1 to"),
        ({"variants": None}, "^variants: must be a list of 1 to"),
        ({"variants": [_variant()["variants"][0]] * (MAX_VARIANTS + 1)}, "^variants: must be a list of 1 to"),
        ({"variants": ["x"]}, "^variants.0: must be an object"),
        ({"variants": [{"when": {"size": "s"}}]}, "^variants.0: must name at least one amount"),
        ({"variants": [{"per_call": "1"}]}, "^variants.0.when: must be an object that names when"),
        (_variant(when=None), "^variants.0.when: must be an object that names when"),
        (_variant(when={}), "^variants.0.when: must be an object that names when"),
        (
            _variant(when={"foo": "1"}),
            "^variants.0.when.foo: isn't known; must be one of service_tier, context_over, size",
        ),
        (_variant(when={"size": None}), "^variants.0.when.size: must be a text"),
        (_variant(when={"size": 1.5}), "^variants.0.when.size: must be a text"),
        (_variant(when={"size": "a\n"}), "^variants.0.when.size: must be a text"),
        (_variant(when={"size": "x" * 65}), "^variants.0.when.size: must be a text"),
        (_variant(when={"context_over": True}), "^variants.0.when.context_over: must be a number of input tokens"),
        (_variant(when={"context_over": 10**9}), "^variants.0.when.context_over: must be a number of input tokens"),
        (_variant(when={"service_tier": "Standard"}), "^variants.0.when.service_tier: the ordinary tier"),
        (_variant(per_call="x"), "^variants.0.per_call: an amount is"),
        (_variant(variants=[]), "^variants.0.variants: this kind of price isn't known"),
    ],
)
def test_prices_that_are_refused(body: object, reason: str) -> None:
    with pytest.raises(PriceError, match=reason):
        read_price(body)


def test_every_fault_is_named() -> None:
    body = {"x": 1, "per_call": "-1", "variants": [_variant()["variants"][0], {"when": {"y": 1, "z": 2}, "w": "1"}]}
    with pytest.raises(PriceError) as refusal:
        read_price(body)
    at = ("variants", 1)
    assert {place for place, _ in refusal.value.faults} == {
        ("x",),
        ("per_call",),
        (*at, "when", "y"),
        (*at, "when", "z"),
        (*at, "w"),
    }
