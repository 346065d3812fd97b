"""Accounts and grants."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.api.conftest import Chat, await_status
from tests.api.scan import assert_refused
from tests.gateway import Gateway, Operator


def _create(admin: httpx2.Client, **fields: Any) -> dict[str, Any]:
    response = admin.post("/accounts", json={"name": "team", **fields})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


NO_LIMITS = {"rpm": None, "tpm": None, "rpd": None, "concurrency": None, "budget": None, "shadow": False}


def test_an_account_starts_with_nothing(admin: httpx2.Client) -> None:
    made = _create(admin, name="Forschung 研究", email="ai@example.com", role="admin", price_ratio="0.850000")
    created_at = made.pop("created_at")
    assert created_at.endswith("Z")
    assert made == {
        "id": made["id"],
        "name": "Forschung 研究",
        "email": "ai@example.com",
        "role": "admin",
        "price_ratio": "0.85",
        "enabled": True,
        "balance": "0",
        "held": "0",
        "charged": "0",
        "granted": "0",
        "notify": None,
        **NO_LIMITS,
    }
    assert admin.get(f"/accounts/{made['id']}").json() == made | {"created_at": created_at}


def test_a_patch_changes_what_is_given(admin: httpx2.Client) -> None:
    made = _create(admin, email="a@example.com", price_ratio=0.5)
    path = f"/accounts/{made['id']}"
    assert admin.patch(path, json={}).json() == made
    assert admin.patch(path, json={"email": None}).json() == made | {"email": None}
    changed = {"name": "other", "email": None, "role": "admin", "price_ratio": "1000", "enabled": False}
    assert admin.patch(path, json=changed).json() == made | changed
    assert admin.get(path).json() == made | changed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", None),
        ("name", ""),
        ("name", "a" * 201),
        ("name", " team"),
        ("name", "team\n"),
        ("name", "a\x00b"),
        ("name", 5),
        ("email", "nobody"),
        ("email", "a@b@c"),
        ("email", "a b@c"),
        ("email", "a\x00@c"),
        ("role", "root"),
        ("role", None),
        ("enabled", "yes"),
        ("enabled", None),
        ("enabled", 1),
        ("price_ratio", None),
        ("price_ratio", "-0.1"),
        ("price_ratio", -1),
        ("price_ratio", "1000.000001"),
        ("price_ratio", "0.1234567"),
        ("price_ratio", "NaN"),
        ("price_ratio", "Infinity"),
        ("price_ratio", "1e9999"),
        ("price_ratio", True),
        ("price_ratio", "x"),
        ("price_ratio", "1_0"),
        ("price_ratio", [1]),
        ("balance", "5"),
        ("id", 1),
        ("granted", "5"),
    ],
)
def test_a_bad_field_is_named(admin: httpx2.Client, account_id: int, field: str, value: Any) -> None:
    assert_refused(admin.post("/accounts", json={"name": "x", field: value}), field)
    before = admin.get(f"/accounts/{account_id}").json()
    assert_refused(admin.patch(f"/accounts/{account_id}", json={field: value}), field)
    assert admin.get(f"/accounts/{account_id}").json() == before


def test_numbers_that_json_has_no_word_for(admin: httpx2.Client) -> None:
    headers = {"content-type": "application/json"}
    for number in ("NaN", "Infinity", "-Infinity", "1e400"):
        body = f'{{"name": "x", "price_ratio": {number}}}'
        assert_refused(admin.post("/accounts", content=body, headers=headers), "price_ratio")


def test_a_name_is_required(admin: httpx2.Client) -> None:
    assert_refused(admin.post("/accounts", json={}), "name")


def test_half_a_character_is_refused(admin: httpx2.Client) -> None:
    response = admin.post("/accounts", content=rb'{"name": "\ud83d"}', headers={"content-type": "application/json"})
    assert_refused(response, "name")


def test_pages_follow_each_other(admin: httpx2.Client) -> None:
    made = [_create(admin)["id"] for _ in range(5)]
    seen: list[int] = []
    cursor: str | None = None
    while True:
        params: dict[str, Any] = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = admin.get("/accounts", params=params).json()
        assert len(page["data"]) <= 2
        seen += [account["id"] for account in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(set(seen))
    assert set(made) <= set(seen)


def test_what_was_committed_is_what_was_answered(gateway: Gateway, admin: httpx2.Client) -> None:
    """A commit that fails is an error, not a 201: the transaction ends before the answer goes out."""

    async def run(*statements: str) -> None:
        connection = await asyncpg.connect(gateway.database_url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(
        run(
            "CREATE FUNCTION fail_late() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'too late'; END $$",
            "CREATE CONSTRAINT TRIGGER fail_late AFTER INSERT ON accounts DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW WHEN (NEW.name = 'fails when it is committed') EXECUTE FUNCTION fail_late()",
        )
    )
    try:
        assert admin.post("/accounts", json={"name": "fails when it is committed"}).status_code == 503
        _create(admin, name="doesn't fail")
    finally:
        asyncio.run(run("DROP TRIGGER fail_late ON accounts", "DROP FUNCTION fail_late"))


def test_what_was_answered_is_there_for_others(gateway: Gateway, admin: httpx2.Client) -> None:
    async def names(ids: list[int]) -> list[str]:
        connection = await asyncpg.connect(gateway.database_url)
        rows = await connection.fetch("SELECT name FROM accounts WHERE id = ANY($1)", ids)
        await connection.close()
        return [row["name"] for row in rows]

    for turn in range(5):
        made = _create(admin, name=f"turn {turn}")
        assert asyncio.run(names([made["id"]])) == [f"turn {turn}"]


def test_a_deleted_account_is_gone_and_its_keys_are_dead(admin: httpx2.Client, operator: Operator, chat: Chat) -> None:
    customer, model = operator.customer(), operator.model("demo")
    assert chat(customer, model).status_code == 200
    operator.entries(customer, count=1)
    assert admin.delete(f"/accounts/{customer.account_id}").status_code == 204
    await_status(chat, customer, model, 401)
    for path in (
        f"/accounts/{customer.account_id}",
        f"/keys/{customer.key_id}",
        f"/accounts/{customer.account_id}/grants",
    ):
        assert admin.get(path).status_code == 404
    assert admin.delete(f"/accounts/{customer.account_id}").status_code == 404
    assert admin.post(f"/accounts/{customer.account_id}/grants", json={"amount": "1"}).status_code == 404
    assert admin.post("/keys", json={"account_id": customer.account_id, "name": "late"}).status_code == 404
    assert admin.get("/usage", params={"account_id": customer.account_id}).json()["data"]
    assert admin.get("/audit").json()["ok"]


def test_a_disabled_accounts_keys_are_refused_until_it_is_enabled(
    admin: httpx2.Client, operator: Operator, chat: Chat
) -> None:
    customer, model = operator.customer(), operator.model("demo")
    admin.patch(f"/accounts/{customer.account_id}", json={"enabled": False})
    await_status(chat, customer, model, 401)
    admin.patch(f"/accounts/{customer.account_id}", json={"enabled": True})
    await_status(chat, customer, model, 200)


class TestGrants:
    """Top-ups and corrections."""

    @pytest.mark.parametrize(
        ("amount", "granted"),
        [
            ("0.5", "0.5"),
            (0.1, "0.1"),
            (3, "3"),
            ("0.000000001", "0.000000001"),
            (1e-9, "0.000000001"),
            ("4e3", "4000"),
        ],
    )
    def test_adds_to_the_balance(self, admin: httpx2.Client, account_id: int, amount: Any, granted: str) -> None:
        made = admin.post(f"/accounts/{account_id}/grants", json={"amount": amount, "note": "two\nlines"})
        assert made.status_code == 201
        grant = made.json()
        assert grant == {
            "id": grant["id"],
            "account_id": account_id,
            "amount": granted,
            "note": "two\nlines",
            "idempotency_key": None,
            "created_at": grant["created_at"],
        }
        account = admin.get(f"/accounts/{account_id}").json()
        assert (account["granted"], account["balance"]) == (granted, granted)

    @pytest.mark.parametrize(
        "amount",
        [
            None,
            True,
            "",
            "x",
            "$5",
            " 5",
            "1_000",
            "NaN",
            "-Infinity",
            "0",
            0,
            "0.0000000001",
            "1.0000000000000000000000000000000001",
            "4611686019",
            "1e30",
            [],
            {},
        ],
    )
    def test_a_bad_amount_is_refused(self, admin: httpx2.Client, account_id: int, amount: Any) -> None:
        assert_refused(admin.post(f"/accounts/{account_id}/grants", json={"amount": amount}), "amount")
        assert admin.get(f"/accounts/{account_id}").json()["granted"] == "0"

    def test_bad_notes_and_keys_are_refused(self, admin: httpx2.Client, account_id: int) -> None:
        path = f"/accounts/{account_id}/grants"
        assert_refused(admin.post(path, json={"amount": "1", "note": "a\x00"}), "note")
        assert_refused(admin.post(path, json={"amount": "1", "note": "a" * 4001}), "note")
        assert_refused(admin.post(path, json={"amount": "1", "idempotency_key": ""}), "idempotency_key")
        assert_refused(admin.post(path, json={"amount": "1", "key": "x"}), "key")
        assert_refused(admin.post(path, json={}), "amount")

    def test_a_total_out_of_range_is_refused(self, admin: httpx2.Client, account_id: int) -> None:
        path = f"/accounts/{account_id}/grants"
        assert admin.post(path, json={"amount": "4611686018"}).status_code == 201
        assert_refused(admin.post(path, json={"amount": "4611686018"}), "amount", 400)
        assert admin.get(f"/accounts/{account_id}").json()["granted"] == "4611686018"

    def test_a_correction_stops_at_the_balance(self, admin: httpx2.Client, account_id: int) -> None:
        path = f"/accounts/{account_id}/grants"
        admin.post(path, json={"amount": "2"})
        assert admin.post(path, json={"amount": "-0.5"}).json()["amount"] == "-0.5"
        assert_refused(admin.post(path, json={"amount": "-1.500000001"}), "amount", 400)
        assert admin.get(f"/accounts/{account_id}").json()["balance"] == "1.5"

    def test_an_idempotency_key_counts_once(self, admin: httpx2.Client, account_id: int) -> None:
        path = f"/accounts/{account_id}/grants"
        body = {"amount": "2", "idempotency_key": "invoice-1"}
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: admin.post(path, json=body), range(8)))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert_refused(admin.post(path, json={**body, "amount": "3"}), "idempotency_key", 409)
        assert admin.get(f"/accounts/{account_id}").json()["granted"] == "2"

    def test_are_listed_newest_first(self, admin: httpx2.Client, account_id: int) -> None:
        path = f"/accounts/{account_id}/grants"
        for amount in range(1, 6):
            admin.post(path, json={"amount": amount})
        first = admin.get(path, params={"limit": 3}).json()
        second = admin.get(path, params={"limit": 3, "cursor": first["next_cursor"]}).json()
        assert [grant["amount"] for grant in first["data"] + second["data"]] == ["5", "4", "3", "2", "1"]
        assert second["next_cursor"] is None
        assert_refused(admin.get(path, params={"cursor": "x"}), "cursor", 400)


def test_an_accounts_limits_count_for_all_its_keys(gateway: Gateway, operator: Operator, admin: httpx2.Client) -> None:
    made = _create(admin, name="limited", rpm=2, budget={"amount": "5", "period": "week"})
    assert (made["rpm"], made["budget"]["amount"], made["budget"]["period"]) == (2, "5", "week")
    path = f"/accounts/{made['id']}"
    assert admin.post(f"{path}/grants", json={"amount": "1"}).status_code == 201
    model = operator.model("demo")
    keys = [operator.call("POST", "/keys", json={"account_id": made["id"], "name": "k"})["key"] for _ in range(2)]
    statuses = []
    for key in (*keys, *keys):
        headers = {"authorization": f"Bearer {key}"}
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
        answer = httpx2.post(f"{gateway.base_url}/chat/completions", json=body, headers=headers, timeout=30)
        statuses.append(answer.status_code)
    assert statuses == [200, 200, 429, 429]
    assert "your account" in answer.json()["error"]["message"]
    changed = admin.patch(path, json={"rpm": None, "budget": None}).json()
    assert {name: changed[name] for name in NO_LIMITS} == NO_LIMITS
    listed = admin.get("/accounts", params={"limit": 200}).json()["data"]
    assert all(name in listed[0] for name in NO_LIMITS)
