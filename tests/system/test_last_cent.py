"""A key with funds for exactly so many calls, and far more concurrent requests than that, over two processes."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.gateway import Gateway, Operator
from tests.system.load import call_many, tally


@pytest.mark.parametrize("quota", [None, "0.1"], ids=["account", "key-quota"])
async def test_funds_for_exactly_100_of_1000_concurrent_calls(
    pair: tuple[Gateway, Gateway], operator: Operator, quota: str | None
) -> None:
    model = operator.model("demo", price={"per_call": "0.001"})
    customer = operator.customer(grant="0.1" if quota is None else "5", quota=quota)

    outcomes = tally(await call_many(pair, customer, model, 1_000))

    assert outcomes == {(200, None): 100, (429, "insufficient_quota"): 900}
    entries = operator.entries(customer, count=100)
    assert {entry["status"] for entry in entries} == {"settled"}
    wallet = operator.account(customer) if quota is None else operator.call("GET", f"/keys/{customer.key_id}")
    assert (wallet["balance"], wallet["held"], wallet["charged"]) == ("0", "0", "0.1")
    audit = operator.audit()
    assert audit["ok"] is True
    assert audit["drift_nano"] == 0


async def test_token_prices_spend_the_grant_but_never_more(pair: tuple[Gateway, Gateway], operator: Operator) -> None:
    """Worst-case holds let fewer calls in at once than the funds allow; alone, calls go on to the last affordable one."""
    model = operator.model("demo", price={"input_mtok": "10", "output_mtok": "100"}, max_output_tokens=64)
    customer = operator.customer(grant="0.05")

    crowd = tally(await call_many(pair, customer, model, 100))
    while set(tally(await call_many(pair, customer, model, 1))) == {(200, None)}:
        pass

    assert set(crowd) <= {(200, None), (429, "insufficient_quota")}
    account = operator.account(customer)
    assert Decimal(account["balance"]) + Decimal(account["charged"]) == Decimal("0.05")
    # What is left buys no answer of 64 tokens any more: 0.0064 dollars, and not quite 0.001 for the input's bound.
    assert 0 <= Decimal(account["balance"]) < Decimal("0.0074")
    assert operator.audit()["ok"] is True
