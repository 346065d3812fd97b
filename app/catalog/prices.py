"""What a model costs: amounts by kind of token, call and piece, variants of them, and what a usage comes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from app.catalog.variants import Condition, Fault, Place, PriceError, Variant, read_condition, write_condition
from app.core.money import NANO_PER_DOLLAR, TOKENS_PER_MTOK, read_amount, write_amount
from app.core.usage import Usage

PPM = 1_000_000

MAX_COST = 10_000_000 * NANO_PER_DOLLAR
"""Ten million dollars for one request: whatever is above is a mistyped price, and sums must stay inside a BIGINT."""

INPUT_KINDS = (
    "cache_read_mtok",
    "cache_write_mtok",
    "cache_write_1h_mtok",
    "input_audio_mtok",
    "cache_audio_read_mtok",
    "input_image_mtok",
)
OUTPUT_KINDS = ("output_audio_mtok", "output_image_mtok", "output_reasoning_mtok")
"""genai-prices' names: dollars per million tokens. Kinds inside plain input and plain output."""

PIECES = ("per_image", "per_video", "per_second", "per_minute", "per_kchar", "per_search_unit")

COUNTED_BY: Mapping[str, str] = MappingProxyType(
    {
        "per_image": "images",
        "per_video": "videos",
        "per_second": "milliseconds",
        "per_minute": "milliseconds",
        "per_kchar": "characters",
        "per_search_unit": "search_units",
    }
)
"""What of a usage each piece's amount is multiplied with."""

TOKENS = "tokens"

_PIECE_SCALE = 3
"""A minute is 60,000 milliseconds, which divides three millions and not one: with pieces, sums are in thirds."""

MAX_VARIANTS = 200

_DIVISOR = TOKENS_PER_MTOK * PPM * PPM


