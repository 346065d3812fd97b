"""What a holder sees with the key itself: exactly what it may, and nothing of anybody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import httpx2
import pytest

from app.api.holder.billing import ALL_MODELS, MAX_ITEMS
from tests.api.conftest import Chat
from tests.api.scan import assert_refused
from tests.gateway import Customer, Gateway, Operator

PAGES = (
    "/v1/account",
    "/v1/account/usage",
    "/v1/account/entries",
    "/v1/account/models",
    "/v1/dashboard/billing/subscription",
    "/v1/dashboard/billing/usage",
    "/dashboard/billing/subscription",
    "/dashboard/billing/usage",
)


@dataclass(frozen=True)
class Household:
    """One account with two keys: the first with a quota of 3 dollars, allowed two models and an alias; the second free."""

    first: Customer
    second: Customer
    cheap: str
    dear: str
    alias: str
    other: str
    channel_name: str


@pytest.fixture(scope="module")
def holder(gateway: Gateway) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=gateway.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def household(operator: Operator, chat: Chat) -> Household:
    cheap = operator.model(price={"input_mtok": "1", "output_mtok": "2"}, description="Cheap.", context_window=4096)
    channel = operator.channel(cheap, "demo")
    dear = operator.model("demo", price={"per_call": "0.25"})
    other = operator.model("demo")
    alias = f"{cheap}-alias"
    operator.call("PATCH", f"/models/{cheap}", json={"aliases": [alias]})
    first = operator.customer("10", quota="3", models=[cheap, dear, alias], expires_at="2090-01-01T00:00:00Z")
    operator.call("PATCH", f"/accounts/{first.account_id}", json={"price_ratio": "0.5"})
    made = operator.call("POST", "/keys", json={"account_id": first.account_id, "name": "second"})
    second = Customer(first.account_id, made["id"], made["key"])
    for key, model in ((first, cheap), (first, cheap), (first, dear), (second, dear), (second, other)):
        assert chat(key, model).status_code == 200
    operator.entries(first, count=5)
    return Household(first, second, cheap, dear, alias, other, channel["name"])


def _get(holder: httpx2.Client, key: Customer, path: str, **params: Any) -> Any:
    response = holder.get(path, headers=key.headers, params=params)
    assert response.status_code == 200, response.text
    return response.json()


def test_what_is_left(holder: httpx2.Client, household: Household, operator: Operator) -> None:
    first, second = (_get(holder, key, "/v1/account") for key in (household.first, household.second))
    account = operator.account(household.first)
    assert first["account"] == second["account"]
    for field in ("id", "name", "balance", "held", "charged", "granted"):
        assert first["account"][field] == account[field]
    assert Decimal(first["account"]["balance"]) + Decimal(first["account"]["charged"]) == 10
    key = first["key"]
    assert (key["id"], key["name"], key["granted"]) == (household.first.key_id, "test", "3")
    assert Decimal(key["balance"]) + Decimal(key["charged"]) == 3
    assert key["hint"] == f"sk-…{household.first.key[-4:]}"
    assert key["expires_at"] == "2090-01-01T00:00:00Z"
    assert set(key["models"]) == {household.cheap, household.dear, household.alias}
    assert (second["key"]["granted"], second["key"]["balance"], second["key"]["models"]) == (None, None, None)
    assert Decimal(first["key"]["charged"]) + Decimal(second["key"]["charged"]) == Decimal(account["charged"])
    assert set(first["account"]["limits"].values()) == {None}


def test_limits_are_rolled_to_now(holder: httpx2.Client, gateway: Gateway, operator: Operator) -> None:
    customer = operator.customer("10")
    asyncio.run(_set_limits(gateway.database_url, customer))
    found = _get(holder, customer, "/v1/account")
    account, key = found["account"]["limits"], found["key"]["limits"]
    # The account's minute and day are long over, and so is its budget's month: all of it is there again.
    assert (account["rpm"], account["rpm_left"], account["rpd"], account["rpd_left"]) == (60, 60, 100, 100)
    assert (account["tpm"], account["tpm_left"], account["concurrency"]) == (None, None, 4)
    now = datetime.now(UTC)
    month_end = datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC)
    assert account["budget"] == {
        "amount": "20", "period": "month", "spent": "0", "left": "20", "resets_at": _moment(month_end),
    }  # fmt: skip
    # The key's day is today's; more was let in than its limit allows by now, and its budget is overspent.
    assert (key["rpd"], key["rpd_left"], key["tpm"], key["tpm_left"]) == (5, 0, 1000, 1000)
    tomorrow = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
    assert key["budget"] == {
        "amount": "0.000000005", "period": "day", "spent": "0.000000007", "left": "0", "resets_at": _moment(tomorrow),
    }  # fmt: skip


def _moment(value: datetime) -> str:
    return value.isoformat().replace("+00:00", "Z")


async def _set_limits(url: str, customer: Customer) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO limits (account_id, key_id, rpm, rpd, concurrency, budget, budget_period, second, requests, tokens, "
        "day, day_requests, period_start, period_charged) VALUES ($1, 0, 60, 100, 4, 20000000000, 'month', 1, "
        "array_fill(9, ARRAY[61]), array_fill(9::bigint, ARRAY[61]), '2020-01-01', 77, '2020-01-01T00:00:00Z', 0)",
        customer.account_id,
    )
    await connection.execute(
        "INSERT INTO limits (account_id, key_id, tpm, rpd, budget, budget_period, day, day_requests, period_start, "
        "period_charged) VALUES ($1, $2, 1000, 5, 5, 'day', (now() AT TIME ZONE 'UTC')::date, 8, "
        "date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', -7)",
        customer.account_id,
        customer.key_id,
    )
    await connection.close()


def test_a_key_sees_its_own_entries_only(holder: httpx2.Client, household: Household, operator: Operator) -> None:
    every = operator.entries(household.first, count=5)
    for key in (household.first, household.second):
        page = _get(holder, key, "/v1/account/entries")
        own = [entry for entry in every if entry["key_id"] == key.key_id]
        assert page["next_cursor"] is None
        assert [entry["id"] for entry in page["data"]] == [entry["id"] for entry in own]
        for seen, entry in zip(page["data"], own, strict=True):
            assert set(entry) - set(seen) == {
                "account_id", "key_id", "channel_id", "held", "uncollected", "cost", "attempts",
            }  # fmt: skip
            assert {name: entry[name] for name in seen} == seen
    assert {entry["price_ratio"] for entry in page["data"]} == {"0.5"}


def test_pages_of_entries(holder: httpx2.Client, household: Household) -> None:
    whole = _get(holder, household.first, "/v1/account/entries")["data"]
    seen, cursor = [], None
    for _ in whole:
        page = _get(
            holder, household.first, "/v1/account/entries", limit=1, **({} if cursor is None else {"cursor": cursor})
        )
        seen += page["data"]
        cursor = page["next_cursor"]
    assert (seen, cursor, len(whole)) == (whole, None, 3)
    # Another key's cursor shows nothing of the other key.
    first = _get(holder, household.second, "/v1/account/entries", limit=1)["next_cursor"]
    for entry in _get(holder, household.first, "/v1/account/entries", cursor=first)["data"]:
        assert entry in whole


def test_sums_agree_with_the_entries(holder: httpx2.Client, household: Household) -> None:
    entries = _get(holder, household.first, "/v1/account/entries")["data"]
    for by, groups in (("day", ("day",)), ("model", ("model",)), ("day,model", ("day", "model"))):
        expected: dict[tuple[str, ...], dict[str, Any]] = {}
        for entry in entries:
            place = tuple(entry["created_at"][:10] if group == "day" else entry["model"] for group in groups)
            row = expected.setdefault(
                place, {"requests": 0, "charged": Decimal(0), "input_tokens": 0, "output_tokens": 0, "estimated": 0}
            )
            row["requests"] += 1
            row["charged"] += Decimal(entry["charged"])
            row["estimated"] += entry["estimated"]
            for count in ("input_tokens", "output_tokens"):
                row[count] += entry["usage"].get(count, 0)
        usage = _get(holder, household.first, "/v1/account/usage", by=by)
        assert not usage["truncated"]
        found = {tuple(row.pop(group) for group in groups): row for row in usage["data"]}
        assert {place: {**row, "charged": Decimal(row["charged"])} for place, row in found.items()} == expected
    day = _get(holder, household.first, "/v1/account/usage")
    assert day == _get(holder, household.first, "/v1/account/usage", by="day")
    assert sum(Decimal(row["charged"]) for row in day["data"]) == Decimal(
        _get(holder, household.first, "/v1/account")["key"]["charged"]
    )


def test_filters_choose(holder: httpx2.Client, household: Household) -> None:
    entries = _get(holder, household.first, "/v1/account/entries")["data"]
    cases: list[tuple[dict[str, str], Callable[[dict[str, Any]], bool]]] = [
        ({"model": household.cheap}, lambda entry: entry["model"] == household.cheap),
        ({"model": household.other}, lambda entry: False),  # of the account's, but not this key's
        ({"since": entries[1]["created_at"]}, lambda entry: entry["created_at"] >= entries[1]["created_at"]),
        ({"until": entries[1]["created_at"]}, lambda entry: entry["created_at"] < entries[1]["created_at"]),
    ]
    for params, keep in cases:
        kept = [entry for entry in entries if keep(entry)]
        assert _get(holder, household.first, "/v1/account/entries", **params)["data"] == kept, params
        sums = _get(holder, household.first, "/v1/account/usage", by="model", **params)["data"]
        assert sum(row["requests"] for row in sums) == len(kept), params


@pytest.mark.parametrize("path", ["/v1/account/entries", "/v1/account/usage"])
@pytest.mark.parametrize("field", ["account_id", "key_id", "channel_id", "scope", "status"])
def test_nobody_elses_entries_can_be_asked_for(
    holder: httpx2.Client, household: Household, path: str, field: str
) -> None:
    response = holder.get(path, headers=household.first.headers, params={field: str(household.second.key_id)})
    assert_refused(response, field)


@pytest.mark.parametrize("by", ["key", "account", "channel", "", "day,day", "day,key"])
def test_sums_aren_t_split_by_what_a_holder_doesnt_see(holder: httpx2.Client, household: Household, by: str) -> None:
    response = holder.get("/v1/account/usage", headers=household.first.headers, params={"by": by})
    assert_refused(response, "by")


def test_models_and_what_they_cost(holder: httpx2.Client, household: Household) -> None:
    models = _get(holder, household.first, "/v1/account/models")["data"]
    assert [model["name"] for model in models] == sorted([household.cheap, household.dear, household.alias])
    listed = {model["name"]: model for model in models}
    cheap = listed[household.cheap]
    assert (cheap["description"], cheap["context_window"], cheap["max_output_tokens"]) == ("Cheap.", 4096, 1000)
    assert (cheap["kind"], cheap["free"], cheap["alias_of"]) == ("chat", False, None)
    assert (cheap["price"], cheap["price_varies"]) == ({"input_mtok": "1", "output_mtok": "2"}, False)
    assert (cheap["price_ratio"], cheap["group_ratio"]) == ("0.5", "1")
    assert listed[household.alias] == {**cheap, "name": household.alias, "alias_of": household.cheap}
    for name, model in listed.items():
        assert _get(holder, household.first, f"/v1/account/models/{name}") == model
    hidden = holder.get(f"/v1/account/models/{household.other}", headers=household.first.headers)
    missing = holder.get("/v1/account/models/nothing", headers=household.first.headers)
    for response in (hidden, missing):
        assert_refused(response, "model", 404)
        assert response.json()["error"]["code"] == "model_not_found"
    assert _get(holder, household.second, f"/v1/account/models/{household.other}")["name"] == household.other


def test_a_free_model_says_so(holder: httpx2.Client, household: Household, operator: Operator) -> None:
    name = operator.model("demo", free=True)
    model = _get(holder, household.second, f"/v1/account/models/{name}")
    assert (model["free"], model["price"]) == (True, None)


def test_one_api_clients_see_what_is_left(holder: httpx2.Client, household: Household, operator: Operator) -> None:
    today = datetime.now(UTC).date()
    dates = {"start_date": str(today - timedelta(days=99)), "end_date": str(today + timedelta(days=1))}
    account = operator.account(household.first)
    for key, granted, charged, until in (
        (household.first, 3.0, _get(holder, household.first, "/v1/account")["key"]["charged"], 3786912000),
        (household.second, 10.0, account["charged"], 0),
    ):
        for prefix in ("/v1", ""):
            subscription = _get(holder, key, f"{prefix}/dashboard/billing/subscription")
            assert subscription == {
                "object": "billing_subscription",
                "has_payment_method": True,
                "soft_limit_usd": granted,
                "hard_limit_usd": granted,
                "system_hard_limit_usd": granted,
                "access_until": until,
            }
            usage = _get(holder, key, f"{prefix}/dashboard/billing/usage", **dates)
            assert usage["object"] == "list"
            assert usage["total_usage"] == pytest.approx(float(charged) * 100, abs=1e-6)
            own = _get(holder, key, "/v1/account")["key"]["charged"]
            costs = [item["cost"] for day in usage["daily_costs"] for item in day["line_items"]]
            assert sum(costs) == pytest.approx(float(own) * 100, abs=1e-6)
            assert all(day["timestamp"] % 86400 == 0 for day in usage["daily_costs"])


@pytest.mark.parametrize(
    ("params", "has_days"),
    [
        ({}, False),
        ({"start_date": "0001-01-01"}, True),
        ({"start_date": "9999-12-31"}, False),
        ({"start_date": "2030-01-01", "end_date": "2020-01-01"}, False),
        ({"start_date": "2020-01-01", "end_date": "2020-06-01"}, False),
        ({"start_date": "2020-01-01", "end_date": "0001-01-01"}, False),
        ({"start_date": "2020-01-01", "end_date": "2099-01-01"}, True),
        ({"start_date": "2020-01-01", "end_date": "9999-12-31", "_vercel_no_cache": "1"}, True),
        ({"start_date": "2020-01-01", "end_date": ""}, True),
        ({"start_date": "2020-01-01", "end_date": "2030-13-01"}, True),
        ({"start_date": ""}, False),
        ({"start_date": "2026-1-1"}, False),
        ({"start_date": "2020-01-01T00:00:00Z"}, False),
        ({"start_date": "yesterday", "end_date": "\0"}, False),
    ],
)
def test_billing_dates(holder: httpx2.Client, household: Household, params: dict[str, str], has_days: bool) -> None:
    usage = _get(holder, household.first, "/v1/dashboard/billing/usage", **params)
    assert usage["total_usage"] > 0
    costs = [item["cost"] for day in usage["daily_costs"] for item in day["line_items"]]
    assert sum(costs) == pytest.approx(usage["total_usage"] if has_days else 0)


def test_no_models_share_of_a_day_is_left_out(holder: httpx2.Client, operator: Operator, gateway: Gateway) -> None:
    customer = operator.customer(None)
    asyncio.run(_use_models(gateway.database_url, customer, MAX_ITEMS))
    (day,) = _get(holder, customer, "/v1/dashboard/billing/usage", start_date="2020-01-01")["daily_costs"]
    assert len(day["line_items"]) == MAX_ITEMS
    asyncio.run(_use_models(gateway.database_url, customer, 1))
    usage = _get(holder, customer, "/v1/dashboard/billing/usage", start_date="2020-01-01")
    (day,) = usage["daily_costs"]
    assert usage["total_usage"] == (MAX_ITEMS + 1) / 10
    assert day["line_items"] == [{"name": ALL_MODELS, "cost": usage["total_usage"]}]


async def _use_models(url: str, customer: Customer, count: int) -> None:
    """So many requests, each to a model of its own and for a thousandth of a dollar, on yesterday's last second."""
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO entries (account_id, id, key_id, request_id, created_at, model, format, status, held, charged, "
            "usage, ratio_ppm, group_ppm, estimated, stream, attempts) "
            "SELECT $1, (left(first_id(t)::text, 24) || substr(md5(random()::text), 1, 12))::uuid, $2, gen_random_uuid(), "
            "t, gen_random_uuid()::text, 'openai_chat', 'settled', 1000000, 1000000, '{}', 1000000, 1000000, false, true, 1 "
            "FROM generate_series(1, $3::int), (SELECT date_trunc('day', now(), 'UTC') - interval '1 second' AS t) AS times",
            customer.account_id,
            customer.key_id,
            count,
        )
        amount = count * 1_000_000
        await connection.execute("INSERT INTO grants (account_id, amount) VALUES ($1, $2)", customer.account_id, amount)
        for table in ("key_balances SET", "account_balances SET granted = granted + $2,"):
            await connection.execute(
                f"UPDATE {table} charged = charged + $2 WHERE account_id = $1", customer.account_id, amount
            )
    await connection.close()


