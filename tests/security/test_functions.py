"""Functions: every admin operation with credentials that were good once, or are good for something else."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.gateway import Gateway, Operator

UNKNOWN_ID = "9223372036854775807"


@pytest.fixture(scope="module")
def operations(gateway: Gateway) -> list[tuple[str, str]]:
    """Method and URL of every published admin operation, and of the metrics."""
    paths = httpx2.get(f"{gateway.url}/openapi.json").json()["paths"]
    found = [
        (method.upper(), gateway.url + re.sub(r"\{\w+\}", UNKNOWN_ID, path))
        for path, item in paths.items()
        if path.startswith("/admin/")
        for method in {"get", "post", "put", "patch", "delete"} & item.keys()
    ]
    assert len(found) > 40
    return [*found, ("GET", f"{gateway.url}/metrics")]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=30) as made:
        yield made


def _await_refusal(client: httpx2.Client, url: str, token: str) -> None:
    deadline = time.monotonic() + 10
    while client.get(url, headers={"authorization": f"Bearer {token}"}).status_code != 401:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["expired", "revoked", "a customer's key"])
def test_functions(
    gateway: Gateway, operator: Operator, client: httpx2.Client, operations: list[tuple[str, str]], how: str
) -> None:
    """One answer, byte for byte, whatever is wrong with a credential."""
    accounts = f"{gateway.url}/admin/v1/accounts"
    fields: dict[str, Any] = {"name": how, "scopes": ["admin"]}
    if how == "a customer's key":
        token = operator.customer().key
    else:
        soon = (datetime.now(UTC) + timedelta(seconds=1.5)).isoformat()
        made = operator.call("POST", "/tokens", json={**fields, **({"expires_at": soon} if how == "expired" else {})})
        token = made["token"]
        assert client.get(accounts, headers={"authorization": f"Bearer {token}"}).status_code == 200
        if how == "revoked":
            operator.call("DELETE", f"/tokens/{made['id']}")
        _await_refusal(client, accounts, token)
    unknown = client.get(accounts, headers={"authorization": "Bearer rga-nobodys"}).content
    for method, url in operations:
        answer = client.request(method, url, headers={"authorization": f"Bearer {token}"}, content=b"{not json")
        assert (answer.status_code, answer.content) == (401, unknown), (method, url)
