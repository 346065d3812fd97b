"""Reports wait for each other, and nothing else waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import asyncpg
import httpx2
import pytest

from app.api.holder.reports import MAX_OPEN, OwnReports
from app.db.engine import Database
from app.errors import GatewayError
from tests.api.scan import assert_refused
from tests.demo.process import DemoProcess
from tests.gateway import Customer, Gateway, Operator


@pytest.mark.long
def test_reports_hold_up_nothing_but_reports(
    start_gateway: Callable[..., Gateway], demo: DemoProcess, thread_pool: ThreadPoolExecutor
) -> None:
    gateway = start_gateway()
    operator = Operator(gateway, demo.url)
    model, reader, fresh = operator.model("demo"), operator.customer(), operator.customer()

    def get(path: str, key: Customer) -> httpx2.Response:
        return httpx2.get(f"{gateway.url}{path}", headers=key.headers, timeout=30)

    def report(path: str) -> httpx2.Response:
        with gateway.admin() as admin:
            return admin.get(path)

    def call(key: Customer) -> httpx2.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
        return httpx2.post(f"{gateway.base_url}/chat/completions", headers=key.headers, json=body, timeout=30)

    assert call(reader).status_code == 200  # the gateway knows the model and its price from now on
    assert get("/v1/account/entries", reader).status_code == 200
    with _locked(gateway.database_url, "prices") as waiting:
        operators = [thread_pool.submit(report, "/usage") for _ in range(8)]
        waiting(2)
        others = [thread_pool.submit(report, path) for path in ("/usage/summary", "/usage.csv")]
        readers = [thread_pool.submit(get, "/v1/account/entries", reader) for _ in range(3)]
        called = call(fresh)
        assert called.status_code == 200, called.text
        assert httpx2.get(f"{gateway.url}/readyz", timeout=30).status_code == 200
        for path in ("/v1/account", "/v1/dashboard/billing/subscription", "/v1/dashboard/billing/usage"):
            assert get(path, fresh).status_code == 200
        answers = [future.result() for future in readers]
        refused = sorted((answer.status_code, answer.json()["error"]["code"]) for answer in answers)
        assert refused == [(429, "report_running"), (429, "report_running"), (503, "reports_busy")]
        assert {answer.headers["retry-after"] for answer in answers} == {"1", "5"}
        assert [future.result().json()["error"]["code"] for future in others] == ["reports_busy"] * 2
    found = sorted(future.result().status_code for future in operators)
    assert found == [200] * 2 + [503] * 6
    assert get("/v1/account/entries", reader).status_code == 200
    operator.close()


async def test_no_more_reports_wait_than_may(gateway: Gateway) -> None:
    database = Database(gateway.database_url)
    reports, leave = OwnReports(database.reports), asyncio.Event()

    async def make(key_id: int) -> None:
        async with reports.open(key_id):
            await leave.wait()

    tasks = [asyncio.create_task(make(key_id)) for key_id in range(MAX_OPEN)]
    await asyncio.sleep(0)  # each has begun
    with pytest.raises(GatewayError, match="reports_busy"):
        await make(MAX_OPEN)
    assert not any(task.done() for task in tasks), "it was let in, and waited"
    leave.set()
    await asyncio.gather(*tasks)
    await make(MAX_OPEN)
    await database.close()


@pytest.mark.long
def test_a_holders_report_is_ended_after_five_seconds(start_gateway: Callable[..., Gateway], demo: DemoProcess) -> None:
    gateway = start_gateway()
    operator = Operator(gateway, demo.url)
    customer = operator.customer()
    with _locked(gateway.database_url, "prices"):
        path = f"{gateway.base_url}/account/entries"
        # An operator's report would be given up on by this client first.
        assert_refused(httpx2.get(path, headers=customer.headers, timeout=12), "since", 400)
    assert httpx2.get(path, headers=customer.headers, timeout=30).status_code == 200
    operator.close()


@pytest.fixture
def thread_pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


@contextmanager
def _locked(url: str, table: str) -> Iterator[Callable[[int], None]]:
    """Keeps everybody from reading the table; gives what waits until so many queries are held up by that."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(url))
        runner.run(connection.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))

        async def wait(count: int) -> None:
            query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::regclass"
            async with asyncio.timeout(10):
                while await connection.fetchval(query, table) < count:
                    await asyncio.sleep(0.01)

        try:
            yield lambda count: runner.run(wait(count))
        finally:
            runner.run(connection.close())
