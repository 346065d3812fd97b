"""The audit: quiet on sound books, exact about broken ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import httpx2

from tests.api.conftest import Chat
from tests.gateway import Gateway, Operator


def test_sound_books(admin: httpx2.Client, operator: Operator, chat: Chat) -> None:
    before = admin.get("/audit").json()
    customer, model = operator.customer("3"), operator.model("demo", price={"per_call": "0.5"})
    assert chat(customer, model).status_code == 200
    operator.entries(customer, count=1)
    after = admin.get("/audit").json()
    assert set(after) == {
        "ok",
        "drift_nano",
        "open_holds",
        "held",
        "charged",
        "uncollected",
        "entries",
        "accounts",
        "keys",
        "doubled",
        "stray_tasks",
        "drifts",
    }
    assert (after["ok"], after["drift_nano"], after["drifts"], after["doubled"]) == (True, 0, [], 0)
    assert after["entries"] == before["entries"] + 1
    assert (after["accounts"], after["keys"]) == (before["accounts"] + 1, before["keys"] + 1)


def test_broken_books(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway()
    with gateway.admin() as admin:
        account = admin.post("/accounts", json={"name": "a"}).json()["id"]
        admin.post(f"/accounts/{account}/grants", json={"amount": "5"})
        key = admin.post("/keys", json={"account_id": account, "name": "k", "quota": "1"}).json()["id"]

        async def tamper() -> None:
            connection = await asyncpg.connect(gateway.database_url)
            await connection.execute("UPDATE account_balances SET granted = granted + 3, balance = balance + 3")
            await connection.execute("UPDATE key_balances SET charged = 7, balance = balance - 7")
            await connection.close()

        asyncio.run(tamper())
        found = admin.get("/audit").json()
    assert (found["ok"], found["drift_nano"], found["entries"], found["open_holds"]) == (False, 10, 0, 0)
    assert found["drifts"] == [
        {
            "account_id": account,
            "key_id": None,
            "granted": "5.000000003",
            "balance": "5.000000003",
            "held": "0",
            "charged": "0",
            "real_granted": "5",
            "real_held": "0",
            "real_charged": "0",
        },
        {
            "account_id": account,
            "key_id": key,
            "granted": "1",
            "balance": "0.999999993",
            "held": "0",
            "charged": "0.000000007",
            "real_granted": None,
            "real_held": "0",
            "real_charged": "0",
        },
    ]
