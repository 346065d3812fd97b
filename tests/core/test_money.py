"""Amounts as people write them and as integers: nothing is rounded in silence, and nothing takes long to refuse."""

from __future__ import annotations

import time
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.money import MAX_NANO, NANO_PER_DOLLAR, read_amount, write_amount

WHOLE_DOLLARS = MAX_NANO // NANO_PER_DOLLAR * NANO_PER_DOLLAR


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("0", 0),
        ("-0", 0),
        ("0.5", 500_000_000),
        ("1", 10**9),
        ("1.0", 10**9),
        (".5", 500_000_000),
        ("1e3", 10**12),
        ("1E-9", 1),
        ("0.000000001", 1),
        ("0.1000000000000", 100_000_000),
        (str(MAX_NANO // NANO_PER_DOLLAR), WHOLE_DOLLARS),
        (0.1, 100_000_000),
        (1e-9, 1),
        (12, 12 * 10**9),
        (Decimal("2.25"), 2_250_000_000),
    ],
)
def test_amounts_that_are_read(text: str | float | Decimal, nano: int) -> None:
    assert read_amount(text) == nano


def test_only_corrections_may_be_negative() -> None:
    assert read_amount("-0.5", negative=True) == -500_000_000
    with pytest.raises(ValueError, match="must not be negative"):
        read_amount("-0.5")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (True, "decimal string"),
        (False, "decimal string"),
        ("", "decimal string"),
        ("ten", "decimal string"),
        ("0x10", "decimal string"),
        ("1,5", "decimal string"),
        ("1.5.0", "decimal string"),
        ("NaN", "finite"),
        ("sNaN", "finite"),
        ("-Infinity", "finite"),
        ("inf", "finite"),
        (float("nan"), "finite"),
        (float("inf"), "finite"),
        ("0.0000000001", "9 decimal places"),
        ("1.2345678901", "9 decimal places"),
        (0.1 + 0.2, "9 decimal places"),
        (5e-324, "9 decimal places"),
        ("1e-1000000", "9 decimal places"),
        ("4611686019", "out of range"),
        ("-4611686019", "out of range"),
        (1e300, "out of range"),
        ("1e999999", "out of range"),
        (10**4000, "out of range"),
        ("1e99999999999999999999", "decimal string"),
    ],
)
def test_amounts_that_are_refused(value: str | float, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_amount(value, negative=True)


HUGE = ["1e1000000", "-1e1000000", "1e999999999999999999", "9" * 1_000_000, "1e-999999999999999999", "0." + "1" * 10**6]


@pytest.mark.parametrize("value", [*HUGE[:5], "1.00000000000000000000000000000000001", "1e-10000000"])
def test_what_decimal_cannot_hold_exactly_is_refused_as_well(value: str) -> None:
    with pytest.raises(ValueError, match=r"range|places"):
        read_amount(value, negative=True)


def test_the_largest_amount_reads_back() -> None:
    assert read_amount(write_amount(MAX_NANO)) == MAX_NANO


@pytest.mark.parametrize("value", HUGE)
def test_nothing_takes_long_to_refuse(value: str) -> None:
    """An exponent of a million, written out, would cost seconds of every client's time."""
    started = time.perf_counter()
    with suppress(ValueError, ArithmeticError):
        read_amount(value, negative=True)
    assert time.perf_counter() - started < 0.25


@given(st.integers(-WHOLE_DOLLARS, WHOLE_DOLLARS))
def test_what_is_written_reads_back(nano: int) -> None:
    text = write_amount(nano)
    assert read_amount(text, negative=True) == nano
    assert Decimal(text) * NANO_PER_DOLLAR == nano
    assert not text.endswith(".")
    assert "." not in text or not text.endswith("0")
    assert text != "-0"


@given(st.integers(-(10**13), 10**13), st.integers(0, 12))
def test_reading_is_exact_or_refused(digits: int, places: int) -> None:
    text = f"{Decimal(digits).scaleb(-places):f}"
    if digits % 10 ** max(0, places - 9):
        with pytest.raises(ValueError, match="9 decimal places"):
            read_amount(text, negative=True)
    elif abs(digits) > WHOLE_DOLLARS // NANO_PER_DOLLAR * 10**places:
        with pytest.raises(ValueError, match="out of range"):
            read_amount(text, negative=True)
    else:
        assert read_amount(text, negative=True) * 10**places == digits * NANO_PER_DOLLAR


def test_written_amounts() -> None:
    assert [write_amount(nano) for nano in (0, 1, -1, 10, 10**9, -(10**9), 1_500_000_000, 10**10)] == [
        "0",
        "0.000000001",
        "-0.000000001",
        "0.00000001",
        "1",
        "-1",
        "1.5",
        "10",
    ]
