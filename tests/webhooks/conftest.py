"""A gateway that may call loopback, who sets it up, and receivers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator
from tests.webhooks.desk import ALLOWED, Desk
from tests.webhooks.receiver import Receiver, receiving


@pytest.fixture(scope="session")
def hook_gateway(work_dir: Path, migrated_database: Callable[[], str]) -> Iterator[Gateway]:
    """The gateway that the tests of webhooks share."""
    data_dir = work_dir / "hooks"
    data_dir.mkdir()
    running = Gateway(migrated_database(), data_dir, ALLOWED).start()
    yield running
    assert running.stop() == 0, running.log


@pytest.fixture(scope="session")
def desk(hook_gateway: Gateway, demo: DemoProcess) -> Iterator[Desk]:
    """Who sets up accounts and webhooks on it."""
    operator = Operator(hook_gateway, demo.url)
    yield Desk(operator)
    operator.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made
