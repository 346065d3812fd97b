"""Fixtures of the relay's tests: a client, a second gateway with unusual settings, and a watch over the log."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.demo.process import DemoProcess
from tests.gateway import ADMIN_TOKEN, SECRET_KEY, Gateway, Operator
from tests.relay.calls import ECHOED_SECRET, UPSTREAM_SECRET, Client

_KEY = re.compile(r"sk-[-_A-Za-z0-9]{20,}")


@pytest.fixture(scope="session")
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    """A client of the shared gateway."""
    made = Client(gateway)
    yield made
    await made.close()


@pytest.fixture(scope="session")
def other_gateway(work_dir: Path, new_database: Callable[[], str]) -> Iterator[Gateway]:
    """A gateway behind a proxy on loopback that reads on for its usage when a client hangs up, with tight bounds."""
    data_dir = work_dir / "other"
    data_dir.mkdir()
    settings = {
        "RELAYGATE_TRUSTED_PROXIES": "127.0.0.0/8",
        "RELAYGATE_ON_HANGUP": "drain",
        "RELAYGATE_HANGUP_DRAIN": "4",
        "RELAYGATE_MAX_ANSWER_MB": "1",
        "RELAYGATE_WRITE_TIMEOUT": "1",
        "RELAYGATE_BODY_TIMEOUT": "1",
    }
    running = Gateway(new_database(), data_dir, settings).start()
    yield running
    assert running.stop() == 0, running.log
    assert_clean(running.log)


@pytest.fixture(scope="session")
def other_operator(other_gateway: Gateway, demo: DemoProcess) -> Iterator[Operator]:
    made = Operator(other_gateway, demo.url)
    yield made
    made.close()


@pytest.fixture(scope="session")
async def other_client(other_gateway: Gateway) -> AsyncIterator[Client]:
    made = Client(other_gateway)
    yield made
    await made.close()


@pytest.fixture(scope="session")
def strict_gateway(work_dir: Path, migrated_database: Callable[[], str]) -> Iterator[Gateway]:
    """A gateway that waits for no channel, saves up no retries, says nothing of its answers and gives empty ones away."""
    data_dir = work_dir / "strict"
    data_dir.mkdir()
    settings = {
        "RELAYGATE_CHANNEL_PATIENCE": "0",
        "RELAYGATE_RETRY_BUDGET": "0",
        "RELAYGATE_ANSWER_HEADERS": "false",
        "RELAYGATE_CHARGE_EMPTY_ANSWERS": "false",
    }
    running = Gateway(migrated_database(), data_dir, settings).start()
    yield running
    assert running.stop() == 0, running.log
    assert_clean(running.log)


@pytest.fixture(scope="session")
def strict_operator(strict_gateway: Gateway, demo: DemoProcess) -> Iterator[Operator]:
    made = Operator(strict_gateway, demo.url)
    yield made
    made.close()


@pytest.fixture(scope="session")
async def strict_client(strict_gateway: Gateway) -> AsyncIterator[Client]:
    made = Client(strict_gateway)
    yield made
    await made.close()


@pytest.fixture(scope="module", autouse=True)
def clean_log(gateway: Gateway) -> Iterator[None]:
    """Whatever a module's tests do, the log shows neither a secret nor a stack trace."""
    start = len(gateway.log)
    yield
    assert_clean(gateway.log[start:])


def assert_clean(log: str) -> None:
    assert "Traceback" not in log
    assert [secret for secret in (ADMIN_TOKEN, SECRET_KEY, UPSTREAM_SECRET, ECHOED_SECRET) if secret in log] == []
    assert _KEY.findall(log) == []