@dataclass(frozen=True, slots=True)
class _Worst:
    """The dearest that calls of more than `over` input tokens can meet: nano-dollars, tokens' by the million."""

    over: int
    call: int
    input: int
    output: int


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars per million tokens, per call, and per piece; None: not set.

    A kind of token without an amount costs what the next wider kind costs: an hour's cache write what a cache write costs,
    cached audio what other cached input costs (or audio, where that has none), everything else what plain input or output
    costs. Whatever else isn't set is free. Of the variants the first that holds replaces the amounts that it names.
    """

    input_mtok: int | None = None
    output_mtok: int | None = None
    cache_read_mtok: int | None = None
    cache_write_mtok: int | None = None
    cache_write_1h_mtok: int | None = None
    input_audio_mtok: int | None = None
    cache_audio_read_mtok: int | None = None
    input_image_mtok: int | None = None
    output_audio_mtok: int | None = None
    output_image_mtok: int | None = None
    output_reasoning_mtok: int | None = None
    per_call: int | None = None
    per_image: int | None = None
    per_video: int | None = None
    per_second: int | None = None
    per_minute: int | None = None
    per_kchar: int | None = None
    per_search_unit: int | None = None
    variants: tuple[Variant, ...] = ()
    # Worked out once, since a price is applied to many requests.
    _plain: bool = field(init=False, repr=False, compare=False)
    _has_output_kinds: bool = field(init=False, repr=False, compare=False)
    _has_pieces: bool = field(init=False, repr=False, compare=False)
    _call: int = field(init=False, repr=False, compare=False)
    _input: int = field(init=False, repr=False, compare=False)
    _output: int = field(init=False, repr=False, compare=False)
    _choices: tuple[tuple[Condition, Price], ...] = field(init=False, repr=False, compare=False)
    _worst: tuple[_Worst, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        known = {name for name in AMOUNTS if getattr(self, name) is not None}
        choices = tuple((item.when, _overlaid(self, item)) for item in self.variants)
        worked_out = {
            "_plain": not choices and known <= {"input_mtok", "output_mtok", "per_call"},
            "_has_output_kinds": not known.isdisjoint(OUTPUT_KINDS),
            "_has_pieces": not known.isdisjoint(PIECES),
            "_call": (self.per_call or 0) * TOKENS_PER_MTOK,
            "_input": self.input_mtok or 0,
            "_output": self.output_mtok or 0,
            "_choices": choices,
            "_worst": _worst_of(self, choices),
        }
        for name, value in worked_out.items():
            object.__setattr__(self, name, value)

    def cost(self, usage: Usage, ratio_ppm: int = PPM, group_ppm: int = PPM) -> int:
        """Nano-dollars, times the account's and the model group's ratio in parts per million; rounded up once, at the end."""
        if self._plain:
            total = self._call + usage.input_tokens * self._input + usage.output_tokens * self._output
            return min(MAX_COST, -(-total * ratio_ppm * group_ppm // _DIVISOR))
        price = self.applied_to(usage)
        total = price._call + price._input_total(usage)
        total += price._output_total(usage) if price._has_output_kinds else usage.output_tokens * price._output
        scale = 1
        if price._has_pieces:
            total = total * _PIECE_SCALE + price._piece_total(usage)
            scale = _PIECE_SCALE
        return min(MAX_COST, -(-total * ratio_ppm * group_ppm // (_DIVISOR * scale)))

    def applied_to(self, usage: Usage) -> Price:
        """This price with the variant that holds for the usage put in; without one, itself."""
        for when, price in self._choices:
            if when.holds(usage):
                return price
        return self

    def counts(self) -> frozenset[str]:
        """What of a usage it asks for: the names of counts of pieces, and `TOKENS`."""
        named = {
            name
            for price in (self, *(choice for _, choice in self._choices))
            for name in AMOUNTS
            if getattr(price, name)
        }
        return frozenset(COUNTED_BY.get(name, TOKENS) for name in named if name != "per_call")

    def worst_of(self, usage: Usage, ratio_ppm: int = PPM, group_ppm: int = PPM) -> int:
        """The most that a call which uses no more than this can cost, whatever the kind of its tokens, and whichever variant
        applies.
        """
        dearest: dict[str, Any] = {piece: amount for piece in PIECES if (amount := _dearest(self, piece))}
        cost = Price(**dearest).cost(usage, ratio_ppm, group_ppm)
        return min(MAX_COST, cost + self.worst_cost(usage.input_tokens, usage.output_tokens, ratio_ppm, group_ppm))

    def worst_input(self, input_tokens: int | None = None) -> int:
        """The dearest kind of input token in a call of so many at most (None: any), per million: what a hold must assume."""
        return self._worst_for(input_tokens).input

    def worst_output(self, input_tokens: int | None = None) -> int:
        """The dearest kind of output token, per million, in a call of so many input tokens at most (None: any)."""
        return self._worst_for(input_tokens).output

    def worst_cost(self, input_tokens: int, output_tokens: int, ratio_ppm: int = PPM, group_ppm: int = PPM) -> int:
        """The most that a call of so many tokens at most can cost, whatever their kind and whichever variant applies.

        Pieces (images, seconds, characters, search units) aren't in it.
        """
        worst = self._worst_for(input_tokens)
        total = worst.call * TOKENS_PER_MTOK + input_tokens * worst.input + output_tokens * worst.output
        return min(MAX_COST, -(-total * ratio_ppm * group_ppm // _DIVISOR))

    def affordable_output(self, amount: int, input_tokens: int, ratio_ppm: int = PPM, group_ppm: int = PPM) -> int:
        """How many output tokens `amount` still pays for beside the call and its input; for a lowered cap."""
        worst = self._worst_for(input_tokens)
        if worst.output == 0 or ratio_ppm == 0 or group_ppm == 0:
            raise ValueError("output is free: there is nothing to lower")
        room = amount * _DIVISOR // (ratio_ppm * group_ppm)
        room -= worst.call * TOKENS_PER_MTOK + input_tokens * worst.input
        return max(0, room // worst.output)

    def _worst_for(self, input_tokens: int | None) -> _Worst:
        found = self._worst[0]
        for worst in self._worst:
            if input_tokens is not None and worst.over >= input_tokens:
                break
            found = worst
        return found

    def _input_total(self, usage: Usage) -> int:
        """Each token counts once, as the first of the kinds that it is of and that has an amount."""
        cached_audio_mtok = _first(self.cache_audio_read_mtok, self.cache_read_mtok)
        long_mtok = _first(self.cache_write_1h_mtok, self.cache_write_mtok)
        long = min(usage.cache_write_1h_tokens, usage.cache_write_tokens)
        cached_audio = min(usage.cache_audio_read_tokens, usage.cache_read_tokens, usage.input_audio_tokens)
        if cached_audio_mtok is None:  # then it is audio like other audio
            cached_audio = 0
        kinds = (
            (cached_audio, cached_audio_mtok),
            (usage.cache_read_tokens - cached_audio, self.cache_read_mtok),
            (long, long_mtok),
            (usage.cache_write_tokens - long, self.cache_write_mtok),
            (usage.input_audio_tokens - cached_audio, self.input_audio_mtok),
            (usage.input_image_tokens, self.input_image_mtok),
        )
        return _count_once(usage.input_tokens, self._input, kinds)

    def _output_total(self, usage: Usage) -> int:
        kinds = (
            (usage.output_audio_tokens, self.output_audio_mtok),
            (usage.output_image_tokens, self.output_image_mtok),
            (usage.reasoning_tokens, self.output_reasoning_mtok),
        )
        return _count_once(usage.output_tokens, self._output, kinds)

    def _piece_total(self, usage: Usage) -> int:
        """Three-millionths of a nano-dollar, so that thousandths and minutes come out whole."""
        unit = TOKENS_PER_MTOK * _PIECE_SCALE
        return (
            usage.images * (self.per_image or 0) * unit
            + usage.videos * (self.per_video or 0) * unit
            + usage.search_units * (self.per_search_unit or 0) * unit
            + usage.characters * (self.per_kchar or 0) * (unit // 1000)
            + usage.milliseconds * (self.per_second or 0) * (unit // 1000)
            + usage.milliseconds * (self.per_minute or 0) * (unit // 60_000)
        )


AMOUNTS = tuple(f.name for f in fields(Price) if f.init and f.name != "variants")
"""Every kind of amount, in the order in which a price is shown."""


def ceiling(prices: Iterable[Price]) -> Price:
    """A price that is no cheaper than any of these in `worst_cost` and by the piece: what a hold assumes while it isn't
    known which of them will apply. The price itself, if they are one. Raises ValueError for none.
    """
    each = set(prices)
    if not each:
        raise ValueError("no price has no ceiling")
    if len(each) == 1:
        return each.pop()
    overs = sorted({worst.over for price in each for worst in price._worst})
    steps = []
    for over in overs:
        # One token above the threshold is where everything up to it can be met.
        met = [price._worst_for(over + 1) for price in each]
        steps.append((over, max(m.input for m in met), max(m.output for m in met), max(m.call for m in met)))
    names = ("input_mtok", "output_mtok", "per_call")
    variants = tuple(
        Variant(Condition(context_over=over), tuple(zip(names, amounts, strict=True)))
        for over, *amounts in reversed(steps[1:])
    )
    pieces = {name: max(filter(None, (_dearest(price, name) for price in each)), default=None) for name in PIECES}
    return Price(**dict(zip(names, steps[0][1:], strict=True)), **pieces, variants=variants)


def _overlaid(price: Price, variant: Variant) -> Price:
    amounts = {name: getattr(price, name) for name in AMOUNTS}
    return Price(**{**amounts, **dict(variant.amounts)})


def _worst_of(price: Price, choices: tuple[tuple[Condition, Price], ...]) -> tuple[_Worst, ...]:
    """Ascending by `over`, each step covering those before it. The first is over -1: any call, an empty one too."""
    met = [_Worst(-1, price.per_call or 0, _dearest_of(price, INPUT_KINDS), _dearest_of(price, OUTPUT_KINDS))]
    for when, choice in choices:
        over = -1 if when.context_over is None else when.context_over
        met.append(choice._worst[0] if over == -1 else replace(choice._worst[0], over=over))
    steps: dict[int, _Worst] = {}
    so_far = met[0]
    for item in sorted(met, key=lambda worst: worst.over):
        so_far = _Worst(
            item.over,
            max(so_far.call, item.call),
            max(so_far.input, item.input),
            max(so_far.output, item.output),
        )
        steps[item.over] = so_far
    return tuple(steps.values())


def _dearest_of(price: Price, kinds: tuple[str, ...]) -> int:
    plain = price.input_mtok if kinds is INPUT_KINDS else price.output_mtok
    return max(plain or 0, *(getattr(price, kind) or 0 for kind in kinds))


def _dearest(price: Price, piece: str) -> int | None:
    """The highest amount of one kind over a price and its variants; None where none has one."""
    found = [getattr(each, piece) for each in (price, *(choice for _, choice in price._choices))]
    return max((amount for amount in found if amount is not None), default=None)


def _first(amount: int | None, otherwise: int | None) -> int | None:
    return otherwise if amount is None else amount


def _count_once(tokens: int, plain: int, kinds: Iterable[tuple[int, int | None]]) -> int:
    """The kinds at their own amounts, and what is left of `tokens` at the plain one; details beyond the total don't count."""
    total = 0
    for of_kind, amount in kinds:
        if of_kind and amount is not None:
            counted = min(of_kind, tokens)
            tokens -= counted
            total += counted * amount
    return total + tokens * plain


