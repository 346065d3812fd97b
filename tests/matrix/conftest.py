"""One gateway, one demo and one model for each kind of upstream, for all cells that a process runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx2
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Customer, Gateway, Operator
from tests.matrix.cells import Cell
from tests.matrix.clients import CLIENTS
from tests.matrix.kinds import Served, serve_kinds
from tests.matrix.pictures import serve_pictures
from tests.matrix.talk import Client


@pytest.fixture(scope="session")
def matrix_gateway(work_dir: Path, migrated_database: Callable[[], str]) -> Iterator[Gateway]:
    """One that may fetch pictures from this machine."""
    data_dir = work_dir / "matrix"
    data_dir.mkdir()
    settings = {"RELAYGATE_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8"}
    running = Gateway(migrated_database(), data_dir, settings).start()
    yield running
    assert running.stop() == 0, running.log
    assert "Traceback" not in running.log


@pytest.fixture(scope="session")
def matrix_operator(matrix_gateway: Gateway, demo: DemoProcess) -> Iterator[Operator]:
    made = Operator(matrix_gateway, demo.url)
    yield made
    assert made.audit()["ok"] is True
    made.close()


@pytest.fixture(scope="session")
def served(matrix_operator: Operator) -> Mapping[str, Served]:
    """The models, by kind of upstream."""
    return serve_kinds(matrix_operator)


@pytest.fixture(scope="session")
def http() -> Iterator[httpx2.Client]:
    """What all SDKs share: a context for TLS takes longer to make than most tests."""
    with httpx2.Client(timeout=15) as client:
        yield client


@pytest.fixture(scope="session")
def rich(matrix_operator: Operator) -> Customer:
    """Whose money doesn't matter."""
    return matrix_operator.customer(grant="1000")


@pytest.fixture(scope="session")
def clients(matrix_gateway: Gateway, rich: Customer, http: httpx2.Client) -> Mapping[str, Client]:
    return {name: make(matrix_gateway.url, rich.key, http) for name, make in CLIENTS.items()}


@pytest.fixture
def cell(
    request: pytest.FixtureRequest, clients: Mapping[str, Client], served: Mapping[str, Served], demo: DemoProcess
) -> Cell:
    """The pair that `cells` names; with nothing arranged, whatever an earlier test left."""
    client, kind = request.param
    found = Cell(clients[client], served[kind], demo)
    found.arrange()
    return found


@pytest.fixture(scope="session")
def picture_url() -> Iterator[str]:
    """Where a PNG can be had on this machine."""
    with serve_pictures() as url:
        yield url
