"""Limits that are only tried out: no client notices, and the operator reads what they would have refused."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from tests.gateway import ADMIN_TOKEN, Customer, Gateway, Operator
from tests.relay.calls import PATIENCE, Client, demo_model, entries

_SAMPLE = re.compile(r'^relaygate_shadow_refusals_total\{limit="(\w+)"\} ([0-9.]+)$', re.MULTILINE)
TOLD = ("account_id", "key_id", "scope", "limit")


@contextmanager
def told(gateway: Gateway, *expected: tuple[Customer, str, str]) -> Iterator[None]:
    """What is logged and counted by the end of the block: whose key, whose limit, and which; in any order."""
    start, before = len(gateway.log), _counted(gateway)
    yield
    wanted = sorted((who.account_id, who.key_id, scope, limit) for who, scope, limit in expected)
    deadline = time.monotonic() + PATIENCE
    while (found := sorted(_logged(gateway.log[start:]))) != wanted:
        assert time.monotonic() < deadline, (found, wanted)
        time.sleep(0.02)
    assert _counted(gateway) - before == Counter(limit for _, _, limit in expected)


def _logged(text: str) -> list[tuple[Any, ...]]:
    lines = [json.loads(line) for line in text.splitlines() if '"limit_would_refuse"' in line and line.endswith("}")]
    assert all(line["level"] == "info" and line["request_id"].startswith("req_") for line in lines)
    return [tuple(line[name] for name in TOLD) for line in lines]


def _counted(gateway: Gateway) -> Counter[str]:
    answer = httpx2.get(f"{gateway.url}/metrics", headers={"authorization": f"Bearer {ADMIN_TOKEN}"}, timeout=PATIENCE)
    return Counter({limit: int(float(value)) for limit, value in _SAMPLE.findall(answer.text)})


async def test_a_key_on_trial_is_served_as_without_limits(gateway: Gateway, operator: Operator, client: Client) -> None:
    model = demo_model(operator, "tokens=6")
    customer = operator.customer(rpm=1, budget={"amount": "5", "period": "month"}, shadow=True)
    with told(gateway, (customer, "key", "rpm"), (customer, "key", "rpm")):
        for stream in (False, True, False):
            answer = await client.chat(customer, model, stream=stream)
            assert answer.status == 200
            assert [name for name in answer.headers if "ratelimit" in name or name == "x-relaygate-output-cap"] == []
    own = (await client.http.get("/v1/account", headers=customer.headers)).json()["key"]["limits"]
    assert set(own.values()) == {None}
    key = operator.call("GET", f"/keys/{customer.key_id}")
    assert (key["shadow"], key["rpm"], key["budget"]["amount"]) == (True, 1, "5")
    await entries(operator, customer, 3)
    with told(gateway, (customer, "key", "budget")):  # more than this is spent by now
        budget = {"amount": "0.00001", "period": "month"}
        operator.call("PATCH", f"/keys/{customer.key_id}", json={"rpm": None, "budget": budget})
        assert (await client.chat(customer, model)).status == 200
    operator.call("PATCH", f"/keys/{customer.key_id}", json={"shadow": False})
    with told(gateway):
        answer = await client.chat(customer, model)
        assert (answer.status, answer.error["code"]) == (429, "budget_exceeded")


async def test_an_account_is_held_to_its_limit_while_a_keys_is_tried(
    gateway: Gateway, operator: Operator, client: Client
) -> None:
    model, customer = demo_model(operator, "tokens=6"), operator.customer(rpm=1, shadow=True)
    operator.call("PATCH", f"/accounts/{customer.account_id}", json={"rpm": 2})
    with told(gateway, (customer, "key", "rpm")):
        answers = [await client.chat(customer, model) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert "your account" in answers[2].error["message"]
    assert [answer.headers["x-ratelimit-limit-requests"] for answer in answers] == ["2", "2", "2"]


async def test_a_key_is_held_to_its_limit_while_its_accounts_is_tried(
    gateway: Gateway, operator: Operator, client: Client
) -> None:
    model, customer = demo_model(operator, "tokens=6"), operator.customer(rpm=2)
    operator.call("PATCH", f"/accounts/{customer.account_id}", json={"rpd": 1, "shadow": True})
    with told(gateway, (customer, "account", "rpd")):
        answers = [await client.chat(customer, model) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert "this API key" in answers[2].error["message"]
    own = (await client.http.get("/v1/account", headers=customer.headers)).json()
    assert (own["account"]["limits"]["rpd"], own["key"]["limits"]["rpm"]) == (None, 2)


async def test_a_media_task_on_trial_is_begun(gateway: Gateway, operator: Operator, client: Client) -> None:
    model = operator.model(kind="video", price={"per_second": "0.1"}, max_output_tokens=None)
    operator.channel(model, "demo-video?seconds=0", provider="demo")
    customer = operator.customer(rpm=1, shadow=True)
    body = {"model": model, "prompt": "A cat", "duration": 5}
    with told(gateway, (customer, "key", "rpm")):
        for _ in range(2):
            answer = await client.http.post("/v2/videos/generations", json=body, headers=customer.headers)
            assert answer.status_code == 200
