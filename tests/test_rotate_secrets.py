"""`relaygate rotate-secrets`: a new key for everything that is encrypted, beside a gateway that runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from sqlalchemy import LargeBinary

from app.catalog.vault import Vault
from app.commands.secrets import ENCRYPTED
from app.db.tables import METADATA
from tests.demo.process import DemoProcess
from tests.gateway import Customer, Gateway, Operator
from tests.ledger.bank import eventually
from tests.zygote import shared_zygote

OLD, NEW, OTHER = "old-key-0123456789abcdef", "new-key-0123456789abcdef", "other-key-0123456789abc"
SECRETS = 5
"""A channel's, a webhook's and its previous one, an account's callback secret and its previous one."""


@dataclass
class Office:
    """A gateway that runs with both keys, the old one first, and an account that has one of every secret."""

    gateway: Gateway
    operator: Operator
    customer: Customer
    model: str

    def rotate(self, keys: str) -> tuple[int, str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RELAYGATE_")}
        settings = {"RELAYGATE_DATABASE_URL": self.gateway.database_url, "RELAYGATE_SECRET_KEY": keys}
        return shared_zygote().run(["rotate-secrets"], {**inherited, **settings}, self.gateway.data_dir)

    def chat(self, gateway: Gateway) -> httpx2.Response:
        body = {"model": self.model, "messages": [{"role": "user", "content": "Hello"}]}
        return httpx2.post(f"{gateway.base_url}/chat/completions", headers=self.customer.headers, json=body)

    def callback_secret(self, gateway: Gateway) -> str:
        answer = httpx2.get(f"{gateway.base_url}/account/callback-secret", headers=self.customer.headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["secret"])


@pytest.fixture(scope="module")
def served(work_dir: Path, migrated_database: Callable[[], str], demo: DemoProcess) -> Iterator[Office]:
    data_dir = work_dir / "rotation"
    data_dir.mkdir()
    settings = {"RELAYGATE_SECRET_KEY": f"{OLD},{NEW}", "RELAYGATE_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8"}
    gateway = Gateway(migrated_database(), data_dir, settings).start()
    operator = Operator(gateway, demo.url)
    customer = operator.customer()
    for secret in ("first", "second"):
        notify = {"webhook_url": "http://127.0.0.1:9/", "webhook_secret": secret, "threshold": "0.000001"}
        operator.call("PATCH", f"/accounts/{customer.account_id}", json={"notify": notify})
    rotate = httpx2.post(f"{gateway.base_url}/account/callback-secret/rotate", headers=customer.headers)
    assert rotate.status_code == 200
    yield Office(gateway, operator, customer, operator.model("demo-ok"))
    operator.close()
    assert gateway.stop() == 0, gateway.log


@pytest.fixture
def office(served: Office) -> Office:
    """Everything is under the old key."""
    assert served.rotate(f"{OLD},{NEW}")[0] == 0
    return served


def test_no_encrypted_column_is_forgotten() -> None:
    binary = {
        f"{table.name}.{column.name}"
        for table in METADATA.tables.values()
        for column in table.c
        if isinstance(column.type, LargeBinary) and column.name != "digest"
    }
    assert {f"{place.column.table.name}.{place.column.name}" for place in ENCRYPTED} == binary


def test_after_a_rotation_the_old_key_is_needed_by_nobody(
    office: Office, start_gateway: Callable[..., Gateway]
) -> None:
    secret = office.callback_secret(office.gateway)
    assert office.rotate(f"{NEW},{OLD}") == (0, f"Encrypted anew: {SECRETS}; under the first key already: 0\n", "")
    assert office.rotate(f"{NEW},{OLD}") == (0, f"Encrypted anew: 0; under the first key already: {SECRETS}\n", "")
    renewed = start_gateway(office.gateway.database_url, RELAYGATE_SECRET_KEY=NEW)
    assert office.chat(renewed).status_code == 200
    assert office.callback_secret(renewed) == secret
    actions = office.operator.call("GET", "/actions", params={"target": "secrets"})["data"]
    counts = {"renewed": SECRETS, "current": 0, "overtaken": 0, "unreadable": 0}
    assert [(item["actor"], item["after"]) for item in actions][1] == ("cli", counts)


def test_what_can_not_be_read_is_named_and_left_alone(office: Office) -> None:
    code, out, err = office.rotate(OTHER)
    assert code == 1
    account = office.customer.account_id
    names = [line.partition(": ")[2] for line in out.splitlines()[1:]]
    (channel,) = office.operator.call("GET", "/channels")["data"]
    assert sorted(names) == sorted(
        [
            f"channel {channel['id']}",
            f"webhook of account {account}",
            f"previous webhook secret of account {account}",
            f"callback secret of account {account}",
            f"previous callback secret of account {account}",
        ]
    )
    assert err.startswith(f"relaygate: {SECRETS} secrets can't be read")
    assert office.chat(office.gateway).status_code == 200
    assert office.rotate(f"{NEW},{OLD}")[0] == 0


@pytest.mark.long
async def test_a_secret_that_is_set_meanwhile_is_kept(office: Office) -> None:
    """Somebody sets the channel's secret while the command runs: it waits for them, and what they wrote stays."""
    theirs = Vault([OLD]).encrypt("set meanwhile")
    holder = await asyncpg.connect(office.gateway.database_url)
    try:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("UPDATE channels SET secret = $1", theirs)
        rotating = asyncio.create_task(asyncio.to_thread(office.rotate, f"{NEW},{OLD}"))
        await eventually(lambda: _waits(office))
        await transaction.commit()
        code, out, err = await rotating
        assert out == f"Encrypted anew: {SECRETS - 1}; under the first key already: 0\n"
        assert (code, err) == (1, "relaygate: 1 secrets were changed by somebody else meanwhile: run this once more\n")
        assert await holder.fetchval("SELECT secret FROM channels") == theirs
        code, out, err = await asyncio.to_thread(office.rotate, f"{NEW},{OLD}")
        assert (code, err) == (0, "")
        assert Vault([NEW]).decrypt(await holder.fetchval("SELECT secret FROM channels")) == "set meanwhile"
    finally:
        await holder.close()


async def _waits(office: Office) -> bool:
    connection = await asyncpg.connect(office.gateway.database_url)
    try:
        query = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = $1"
        count: Any = await connection.fetchval(query, await connection.fetchval("SELECT current_database()"))
        return bool(count)
    finally:
        await connection.close()
