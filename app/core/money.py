"""Money as integer nano-dollars: reading amounts and writing them without a float."""

from __future__ import annotations

import re
from decimal import Context, Decimal

NANO_PER_DOLLAR = 1_000_000_000
TOKENS_PER_MTOK = 1_000_000
MAX_DIGITS = 64
_EXACT = Context(prec=2 * MAX_DIGITS)
"""Python's default context rounds to 28 digits, which would let a 34th decimal place through unseen."""

_AMOUNT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,18})?", re.ASCII)
_SHAPE = 'an amount is a decimal string such as "0.5", in dollars'

MAX_NANO = 2**62
"""Half of a BIGINT: room for a sum of two amounts that each passed the check."""


def read_amount(value: str | int | float | Decimal, *, negative: bool = False) -> int:
    """Dollars, as a decimal string (or a JSON number), to nano-dollars.

    Raises ValueError for what isn't a finite amount with at most 9 places, or is out of range, or is below zero where
    `negative` isn't allowed. A float is read through its shortest repr, so 0.1 means "0.1".
    """
    if isinstance(value, bool):
        raise ValueError(_SHAPE)
    text = str(value)
    if len(text) > MAX_DIGITS:
        raise ValueError("the amount is out of range, or has more than 9 decimal places")
    if not _AMOUNT.fullmatch(text):
        finite = text.strip("+-").lower() not in ("nan", "snan", "inf", "infinity")
        raise ValueError(_SHAPE if finite else "an amount must be finite")
    amount = Decimal(text)
    if amount.copy_abs() > MAX_NANO:
        raise ValueError("the amount is out of range")
    if amount and amount.adjusted() < -9:
        raise ValueError("an amount has at most 9 decimal places")
    nano = _EXACT.multiply(amount, NANO_PER_DOLLAR)
    if nano.copy_abs() > MAX_NANO:
        raise ValueError("the amount is out of range")
    if nano != nano.to_integral_value():
        raise ValueError("an amount has at most 9 decimal places")
    if nano < 0 and not negative:
        raise ValueError("the amount must not be negative")
    return int(nano)


def write_amount(nano: int) -> str:
    """Nano-dollars to a decimal string in dollars without trailing zeros: 500000000 → "0.5"."""
    sign = "-" if nano < 0 else ""
    whole, rest = divmod(abs(nano), NANO_PER_DOLLAR)
    return f"{sign}{whole}.{rest:09d}".rstrip("0").rstrip(".") if rest else f"{sign}{whole}"
