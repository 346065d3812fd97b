"""How many tokens a text or a prompt has, where no upstream tells: bounded, whatever its length."""

from __future__ import annotations

from app.core.tokens import count_text
from app.formats.base import Prompt

COUNT_AT_MOST = 200_000
"""Characters that the tokenizer is given; beyond, the rest is taken in proportion."""


def count_prompt(prompt: Prompt) -> int:
    """Tokens of the text and the images of a request."""
    return count_long_text(prompt.text) + prompt.image_tokens


def count_long_text(text: str) -> int:
    """Tokens of a text of any length."""
    if len(text) <= COUNT_AT_MOST:
        return count_text(text)
    return count_text(text[:COUNT_AT_MOST]) * len(text) // COUNT_AT_MOST
