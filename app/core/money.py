"""Money as integer nano-dollars: reading amounts, writing them, and pricing token counts without a float."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation

NANO_PER_DOLLAR = 1_000_000_000
TOKENS_PER_MTOK = 1_000_000
MAX_NANO = 2**62
"""Half of a BIGINT: room for a sum of two amounts that each passed the check."""


def read_amount(value: str | int | float | Decimal, *, negative: bool = False) -> int:
    """Dollars, as a decimal string (or a JSON number), to nano-dollars.

    Raises ValueError for what isn't a finite amount with at most 9 places, or is out of range, or is below zero where
    `negative` isn't allowed. A float is read through its shortest repr, so 0.1 means "0.1".
    """
    if isinstance(value, bool):
        raise ValueError('an amount is a decimal string such as "0.5", in dollars')
    try:
        amount = Decimal(str(value))
    except InvalidOperation as error:
        raise ValueError('an amount is a decimal string such as "0.5", in dollars') from error
    if not amount.is_finite():
        raise ValueError("an amount must be finite")
    if abs(amount) > MAX_NANO // NANO_PER_DOLLAR:
        raise ValueError("the amount is out of range")
    nano = amount * NANO_PER_DOLLAR
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


def cost_of_tokens(parts: tuple[tuple[int, int], ...]) -> int:
    """Nano-dollars for (tokens, nano-dollars per million tokens) pairs.

    Rounded up once, over the sum: the smallest charge for a priced token is one nano-dollar, and a hold for more
    tokens is never below the charge for fewer.
    """
    total = 0
    for tokens, per_mtok in parts:
        total += tokens * per_mtok
    return -(-total // TOKENS_PER_MTOK)


def scale(nano: int, ratio: Decimal) -> int:
    """`nano` times a price ratio, rounded up to a nano-dollar."""
    return int((Decimal(nano) * ratio).to_integral_value(rounding=ROUND_CEILING))
