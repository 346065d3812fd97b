"""How hard a model shall think, told in tokens by some formats and in words by others."""

from __future__ import annotations

LOW_BUDGET, MEDIUM_BUDGET = 2048, 8192
"""Tokens up to which a budget is called low, or medium. Nobody documents an equal; these are the gateway's own."""


def effort_of(budget: int) -> str | None:
    """The effort that a budget in tokens comes near to; None where the model shall decide."""
    if budget <= 0:
        return "none" if budget == 0 else None
    if budget <= LOW_BUDGET:
        return "low"
    return "medium" if budget <= MEDIUM_BUDGET else "high"
