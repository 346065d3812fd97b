"""Migrated databases for the ledger's tests: one that they share, and copies of a template where they would disturb."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from uuid import uuid4

import asyncpg
import pytest

from tests.ledger.bank import Bank, migrated


@pytest.fixture(autouse=True)
def batches_stay_whole(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A batch that fails is tried again row by row, which may well succeed: a fault of ours would only be slow."""
    yield
    faults = {"ledger_batch_isolated", "ledger_row_refused", "ledger_batch_bug"}
    if not request.path.stem.endswith("poison"):
        assert [record for record in caplog.get_records("call") if record.getMessage() in faults] == []


@pytest.fixture(scope="session")
def template_url(new_database: Callable[[], str]) -> str:
    """A migrated database that nobody is connected to."""
    return asyncio.run(migrated(new_database()))


@pytest.fixture(scope="module")
def copy_url(postgres: str, template_url: str) -> str:
    """A migrated database of a module's own."""
    return asyncio.run(_copy(postgres, template_url))


@pytest.fixture(scope="session")
async def shared_bank(postgres: str, template_url: str) -> AsyncIterator[Bank]:
    bank = Bank(await _copy(postgres, template_url))
    yield bank
    await bank.close()


@pytest.fixture
async def bank(shared_bank: Bank) -> AsyncIterator[Bank]:
    """The database of the tests that mind their own accounts; its books are right after each of them."""
    yield shared_bank
    await shared_bank.close_writers()
    audit = await shared_bank.audit()
    assert audit.ok, audit


@pytest.fixture
async def own_bank(postgres: str, template_url: str) -> AsyncIterator[Bank]:
    """A database of the test's own, for those that look at all of it or leave it in disorder."""
    url = await _copy(postgres, template_url)
    bank = Bank(url)
    yield bank
    await bank.close()
    connection = await asyncpg.connect(postgres)
    await connection.execute(f"DROP DATABASE {_name(url)} WITH (FORCE)")
    await connection.close()


async def _copy(postgres: str, template_url: str) -> str:
    name = f"b_{uuid4().hex}"
    connection = await asyncpg.connect(postgres)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {_name(template_url)}")
    await connection.close()
    return template_url.replace(f"/{_name(template_url)}?", f"/{name}?")


def _name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]
