"""Fixtures of the sessions' tests: a gateway with tight bounds, and a watch over the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gateway import Gateway, Operator
from tests.relay.conftest import assert_clean, clean_log

__all__ = ["clean_log"]


@pytest.fixture(scope="session")
def tight(work_dir: Path, migrated_database: Callable[[], str]) -> Iterator[Gateway]:
    """Short times, small frames, little patience."""
    data_dir = work_dir / "tight"
    data_dir.mkdir()
    settings = {
        "RELAYGATE_REALTIME_IDLE_TIMEOUT": "1.3",
        "RELAYGATE_REALTIME_MAX_DURATION": "1.9",
        "RELAYGATE_REALTIME_PING_INTERVAL": "0.5",
        "RELAYGATE_REALTIME_MAX_FRAME_MB": "1",
        "RELAYGATE_WRITE_TIMEOUT": "1",
        "RELAYGATE_MAX_CONNECTIONS": "30",
    }
    running = Gateway(migrated_database(), data_dir, settings).start()
    yield running
    assert running.stop() == 0, running.log
    assert_clean(running.log)


@pytest.fixture(scope="session")
def tight_operator(tight: Gateway, operator: Operator) -> Iterator[Operator]:
    made = Operator(tight, operator.demo_url)
    yield made
    made.close()
