"""A result of 2 GB goes from an upstream into storage and out to a client through a gateway that hardly grows."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator
from tests.media.client import MediaClient

SIZE = 2 * 1024**3
MOST = 100 * 1024 * 1024
LOOK = 0.05


class Gauge:
    """The most that a process grows by while the block runs, in bytes of resident memory, looked at twenty times a second."""

    def __init__(self, gateway: Gateway) -> None:
        assert gateway.process is not None
        self._process = psutil.Process(gateway.process.pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.grown = 0
        self.seconds = 0.0

    def __enter__(self) -> Gauge:
        self._before, self._started = self._process.memory_info().rss, time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._started
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK):
            self.grown = max(self.grown, self._process.memory_info().rss - self._before)


@pytest.fixture
def alone(start_gateway: Callable[..., Gateway], tmp_path: Path) -> Iterator[Gateway]:
    """A gateway whose media is cleared at once."""
    folder = tmp_path / "media"
    if shutil.disk_usage(tmp_path).free < SIZE * 2:
        pytest.skip("not enough disk for a result of 2 GB")
    yield start_gateway(RELAYGATE_STORAGE_URL=f"file://{folder}")
    shutil.rmtree(folder)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_2_gb_pass_in_and_out_in_little_memory(alone: Gateway, demo: DemoProcess) -> None:
    operator = Operator(alone, demo.url)
    model = operator.model(kind="video", price={"per_video": "0.1"}, max_output_tokens=None)
    operator.channel(model, f"demo-video?seconds=0&big={SIZE}", provider="demo")
    client = MediaClient(alone, operator.customer())
    with Gauge(alone) as copying:
        task = client.wait(client.submit(model), timeout=300)
    print(f"\nin: {copying.seconds:.1f} s, grown by {copying.grown / 1e6:.1f} MB")
    assert task["status"] == "SUCCESS"
    size = 0
    with Gauge(alone) as serving, httpx2.stream("GET", task["data"]["output"], timeout=60) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "video/mp4"
        for piece in answer.iter_bytes(1024 * 1024):
            if not size:
                assert piece[4:8] == b"ftyp"
            size += len(piece)
    print(f"out: {serving.seconds:.1f} s, grown by {serving.grown / 1e6:.1f} MB")
    assert size == SIZE
    assert copying.grown < MOST
    assert serving.grown < MOST
    client.close()
    operator.close()
