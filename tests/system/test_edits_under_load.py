"""Accounts and keys that are edited and topped up while their requests run: no edit touches what was deducted."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import aiohttp

from tests.gateway import ADMIN_TOKEN, Customer, Gateway, Operator
from tests.system.load import Outcome, call

CLIENTS = 24
CALLS = 16


class Load:
    """A customer's calls and an operator's edits, all at once over both processes; the edits go on until the calls end."""

    def __init__(self, pair: tuple[Gateway, Gateway], session: aiohttp.ClientSession) -> None:
        self.pair = pair
        self.session = session
        self.outcomes: list[Outcome] = []
        self.clients = CLIENTS

    async def spend(self, customer: Customer, model: str, number: int) -> None:
        """One client's calls, in a row."""
        for _ in range(CALLS):
            self.outcomes.append(await call(self.session, self.pair[number % 2], customer, model))
        self.clients -= 1

    async def edit(self, method: str, path: str, bodies: list[dict[str, Any]]) -> int:
        """One operator's admin calls, in a row, each of which has to succeed; how often each of the bodies was sent."""
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        rounds = 0
        while self.clients:
            for number, body in enumerate(bodies):
                url = f"{self.pair[(rounds + number) % 2].url}/admin/v1{path}"
                async with self.session.request(method, url, json=body, headers=headers) as answer:
                    assert answer.ok, (path, answer.status, await answer.text())
            rounds += 1
        return rounds

    @property
    def tally(self) -> Counter[tuple[int, str | None]]:
        return Counter((outcome.status, outcome.code) for outcome in self.outcomes)


async def test_editing_and_topping_up_under_load_loses_no_deduction(
    pair: tuple[Gateway, Gateway], operator: Operator
) -> None:
    """An edit that saves what it has read, counters included, gives back what was charged in between."""
    model = operator.model("demo", price={"per_call": "0.001"})
    customer = operator.customer(grant="1", quota="5")
    account, key = f"/accounts/{customer.account_id}", f"/keys/{customer.key_id}"
    # 0.02 is less than is soon spent: then the key is refused for as long as that is its quota.
    quotas = ["5", None, "0.02", "7.5"]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        load = Load(pair, session)
        topping_up = asyncio.create_task(
            load.edit("POST", f"{account}/grants", [{"amount": amount} for amount in ("0.25", "-0.125")])
        )
        await asyncio.gather(
            *(load.spend(customer, model, number) for number in range(CLIENTS)),
            load.edit("PATCH", account, [{"name": "a", "price_ratio": ratio} for ratio in ("1", "0.5", "2")]),
            load.edit("PATCH", account, [{"email": "a@example.com", "role": "user"}, {"email": None}]),
            load.edit("PATCH", key, [{"quota": quota, "name": "k"} for quota in quotas]),
            load.edit("PATCH", key, [{"models": None, "ips": []}, {"expires_at": "2090-01-01T00:00:00Z"}]),
            load.edit("POST", f"{account}/grants", [{"amount": "3", "idempotency_key": "invoice"}]),
        )
        granted = 1 + await topping_up * Decimal("0.125") + 3

    assert set(load.tally) <= {(200, None), (429, "insufficient_quota")}
    served = load.tally[200, None]
    assert served > 0
    entries = operator.entries(customer, count=served)
    charged = sum(Decimal(entry["charged"]) for entry in entries)
    assert {entry["charged"] for entry in entries} <= {"0.001", "0.0005", "0.002"}
    assert money(operator.account(customer)) == (granted, granted - charged, 0, charged)
    operator.call("PATCH", key, json={"quota": "9"})
    assert money(operator.call("GET", key)) == (9, 9 - charged, 0, charged)
    audit = operator.audit()
    assert (audit["ok"], audit["drift_nano"]) == (True, 0), audit


async def test_a_key_whose_quota_is_edited_under_load_spends_its_last_quota_and_no_more(
    pair: tuple[Gateway, Gateway], operator: Operator
) -> None:
    """The same quota saved again and again, as a settings page does, must not fill the key up."""
    model = operator.model("demo", price={"per_call": "0.001"})
    customer = operator.customer(grant="5", quota="0.1")
    key = f"/keys/{customer.key_id}"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        load = Load(pair, session)
        await asyncio.gather(
            *(load.spend(customer, model, number) for number in range(CLIENTS)),
            load.edit("PATCH", key, [{"quota": "0.1", "name": "saved"}]),
        )

    assert load.tally == {(200, None): 100, (429, "insufficient_quota"): CLIENTS * CALLS - 100}
    operator.entries(customer, count=100)
    assert money(operator.call("GET", key)) == (Decimal("0.1"), 0, 0, Decimal("0.1"))
    assert money(operator.account(customer)) == (5, Decimal("4.9"), 0, Decimal("0.1"))
    assert operator.audit()["ok"] is True


def money(body: dict[str, Any]) -> tuple[Decimal | int, ...]:
    """Granted or quota, balance, held, charged."""
    total = body["quota"] if "quota" in body else body["granted"]
    return Decimal(total), Decimal(body["balance"]), Decimal(body["held"]), Decimal(body["charged"])
