"""Usage and money: what the upstream reported is what the client is told, and what is charged, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import httpx2
import pytest

from tests.gateway import Customer, Operator
from tests.matrix.cells import Cell, cells
from tests.matrix.clients import CLIENTS
from tests.matrix.talk import Client, Counts, talk
from tests.relay.calls import assert_charged

PROMPT = 8
"""What the demo counts for "hi", whatever the format."""


@pytest.fixture(scope="session")
def payers(matrix_operator: Operator, http: httpx2.Client) -> Mapping[str, tuple[Customer, Client]]:
    """A customer of its own for each client."""
    made = {name: matrix_operator.customer() for name in CLIENTS}
    url = matrix_operator.gateway.url
    return {name: (made[name], make(url, made[name].key, http)) for name, make in CLIENTS.items()}


@cells()
def test_usage_is_told_and_charged(
    cell: Cell, matrix_operator: Operator, payers: Mapping[str, tuple[Customer, Client]]
) -> None:
    # Ollama gives no details.
    counts = Counts(PROMPT, 21, 0, 0) if cell.kind.name == "ollama" else Counts(PROMPT, 21, 5, 4)
    customer, client = payers[cell.client.name]
    options = {"tokens": 17, "cached": 5, "reasoning": 4}
    cell.arrange(options, options)

    # What passes through keeps its vendor's arithmetic: xAI counts reasoning beside the rest.
    told = replace(counts, output=17) if cell.native and cell.kind.name == "xai" else counts
    assert client.ask(cell.served.model, talk()).usage == told
    assert client.stream(cell.served.model, talk()).usage == told
    for entry in matrix_operator.entries(customer, count=2, model=cell.served.model):
        assert_charged(entry, counts.input, counts.output)
        assert entry["usage"].get("cache_read_tokens", 0) == counts.cached
        assert entry["usage"].get("reasoning_tokens", 0) == counts.reasoning


@cells(main=True)
def test_usage_that_is_not_told_is_estimated(cell: Cell, matrix_operator: Operator, http: httpx2.Client) -> None:
    customer = matrix_operator.customer()
    client = CLIENTS[cell.client.name](matrix_operator.gateway.url, customer.key, http)
    options = {"tokens": 6, "usage": "missing"}
    cell.arrange(options, options)
    client.ask(cell.served.model, talk())
    # What passes through has no usage either, and there Anthropic's SDK breaks on its stream.
    broken = cell.native and cell.client.name == "anthropic"
    if not broken:
        client.stream(cell.served.model, talk())

    for entry in matrix_operator.entries(customer, count=1 if broken else 2):
        output = entry["usage"]["output_tokens"]
        # Eight tokens of reasoning count where they were shown, and perhaps what stands between them and the text.
        assert output in ((14, 15) if cell.kind.shows == "always" else (6,))
        assert_charged(entry, 1, output, estimated=True)