@pytest.mark.parametrize("path", [*PAGES, "/v1/account/models/x"])
def test_strangers_are_refused_before_anything_else(holder: httpx2.Client, household: Household, path: str) -> None:
    wrong = f"sk-{'x' * 43}"
    for headers in ({}, {"authorization": f"Bearer {wrong}"}, {"x-api-key": wrong}, {"authorization": "Basic x"}):
        response = holder.get(path, headers=headers, params={"limit": "nonsense"})
        assert response.status_code == 401, response.text
        assert response.json()["error"]["code"] == "invalid_api_key"
        assert response.headers["x-request-id"]


@pytest.mark.parametrize("path", PAGES)
def test_a_key_may_stand_wherever_clients_put_it(holder: httpx2.Client, household: Household, path: str) -> None:
    key = household.first.key
    answers = [
        holder.get(path, headers={name: value})
        for name, value in (
            ("authorization", f"Bearer {key}"), ("x-api-key", key), ("x-goog-api-key", key), ("api-key", key),
        )
    ]  # fmt: skip
    answers.append(holder.get(path, params={"key": key}))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.text for answer in answers} == {answers[0].text}


def test_nothing_of_the_operators_is_shown(holder: httpx2.Client, household: Household, operator: Operator) -> None:
    names = {household.channel_name, operator.demo_url, "upstream-secret", "channel", "base_url", "margin", "digest"}
    for path in (*PAGES, f"/v1/account/models/{household.cheap}"):
        text = holder.get(path, headers=household.first.headers).text
        for name in (*names, household.second.key, household.first.key, str(household.other)):
            assert name not in text, path
        assert '"cost"' not in text, path


def test_a_dead_key_sees_nothing(holder: httpx2.Client, operator: Operator) -> None:
    customer = operator.customer("1")
    assert holder.get("/v1/account", headers=customer.headers).status_code == 200
    operator.call("DELETE", f"/keys/{customer.key_id}")
    gone = asyncio.run(_await_refusal(holder, customer))
    assert gone.json()["error"]["code"] == "invalid_api_key"


async def _await_refusal(holder: httpx2.Client, customer: Customer) -> httpx2.Response:
    async with asyncio.timeout(2):
        while (response := holder.get("/v1/account", headers=customer.headers)).status_code != 401:
            await asyncio.sleep(0.01)
    return response
