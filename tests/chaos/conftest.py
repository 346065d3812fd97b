"""The world that the chaos tests share: its upstreams speak TLS, and its gateways trust who has signed for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.chaos.certificates import make_certificates
from tests.chaos.weather import Upstreams, run_upstreams
from tests.chaos.world import CHANNELS, World, set_up
from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with them; `authority.pem` is who signs."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


@pytest.fixture(scope="session")
def upstreams(demo: DemoProcess, certificates: Path) -> Iterator[Upstreams]:
    with run_upstreams(demo.url, certificates, CHANNELS) as running:
        yield running


@pytest.fixture(scope="session")
def replicas(
    work_dir: Path, migrated_database: Callable[[], str], certificates: Path
) -> Iterator[tuple[Gateway, Gateway]]:
    """Two gateways on one database; processes started afresh, for the trusted authority is read when Python starts."""
    settings = {"SSL_CERT_FILE": str(certificates / "authority.pem"), "RELAYGATE_WORKERS": "1"}
    url = migrated_database()
    pair = []
    for name in ("chaos-1", "chaos-2"):
        (work_dir / name).mkdir()
        pair.append(Gateway(url, work_dir / name, settings))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(Gateway.start, pair)
    yield first, second
    for gateway in pair:
        assert gateway.stop() == 0, gateway.log
        assert [line for line in gateway.log.splitlines() if "Traceback" in line] == []


@pytest.fixture
def world(replicas: tuple[Gateway, Gateway], upstreams: Upstreams) -> Iterator[World]:
    """A model of the test's own over three healthy upstreams."""
    operator = Operator(replicas[0], "")
    yield set_up(replicas, upstreams, operator)
    for front in range(CHANNELS):
        upstreams.become(front)
    operator.close()
