"""Counting input tokens, which asks no model and costs nothing."""

from __future__ import annotations

from tests.matrix.cells import Cell, cells
from tests.matrix.test_money import PROMPT

COUNTED = 1
"""The tokens of "hi" by the gateway's own estimate."""


COUNTS = {
    "openai_responses": "input_tokens",
    "anthropic_messages": "count_tokens",
    "gemini_generate": "countTokens",
}


@cells("count", main=True)
def test_input_tokens_are_counted(cell: Cell) -> None:
    cell.demo.control("DELETE", "requests")
    counted = cell.client.count(cell.served.model, "hi")

    # An upstream that counts in the client's format is asked; no other.
    assert counted == (PROMPT if cell.native else COUNTED)
    assert [entry["path"].rpartition("/")[2].rpartition(":")[2] for entry in cell.requests()] == (
        [COUNTS[cell.kind.format]] if cell.native else []
    )
