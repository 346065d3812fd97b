"""What has to hold after any number of wild requests: nothing broke, nothing is held, and refusals cost nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2
import psutil

from tests.fuzz.wire import Answer
from tests.gateway import Customer, Operator

GROWTH = 100 * 1024 * 1024
"""Bytes by which a gateway may grow; a leak of a few kilobytes a request shows in the long runs."""

MAX_CAP_GRANT = "1000000000"
"""Dollars, so that no output cap is beyond the account's means."""


@dataclass(slots=True)
class Ground:
    """One customer's requests, and what they were answered: `refused` are the ids of those that were an error as a whole."""

    operator: Operator
    customer: Customer
    refused: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def port(self) -> int:
        return self.operator.gateway.port

    def note(self, answer: Answer) -> None:
        self.statuses[answer.status] += 1
        if answer.status >= 400 and answer.request_id:
            self.refused.add(answer.request_id)

    def authorized(self, *headers: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        return [(b"authorization", b"Bearer " + self.customer.key.encode()), *headers]


@contextmanager
def checked(operator: Operator) -> Iterator[Ground]:
    """Looks at the gateway before and after: its log, its money, its memory."""
    gateway = operator.gateway
    assert gateway.process is not None
    process = psutil.Process(gateway.process.pid)
    known, memory = len(gateway.log), process.memory_info().rss
    ground = Ground(operator, operator.customer(grant=MAX_CAP_GRANT))
    yield ground
    assert httpx2.get(f"{gateway.url}/readyz").status_code == 200
    for entry in operator.entries(ground.customer):  # which waits until no hold is open
        if entry["request_id"] in ground.refused:
            assert (entry["status"], entry["charged"]) == ("released", "0"), entry
    audit = operator.audit()
    assert audit["ok"] is True, audit
    log = gateway.log[known:]
    for word in ("relay_bug", "api_bug", "Traceback", "settlements_lost"):
        assert word not in log, log[log.index(word) - 500 :][:5000]
    assert process.memory_info().rss - memory < GROWTH
