"""Limits as clients meet them: exact over two processes and a restart, told in the headers that SDKs show."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import httpx2
import openai
import pytest

from tests.gateway import Gateway, Operator
from tests.system.load import BODY, call_many, tally


def post(gateway: Gateway, key: str, model: str, **fields: Any) -> httpx2.Response:
    headers = {"authorization": f"Bearer {key}"}
    body = {"model": model, **BODY, **fields}
    return httpx2.post(f"{gateway.base_url}/chat/completions", json=body, headers=headers, timeout=30)


async def test_sixty_requests_a_minute_over_two_processes(pair: tuple[Gateway, Gateway], operator: Operator) -> None:
    model = operator.model("demo")
    customer = operator.customer(rpm=60)

    outcomes = tally(await call_many(pair, customer, model, 200))

    assert outcomes == {(200, None): 60, (429, "rate_limit_exceeded"): 140}
    pair[1].stop()
    pair[1].start()
    refused = post(pair[1], customer.key, model)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert refused.headers["x-ratelimit-limit-requests"] == "60"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert "requests per minute" in refused.json()["error"]["message"]
    assert len(operator.entries(customer, count=60)) == 60
    assert operator.audit()["ok"] is True


async def test_the_sdk_shows_what_is_left(gateway: Gateway, operator: Operator) -> None:
    model = operator.model("demo?tokens=16")
    customer = operator.customer(rpm=2, tpm=1000)
    async with openai.AsyncOpenAI(api_key=customer.key, base_url=gateway.base_url, max_retries=0) as client:
        create = client.chat.completions.with_raw_response.create
        messages: Any = BODY["messages"]
        first = await create(model=model, messages=messages, max_tokens=100)
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert first.headers["x-ratelimit-limit-tokens"] == "1000"
        assert 1000 - 100 - 100 < int(first.headers["x-ratelimit-remaining-tokens"]) < 1000 - 100
        operator.entries(customer, count=1)
        second = await create(model=model, messages=messages)
        # 24 tokens of the first were really used, and the second named no cap.
        assert 1000 - 24 - 100 < int(second.headers["x-ratelimit-remaining-tokens"]) < 1000 - 24
        with pytest.raises(openai.RateLimitError) as refused:
            await create(model=model, messages=messages)
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.type == "rate_limit_error"
    assert float(refused.value.response.headers["retry-after"]) > 1


def test_limits_can_be_changed_while_they_apply(gateway: Gateway, operator: Operator) -> None:
    model = operator.model("demo")
    customer = operator.customer()
    assert "x-ratelimit-limit-requests" not in post(gateway, customer.key, model).headers
    operator.call("PATCH", f"/keys/{customer.key_id}", json={"rpm": 2})
    deadline = time.monotonic() + 1.0  # what was changed counts within a second
    while "x-ratelimit-limit-requests" not in (answer := post(gateway, customer.key, model)).headers:
        assert time.monotonic() < deadline
    assert answer.headers["x-ratelimit-remaining-requests"] == "1"
    assert post(gateway, customer.key, model).status_code == 200
    assert post(gateway, customer.key, model).status_code == 429
    operator.call("PATCH", f"/keys/{customer.key_id}", json={"rpm": 3})
    assert post(gateway, customer.key, model).status_code == 200
    assert post(gateway, customer.key, model).status_code == 429


def test_a_spent_budget_says_when_it_begins_anew(gateway: Gateway, operator: Operator) -> None:
    model = operator.model("demo", price={"per_call": "0.5"})
    customer = operator.customer(budget={"amount": "1", "period": "month"})
    for _ in range(2):
        assert post(gateway, customer.key, model).status_code == 200
    refused = post(gateway, customer.key, model)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exceeded")
    assert 0 < int(refused.headers["retry-after"]) <= 31 * 86400
    operator.entries(customer, count=2)
    key = operator.call("GET", f"/keys/{customer.key_id}")
    assert key["budget"]["spent"] == "1"
    assert key["charged"] == "1"


async def test_concurrent_requests_of_one_key(gateway: Gateway, operator: Operator) -> None:
    """Streams that are open count; the next one gets in as soon as one of them has ended."""
    model = operator.model("demo?tokens=80&chunk_ms=50")
    quick = operator.model("demo")
    customer = operator.customer(concurrency=2)
    body = {"model": model, "stream": True, **BODY}
    async with aiohttp.ClientSession() as session:
        url = f"{gateway.base_url}/chat/completions"
        streams = [await session.post(url, json=body, headers=customer.headers) for _ in range(2)]
        assert [stream.status for stream in streams] == [200, 200]
        refused = await asyncio.to_thread(post, gateway, customer.key, quick)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        for stream in streams:
            stream.close()
        operator.entries(customer, count=2)
        assert (await asyncio.to_thread(post, gateway, customer.key, quick)).status_code == 200
