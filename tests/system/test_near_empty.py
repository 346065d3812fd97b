"""A near-empty key under a crowd of streams whose length nobody knows, and a well-funded one whose holds fill it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.gateway import Gateway, Operator
from tests.system.load import call_many, tally

PRICE = {"input_mtok": "10", "output_mtok": "100"}


async def test_a_near_empty_key_spends_to_its_last_call(pair: tuple[Gateway, Gateway], operator: Operator) -> None:
    """Each of the 500 wants to hold eight times what there is; a whole answer costs a thirtieth of it."""
    model = operator.model("demo?tokens=16&chunk_ms=10", price=PRICE, max_output_tokens=4096)
    customer = operator.customer(grant="5", quota="0.05")

    outcomes = tally(await call_many(pair, customer, model, 500, stream=True))

    assert set(outcomes) == {(200, None), (429, "insufficient_quota")}
    key = operator.call("GET", f"/keys/{customer.key_id}")
    assert key["held"] == "0"
    assert Decimal(key["charged"]) + Decimal(key["balance"]) == Decimal("0.05")
    # The cheapest call: the bound of this input (some 62 tokens), and 16 tokens of output.
    assert 0 <= Decimal(key["balance"]) < Decimal("0.0023")
    entries = operator.entries(customer, count=outcomes[200, None], status="settled")
    assert sum(Decimal(entry["charged"]) for entry in entries) == Decimal(key["charged"])
    assert operator.audit()["ok"] is True


@pytest.mark.long
async def test_a_crowd_on_a_well_funded_account_is_never_refused(
    pair: tuple[Gateway, Gateway], operator: Operator
) -> None:
    """The $25 whose worst-case holds are full after 61 requests, while each of the 500 spends a sixth of a cent."""
    model = operator.model("demo?tokens=16&chunk_ms=10", price=PRICE, max_output_tokens=4096)
    customer = operator.customer(grant="25")

    outcomes = await call_many(pair, customer, model, 500, stream=True)

    assert tally(outcomes) == {(200, None): 500}
    assert all(outcome.complete for outcome in outcomes)
    entries = operator.entries(customer, count=500)
    assert {entry["usage"]["output_tokens"] for entry in entries} == {16}  # no answer was cut short for others' sake
    assert operator.account(customer)["charged"] == "0.84"
    # Each held the worst it might cost, so that they can't all have been let in at once.
    assert {entry["held"] for entry in entries} == {entries[0]["held"]}
    assert Decimal(entries[0]["held"]) * 500 > 8 * 25
    assert operator.audit()["ok"] is True
