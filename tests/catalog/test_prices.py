"""Prices by property: what is held is never below what is charged, and a lowered cap spends the last cent."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.catalog.prices import AMOUNTS, FREE, MAX_COST, PIECES, PPM, Price, ceiling
from app.catalog.variants import Condition, Variant
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
INPUT_DETAILS = (
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "cache_audio_read_tokens",
    "input_image_tokens",
)
OUTPUT_DETAILS = ("reasoning_tokens", "output_audio_tokens", "output_image_tokens")
PLAIN = Price(input_mtok=2 * DOLLAR, output_mtok=8 * DOLLAR)


@pytest.mark.parametrize(
    ("price", "usage", "ratio_ppm", "nano"),
    [
        (PLAIN, Usage(), PPM, 0),
        (PLAIN, Usage(1000, 500), PPM, 2_000_000 + 4_000_000),
        # what has no price of its own costs what plain tokens cost, once
        (PLAIN, Usage(1000, 500, 400, 300, 200, 100, 50, 20, 10, 5, 5), PPM, 2_000_000 + 4_000_000),
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
            Usage(1000, 500, 400, 100, input_audio_tokens=200, output_audio_tokens=300),
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
ratios = st.one_of(st.just(PPM), st.integers(0, 10 * PPM))
tokens = st.one_of(st.sampled_from([0, 1, 999, 1000, 1001]), st.integers(0, 3_000_000))
names = st.lists(st.sampled_from(AMOUNTS), unique=True)
conditions = st.builds(
    Condition,
    service_tier=st.sampled_from([None, "batch", "priority"]),
    context_over=st.sampled_from([None, 0, 1, 1000, 200_000]),
    traits=st.lists(st.sampled_from([("quality", "high"), ("size", "large")]), unique=True).map(
        lambda t: tuple(sorted(t))
    ),
).filter(lambda when: when != Condition())


@st.composite
def some_amounts(draw: st.DrawFn, names: st.SearchStrategy[list[str]] = names) -> dict[str, int]:
    return {name: draw(amounts) for name in sorted(draw(names), key=AMOUNTS.index)}


@st.composite
def variants(draw: st.DrawFn) -> tuple[Variant, ...]:
    chosen = draw(st.lists(conditions, unique=True, max_size=4))
    least_one = st.lists(st.sampled_from(AMOUNTS), unique=True, min_size=1)
    return tuple(Variant(when, tuple(draw(some_amounts(least_one)).items())) for when in chosen)


@st.composite
def prices(draw: st.DrawFn, *, varied: bool = True) -> Price:
    """Any price."""
    return Price(**draw(some_amounts()), variants=draw(variants()) if varied else ())


@st.composite
def usages(draw: st.DrawFn, input_tokens: int, output_tokens: int) -> Usage:
    """Any usage of tokens within the bounds. Details are within the totals, and otherwise as odd as vendors may report."""
    inside, outside = draw(st.integers(0, input_tokens)), draw(st.integers(0, output_tokens))
    of_input = {name: draw(st.integers(0, inside)) for name in INPUT_DETAILS}
    of_output = {name: draw(st.integers(0, outside)) for name in OUTPUT_DETAILS}
    return Usage(
        input_tokens=inside,
        output_tokens=outside,
        **of_input,
        **of_output,
        service_tier=draw(st.sampled_from([None, "batch", "priority", "flex"])),
        traits=draw(st.fixed_dictionaries({}, optional={"size": st.just("LARGE"), "quality": st.just("high")})),
    )


@given(st.data(), prices(), tokens, tokens, ratios, ratios)
def test_a_hold_covers_any_usage_within_its_bounds(
    data: st.DataObject, price: Price, input_tokens: int, output_tokens: int, ratio_ppm: int, group_ppm: int
) -> None:
    usage = data.draw(usages(input_tokens, output_tokens))
    cost = price.cost(usage, ratio_ppm, group_ppm)
    assert 0 <= cost <= price.worst_cost(input_tokens, output_tokens, ratio_ppm, group_ppm) <= MAX_COST
    fewer = Usage(input_tokens * 3 // 4)
    assert price.cost(fewer, ratio_ppm, group_ppm) <= price.worst_cost(input_tokens, 0, ratio_ppm, group_ppm)


@given(st.data(), st.lists(prices(), min_size=1, max_size=3), tokens, tokens, ratios)
def test_a_ceiling_covers_each_of_its_prices(
    data: st.DataObject, several: list[Price], input_tokens: int, output_tokens: int, ratio_ppm: int
) -> None:
    top = ceiling(several)
    usage = data.draw(usages(input_tokens, output_tokens))
    for price in several:
        worst = price.worst_cost(input_tokens, output_tokens, ratio_ppm)
        assert price.cost(usage, ratio_ppm) <= worst <= top.worst_cost(input_tokens, output_tokens, ratio_ppm)
        assert price.worst_input(input_tokens) <= top.worst_input(input_tokens)
        assert price.worst_output(input_tokens) <= top.worst_output(input_tokens)
        for piece in PIECES:
            assert _most(price, piece) <= _most(top, piece)


def _most(price: Price, piece: str) -> int:
    return max(getattr(price, piece) or 0, *(dict(variant.amounts).get(piece, 0) for variant in price.variants), 0)


def test_the_ceiling_of_one_price_is_that_price() -> None:
    assert ceiling([FULL]) is FULL
    assert ceiling([FULL, FULL]) is FULL
    with pytest.raises(ValueError, match="no price"):
        ceiling([])


def test_a_hold_looks_no_further_than_its_context() -> None:
    """What only a longer request can cost isn't held for a short one."""
    over = Variant(Condition(context_over=200_000), (("input_mtok", 4 * DOLLAR), ("output_mtok", 12 * DOLLAR)))
    price = Price(2 * DOLLAR, 8 * DOLLAR, variants=(over,))
    assert price.worst_cost(200_000, 10) == 200_000 * 2000 + 10 * 8000
    assert price.worst_cost(200_001, 10) == 200_001 * 4000 + 10 * 12_000
    both = ceiling([price, Price(3 * DOLLAR, DOLLAR)])
    assert both.worst_cost(200_000, 10) == 200_000 * 3000 + 10 * 8000
    assert both.worst_cost(200_001, 10) == 200_001 * 4000 + 10 * 12_000
    assert (price.worst_input(), price.worst_output()) == (4 * DOLLAR, 12 * DOLLAR)


