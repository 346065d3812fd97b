"""The gateway against its own description: what it documents is what it does, for good input and for bad."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import httpx2
import psutil
import pytest
import requests
import schemathesis
from hypothesis.strategies import SearchStrategy
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.demo.process import DemoProcess
from tests.fuzz.bend import explore
from tests.fuzz.ground import GROWTH
from tests.fuzz.wire import HANG
from tests.gateway import ADMIN_TOKEN, Gateway, Operator
from tests.relay.calls import serve_model

QUICK, LONG = (2, 2), (1, 30)
"""The quick run tries every second operation, since making up examples takes its time; the long one all of them."""

AMOUNTS = [
    pytest.param(*QUICK, id="quick"),
    pytest.param(*LONG, id="long", marks=[pytest.mark.long, pytest.mark.timeout(600)]),
]

pytestmark = pytest.mark.filterwarnings("ignore")

Operation: TypeAlias = schemathesis.APIOperation[Any, Any, Any, Any]
Case: TypeAlias = schemathesis.Case[Any]

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]

NOT_HERE = re.compile(r"/events$|/metrics$")
"""Streams that last as long as a task does, and a page for Prometheus."""

BROKEN_ELSEWHERE = {("POST", "/admin/v1/price-catalogue/update"): 502}
"""Nothing is published at the address that the test's gateway is given."""


@pytest.fixture(scope="module")
def described(work_dir: Path, migrated_database: Callable[[], str], demo: DemoProcess) -> Iterator[Operator]:
    """A gateway of its own, since everything on it is changed and deleted."""
    data_dir = work_dir / "described"
    data_dir.mkdir()
    settings = {"RELAYGATE_PRICE_UPDATE_URL": "http://127.0.0.1:9/prices.json"}
    running = Gateway(migrated_database(), data_dir, settings).start()
    operator = Operator(running, demo.url)
    yield operator
    operator.close()
    assert running.stop() == 0, running.log


@pytest.mark.parametrize(("step", "examples"), AMOUNTS)
def test_what_is_documented_is_what_happens(described: Operator, step: int, examples: int) -> None:
    gateway = described.gateway
    assert gateway.process is not None
    process = psutil.Process(gateway.process.pid)
    memory = process.memory_info().rss
    schema = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")
    found = list(schema.get_all_operations())
    operations = [each.ok() for each in found if isinstance(each, Ok)]
    assert len(operations) == len(found), "an operation that can't be read"
    faults: dict[str, str] = {}
    with requests.Session() as session:
        session.trust_env = False
        caller = Caller(described, session)
        for operation in sorted(operations[::step], key=lambda each: each.method == "delete"):
            if NOT_HERE.search(operation.path):
                continue
            try:
                explore(examples, _strategy(operation), caller.attempt)
            except (AssertionError, BaseExceptionGroup, requests.RequestException) as fault:
                faults[operation.label] = f"{type(fault).__name__}: {fault}"
    assert not faults, "\n\n".join(f"{label}\n{fault}" for label, fault in faults.items())
    assert {200, 201, 204, 404, 422} <= caller.statuses.keys()
    assert httpx2.get(f"{gateway.url}/readyz").status_code == 200
    charged = [entry["request_id"] for entry in described.entries(caller.customer) if entry["charged"] != "0"]
    assert caller.refused.isdisjoint(charged)
    audit = described.audit()
    assert audit["ok"] is True, audit
    assert "api_bug" not in gateway.log
    assert "relay_bug" not in gateway.log
    assert process.memory_info().rss - memory < GROWTH


def _strategy(operation: Operation) -> SearchStrategy[Case]:
    good = operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)
    if not (operation.body or operation.query or operation.path_parameters):
        return good
    return good | operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)


class Caller:
    """Calls operations, mostly about what there is: an account, a key, a channel and a model that may come to harm."""

    def __init__(self, operator: Operator, session: requests.Session) -> None:
        self.statuses: Counter[int] = Counter()
        self._url = operator.gateway.url
        self._session = session
        self._model = serve_model(operator, {"upstream_model": "u-described"})
        self.customer = operator.customer()
        self.refused: set[str] = set()
        harmed = operator.customer()
        model = operator.model()
        self._known: Mapping[str, Any] = {
            "account_id": harmed.account_id,
            "key_id": harmed.key_id,
            "channel_id": operator.channel(model, "u-harmed")["id"],
            "model": self._model,
            "model_id": self._model,
            "name": model,
            "scope": "account",
        }

    def attempt(self, case: Case) -> None:
        path = case.operation.path
        admin = path.startswith("/admin/")
        for name, value in (case.path_parameters or {}).items():
            # Numbers that come to mind first would be those of the caller's own account and key.
            if name in self._known and (len(str(value)) < 3 or len(str(value)) % 2):
                case.path_parameters[name] = self._known[name]
        if isinstance(case.body, dict) and isinstance(case.body.get("model"), str) and not admin:
            case.body["model"] = self._model
        headers = {"authorization": f"Bearer {ADMIN_TOKEN if admin else self.customer.key}"}
        response = case.call(self._url, session=self._session, headers=headers, timeout=HANG, allow_redirects=False)
        self.statuses[response.status_code] += 1
        if response.status_code >= 400:
            self.refused.update(response.headers["x-request-id"])
        if BROKEN_ELSEWHERE.get((case.method.upper(), path)) != response.status_code:
            assert response.status_code < 500, f"{response.status_code} {response.content[:500]!r}"
        if "%0A" not in str(response.request.url).upper():  # no route of Starlette's matches a line break: 404
            case.validate_response(response, checks=CHECKS)
