"""A client of the admin API that looks at every answer for secrets, and a key's way to call the gateway."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.api.scan import Scanner
from tests.gateway import Customer, Gateway

Chat = Callable[..., httpx2.Response]


@pytest.fixture(scope="session")
def admin(gateway: Gateway) -> Iterator[httpx2.Client]:
    """The admin API of the shared gateway; each answer is scanned."""
    scanner = Scanner()
    with gateway.admin() as client:
        client.event_hooks = {"response": [scanner.check]}
        yield client
    assert scanner.checked


@pytest.fixture(scope="session")
def chat(gateway: Gateway) -> Iterator[Chat]:
    """One chat request with a customer's key."""
    with httpx2.Client(base_url=gateway.base_url, timeout=30) as client:

        def call(customer: Customer, model: str, **fields: Any) -> httpx2.Response:
            body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}
            return client.post("/chat/completions", headers=customer.headers, json=body)

        yield call


def await_status(chat: Chat, customer: Customer, model: str, status: int) -> httpx2.Response:
    """The first answer of this status, which has to come within a second of a change."""
    deadline = time.monotonic() + 1
    while (response := chat(customer, model)).status_code != status:
        assert time.monotonic() < deadline, response.text
    return response


@pytest.fixture
def account_id(admin: httpx2.Client) -> int:
    """A new account without money."""
    made = admin.post("/accounts", json={"name": "tenant"})
    assert made.status_code == 201
    return int(made.json()["id"])
