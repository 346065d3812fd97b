"""One demo process for a session, wiped between tests, and clients for it."""

from collections.abc import AsyncIterator, Iterator

import httpx2 as httpx
import pytest

from tests.demo.process import DemoProcess, run_demo
from tests.demo.wire import HEADERS


@pytest.fixture(scope="session")
def demo_process() -> Iterator[DemoProcess]:
    with run_demo() as demo:
        yield demo


@pytest.fixture
def demo(demo_process: DemoProcess) -> Iterator[DemoProcess]:
    yield demo_process
    demo_process.control("DELETE", "faults")
    demo_process.control("DELETE", "requests")
    demo_process.control("DELETE", "jobs")


@pytest.fixture(scope="session")
async def client(demo_process: DemoProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=demo_process.url, headers=HEADERS, timeout=10) as client:
        yield client
