"""How much a model shall think, in OpenAI's word for it and in those of compatible servers, whose clients go on using them.

Source: OpenAI's `reasoning_effort`; OpenRouter's guide to reasoning tokens (`reasoning {effort, max_tokens, exclude,
enabled}`); DeepSeek's to thinking mode (`thinking {type}`); Alibaba's to deep thinking (`enable_thinking`,
`thinking_budget`).
"""

from __future__ import annotations

from typing import Any

from app.core.conversation import Reasoning
from app.formats.openai_chat.fields import TITLE
from app.formats.values import as_boolean, as_integer, as_object, as_string, note_others, wrong_value

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
FIELDS = ("reasoning_effort", "reasoning", "thinking", "enable_thinking", "thinking_budget")

_REASONING = frozenset({"effort", "max_tokens", "exclude", "enabled", "summary"})
_THINKING = frozenset({"type", "budget_tokens"})


class ReasoningReader:
    """Gathers what the fields say; the first of `FIELDS` that says something names it in errors."""

    __slots__ = ("_adaptive", "_budget", "_effort", "_show", "field")

    def __init__(self) -> None:
        self.field: str | None = None
        self._effort: str | None = None
        self._budget: int | None = None
        self._adaptive = False
        self._show: bool | None = None

    def read(self, name: str, value: object, left_out: list[str]) -> None:
        """One of `FIELDS`. Raises GatewayError 400 naming what is wrong."""
        if self.field is None:
            self.field = name
        match name:
            case "reasoning_effort":
                self._effort = _read_effort(value, name)
            case "reasoning":
                self._read_object(as_object(value, name), left_out)
            case "thinking":
                self._read_thinking(as_object(value, name), left_out)
            case "enable_thinking":
                self._switch(as_boolean(value, name))
            case _:
                self._budget = _read_budget(value, name)

    def whole(self) -> Reasoning | None:
        """None where nothing was said."""
        if self.field is None:
            return None
        # A model that is told how much to think need not be told that it may.
        adaptive = self._adaptive and self._effort is None and self._budget is None
        budget = None if self._effort == "none" else self._budget
        return Reasoning(self._effort, budget, adaptive, self._show)

    def _read_object(self, value: dict[str, Any], left_out: list[str]) -> None:
        """OpenRouter shows the thoughts unless they are excluded."""
        note_others(value, _REASONING, "reasoning", "reasoning", TITLE, left_out)
        if value.get("effort") is not None:
            self._effort = _read_effort(value["effort"], "reasoning.effort")
        if value.get("max_tokens") is not None:
            self._budget = _read_budget(value["max_tokens"], "reasoning.max_tokens")
        if value.get("enabled") is not None:
            self._switch(as_boolean(value["enabled"], "reasoning.enabled"))
        exclude = value.get("exclude")
        self._show = exclude is None or not as_boolean(exclude, "reasoning.exclude")

    def _read_thinking(self, value: dict[str, Any], left_out: list[str]) -> None:
        note_others(value, _THINKING, "thinking", "thinking", TITLE, left_out)
        kind = as_string(value.get("type"), "thinking.type")
        if kind not in ("enabled", "disabled", "adaptive", "auto"):
            raise wrong_value("thinking.type", "enabled or disabled")
        self._switch(kind != "disabled")
        if kind == "enabled" and value.get("budget_tokens") is not None:
            self._budget = _read_budget(value["budget_tokens"], "thinking.budget_tokens")

    def _switch(self, on: bool) -> None:
        """Servers with such a switch show what their models think."""
        if on:
            self._adaptive = self._show = True
        else:
            self._effort = "none"


def _read_effort(value: object, path: str) -> str:
    effort = as_string(value, path)
    if effort not in EFFORTS:
        raise wrong_value(path, f"one of {', '.join(EFFORTS)}")
    return effort


def _read_budget(value: object, path: str) -> int:
    budget = as_integer(value, path)
    if budget < 0:
        raise wrong_value(path, "a number of tokens")
    return budget
