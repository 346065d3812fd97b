"""Two gateway processes on one database, for what has to hold across them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Gateway


@pytest.fixture(scope="module")
def pair(
    gateway: Gateway, demo: DemoProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, Gateway]]:
    """The shared gateway and a second process on the same database."""
    second = Gateway(gateway.database_url, tmp_path_factory.mktemp("second")).start()
    yield gateway, second
    assert second.stop() == 0, second.log
