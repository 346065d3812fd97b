"""A gateway process seen from outside: its sockets, its memory, and what it says of its own tasks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import httpx2
import psutil

from tests.gateway import ADMIN_TOKEN, Gateway


@dataclass(frozen=True, slots=True)
class Vitals:
    """At one moment. `half_closed`: sockets whose other side has gone, which nobody here has noticed. `rss`: megabytes."""

    open_requests: int
    tasks: int
    sockets: int
    half_closed: int
    files: int
    threads: int
    rss: float


def read_vitals(gateway: Gateway) -> Vitals:
    assert gateway.process is not None
    process = psutil.Process(gateway.process.pid)
    metrics = read_metrics(gateway)
    states = Counter(connection.status for connection in process.net_connections())
    return Vitals(
        open_requests=int(metrics["relaygate_open_requests"]),
        tasks=int(metrics["relaygate_tasks"]),
        sockets=sum(states.values()),
        half_closed=states[psutil.CONN_CLOSE_WAIT],
        files=process.num_fds(),
        threads=process.num_threads(),
        rss=process.memory_info().rss / 1e6,
    )


def read_metrics(gateway: Gateway) -> dict[str, float]:
    """The series of `/metrics`, by name and labels as they stand there."""
    answer = httpx2.get(f"{gateway.url}/metrics", headers={"authorization": f"Bearer {ADMIN_TOKEN}"}, timeout=10)
    lines = [line for line in answer.raise_for_status().text.splitlines() if line and not line.startswith("#")]
    return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}


def read_attempts(gateway: Gateway, channel: str) -> Counter[str]:
    """What became of this process's calls over a channel: `ok`, or an error's code."""
    found: Counter[str] = Counter()
    for series, value in read_metrics(gateway).items():
        if series.startswith("relaygate_attempts_total{") and f'channel="{channel}"' in series:
            found[series.partition('result="')[2].partition('"')[0]] += int(value)
    return found
