"""How many tokens a text, or several, come to: a bound for holds, a fair guess, and a count where no upstream tells."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.core.tokens import bound_of_text, count_long_text

Inputs = Sequence[str | Sequence[int] | int]
"""Texts, or texts as tokens; a sequence of integers is one text."""

_encode = msgspec.json.Encoder().encode


def bound_inputs(inputs: Inputs) -> int:
    """No fewer tokens than these have, near enough for a hold."""
    return sum(
        bound_of_text(_encode(item)) if isinstance(item, str) else 1 if isinstance(item, int) else len(item)
        for item in inputs
    )


def fair_inputs(inputs: Inputs) -> int:
    """About what they have: the bound is cautious with texts, and exact with tokens."""
    return sum(
        bound_of_text(_encode(item)) * 3 // 5 if isinstance(item, str) else 1 if isinstance(item, int) else len(item)
        for item in inputs
    )


def count_inputs(inputs: Inputs) -> int:
    """What they have by our own tokenizer; takes its time."""
    texts = "".join(item for item in inputs if isinstance(item, str))
    tokens = sum(1 if isinstance(item, int) else len(item) for item in inputs if not isinstance(item, str))
    return tokens + count_long_text(texts)
