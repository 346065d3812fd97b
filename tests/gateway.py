"""Real processes for tests: gateways, the demo upstream, and an operator who sets up what a test needs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psutil

from tests.zygote import Server, shared_zygote

ADMIN_TOKEN = "rga-test-admin-token-0123456789"
SECRET_KEY = "test-secret-key-0123456789abcdef"
START_TIMEOUT = 30.0


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Gateway:
    """A `relaygate serve` process on a database of its own choosing."""

    database_url: str
    data_dir: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def log_path(self) -> Path:
        return self.data_dir / f"gateway-{self.port}.log"

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def start(self) -> Gateway:
        """Returns once /readyz answers 200. Raises AssertionError with the log if the process ends before."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RELAYGATE_")}
        environment = {
            **inherited,
            "RELAYGATE_DATABASE_URL": self.database_url,
            "RELAYGATE_DATA_DIR": str(self.data_dir),
            "RELAYGATE_SECRET_KEY": SECRET_KEY,
            "RELAYGATE_ADMIN_TOKEN": ADMIN_TOKEN,
            "RELAYGATE_HOST": "127.0.0.1",
            "RELAYGATE_PORT": str(self.port),
            # All tests come from one address.
            "RELAYGATE_AUTH_FAILURES_PER_MINUTE": "0",
            "RELAYGATE_ADMIN_AUTH_FAILURES_PER_MINUTE": "0",
            **self.settings,
        }
        # Not in the checkout: a developer's .env must not reach the tests.
        if "RELAYGATE_WORKERS" in self.settings:
            # Their supervisor starts them afresh, which a fork can't.
            with self.log_path.open("ab") as log:
                command = [sys.executable, "-m", "app", "serve"]
                self.process = subprocess.Popen(
                    command, env=environment, cwd=self.data_dir, stdout=log, stderr=subprocess.STDOUT
                )
        else:
            self.process = shared_zygote().serve(environment, self.data_dir, self.log_path)
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            assert self.process.poll() is None, f"the gateway ended:\n{self.log}"
            assert time.monotonic() < deadline, f"the gateway isn't ready:\n{self.log}"
            try:
                if httpx2.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return self
            except httpx2.HTTPError:
                time.sleep(0.05)

    def kill(self) -> None:
        """kill -9, children included: nothing gets to clean up."""
        assert self.process is not None
        family = [*psutil.Process(self.process.pid).children(recursive=True), psutil.Process(self.process.pid)]
        for member in family:
            member.kill()
        self.process.wait(10)

    def stop(self, timeout: float = 40.0) -> int:
        """SIGTERM, then waits for the graceful end; returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def admin(self) -> httpx2.Client:
        """A client of the admin API."""
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        return httpx2.Client(base_url=f"{self.url}/admin/v1", headers=headers, timeout=30)


@dataclass(frozen=True)
class Customer:
    """An account with one key."""

    account_id: int
    key_id: int
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


class Operator:
    """Sets up channels, models and customers over the admin API, under names of their own."""

    def __init__(self, gateway: Gateway, demo_url: str) -> None:
        self.gateway = gateway
        self.demo_url = demo_url
        self._admin = gateway.admin()

    def close(self) -> None:
        self._admin.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """An admin call that has to succeed; returns its JSON."""
        response = self._admin.request(method, path, **options)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        return response.json() if response.content else None

    def model(self, *upstream_models: str, price: Mapping[str, str] | None = None, **fields: Any) -> str:
        """A new model, served by one demo channel for each upstream model, the first with the highest priority."""
        name = f"m-{uuid4().hex[:12]}"
        price = {"input_mtok": "1", "output_mtok": "2"} if price is None and not fields.get("free") else price
        body = {"kind": "chat", "price": price, "max_output_tokens": 1000, **fields}
        self.call("PUT", f"/models/{name}", json=body)
        for rank, upstream_model in enumerate(upstream_models):
            self.channel(name, upstream_model, priority=-rank)
        return name

    def channel(self, model: str, upstream_model: str, **fields: Any) -> dict[str, Any]:
        body = {
            "name": f"c-{uuid4().hex[:12]}",
            "provider": "openai",
            "base_url": f"{self.demo_url}/v1",
            "api_key": "upstream-secret-0123456789",
            "models": [{"model": model, "upstream_model": upstream_model}],
            **fields,
        }
        made: dict[str, Any] = self.call("POST", "/channels", json=body)
        return made

    def customer(self, grant: str | None = "10", **key_fields: Any) -> Customer:
        """A new account with `grant` dollars and one key."""
        account = self.call("POST", "/accounts", json={"name": f"a-{uuid4().hex[:12]}"})
        if grant is not None:
            self.call("POST", f"/accounts/{account['id']}/grants", json={"amount": grant})
        body = {"account_id": account["id"], "name": "test", "quota": None, **key_fields}
        key = self.call("POST", "/keys", json=body)
        return Customer(account["id"], key["id"], key["key"])

    def account(self, customer: Customer) -> dict[str, Any]:
        account: dict[str, Any] = self.call("GET", f"/accounts/{customer.account_id}")
        return account

    def entries(
        self, customer: Customer, *, count: int | None = None, timeout: float = 10.0, **filters: Any
    ) -> list[dict[str, Any]]:
        """The customer's entries, newest first, once no hold is open and there are `count` of them."""
        deadline = time.monotonic() + timeout
        while True:
            held = self.account(customer)["held"]
            data = self._all_entries(account_id=customer.account_id, **filters) if held == "0" else []
            if held == "0" and (count is None or len(data) == count):
                return data
            assert time.monotonic() < deadline, f"held {held}, {len(data)} entries, wanted {count}: {data[:5]}"
            time.sleep(0.02)

    def _all_entries(self, **filters: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            query = {**filters, "limit": 200} | ({"cursor": cursor} if cursor else {})
            page = self.call("GET", "/usage", params=query)
            found += page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    def audit(self) -> dict[str, Any]:
        audit: dict[str, Any] = self.call("GET", "/audit")
        return audit


def sse_data(text: str) -> Sequence[str]:
    """The data lines of a stream."""
    return [line[6:] for line in text.splitlines() if line.startswith("data: ")]
