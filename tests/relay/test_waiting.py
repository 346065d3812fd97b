"""Requests in line: free ones don't join it, revoked keys and clients that left aren't served, order is no concurrency."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Customer, Gateway, Operator
from tests.relay.calls import chat, demo_model

FUNDS = "0.0025"
"""What one call of a thousand tokens of output holds most of."""


async def until(condition: Callable[[], bool]) -> None:
    """Returns once it holds; asked over HTTP, so not too often."""
    async with asyncio.timeout(10):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


class Line:
    """A customer whose money a slow request holds, and a gateway."""

    def __init__(self, operator: Operator, customer: Customer, client: httpx2.AsyncClient) -> None:
        self.operator = operator
        self.customer = customer
        self.client = client
        self.slow = demo_model(operator, "tokens=3&delay_ms=3000")
        self.quick = demo_model(operator, "tokens=3")

    def ask(self, model: str, **fields: object) -> Awaitable[httpx2.Response]:
        return self.client.post("/chat/completions", json=chat(model, **fields))

    async def hold_everything(self) -> asyncio.Task[httpx2.Response]:
        first = asyncio.ensure_future(self.ask(self.slow, max_tokens=1000))
        await until(lambda: self.operator.account(self.customer)["held"] != "0")
        return first


@pytest.fixture
async def line(other_gateway: Gateway, other_operator: Operator) -> AsyncIterator[Line]:
    customer = other_operator.customer(FUNDS)
    async with httpx2.AsyncClient(base_url=other_gateway.base_url, headers=customer.headers, timeout=30) as client:
        yield Line(other_operator, customer, client)


@pytest.mark.long
async def test_who_leaves_the_line_is_not_served(line: Line) -> None:
    """Draining is for answers that an upstream is producing already."""
    first = await line.hold_everything()
    with pytest.raises(httpx2.TimeoutException):
        await line.client.post("/chat/completions", json=chat(line.quick, max_tokens=1000), timeout=1.0)
    assert (await first).status_code == 200
    entries = await asyncio.to_thread(line.operator.entries, line.customer, count=2)
    found = {entry["model"]: (entry["status"], entry["charged"], entry["error"]) for entry in entries}
    assert found[line.quick] == ("released", "0", "client_closed_request")
    assert found[line.slow][0] == "settled"


@pytest.mark.long
async def test_a_key_that_is_revoked_in_the_line_is_refused(line: Line) -> None:
    first = await line.hold_everything()
    second = asyncio.ensure_future(line.ask(line.quick, max_tokens=1000))
    third = asyncio.ensure_future(line.ask(line.quick, max_tokens=1000))
    line.operator.call("DELETE", f"/keys/{line.customer.key_id}")
    assert (await first).status_code == 200
    assert [(await answer).status_code for answer in (second, third)] == [401, 401]


async def test_a_free_model_and_a_sure_refusal_dont_queue(line: Line) -> None:
    free = demo_model(line.operator, "tokens=3", free=True)
    first = await line.hold_everything()
    others = [asyncio.ensure_future(line.ask(line.quick, max_tokens=1000)) for _ in range(3)]
    answer = await line.ask(free, max_tokens=10)
    assert answer.status_code == 200
    long = await line.ask(line.quick, messages=[{"role": "user", "content": "word " * 10_000}])
    assert (long.status_code, long.json()["error"]["code"]) == (429, "insufficient_quota")
    assert not first.done()
    assert not any(other.done() for other in others)
    assert [(await other).status_code for other in (first, *others)] == [200, 200, 200, 200]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param("tokens=3", id="reported"),
        pytest.param("tokens=3&usage=missing", id="estimated", marks=pytest.mark.long),
    ],
)
async def test_one_after_the_other_is_no_concurrency(
    start_gateway: Callable[..., Gateway], demo: DemoProcess, options: str
) -> None:
    """A request is settled a moment after its client has the answer, and by another process at that."""
    first = start_gateway()
    gateways = (first, start_gateway(first.database_url))
    operator = Operator(first, demo.url)
    model = demo_model(operator, options)
    customer = operator.customer(concurrency=1)
    async with httpx2.AsyncClient(headers=customer.headers, timeout=30) as client:
        for number in range(40):
            for stream in (False, True):
                url = f"{gateways[number % 2].base_url}/chat/completions"
                answer = await client.post(url, json=chat(model, stream=stream, max_tokens=5))
                assert answer.status_code == 200, (number, answer.text)
    operator.close()
