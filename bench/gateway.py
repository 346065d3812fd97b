"""Starts the real gateway for the benchmark: served on its core, its database beside the load, one paid key."""

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx

from bench.processes import BenchError, Child, Cores, find_worker, move_tree, started, stop, stop_stray, tail
from bench.targets import UPSTREAM_KEY, UPSTREAM_MODELS, Kind, Target

READY_SECONDS = 90.0  # the first start makes a database cluster and migrates it
PUBLIC_MODELS: dict[Kind, str] = {
    "plain": "bench",
    "stream": "bench-stream",
    "slow": "bench-50ms",
    "paced": "bench-paced",
}


@dataclass(frozen=True, slots=True)
class FullGateway:
    """The gateway under load and its admin API."""

    target: Target
    admin: httpx.Client

    def audit(self) -> tuple[bool, Any]:
        """Whether the ledger's own recount finds no drift, and what it answered."""
        answer = self.admin.get("/admin/v1/audit")
        found = answer.json()
        return answer.status_code == 200 and isinstance(found, dict) and found.get("ok") is True, found


@contextlib.contextmanager
def start_full(upstream: Target, cores: Cores, folder: Path) -> Iterator[FullGateway]:
    """The gateway on the gateway's core with embedded Postgres on the other, set up with one account and key.

    `folder` must be new and private to this run: the data directory goes there. Raises BenchError.
    """
    data, port, token = folder / "data", _free_port(), secrets.token_urlsafe(32)
    data.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("RELAYGATE_")} | {
        "RELAYGATE_DATA_DIR": str(data),
        "RELAYGATE_HOST": "127.0.0.1",
        "RELAYGATE_PORT": str(port),
        "RELAYGATE_ADMIN_TOKEN": token,
        "RELAYGATE_WORKERS": "1",
        "RELAYGATE_DEMO": "false",
    }
    url = f"http://127.0.0.1:{port}"
    headers = {"authorization": f"Bearer {token}"}
    with (
        started("gateway", ["-m", "app", "serve"], cores.gateway, folder, env) as child,
        httpx.Client(base_url=url, headers=headers, timeout=30.0, trust_env=False) as admin,
    ):
        try:
            _wait_until_ready(child, admin)
            postmaster = _find_postmaster(data)
            if postmaster is None:
                raise BenchError(f"no Postgres in {data} to move off the gateway's core")
            move_tree(postmaster, cores.others)
            key = _set_up(admin, upstream)
            worker = find_worker(child.pid, port)
            target = Target("full", url, PUBLIC_MODELS, f"Bearer {key}", child.pid, worker, postmaster)
            yield FullGateway(target, admin)
        finally:
            stop(child)
            stray = _find_postmaster(data)
            if stray is not None and stop_stray(stray):
                print("the gateway left its Postgres behind; stopped it")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(child: Child, admin: httpx.Client) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and child.process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if admin.get("/readyz").status_code == 200:
                return
        time.sleep(0.05)
    raise BenchError(f"the gateway did not become ready:\n{tail(child)}")


def _find_postmaster(data: Path) -> int | None:
    """The embedded Postgres's root process: the first line of the file that every Postgres keeps while it runs."""
    try:
        return int((data / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return None


def _set_up(admin: httpx.Client, upstream: Target) -> str:
    """One channel to the upstream, priced models, one account with money; answers its key."""
    names = [(PUBLIC_MODELS[kind], UPSTREAM_MODELS[kind]) for kind in PUBLIC_MODELS]
    channel = {
        "name": "bench",
        "provider": "openai",
        "base_url": f"{upstream.base_url}/v1",
        "api_key": UPSTREAM_KEY,
        "models": [{"model": public, "upstream_model": theirs} for public, theirs in names],
    }
    _call(admin, "POST", "/admin/v1/channels", channel)
    price = {"input_mtok": "0.15", "output_mtok": "0.6"}
    for public, _ in names:
        _call(admin, "PUT", f"/admin/v1/models/{public}", {"kind": "chat", "price": price, "max_output_tokens": 4096})
    account = _call(admin, "POST", "/admin/v1/accounts", {"name": "bench"})["id"]
    _call(admin, "POST", f"/admin/v1/accounts/{account}/grants", {"amount": "1000000"})
    key = _call(admin, "POST", "/admin/v1/keys", {"account_id": account, "name": "bench", "quota": None})
    return str(key["key"])


def _call(admin: httpx.Client, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = admin.request(method, path, json=body)
    if not answer.is_success:
        raise BenchError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
    found: dict[str, Any] = answer.json()
    return found
