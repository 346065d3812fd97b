"""Fixtures of the whole suite: one PostgreSQL, one demo upstream and one gateway for each test process."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import settings

from app.db.embedded import EmbeddedPostgres
from tests.demo.process import DemoProcess, run_demo
from tests.gateway import Gateway, Operator
from tests.ledger.bank import migrated

QUICK_EXAMPLES = 50
"""Examples of each property in the quick run; the long one tries twice as many."""

settings.register_profile("quick", max_examples=QUICK_EXAMPLES)


AUTHORITY = Path(__file__).parent / "nobodys_authority.pem"
"""A certificate whose key nobody has."""


def pytest_configure(config: pytest.Config) -> None:
    # Each client reads all the authorities it trusts, 25 ms for those of the internet, and the tests make thousands.
    os.environ["SSL_CERT_FILE"] = str(AUTHORITY)
    os.environ["NO_PROXY"] = "*"
    if config.getoption("markexpr", "") != "long":
        settings.load_profile("quick")


@pytest.fixture(scope="session")
def work_dir() -> Iterator[Path]:
    """A short path that every user may pass through: as root the database runs as a user of its own."""
    folder = Path(tempfile.mkdtemp(prefix="relaygate-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(work_dir: Path) -> Iterator[str]:
    """The URL of a PostgreSQL server's first database. Tests kill processes, not the machine: nothing waits for the disk."""

    async def set_up(url: str) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("ALTER SYSTEM SET fsync = off")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()

    with EmbeddedPostgres(work_dir) as url:
        _run_apart(set_up(url))
        yield url


@pytest.fixture(scope="session")
def new_database(postgres: str) -> Callable[[], str]:
    """Makes an empty database on the server; returns its URL."""
    return lambda: _create(postgres)


@pytest.fixture(scope="session")
def template_database(new_database: Callable[[], str]) -> str:
    """The name of a database with the schema and nothing in it."""
    url = new_database()
    _run_apart(migrated(url))
    return _name_of(url)


@pytest.fixture(scope="session")
def migrated_database(postgres: str, template_database: str) -> Callable[[], str]:
    """The same with the schema, a copy: migrating takes a second each time."""
    return lambda: _create(postgres, template_database)


def _create(postgres: str, template: str = "template1") -> str:
    name = f"t_{uuid4().hex}"

    async def create() -> None:
        connection = await asyncpg.connect(postgres)
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        await connection.close()

    _run_apart(create())
    head, _, query = postgres.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{query}"


def _name_of(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def _run_apart(work: Coroutine[Any, Any, object]) -> None:
    """In a thread: tests with a running loop make databases too."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


@pytest.fixture(scope="session")
def demo() -> Iterator[DemoProcess]:
    """The demo upstream."""
    with run_demo() as process:
        yield process


@pytest.fixture(scope="session")
def gateway(work_dir: Path, migrated_database: Callable[[], str]) -> Iterator[Gateway]:
    """The gateway that most tests share: short time-outs, everything else as shipped."""
    data_dir = work_dir / "shared"
    data_dir.mkdir()
    settings = {
        "RELAYGATE_FIRST_BYTE_TIMEOUT": "1.5",
        "RELAYGATE_IDLE_TIMEOUT": "1.5",
        "RELAYGATE_CONNECT_TIMEOUT": "1",
        "RELAYGATE_MAX_BODY_MB": "8",
    }
    running = Gateway(migrated_database(), data_dir, settings).start()
    yield running
    assert running.stop() == 0, running.log


@pytest.fixture(scope="session")
def operator(gateway: Gateway, demo: DemoProcess) -> Iterator[Operator]:
    """Who sets up models and customers on the shared gateway."""
    made = Operator(gateway, demo.url)
    yield made
    made.close()


@pytest.fixture
def start_gateway(work_dir: Path, migrated_database: Callable[[], str]) -> Iterator[Callable[..., Gateway]]:
    """Starts gateways of a test's own: `start_gateway(database_url=None, RELAYGATE_LEASE="2")`."""
    started: list[Gateway] = []

    def start(database_url: str | None = None, **settings: str) -> Gateway:
        data_dir = work_dir / uuid4().hex[:8]
        data_dir.mkdir()
        gateway = Gateway(database_url or migrated_database(), data_dir, settings)
        started.append(gateway)
        return gateway.start()

    yield start
    for gateway in started:
        if gateway.process is not None and gateway.process.poll() is None:
            gateway.stop()
