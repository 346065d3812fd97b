"""How much a model shall think, in the words of the server at hand. Source: as in `read_reasoning`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from app.core.conversation import Reasoning
from app.formats.efforts import LOW_BUDGET, MEDIUM_BUDGET, effort_of
from app.formats.openai_chat.quirks import ENABLE_THINKING, NO_STOP_WITH_REASONING, THINKING_SWITCH

_DEEPSEEK: Mapping[str, str] = MappingProxyType(
    {"minimal": "low", "low": "low", "medium": "high", "high": "high", "xhigh": "max", "max": "max"}
)
_BUDGETS: Mapping[str, int] = MappingProxyType({"minimal": LOW_BUDGET, "low": LOW_BUDGET, "medium": MEDIUM_BUDGET})


def write_reasoning(reasoning: Reasoning, quirks: frozenset[str]) -> dict[str, Any] | None:
    """The fields that say it, {} where the server's default is what was asked for; None where nothing can say it."""
    effort = _effort(reasoning)
    if THINKING_SWITCH in quirks:
        return _switch(effort)
    if ENABLE_THINKING in quirks:
        return _enable(reasoning, effort)
    if effort == "none" and NO_STOP_WITH_REASONING in quirks:
        return None
    if effort is not None:
        return {"reasoning_effort": effort}
    # Shown or not, is the server's to decide; that alone was asked for.
    return None if reasoning.show and not reasoning.adaptive and reasoning.budget is None else {}


def _effort(reasoning: Reasoning) -> str | None:
    """The effort, or what a budget comes near to; None where the model shall decide."""
    budget = reasoning.budget
    if budget == 0:  # switched off, whatever effort was named beside it
        return "none"
    if reasoning.effort is not None or budget is None:
        return reasoning.effort
    return effort_of(budget)


def _switch(effort: str | None) -> dict[str, Any]:
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    if effort is not None:
        return {"thinking": {"type": "enabled"}, "reasoning_effort": _DEEPSEEK[effort]}
    return {"thinking": {"type": "enabled"}}


def _enable(reasoning: Reasoning, effort: str | None) -> dict[str, Any]:
    if effort == "none":
        return {"enable_thinking": False}
    budget = reasoning.budget
    if budget is None and effort is not None:
        budget = _BUDGETS.get(effort)
    if budget is None or budget < 0:
        return {"enable_thinking": True}
    return {"enable_thinking": True, "thinking_budget": budget}
