"""When a price differs: the conditions of a variant, how they are checked against usage, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.core.usage import MAX_NAME, MAX_PLAUSIBLE_TOKENS, ORDINARY_TIERS, Usage

TRAITS = ("size", "quality", "resolution", "duration", "input", "aspect_ratio", "audio", "hd", "mode")
"""What a variant may depend on beside the service tier and the context: names as clients write them."""

CONDITIONS = ("service_tier", "context_over", *TRAITS)

Place = tuple[str | int, ...]
Fault = tuple[Place, str]


class PriceError(ValueError):
    """A price that can't be read: every place at fault, and why. As text it is the first of them."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        place, reason = faults[0]
        super().__init__(": ".join((".".join(map(str, place)), reason)) if place else reason)


@dataclass(frozen=True, slots=True)
class Condition:
    """When a variant applies: everything that is set must hold.

    `context_over`: the request has more input tokens than this. `service_tier`: the upstream served this one. `traits`:
    facts of the usage, names with lower-case values, by name.
    """

    service_tier: str | None = None
    context_over: int | None = None
    traits: tuple[tuple[str, str], ...] = ()

    def holds(self, usage: Usage) -> bool:
        """Values are compared without regard to case: `1080P` is what `1080p` costs."""
        if self.context_over is not None and usage.input_tokens <= self.context_over:
            return False
        if self.service_tier is not None and (usage.service_tier or "").lower() != self.service_tier:
            return False
        return all(usage.traits.get(name, "").lower() == value for name, value in self.traits)


@dataclass(frozen=True, slots=True)
class Variant:
    """The amounts that differ where a condition holds, as pairs in the order of `AMOUNTS`; the others are the price's own."""

    when: Condition
    amounts: tuple[tuple[str, int], ...]


def read_condition(body: object, at: Place, faults: list[Fault]) -> Condition:
    """A `when`; what is wrong with it is added to `faults`, with its place below `at`."""
    if not isinstance(body, Mapping) or not body:
        faults.append((at, 'must be an object that names when the amounts apply, such as {"resolution": "1080p"}'))
        return Condition()
    traits: list[tuple[str, str]] = []
    tier, over = None, None
    for name, value in body.items():
        try:
            match name:
                case "service_tier":
                    tier = _read_tier(value)
                case "context_over":
                    over = _read_tokens(value)
                case _ if name in TRAITS:
                    traits.append((name, _read_value(value)))
                case _:
                    raise ValueError(f"isn't known; must be one of {', '.join(CONDITIONS)}")
        except ValueError as error:
            faults.append(((*at, str(name)[:100]), str(error)))
    return Condition(tier, over, tuple(sorted(traits)))


def _read_tier(value: object) -> str:
    tier = _read_value(value)
    if tier in ORDINARY_TIERS:
        raise ValueError("the ordinary tier costs what stands outside of variants; name another, such as batch")
    return tier


def _read_tokens(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_PLAUSIBLE_TOKENS:
        raise ValueError(f"must be a number of input tokens, 0 to {MAX_PLAUSIBLE_TOKENS}")
    return value


def _read_value(value: object) -> str:
    """As text in lower case, since usage is text: true and 10 are "true" and "10"."""
    text = ("false", "true")[value] if isinstance(value, bool) else str(value) if isinstance(value, str | int) else ""
    if not 0 < len(text) <= MAX_NAME or not text.isprintable() or text != text.strip():
        raise ValueError(f"must be a text of 1 to {MAX_NAME} printable characters, a whole number, true or false")
    return text.lower()


def write_condition(when: Condition) -> dict[str, str | int]:
    """Back to the object that it was read from."""
    body: dict[str, str | int] = {}
    if when.service_tier is not None:
        body["service_tier"] = when.service_tier
    if when.context_over is not None:
        body["context_over"] = when.context_over
    return body | dict(when.traits)
