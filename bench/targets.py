"""What the load is sent to: the upstream itself, the floor, the full gateway and a static responder."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.processes import Cores, started, wait_for_url

Kind = Literal["plain", "stream", "slow", "paced"]

CHUNKS = 60  # text chunks of a stream
# The demo upstream reads how to answer from the model's name.
UPSTREAM_MODELS: Mapping[Kind, str] = {
    "plain": "demo",
    "stream": f"demo?chunks={CHUNKS}",
    "slow": "demo?delay_ms=50",
    "paced": f"demo?chunks={CHUNKS}&chunk_ms=10",
}
UPSTREAM_KEY = "sk-upstream"


@dataclass(frozen=True, slots=True)
class Target:
    """One server under load. `pid` is the root of its processes, `worker` the one whose memory counts.

    `store` is the root of its database's processes, which run on the other core and count apart.
    """

    name: str
    base_url: str
    models: Mapping[Kind, str]
    authorization: str
    pid: int
    worker: int
    store: int | None = None


@contextlib.contextmanager
def start_upstream(cores: Cores, folder: Path) -> Iterator[Target]:
    """The demo upstream, beside the load."""
    arguments = ["-m", "app.demo", "--host", "127.0.0.1", "--port", "0", "--no-record"]
    arguments += ["--parent-pid", str(os.getpid())]
    with started("upstream", arguments, cores.others, folder) as child:
        url = wait_for_url(child)
        yield Target("direct", url, UPSTREAM_MODELS, f"Bearer {UPSTREAM_KEY}", child.pid, child.pid)


@contextlib.contextmanager
def start_floor(upstream: Target, cores: Cores, folder: Path) -> Iterator[Target]:
    """The floor in front of the upstream, on the gateway's core."""
    arguments = ["-m", "bench.floor", "--upstream", upstream.base_url, "--key", UPSTREAM_KEY]
    with started("floor", arguments, cores.gateway, folder) as child:
        url = wait_for_url(child)
        yield Target("floor", url, UPSTREAM_MODELS, "Bearer none", child.pid, child.pid)


@contextlib.contextmanager
def start_static(cores: Cores, folder: Path) -> Iterator[Target]:
    """The static responder, on the gateway's core."""
    with started("static", ["-m", "bench.static"], cores.gateway, folder) as child:
        yield Target("static", wait_for_url(child), UPSTREAM_MODELS, "Bearer none", child.pid, child.pid)