FREE = Price()


def read_price(body: object) -> Price:
    """From an object of dollar amounts, as the admin API takes it and the database keeps it. Raises PriceError."""
    if not isinstance(body, Mapping):
        raise PriceError([((), 'must be an object of amounts, such as {"input_mtok": "0.15", "output_mtok": "0.6"}')])
    faults: list[Fault] = []
    amounts = _read_amounts({name: value for name, value in body.items() if name != "variants"}, (), faults)
    variants = _read_variants(body["variants"], faults) if "variants" in body else ()
    if not faults and not amounts and not variants:
        faults.append(((), "must name at least one amount; for a model without charge set free"))
    if faults:
        raise PriceError(faults)
    return Price(**amounts, variants=variants)


def write_price(price: Price) -> dict[str, Any]:
    """Back to dollar amounts: those that are set, zeros included."""
    body: dict[str, Any] = {
        name: write_amount(amount) for name in AMOUNTS if (amount := getattr(price, name)) is not None
    }
    if price.variants:
        body["variants"] = [
            {"when": write_condition(variant.when), **{name: write_amount(nano) for name, nano in variant.amounts}}
            for variant in price.variants
        ]
    return body


def _read_amounts(body: Mapping[str, object], at: Place, faults: list[Fault]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, amount in body.items():
        if name not in AMOUNTS:
            faults.append(((*at, str(name)[:100]), "this kind of price isn't known"))
            continue
        try:
            found[name] = _read_amount(amount)
        except ValueError as error:
            faults.append(((*at, name), str(error)))
    return {name: found[name] for name in AMOUNTS if name in found}


def _read_amount(amount: object) -> int:
    if not isinstance(amount, str | int | float):
        raise ValueError('an amount is a decimal string such as "0.5", in dollars')
    return read_amount(amount)


def _read_variants(items: object, faults: list[Fault]) -> tuple[Variant, ...]:
    if not isinstance(items, list) or not 0 < len(items) <= MAX_VARIANTS:
        faults.append(
            (("variants",), f"must be a list of 1 to {MAX_VARIANTS} objects with a when; leave it out for none")
        )
        return ()
    found: list[Variant] = []
    for place, item in enumerate(items):
        at: Place = ("variants", place)
        if not isinstance(item, Mapping):
            faults.append((at, 'must be an object, such as {"when": {"size": "1024x1024"}, "per_image": "0.04"}'))
            continue
        when = read_condition(item.get("when"), (*at, "when"), faults)
        amounts = _read_amounts({name: value for name, value in item.items() if name != "when"}, at, faults)
        if len(item) <= 1 and "when" in item:
            faults.append((at, "must name at least one amount"))
        if any(variant.when == when for variant in found):
            faults.append(((*at, "when"), "stands twice: only the first would ever apply"))
        found.append(Variant(when, tuple(amounts.items())))
    return tuple(found)
