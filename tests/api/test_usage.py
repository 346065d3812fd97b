"""Usage: entries by filter and page, and sums that agree with them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.api.conftest import Chat
from tests.api.scan import assert_refused
from tests.gateway import Customer, Gateway, Operator


@dataclass(frozen=True)
class Traffic:
    """Two keys of one account that called two models; one more request failed, one was estimated."""

    customer: Customer
    other_key: Customer
    cheap: str
    dear: str
    entries: list[dict[str, Any]]


@pytest.fixture(scope="module")
def traffic(admin: httpx2.Client, operator: Operator, chat: Chat) -> Traffic:
    customer = operator.customer("10")
    admin.patch(f"/accounts/{customer.account_id}", json={"price_ratio": "0.5"})
    made = admin.post("/keys", json={"account_id": customer.account_id, "name": "second"}).json()
    other = Customer(customer.account_id, made["id"], made["key"])
    cheap = operator.model("demo", price={"input_mtok": "1", "output_mtok": "2"})
    dear = operator.model("demo?usage=missing", price={"per_call": "0.25"})
    broken = operator.model("demo?status=500")
    for key, model, status in (
        (customer, cheap, 200),
        (customer, cheap, 200),
        (other, cheap, 200),
        (other, dear, 200),
        (customer, broken, 502),
    ):
        assert chat(key, model).status_code == status
    return Traffic(customer, other, cheap, dear, operator.entries(customer, count=5))


def _list(admin: httpx2.Client, **params: Any) -> list[dict[str, Any]]:
    response = admin.get("/usage", params={"limit": 200, **params})
    assert response.status_code == 200, response.text
    data: list[dict[str, Any]] = response.json()["data"]
    return data


def _sum(admin: httpx2.Client, **params: Any) -> list[dict[str, Any]]:
    response = admin.get("/usage/summary", params=params)
    assert response.status_code == 200, response.text
    assert not response.json()["truncated"]
    data: list[dict[str, Any]] = response.json()["data"]
    return data


def test_an_entry_says_what_happened(operator: Operator, chat: Chat) -> None:
    customer, model = operator.customer(), operator.model("demo", price={"input_mtok": "1", "output_mtok": "2"})
    response = chat(customer, model)
    (entry,) = operator.entries(customer, count=1)
    usage = response.json()["usage"]
    cost = Decimal(usage["prompt_tokens"] + 2 * usage["completion_tokens"]) / 1_000_000
    assert entry == {
        "id": entry["id"],
        "request_id": response.headers["x-request-id"],
        "created_at": entry["created_at"],
        "account_id": customer.account_id,
        "key_id": customer.key_id,
        "model": model,
        "channel_id": entry["channel_id"],
        "format": "openai_chat",
        "status": "settled",
        "held": entry["held"],
        "charged": str(cost),
        "uncollected": "0",
        "usage": {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]},
        "price": {"input_mtok": "1", "output_mtok": "2"},
        "price_ratio": "1",
        "group_ratio": "1",
        "cost": None,
        "estimated": False,
        "latency_ms": entry["latency_ms"],
        "first_byte_ms": entry["first_byte_ms"],
        "stream": False,
        "attempts": 1,
        "error": None,
    }
    assert Decimal(entry["held"]) >= cost
    assert entry["latency_ms"] >= entry["first_byte_ms"] >= 0
    age = datetime.now(UTC) - datetime.fromisoformat(entry["created_at"])
    assert timedelta(seconds=-5) < age < timedelta(seconds=60)


def test_entries_tell_failures_estimates_and_ratios(traffic: Traffic) -> None:
    failed, estimated, *settled = traffic.entries
    assert (failed["status"], failed["charged"], failed["error"]) == ("released", "0", "upstream_error")
    assert (failed["usage"], failed["attempts"]) == ({}, 1)
    assert (estimated["estimated"], estimated["charged"]) == (True, "0.125")
    assert {entry["price_ratio"] for entry in traffic.entries} == {"0.5"}
    assert [entry["estimated"] for entry in settled] == [False] * 3


def test_a_free_models_entry_has_no_price(operator: Operator, chat: Chat) -> None:
    customer, model = operator.customer(None), operator.model("demo", free=True)
    assert chat(customer, model).status_code == 200
    (entry,) = operator.entries(customer, count=1)
    assert (entry["price"], entry["charged"], entry["held"]) == (None, "0", "0")


def test_pages_follow_each_other(admin: httpx2.Client, traffic: Traffic) -> None:
    for filters in ({"account_id": traffic.customer.account_id}, {"key_id": traffic.customer.key_id}, {}):
        whole = _list(admin, **filters)
        seen: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(seen) < len(whole):
            params: dict[str, Any] = {**filters, "limit": 2, **({} if cursor is None else {"cursor": cursor})}
            page = admin.get("/usage", params=params).json()
            assert 1 <= len(page["data"]) <= 2
            seen += page["data"]
            cursor = page["next_cursor"]
        assert seen == whole
        assert len(whole) >= 3
        assert [entry["id"] for entry in whole] == sorted((entry["id"] for entry in whole), reverse=True)


def test_filters_choose(admin: httpx2.Client, traffic: Traffic) -> None:
    account = {"account_id": traffic.customer.account_id}
    entries = traffic.entries
    channel = entries[-1]["channel_id"]
    cases: list[tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = [
        ({}, lambda entry: True),
        ({"key_id": traffic.other_key.key_id}, lambda entry: entry["key_id"] == traffic.other_key.key_id),
        ({"model": traffic.cheap}, lambda entry: entry["model"] == traffic.cheap),
        ({"channel_id": channel}, lambda entry: entry["channel_id"] == channel),
        ({"status": "released"}, lambda entry: entry["status"] == "released"),
        ({"status": "orphaned"}, lambda entry: False),
        ({"status": "settled", "model": traffic.dear}, lambda entry: entry["model"] == traffic.dear),
        ({"since": entries[1]["created_at"]}, lambda entry: entry["created_at"] >= entries[1]["created_at"]),
        ({"until": entries[1]["created_at"]}, lambda entry: entry["created_at"] < entries[1]["created_at"]),
    ]
    for filters, keep in cases:
        assert _list(admin, **account, **filters) == [entry for entry in entries if keep(entry)], filters
    # Without the account: the filter alone chooses.
    assert _list(admin, key_id=traffic.other_key.key_id) == [
        e for e in entries if e["key_id"] == traffic.other_key.key_id
    ]
    assert _list(admin, model=traffic.cheap) == [entry for entry in entries if entry["model"] == traffic.cheap]
    assert _list(admin, key_id=2**62) == []
    assert _list(admin, account_id=2**62) == []


@pytest.mark.parametrize("path", ["/usage", "/usage/summary"])
def test_times_reach_from_the_first_year_to_the_last(admin: httpx2.Client, traffic: Traffic, path: str) -> None:
    params: dict[str, Any] = {"account_id": traffic.customer.account_id}
    ends = {"since": "0001-01-01T00:00:00Z", "until": "9999-12-31T23:59:59.999999Z"}
    assert admin.get(path, params=params | ends).json() == admin.get(path, params=params).json()
    none = {"since": "2090-01-01T00:00:00+14:00"}
    assert admin.get(path, params=params | none).json()["data"] == []
    assert admin.get(path, params=params | {"until": "2020-01-01T00:00:00-12:00"}).json()["data"] == []


@pytest.mark.parametrize("path", ["/usage", "/usage/summary", "/usage.csv"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("account_id", "x"),
        ("account_id", "0"),
        ("key_id", "9223372036854775808"),
        ("channel_id", "-1"),
        ("model", ""),
        ("model", "a\x00"),
        ("status", "done"),
        ("since", "yesterday"),
        ("since", "2030-01-01"),
        ("since", "2030-01-01T00:00:00"),
        ("until", "1900000000"),
        ("until", "2030-13-01T00:00:00Z"),
        ("order", "asc"),
    ],
)
def test_a_bad_filter_is_named(admin: httpx2.Client, path: str, field: str, value: str) -> None:
    assert_refused(admin.get(path, params={field: value}), field)


def test_sums_agree_with_the_entries(admin: httpx2.Client, traffic: Traffic) -> None:
    account = {"account_id": traffic.customer.account_id}
    fields = {"day": "day", "model": "model", "key": "key_id", "account": "account_id", "channel": "channel_id"}
    for by in ("day", "model", "key", "account", "channel", "model,key", "day,account,model,key,channel"):
        groups = [fields[name] for name in by.split(",")]
        expected: dict[tuple[Any, ...], dict[str, Any]] = {}
        for entry in traffic.entries:
            values = {**entry, "day": entry["created_at"][:10]}
            row = expected.setdefault(
                tuple(values[group] for group in groups),
                {"requests": 0, "charged": Decimal(0), "input_tokens": 0, "output_tokens": 0, "estimated": 0},
            )
            row["requests"] += 1
            row["charged"] += Decimal(entry["charged"])
            row["estimated"] += entry["estimated"]
            for count in ("input_tokens", "output_tokens"):
                row[count] += entry["usage"].get(count, 0)
        found = _sum(admin, by=by, **account)
        assert all(row.pop("cost") is row.pop("margin") is None for row in found)
        assert sum(row.pop("cost_unknown") for row in found) == 4  # the failed one cost nothing
        assert {
            tuple(row.pop(group) for group in groups): {**row, "charged": Decimal(row["charged"])} for row in found
        } == (expected), by


def test_margin_is_over_what_has_a_cost(admin: httpx2.Client, operator: Operator, chat: Chat, gateway: Gateway) -> None:
    customer, model = operator.customer(), operator.model("demo", price={"per_call": "0.25"})
    for _ in range(3):
        assert chat(customer, model).status_code == 200
    first, second, _ = operator.entries(customer, count=3)
    costs = {first["id"]: 100_000_000, second["id"]: 400_000_000}

    async def set_costs() -> None:
        connection = await asyncpg.connect(gateway.database_url)
        for id, cost in costs.items():
            await connection.execute("UPDATE entries SET cost = $2 WHERE id = $1", id, cost)
        await connection.close()

    asyncio.run(set_costs())
    (row,) = _sum(admin, by="account", account_id=customer.account_id)
    assert (row["requests"], row["charged"], row["cost_unknown"]) == (3, "0.75", 1)
    assert (row["cost"], row["margin"]) == ("0.5", "0")
    entries = _list(admin, account_id=customer.account_id)
    assert [entry["cost"] for entry in entries] == ["0.1", "0.4", None]
    (row,) = _sum(admin, by="model", account_id=customer.account_id, since=entries[0]["created_at"])
    assert (row["cost"], row["margin"], row["cost_unknown"]) == ("0.1", "0.15", 0)
    (row,) = _sum(admin, by="channel", account_id=customer.account_id, until=entries[1]["created_at"])
    assert (row["cost"], row["margin"], row["cost_unknown"]) == (None, None, 1)


def test_sums_are_by_day_unless_told(admin: httpx2.Client, traffic: Traffic) -> None:
    account = {"account_id": traffic.customer.account_id}
    assert _sum(admin, **account) == _sum(admin, by="day", **account)
    assert _sum(admin, by="model", status="released", **account)[0]["requests"] == 1
    assert _sum(admin, by="account", model=traffic.cheap) == _sum(admin, by="account", model=traffic.cheap, **account)


@pytest.mark.parametrize("by", ["", "week", "day,", "day,day", "day;model", "DAY"])
def test_a_bad_split_is_refused(admin: httpx2.Client, by: str) -> None:
    assert_refused(admin.get("/usage/summary", params={"by": by}), "by")


def test_a_summary_says_when_it_is_cut(admin: httpx2.Client, traffic: Traffic) -> None:
    params: dict[str, Any] = {"account_id": traffic.customer.account_id, "by": "model"}
    for limit, truncated in ((2, True), (3, False)):
        summary = admin.get("/usage/summary", params={**params, "limit": limit}).json()
        assert (len(summary["data"]), summary["truncated"]) == (limit, truncated)
    assert_refused(admin.get("/usage/summary", params={"limit": 0}), "limit")
    assert_refused(admin.get("/usage/summary", params={"limit": 10_001}), "limit")
    assert_refused(admin.get("/usage/summary", params={"cursor": "x"}), "cursor")


@pytest.mark.long
def test_a_query_that_takes_too_long_is_ended(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway()
    locked, done = threading.Event(), threading.Event()

    async def hold_lock() -> None:
        connection = await asyncpg.connect(gateway.database_url)
        async with connection.transaction():
            await connection.execute("LOCK TABLE entries IN ACCESS EXCLUSIVE MODE")
            locked.set()
            await asyncio.to_thread(done.wait)
        await connection.close()

    holder = threading.Thread(target=lambda: asyncio.run(hold_lock()))
    holder.start()
    try:
        assert locked.wait(10)
        started = time.monotonic()
        with gateway.admin() as admin:
            assert_refused(admin.get("/usage"), "since", 400)
        assert 14 < time.monotonic() - started < 20
    finally:
        done.set()
        holder.join()