def test_a_hold_covers_a_cache_that_is_dear_to_read() -> None:
    price = Price(input_mtok=DOLLAR, output_mtok=0, cache_read_mtok=2 * DOLLAR)
    assert price.cost(Usage(100, 0, cache_read_tokens=100)) <= price.worst_cost(100, 0)


@given(prices(), st.integers(0, MAX_COST - 1), tokens, ratios, ratios)
def test_the_affordable_output_is_the_largest(
    price: Price, amount: int, input_tokens: int, ratio_ppm: int, group_ppm: int
) -> None:
    assume(price.worst_output(input_tokens) and ratio_ppm and group_ppm)
    most = price.affordable_output(amount, input_tokens, ratio_ppm, group_ppm)
    assert most >= 0
    assert price.worst_cost(input_tokens, most + 1, ratio_ppm, group_ppm) > amount
    if price.worst_cost(input_tokens, 0, ratio_ppm, group_ppm) <= amount:
        assert price.worst_cost(input_tokens, most, ratio_ppm, group_ppm) <= amount
    else:
        assert most == 0


@given(prices(), tokens, tokens, tokens, ratios)
def test_more_tokens_are_never_held_cheaper(price: Price, inputs: int, fewer: int, more: int, ratio_ppm: int) -> None:
    low, high = sorted((fewer, more))
    assert price.worst_cost(inputs, low, ratio_ppm) <= price.worst_cost(inputs, high, ratio_ppm)
    assert price.worst_cost(low, inputs, ratio_ppm) <= price.worst_cost(high, inputs, ratio_ppm)


@given(prices(varied=False), tokens, tokens, tokens, ratios)
def test_more_tokens_never_cost_less(price: Price, inputs: int, fewer: int, more: int, ratio_ppm: int) -> None:
    low, high = sorted((fewer, more))
    assert price.cost(Usage(inputs, low), ratio_ppm) <= price.cost(Usage(inputs, high), ratio_ppm)


@pytest.mark.parametrize(("price", "ratio_ppm"), [(FREE, PPM), (PLAIN, 0), (Price(input_mtok=1), PPM)])
def test_there_is_no_cap_to_lower_where_output_is_free(price: Price, ratio_ppm: int) -> None:
    with pytest.raises(ValueError, match="output is free"):
        price.affordable_output(100, 10, ratio_ppm)
