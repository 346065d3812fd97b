"""A key with funds for exactly so many calls, and far more concurrent requests than that, over two processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator
from tests.system.load import call_many, tally


@pytest.fixture(scope="module")
def pair(
    gateway: Gateway, demo: DemoProcess, new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, Gateway]]:
    """The shared gateway and a second process on the same database."""
    second = Gateway(gateway.database_url, tmp_path_factory.mktemp("second")).start()
    yield gateway, second
    assert second.stop() == 0


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


async def test_token_prices_never_charge_beyond_what_was_granted(
    pair: tuple[Gateway, Gateway], operator: Operator
) -> None:
    """Holds are worst-case here, so fewer than the funds allow get in at once; never more, and never a cent too many."""
    model = operator.model("demo", price={"input_mtok": "10", "output_mtok": "100"}, max_output_tokens=64)
    customer = operator.customer(grant="0.05")

    for _ in range(4):
        await call_many(pair, customer, model, 100)

    entries = operator.entries(customer)
    account = operator.account(customer)
    assert float(account["charged"]) <= 0.05
    assert float(account["balance"]) >= 0
    # A call costs 8 input and 16 output tokens: 0.00168 dollars. Serial rounds spend all but a worst-case hold.
    assert len(entries) >= 20
    assert operator.audit()["ok"] is True
