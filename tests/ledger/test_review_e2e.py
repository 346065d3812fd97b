"""Review: limits and waiting as clients meet them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import httpx2
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator
from tests.relay.calls import chat, demo_model, wait_until_served


@pytest.mark.parametrize("options", ["tokens=3", "tokens=3&usage=missing"], ids=["usage", "estimated"])
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("stream", [False, True])
async def test_one_after_the_other_under_concurrency_one(
    start_gateway: Callable[..., Gateway], demo: DemoProcess, options: str, processes: int, stream: bool
) -> None:
    gateways = [start_gateway()]
    for _ in range(processes - 1):
        gateways.append(start_gateway(gateways[0].database_url))
    operator = Operator(gateways[0], demo.url)
    model = demo_model(operator, options)
    customer = operator.customer("10", concurrency=1)
    clients = [
        httpx2.AsyncClient(base_url=g.base_url, headers=customer.headers, timeout=30, trust_env=False) for g in gateways
    ]
    for c in clients:
        for _ in range(20):
            if (await c.get(f"/models/{model}")).status_code == 200:
                break
            await asyncio.sleep(0.1)
    await asyncio.sleep(1.2)
    seen: Counter[str] = Counter()
    for number in range(150):
        answer = await clients[number % processes].post(
            "/chat/completions", json=chat(model, stream=stream, max_tokens=5)
        )
        seen[f"{answer.status_code} {'' if answer.status_code == 200 else answer.text[:160]}"] += 1
    for c in clients:
        await c.aclose()
    operator.close()
    print("RESULT", options, processes, stream, dict(seen))
    assert list(seen) == ["200 "], seen


async def test_who_hangs_up_in_the_line_pays_nothing(start_gateway: Callable[..., Gateway], demo: DemoProcess) -> None:
    gateway = start_gateway(RELAYGATE_ON_HANGUP="drain")
    operator = Operator(gateway, demo.url)
    slow = demo_model(operator, "tokens=3&delay_ms=3000")
    fast = demo_model(operator, "tokens=3&delay_ms=0")
    customer = operator.customer("0.0025")
    async with httpx2.AsyncClient(
        base_url=gateway.base_url, headers=customer.headers, timeout=30, trust_env=False
    ) as c:
        first = asyncio.create_task(c.post("/chat/completions", json=chat(slow, max_tokens=1000)))
        await asyncio.sleep(0.5)
        with pytest.raises(httpx2.TimeoutException):
            await c.post("/chat/completions", json=chat(fast, max_tokens=1000), timeout=1.0)
        assert (await first).status_code == 200
    await asyncio.sleep(1.5)
    entries = operator.entries(customer)
    print("RESULT", [(e["model"] == fast, e["status"], e["charged"], e["error"]) for e in entries])
    operator.close()
    assert [e for e in entries if e["model"] == fast and e["status"] == "settled"] == []


async def test_a_free_model_does_not_queue(start_gateway: Callable[..., Gateway], demo: DemoProcess) -> None:
    gateway = start_gateway()
    operator = Operator(gateway, demo.url)
    slow = demo_model(operator, "tokens=3&delay_ms=4000")
    free = demo_model(operator, "tokens=3", free=True)
    customer = operator.customer("0.0025")
    clock = asyncio.get_running_loop().time
    async with httpx2.AsyncClient(
        base_url=gateway.base_url, headers=customer.headers, timeout=60, trust_env=False
    ) as c:
        calls = [asyncio.create_task(c.post("/chat/completions", json=chat(slow, max_tokens=1000))) for _ in range(20)]
        await asyncio.sleep(1)
        started = clock()
        answer = await c.post("/chat/completions", json=chat(free, max_tokens=10))
        took = clock() - started
        print("RESULT free took", took, answer.status_code)
        for t in calls:
            t.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    operator.close()
    assert took < 3
