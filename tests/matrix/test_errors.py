"""Errors: of the upstream, of money, and in the middle of a stream, each as the SDK's own exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from app.demo.answers import DEFAULT_TEXT
from tests.gateway import Operator
from tests.matrix.cells import Cell, cells
from tests.matrix.clients import CLIENTS
from tests.matrix.talk import Client, Failure, Seen, talk

QUOTA = {
    "chat": (429, "insufficient_quota"),
    "responses": (429, "insufficient_quota"),
    "anthropic": (402, "billing_error"),
    "gemini": (429, "RESOURCE_EXHAUSTED"),
}
TORN: dict[str, dict[str, Any]] = {
    "an error in the stream": {"error_chunk": 14},
    "a connection that is cut": {"cut": 14},
    "an end that comes too early": {"cut_clean": 14},
}


def failure_of(client: Client, status: int, call: Callable[[], Seen]) -> Failure:
    """What the SDK tells of a call that has to fail with that status."""
    with pytest.raises(client.errors[status]) as caught:
        call()
    return client.read_failure(caught.value)


@cells(main=True)
def test_a_refusal_is_told_in_the_upstreams_words(cell: Cell) -> None:
    for call in (cell.ask, cell.stream):
        failure = failure_of(cell.client, 400, lambda call=call: call(talk(), status=400))  # type: ignore[misc]
        assert failure.status == 400
        assert "The demo upstream refuses this request." in failure.message


@cells(main=True)
def test_a_rate_limit_of_the_upstream(cell: Cell) -> None:
    fault = {"status": 429, "retry_after": "0.1"}  # the second call waits for the channel that long
    for call in (cell.ask, cell.stream):
        failure = failure_of(cell.client, 429, lambda call=call: call(talk(), **fault))  # type: ignore[misc]
        assert failure.status == 429


@cells(main=True)
def test_trouble_of_the_upstream(cell: Cell) -> None:
    overloaded = 529 if cell.client.name == "anthropic" else 503
    for call in (cell.ask, cell.stream):
        for status, expected in ((500, 502), (503, overloaded)):
            failure = failure_of(cell.client, 500, lambda call=call, status=status: call(talk(), status=status))  # type: ignore[misc]
            assert failure.status == expected


@cells(main=True, also="openrouter")
@pytest.mark.parametrize("fault", TORN)
def test_a_torn_stream_is_never_a_silent_end(cell: Cell, fault: str) -> None:
    cell.arrange(TORN[fault])
    heard: list[str] = []
    with pytest.raises(cell.client.error):
        listen(cell, heard)

    # All of it may have been there at once, and then nothing was told before the error.
    assert DEFAULT_TEXT.startswith("".join(heard))
    assert "".join(heard) != DEFAULT_TEXT


def listen(cell: Cell, heard: list[str]) -> None:
    """Adds the pieces of a streamed text as they come."""
    with cell.client.deltas(cell.served.model, talk()) as deltas:
        heard.extend(deltas)


@cells(only="openai")
def test_an_account_without_money(cell: Cell, matrix_operator: Operator, http: httpx2.Client) -> None:
    customer = matrix_operator.customer(grant=None)
    poor = CLIENTS[cell.client.name](matrix_operator.gateway.url, customer.key, http)
    with pytest.raises(cell.client.error) as caught:
        poor.ask(cell.served.model, talk())

    failure = poor.read_failure(caught.value)
    assert (failure.status, failure.code) == QUOTA[cell.client.name]
