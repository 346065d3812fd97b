"""A gateway of its own for random input, since its log and its memory are looked at afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.demo.process import DemoProcess
from tests.fuzz.ground import Ground, checked
from tests.gateway import Gateway, Operator
from tests.matrix.kinds import KINDS, Kind
from tests.relay.calls import serve_model


@pytest.fixture(scope="session")
def fuzz_gateway(work_dir: Path, migrated_database: Callable[[], str]) -> Iterator[Gateway]:
    data_dir = work_dir / "fuzz"
    data_dir.mkdir()
    running = Gateway(migrated_database(), data_dir, {"RELAYGATE_MAX_BODY_MB": "2"}).start()
    yield running
    assert running.stop() == 0, running.log


@pytest.fixture(scope="session")
def fuzz_operator(fuzz_gateway: Gateway, demo: DemoProcess) -> Iterator[Operator]:
    made = Operator(fuzz_gateway, demo.url)
    yield made
    made.close()


@pytest.fixture(scope="session")
def models(fuzz_operator: Operator) -> Mapping[str, str]:
    """A model for each format that upstreams speak, answered by the demo, by the format's name."""
    return {kind.format: _serve(fuzz_operator, kind) for kind in KINDS[:4]}


def _serve(operator: Operator, kind: Kind) -> str:
    channel = {"provider": kind.provider or kind.name, "base_url": operator.demo_url + kind.base, **kind.fields}
    return serve_model(operator, {**channel, "upstream_model": f"u-{kind.name}"}, max_output_tokens=100)


@pytest.fixture
def ground(fuzz_operator: Operator) -> Iterator[Ground]:
    """Whose requests are watched: see `checked`."""
    with checked(fuzz_operator) as made:
        yield made
