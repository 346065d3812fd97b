"""Prices of a model: what is charged for which token, read from the admin API's shape and applied to usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.core.money import NANO_PER_DOLLAR, TOKENS_PER_MTOK, read_amount, write_amount
from app.core.usage import Usage

PPM = 1_000_000

MAX_COST = 10_000_000 * NANO_PER_DOLLAR
"""Ten million dollars for one request: whatever is above is a mistyped price, and sums must stay inside a BIGINT."""

TOKEN_FIELDS = (
    "input_mtok",
    "output_mtok",
    "cache_read_mtok",
    "cache_write_mtok",
    "input_audio_mtok",
    "output_audio_mtok",
)
"""genai-prices' names: dollars per million tokens."""


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars per million tokens, and per call. None: that kind of token costs what plain input or output costs."""

    input_mtok: int = 0
    output_mtok: int = 0
    cache_read_mtok: int | None = None
    cache_write_mtok: int | None = None
    input_audio_mtok: int | None = None
    output_audio_mtok: int | None = None
    per_call: int = 0

    def cost(self, usage: Usage, ratio_ppm: int = PPM) -> int:
        """Nano-dollars, times the account's ratio in parts per million; rounded up once, at the end."""
        special = (
            (usage.cache_read_tokens, self.cache_read_mtok),
            (usage.cache_write_tokens, self.cache_write_mtok),
            (usage.input_audio_tokens, self.input_audio_mtok),
        )
        total = self.per_call * TOKENS_PER_MTOK
        plain = usage.input_tokens
        for tokens, price in special:
            if tokens and price is not None:
                counted = min(tokens, plain)
                plain -= counted
                total += counted * price
        total += plain * self.input_mtok
        plain = usage.output_tokens
        if usage.output_audio_tokens and self.output_audio_mtok is not None:
            counted = min(usage.output_audio_tokens, plain)
            plain -= counted
            total += counted * self.output_audio_mtok
        total += plain * self.output_mtok
        return min(MAX_COST, -(-total * ratio_ppm // (TOKENS_PER_MTOK * PPM)))

    def worst_input(self) -> int:
        """The dearest kind of input token: what a hold must assume."""
        special = (self.cache_read_mtok, self.cache_write_mtok, self.input_audio_mtok)
        return max(self.input_mtok, *(price or 0 for price in special))

    def worst_output(self) -> int:
        return max(self.output_mtok, self.output_audio_mtok or 0)

    def worst_cost(self, input_tokens: int, output_tokens: int, ratio_ppm: int = PPM) -> int:
        """The most that this many tokens can cost, whatever their kind."""
        total = (
            self.per_call * TOKENS_PER_MTOK + input_tokens * self.worst_input() + output_tokens * self.worst_output()
        )
        return min(MAX_COST, -(-total * ratio_ppm // (TOKENS_PER_MTOK * PPM)))

    def affordable_output(self, amount: int, input_tokens: int, ratio_ppm: int = PPM) -> int:
        """How many output tokens `amount` still pays for beside the call and its input; for a lowered cap."""
        if self.worst_output() == 0 or ratio_ppm == 0:
            raise ValueError("output is free: there is nothing to lower")
        room = amount * PPM * TOKENS_PER_MTOK // ratio_ppm
        room -= self.per_call * TOKENS_PER_MTOK + input_tokens * self.worst_input()
        return max(0, room // self.worst_output())


FREE = Price()


def read_price(amounts: Mapping[str, str | int | float]) -> Price:
    """From the admin API's object of dollar amounts. Raises ValueError naming the field."""
    values: dict[str, int] = {}
    for name, amount in amounts.items():
        if name not in (*TOKEN_FIELDS, "per_call"):
            raise ValueError(f"{name}: this kind of price isn't known")
        try:
            values[name] = read_amount(amount)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    if not values:
        raise ValueError("a price names at least one amount; for a model without charge set free")
    return Price(**values)


def write_price(price: Price) -> dict[str, str]:
    """Back to dollar amounts, zeros included."""
    names = (*TOKEN_FIELDS, "per_call")
    amounts = {name: getattr(price, name) for name in names}
    return {name: write_amount(amount) for name, amount in amounts.items() if amount is not None}
