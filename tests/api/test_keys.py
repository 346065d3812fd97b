"""Keys: their rules, their quotas, and how fast a change counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from tests.api.conftest import Chat, await_status
from tests.api.scan import assert_refused
from tests.gateway import Customer, Gateway, Operator

NO_LIMITS = {"rpm": None, "tpm": None, "rpd": None, "concurrency": None, "budget": None, "shadow": False}


def _create(admin: httpx2.Client, account_id: int, **fields: Any) -> dict[str, Any]:
    response = admin.post("/keys", json={"account_id": account_id, "name": "test", **fields})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def test_a_key_is_shown_once(admin: httpx2.Client, account_id: int) -> None:
    made = _create(
        admin,
        account_id,
        name="Notebook",
        quota="2.5",
        expires_at="2090-01-31T12:00:00+02:00",
        models=["a", "org/b"],
        ips=["10.0.0.0/8", "203.0.113.7", "2001:db8::1", "2001:db8::/32"],
    )
    key = made.pop("key")
    assert key.startswith("sk-")
    assert len(key) == 46
    assert made == {
        "id": made["id"],
        "account_id": account_id,
        "name": "Notebook",
        "hint": f"sk-…{key[-4:]}",
        "enabled": True,
        "expires_at": "2090-01-31T10:00:00Z",
        "models": ["a", "org/b"],
        "ips": ["10.0.0.0/8", "203.0.113.7/32", "2001:db8::1/128", "2001:db8::/32"],
        **NO_LIMITS,
        "quota": "2.5",
        "balance": "2.5",
        "held": "0",
        "charged": "0",
        "created_at": made["created_at"],
    }
    assert admin.get(f"/keys/{made['id']}").json() == made
    assert made in admin.get("/keys", params={"account_id": account_id}).json()["data"]


@pytest.mark.parametrize("nothing", [{}, {"models": None, "ips": None}, {"models": [], "ips": []}])
def test_no_list_and_an_empty_list_restrict_nothing(admin: httpx2.Client, account_id: int, nothing: Any) -> None:
    made = _create(admin, account_id, **nothing)
    assert (made["models"], made["ips"]) == (None, None)
    assert (made["quota"], made["balance"], made["expires_at"]) == (None, None, None)
    path = f"/keys/{made['id']}"
    admin.patch(path, json={"models": ["a"], "ips": ["::1"]})
    changed = admin.patch(path, json=nothing).json()
    assert (changed["models"], changed["ips"]) == ((None, None) if nothing else (["a"], ["::1/128"]))


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("name", None, "name"),
        ("name", "", "name"),
        ("name", "a\x00", "name"),
        ("quota", "-1", "quota"),
        ("quota", -0.5, "quota"),
        ("quota", "NaN", "quota"),
        ("quota", "Infinity", "quota"),
        ("quota", "0.0000000001", "quota"),
        ("quota", "5000000000", "quota"),
        ("quota", False, "quota"),
        ("expires_at", "2090-01-31T12:00:00", "expires_at"),
        ("expires_at", "2090-01-31", "expires_at"),
        ("expires_at", "tomorrow", "expires_at"),
        ("expires_at", 1_900_000_000, "expires_at"),
        ("expires_at", "1900000000", "expires_at"),
        ("expires_at", "2090-02-30T12:00:00Z", "expires_at"),
        ("expires_at", "0001-01-01T00:00:00+14:00", "expires_at"),
        ("expires_at", "9999-12-31T23:59:59-14:00", "expires_at"),
        ("models", "demo", "models"),
        ("models", [""], "models.0"),
        ("models", ["ok", "a\x00"], "models.1"),
        ("models", [None], "models.0"),
        ("models", ["m"] * 1001, "models"),
        ("ips", "10.0.0.0/8", "ips"),
        ("ips", ["10.0.0.5/8"], "ips.0"),
        ("ips", ["10.0.0.0/8", "300.1.1.1"], "ips.1"),
        ("ips", ["10.0.0.0/33"], "ips.0"),
        ("ips", ["localhost"], "ips.0"),
        ("ips", ["fe80::1%eth0"], "ips.0"),
        ("ips", [167772160], "ips.0"),
        ("ips", ["010.0.0.1"], "ips.0"),
        ("ips", ["10.0.0.1\x00"], "ips.0"),
        ("enabled", "true", "enabled"),
        ("enabled", None, "enabled"),
        ("rpm", 0, "rpm"),
        ("tpm", "10", "tpm"),
        ("rpd", -1, "rpd"),
        ("concurrency", 2**31, "concurrency"),
        ("budget", "10", "budget"),
        ("budget", {"amount": "1"}, "budget.period"),
        ("budget", {"amount": "-1", "period": "day"}, "budget.amount"),
        ("budget", {"amount": "1", "period": "year"}, "budget.period"),
        ("budget_period", "day", "budget_period"),
        ("digest", "x", "digest"),
        ("balance", "100", "balance"),
    ],
)
def test_a_bad_field_is_named(admin: httpx2.Client, account_id: int, field: str, value: Any, named: str) -> None:
    assert_refused(admin.post("/keys", json={"account_id": account_id, "name": "x", field: value}), named)
    made = _create(admin, account_id)
    assert_refused(admin.patch(f"/keys/{made['id']}", json={field: value}), named)
    made.pop("key")
    assert admin.get(f"/keys/{made['id']}").json() == made


def test_a_key_needs_an_account(admin: httpx2.Client, account_id: int) -> None:
    assert_refused(admin.post("/keys", json={"name": "x"}), "account_id")
    for bad in ("1", 0, -1, 2**63, 1.5, None):
        assert_refused(admin.post("/keys", json={"account_id": bad, "name": "x"}), "account_id")
    assert admin.post("/keys", json={"account_id": 2**62, "name": "x"}).status_code == 404
    made = _create(admin, account_id)
    assert_refused(admin.patch(f"/keys/{made['id']}", json={"account_id": account_id}), "account_id")


def test_keys_are_listed_by_account_and_page(admin: httpx2.Client, account_id: int) -> None:
    made = [_create(admin, account_id)["id"] for _ in range(3)]
    first = admin.get("/keys", params={"account_id": account_id, "limit": 2}).json()
    rest = admin.get("/keys", params={"account_id": account_id, "limit": 2, "cursor": first["next_cursor"]}).json()
    assert [key["id"] for key in first["data"] + rest["data"]] == made
    assert rest["next_cursor"] is None
    assert admin.get("/keys", params={"account_id": 2**62}).json() == {"data": [], "next_cursor": None}
    assert_refused(admin.get("/keys", params={"account_id": "x"}), "account_id")


def test_a_quota_is_spent_and_editing_it_keeps_what_was(admin: httpx2.Client, operator: Operator, chat: Chat) -> None:
    customer, model = operator.customer(quota="0.01"), operator.model("demo", price={"per_call": "0.004"})
    path = f"/keys/{customer.key_id}"
    assert [chat(customer, model).status_code for _ in range(2)] == [200, 200]
    operator.entries(customer, count=2)
    key = admin.get(path).json()
    assert (key["quota"], key["balance"], key["held"], key["charged"]) == ("0.01", "0.002", "0", "0.008")
    refused = chat(customer, model)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    key = admin.patch(path, json={"quota": "0.02", "name": "renamed"}).json()
    assert (key["name"], key["quota"], key["balance"], key["charged"]) == ("renamed", "0.02", "0.012", "0.008")
    assert chat(customer, model).status_code == 200
    operator.entries(customer, count=3)
    key = admin.patch(path, json={"quota": "0.001"}).json()
    assert (key["quota"], key["balance"], key["charged"]) == ("0.001", "-0.011", "0.012")
    assert chat(customer, model).status_code == 429
    key = admin.patch(path, json={"quota": None}).json()
    assert (key["quota"], key["balance"], key["charged"]) == (None, None, "0.012")
    assert chat(customer, model).status_code == 200
    operator.entries(customer, count=4)
    key = admin.patch(path, json={"quota": "1"}).json()
    assert (key["quota"], key["balance"], key["charged"]) == ("1", "0.984", "0.016")
    assert admin.get("/audit").json()["ok"]


def test_a_new_key_serves_at_once(admin: httpx2.Client, operator: Operator, chat: Chat) -> None:
    customer, model = operator.customer(), operator.model("demo")
    for _ in range(5):
        made = _create(admin, customer.account_id)
        assert chat(Customer(customer.account_id, made["id"], made["key"]), model).status_code == 200


def _seconds_until_refused(gateway: Gateway, customer: Customer, model: str, since: float) -> float:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    with httpx2.Client(base_url=gateway.base_url, headers=customer.headers) as client:
        while client.post("/chat/completions", json=body).status_code == 200:
            assert time.monotonic() < since + 5
    return time.monotonic() - since


def test_a_revoked_key_is_refused_everywhere_within_a_second(
    gateway: Gateway, admin: httpx2.Client, operator: Operator, start_gateway: Callable[..., Gateway]
) -> None:
    replica = start_gateway(gateway.database_url)
    customer, model = operator.customer(), operator.model("demo")
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    for url in (gateway.base_url, replica.base_url):
        assert httpx2.post(f"{url}/chat/completions", headers=customer.headers, json=body).status_code == 200
    assert admin.delete(f"/keys/{customer.key_id}").status_code == 204
    revoked = time.monotonic()
    assert _seconds_until_refused(replica, customer, model, revoked) < 1
    assert _seconds_until_refused(gateway, customer, model, revoked) < 1
    assert admin.get(f"/keys/{customer.key_id}").status_code == 404
    assert admin.delete(f"/keys/{customer.key_id}").status_code == 404
    assert admin.post(f"/keys/{customer.key_id}/rotate").status_code == 404


def test_a_rotated_key_replaces_the_old_one(
    gateway: Gateway, admin: httpx2.Client, operator: Operator, chat: Chat
) -> None:
    customer, model = operator.customer(quota="1"), operator.model("demo", price={"per_call": "0.1"})
    assert chat(customer, model).status_code == 200
    operator.entries(customer, count=1)
    before = admin.get(f"/keys/{customer.key_id}").json()
    rotated = admin.post(f"/keys/{customer.key_id}/rotate")
    assert rotated.status_code == 200
    new = rotated.json()
    key = new.pop("key")
    assert new == before | {"hint": f"sk-…{key[-4:]}"}
    assert _seconds_until_refused(gateway, customer, model, time.monotonic()) < 1
    assert chat(Customer(customer.account_id, customer.key_id, key), model).status_code == 200


def test_rules_of_a_key_count_within_a_second(admin: httpx2.Client, operator: Operator, chat: Chat) -> None:
    customer, model, other = operator.customer(), operator.model("demo"), operator.model("demo")
    path = f"/keys/{customer.key_id}"
    steps: list[tuple[dict[str, Any], int]] = [
        ({"models": [other]}, 403),
        ({"models": [other, model]}, 200),
        ({"models": None, "ips": ["203.0.113.0/24"]}, 403),
        ({"ips": ["127.0.0.0/8"]}, 200),
        ({"ips": None, "expires_at": "2020-01-01T00:00:00Z"}, 401),
        ({"expires_at": None}, 200),
        ({"enabled": False}, 401),
        ({"enabled": True}, 200),
    ]
    for change, status in steps:
        assert admin.patch(path, json=change).status_code == 200
        await_status(chat, customer, model, status)


def test_edits_under_load_lose_no_nano_dollar(admin: httpx2.Client, operator: Operator, chat: Chat) -> None:
    customer, model = operator.customer("10", quota="5"), operator.model("demo", price={"per_call": "0.000000007"})
    account, key = f"/accounts/{customer.account_id}", f"/keys/{customer.key_id}"
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(chat, customer, model) for _ in range(60)]
        edits = 0
        while not all(answer.done() for answer in answers):
            edits += 1
            assert admin.patch(key, json={"quota": 5 + edits, "name": f"n{edits}"}).status_code == 200
            assert admin.patch(account, json={"name": f"n{edits}", "email": None}).status_code == 200
            assert admin.post(f"{account}/grants", json={"amount": "1"}).status_code == 201
    assert {answer.result().status_code for answer in answers} == {200}
    operator.entries(customer, count=60)
    spent, left = Decimal("0.000000420"), Decimal(10 + edits)
    found = admin.get(account).json()
    assert (Decimal(found["charged"]), found["held"], Decimal(found["balance"])) == (spent, "0", left - spent)
    found = admin.get(key).json()
    assert (Decimal(found["charged"]), Decimal(found["balance"])) == (spent, 5 + edits - spent)
    assert admin.get("/audit").json()["ok"]


def test_limits_are_tried_out_before_they_hold(admin: httpx2.Client, account_id: int) -> None:
    key = _create(admin, account_id, rpm=60, shadow=True)
    path = f"/keys/{key['id']}"
    assert (key["rpm"], key["shadow"]) == (60, True)
    changed = admin.patch(path, json={"rpm": 30}).json()
    assert (changed["rpm"], changed["shadow"]) == (30, True)
    for body, field in (({"shadow": None}, "shadow"), ({"shadow": "perhaps"}, "shadow")):
        assert_refused(admin.patch(path, json=body), field)
    changed = admin.patch(path, json={"shadow": False}).json()
    assert (changed["rpm"], changed["shadow"]) == (30, False)
    changed = admin.patch(path, json={"shadow": True, "rpm": None}).json()
    assert (changed["rpm"], changed["shadow"]) == (None, True)


def test_limits_are_set_changed_and_taken_away(admin: httpx2.Client, account_id: int) -> None:
    key = _create(admin, account_id, rpm=60, tpm=10_000, budget={"amount": "2.5", "period": "month"})
    path = f"/keys/{key['id']}"
    assert (key["rpm"], key["tpm"], key["rpd"], key["concurrency"]) == (60, 10_000, None, None)
    assert (key["budget"]["amount"], key["budget"]["period"], key["budget"]["spent"]) == ("2.5", "month", "0")
    assert key["budget"]["period_start"].endswith("-01T00:00:00Z")
    changed = admin.patch(path, json={"rpm": None, "concurrency": 4, "budget": {"amount": 3, "period": "day"}}).json()
    assert (changed["rpm"], changed["tpm"], changed["concurrency"]) == (None, 10_000, 4)
    assert (changed["budget"]["amount"], changed["budget"]["period"]) == ("3", "day")
    assert (
        admin.patch(path, json={"budget": None, "tpm": None, "concurrency": None}).json().items() >= NO_LIMITS.items()
    )
    assert admin.get(path).json().items() >= NO_LIMITS.items()
    listed = admin.get("/keys", params={"account_id": account_id}).json()["data"]
    assert next(row for row in listed if row["id"] == key["id"]).items() >= NO_LIMITS.items()
