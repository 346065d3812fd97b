"""Prices by hand and by property: what is held is never below what is charged, and a lowered cap spends the last cent."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.catalog.prices import FREE, MAX_COST, PPM, Price, read_price, write_price
from app.core.usage import MAX_PLAUSIBLE_TOKENS, Usage

DOLLAR = 10**9
FULL = Price(
    input_mtok=3 * DOLLAR,
    output_mtok=15 * DOLLAR,
    cache_read_mtok=300_000_000,
    cache_write_mtok=3_750_000_000,
    input_audio_mtok=40 * DOLLAR,
    output_audio_mtok=80 * DOLLAR,
    per_call=5_000_000,
)
PLAIN = Price(input_mtok=2 * DOLLAR, output_mtok=8 * DOLLAR)


@pytest.mark.parametrize(
    ("price", "usage", "ratio_ppm", "nano"),
    [
        (PLAIN, Usage(), PPM, 0),
        (PLAIN, Usage(1000, 500), PPM, 2_000_000 + 4_000_000),
        # what has no price of its own costs what plain tokens cost, once
        (PLAIN, Usage(1000, 500, 400, 300, 200, 100, 50), PPM, 2_000_000 + 4_000_000),
        (FULL, Usage(), PPM, 5_000_000),  # a call without a token
        (FULL, Usage(1000, 500), PPM, 5_000_000 + 3_000_000 + 7_500_000),
        (FULL, Usage(1000, 0, cache_read_tokens=400), PPM, 5_000_000 + 600 * 3000 + 400 * 300),
        (FULL, Usage(1000, 0, cache_read_tokens=1000), PPM, 5_000_000 + 1000 * 300),
        (FULL, Usage(1000, 0, cache_write_tokens=100), PPM, 5_000_000 + 900 * 3000 + 100 * 3750),
        (FULL, Usage(1000, 0, input_audio_tokens=250), PPM, 5_000_000 + 750 * 3000 + 250 * 40_000),
        (FULL, Usage(0, 1000, output_audio_tokens=800), PPM, 5_000_000 + 200 * 15_000 + 800 * 80_000),
        (FULL, Usage(0, 1000, reasoning_tokens=900), PPM, 5_000_000 + 1000 * 15_000),  # inside the output
        (
            FULL,
            Usage(1000, 500, 400, 100, 0, 200, 300),
            PPM,
            5_000_000 + 300 * 3000 + 400 * 300 + 100 * 3750 + 200 * 40_000 + 200 * 15_000 + 300 * 80_000,
        ),
        # more details than input: no token counts twice
        (FULL, Usage(100, 0, cache_read_tokens=100, cache_write_tokens=100), PPM, 5_000_000 + 100 * 300),
        (FULL, Usage(100, 0, cache_read_tokens=500), PPM, 5_000_000 + 100 * 300),
        # a price of zero is a price
        (Price(2 * DOLLAR, 8 * DOLLAR, cache_read_mtok=0), Usage(1000, 0, cache_read_tokens=900), PPM, 100 * 2000),
        (PLAIN, Usage(1000, 500), 500_000, 3_000_000),
        (PLAIN, Usage(1000, 500), 1_100_000, 6_600_000),
        (PLAIN, Usage(1000, 500), 0, 0),
        (FREE, Usage(1000, 500), PPM, 0),
        # a fraction of a nano-dollar is one, once over the sum
        (Price(1, 1), Usage(1, 0), PPM, 1),
        (Price(1, 1), Usage(500_000, 500_000), PPM, 1),
        (Price(1, 1), Usage(500_000, 500_001), PPM, 2),
        (Price(1, 1), Usage(1_000_000, 0), 1, 1),
        (Price(10**18, 0), Usage(MAX_PLAUSIBLE_TOKENS, 0), PPM, MAX_COST),
    ],
)
def test_costs_by_hand(price: Price, usage: Usage, ratio_ppm: int, nano: int) -> None:
    assert price.cost(usage, ratio_ppm) == nano


def test_more_audio_than_output_is_no_discount() -> None:
    assert FULL.cost(Usage(0, 100, output_audio_tokens=500)) == 5_000_000 + 100 * 80_000
    assert Price(0, 8 * DOLLAR, output_audio_mtok=0).cost(Usage(0, 0, output_audio_tokens=500)) == 0


def test_worst_costs_by_hand() -> None:
    assert FULL.worst_cost(1000, 500) == 5_000_000 + 1000 * 40_000 + 500 * 80_000
    assert FULL.worst_cost(0, 0) == 5_000_000
    assert PLAIN.worst_cost(1000, 500, 500_000) == 3_000_000
    assert PLAIN.worst_cost(MAX_PLAUSIBLE_TOKENS * 10**9, 0) == MAX_COST


amounts = st.one_of(st.integers(0, 5), st.integers(0, 100 * DOLLAR))
optional = st.one_of(st.none(), amounts)
ratios = st.one_of(st.just(PPM), st.integers(0, 10 * PPM))
tokens = st.integers(0, 3_000_000)


@st.composite
def prices(draw: st.DrawFn, *, cheap_reads: bool = True) -> Price:
    """Any price; `cheap_reads`: reading the cache costs at most what plain input costs, as everywhere today."""
    plain = draw(amounts), draw(amounts)
    made = Price(*plain, draw(optional), draw(optional), draw(optional), draw(optional), draw(amounts))
    if cheap_reads:
        assume(made.cache_read_mtok is None or made.cache_read_mtok <= made.worst_input())
    return made


@st.composite
def usages(draw: st.DrawFn, input_tokens: int, output_tokens: int) -> Usage:
    """Any usage within the bounds; the details are part of the totals, as `Usage` says."""
    inputs, outputs = draw(st.integers(0, input_tokens)), draw(st.integers(0, output_tokens))
    details = st.integers(0, inputs)
    out = st.integers(0, outputs)
    return Usage(inputs, outputs, draw(details), draw(details), draw(out), draw(details), draw(out))


@given(st.data(), prices(), tokens, tokens, ratios)
def test_a_hold_covers_any_usage_within_its_bounds(
    data: st.DataObject, price: Price, input_tokens: int, output_tokens: int, ratio_ppm: int
) -> None:
    usage = data.draw(usages(input_tokens, output_tokens))
    cost = price.cost(usage, ratio_ppm)
    assert 0 <= cost <= price.worst_cost(input_tokens, output_tokens, ratio_ppm) <= MAX_COST
    assert price.cost(Usage(input_tokens * 3 // 4), ratio_ppm) <= price.worst_cost(input_tokens, 0, ratio_ppm)


def test_a_hold_covers_a_cache_that_is_dear_to_read() -> None:
    price = Price(input_mtok=DOLLAR, output_mtok=0, cache_read_mtok=2 * DOLLAR)
    assert price.cost(Usage(100, 0, cache_read_tokens=100)) <= price.worst_cost(100, 0)


@given(prices(cheap_reads=False), st.integers(0, MAX_COST - 1), tokens, ratios)
def test_the_affordable_output_is_the_largest(price: Price, amount: int, input_tokens: int, ratio_ppm: int) -> None:
    assume(price.worst_output() and ratio_ppm)
    most = price.affordable_output(amount, input_tokens, ratio_ppm)
    assert most >= 0
    assert price.worst_cost(input_tokens, most + 1, ratio_ppm) > amount
    if price.worst_cost(input_tokens, 0, ratio_ppm) <= amount:
        assert price.worst_cost(input_tokens, most, ratio_ppm) <= amount
    else:
        assert most == 0


@given(prices(), tokens, tokens, tokens, ratios)
def test_more_tokens_never_cost_less(price: Price, inputs: int, fewer: int, more: int, ratio_ppm: int) -> None:
    low, high = sorted((fewer, more))
    assert price.worst_cost(inputs, low, ratio_ppm) <= price.worst_cost(inputs, high, ratio_ppm)
    assert price.cost(Usage(inputs, low), ratio_ppm) <= price.cost(Usage(inputs, high), ratio_ppm)


@pytest.mark.parametrize(("price", "ratio_ppm"), [(FREE, PPM), (PLAIN, 0), (Price(input_mtok=1), PPM)])
def test_there_is_no_cap_to_lower_where_output_is_free(price: Price, ratio_ppm: int) -> None:
    with pytest.raises(ValueError, match="output is free"):
        price.affordable_output(100, 10, ratio_ppm)


@given(prices(cheap_reads=False))
def test_what_is_written_reads_back(price: Price) -> None:
    assert read_price(write_price(price)) == price


def test_prices_as_people_write_them() -> None:
    price = read_price({"input_mtok": "0.15", "output_mtok": 0.6, "cache_read_mtok": 0, "per_call": "0.001"})
    assert price == Price(150_000_000, 600_000_000, cache_read_mtok=0, per_call=1_000_000)
    assert write_price(price) == {
        "input_mtok": "0.15",
        "output_mtok": "0.6",
        "cache_read_mtok": "0",
        "per_call": "0.001",
    }


@pytest.mark.parametrize(
    ("amounts", "reason"),
    [
        ({}, "at least one amount"),
        ({"input": "1"}, "input: this kind of price isn't known"),
        ({"input_mtok": "-1"}, "input_mtok: the amount must not be negative"),
        ({"output_mtok": "NaN"}, "output_mtok: an amount must be finite"),
        ({"per_call": "0.0000000001"}, "per_call: an amount has at most 9 decimal places"),
    ],
)
def test_prices_that_are_refused(amounts: dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_price(amounts)
