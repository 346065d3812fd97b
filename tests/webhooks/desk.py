"""What an operator does about webhooks: sets them, spends to cross them, and reads what was delivered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import httpx2

from app.db.engine import Database
from app.webhooks.outbox import add_callback
from tests.gateway import Customer, Operator
from tests.webhooks.receiver import PATIENCE

ALLOWED = {"RELAYGATE_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8"}
SECRET = "correct-horse-battery"


class Desk:
    """One gateway's admin API and database."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator

    def customer(self, url: str, *thresholds: str, grant: str = "1", secret: str = SECRET) -> Customer:
        """A new account with money, a key and a webhook."""
        customer = self.operator.customer(grant)
        self.notify(customer, webhook_url=url, webhook_secret=secret, thresholds=list(thresholds))
        return customer

    def notify(self, customer: Customer, **fields: Any) -> dict[str, Any]:
        """Changes the webhook; answers what is shown of it."""
        made = self.operator.call("PATCH", f"/accounts/{customer.account_id}", json={"notify": fields})
        shown: dict[str, Any] = made["notify"]
        return shown

    def grant(self, customer: Customer, amount: str) -> None:
        self.operator.call("POST", f"/accounts/{customer.account_id}/grants", json={"amount": amount})

    def test(self, customer: Customer) -> dict[str, Any]:
        """Sends a sample; its delivery."""
        sent: dict[str, Any] = self.operator.call("POST", f"/accounts/{customer.account_id}/notify/test")
        return sent

    def deliveries(self, customer: Customer) -> list[dict[str, Any]]:
        """The account's deliveries with their attempts, oldest first."""
        found = self.operator.call("GET", "/deliveries", params={"account_id": customer.account_id})["data"]
        return [self.operator.call("GET", f"/deliveries/{row['id']}") for row in reversed(found)]

    def tried(self, customer: Customer, count: int) -> dict[str, Any]:
        """The account's only delivery, once so many attempts are written down."""
        wait(lambda: len(self.deliveries(customer)[0]["tried"]) >= count)
        (delivery,) = self.deliveries(customer)
        return delivery

    def call_back(self, customer: Customer, *urls: str, body: str = '{"task_id": "t"}') -> None:
        """Has the outbox call these URLs, as a task does that has ended: in one transaction."""

        async def run() -> None:
            database = Database(self.operator.gateway.database_url)
            try:
                async with database.engine.begin() as connection:
                    for url in urls:
                        await add_callback(connection, customer.account_id, url, body)
            finally:
                await database.close()

        asyncio.run(run())

    def callback_secret(self, customer: Customer, *, rotate: bool = False) -> dict[str, Any]:
        """The account's callback secret as its holder sees it."""
        url = f"{self.operator.gateway.url}/v1/account/callback-secret"
        if rotate:
            answer = httpx2.post(f"{url}/rotate", headers=customer.headers)
        else:
            answer = httpx2.get(url, headers=customer.headers)
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def execute(self, query: str, *values: Any) -> None:
        """Moves the clock of deliveries, as waiting would."""

        async def run() -> None:
            connection = await asyncpg.connect(self.operator.gateway.database_url)
            await connection.execute(query, *values)
            await connection.execute("SELECT pg_notify('relaygate', 'delivery')")
            await connection.close()

        asyncio.run(run())

    def hurry(self, delivery: dict[str, Any]) -> None:
        """The pause before the next attempt is over."""
        self.execute("UPDATE deliveries SET next_at = now() WHERE id = $1", delivery["id"])


def wait(condition: Callable[[], bool]) -> None:
    """Returns once it holds: for rows that change a moment after the receiver has answered."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
