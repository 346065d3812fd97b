"""Batches of redemption codes, over the admin API and the command."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.scan import assert_refused
from tests.gateway import SECRET_KEY, Customer, Gateway, Operator
from tests.test_cli import Shell
from tests.zygote import zygote

CODE = re.compile(r"RG(-[0-9A-HJKMNP-TV-Z]{5}){6}")


def make_batch(admin: httpx2.Client, **fields: Any) -> dict[str, Any]:
    response = admin.post("/code-batches", json={"name": "Spring", "amount": "5", "count": 2, **fields})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def redeem(gateway: Gateway, customer: Customer, code: str) -> httpx2.Response:
    return httpx2.post(
        f"{gateway.base_url}/account/redemptions", headers=customer.headers, json={"code": code}, timeout=30
    )


def test_codes_are_shown_once(admin: httpx2.Client) -> None:
    made = make_batch(admin, name="Frühling-春", amount="0.000000001", count=3, expires_at="2090-01-31T12:00:00+02:00")
    codes = made.pop("codes")
    assert len(set(codes)) == 3
    assert all(CODE.fullmatch(code) for code in codes)
    assert made == {
        "id": made["id"],
        "name": "Frühling-春",
        "amount": "0.000000001",
        "count": 3,
        "redeemed": 0,
        "open": 3,
        "expires_at": "2090-01-31T10:00:00Z",
        "revoked_at": None,
        "created_at": made["created_at"],
    }
    path = f"/code-batches/{made['id']}"
    one, listed, items = admin.get(path), admin.get("/code-batches"), admin.get(f"{path}/codes")
    assert one.json() == made
    assert made in listed.json()["data"]
    assert [code["hint"] for code in items.json()["data"]] == [f"RG-…{code[-4:]}" for code in codes]
    for answer in (one, listed, items, admin.post(f"{path}/revoke")):
        for code in codes:
            assert code not in answer.text
            assert hashlib.sha256(code.encode()).hexdigest() not in answer.text


def test_ten_thousand_codes(admin: httpx2.Client) -> None:
    made = make_batch(admin, count=10_000)
    assert len(set(made["codes"])) == 10_000
    assert admin.get(f"/code-batches/{made['id']}").json()["open"] == 10_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", None),
        ("name", "a\x00"),
        ("amount", "0"),
        ("amount", "-1"),
        ("amount", None),
        ("amount", "NaN"),
        ("amount", "0.0000000001"),
        ("amount", "4611686019"),
        ("count", 0),
        ("count", 10_001),
        ("count", "5"),
        ("count", 1.5),
        ("count", True),
        ("expires_at", "2020-01-01T00:00:00Z"),
        ("expires_at", "tomorrow"),
        ("expires_at", "2090-01-01T00:00:00"),
        ("codes", ["RG-00000-00000-00000-00000-00000-00000"]),
        ("redeemed", 1),
    ],
)
def test_a_bad_field_is_named(admin: httpx2.Client, field: str, value: Any) -> None:
    before = admin.get("/code-batches", params={"limit": 1}).json()
    body = {"name": "Spring", "amount": "5", "count": 2, field: value}
    assert_refused(admin.post("/code-batches", json=body), field)
    assert admin.get("/code-batches", params={"limit": 1}).json() == before


@pytest.mark.parametrize("field", ["name", "amount", "count"])
def test_a_missing_field_is_named(admin: httpx2.Client, field: str) -> None:
    body = {"name": "Spring", "amount": "5", "count": 2}
    del body[field]
    assert_refused(admin.post("/code-batches", json=body), field)


def test_batches_are_listed_newest_first(admin: httpx2.Client) -> None:
    made = [make_batch(admin, count=1)["id"] for _ in range(5)]
    first = admin.get("/code-batches", params={"limit": 3}).json()
    second = admin.get("/code-batches", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [batch["id"] for batch in first["data"] + second["data"]] == made[::-1]
    for params in ({"cursor": "!"}, {"limit": 0}, {"offset": 1}):
        assert_refused(
            admin.get("/code-batches", params=params), next(iter(params)), 400 if "cursor" in params else 422
        )


def test_who_redeemed_what(gateway: Gateway, admin: httpx2.Client, operator: Operator) -> None:
    made, customer = make_batch(admin, count=5), operator.customer("1")
    path = f"/code-batches/{made['id']}"
    done = redeem(gateway, customer, made["codes"][3]).json()
    pages = [admin.get(f"{path}/codes", params={"limit": 3}).json()]
    pages.append(admin.get(f"{path}/codes", params={"limit": 3, "cursor": pages[0]["next_cursor"]}).json())
    assert [len(page["data"]) for page in pages] == [3, 2]
    assert pages[1]["next_cursor"] is None
    listed = pages[0]["data"] + pages[1]["data"]
    assert [code["hint"][-4:] for code in listed] == [code[-4:] for code in made["codes"]], "as they were issued"
    open_code = {"account_id": None, "key_id": None, "grant_id": None, "redeemed_at": None}
    for number, code in enumerate(listed):
        used = {
            "account_id": customer.account_id,
            "key_id": customer.key_id,
            "grant_id": done["grant_id"],
            "redeemed_at": done["redeemed_at"],
        }
        facts = used if number == 3 else open_code
        assert code == {"id": code["id"], "hint": code["hint"], **facts}
    batch = admin.get(path).json()
    assert (batch["redeemed"], batch["open"]) == (1, 4)
    grant = admin.get(f"/accounts/{customer.account_id}/grants").json()["data"][0]
    assert grant == {
        "id": done["grant_id"],
        "account_id": customer.account_id,
        "amount": "5",
        "note": f"Code {listed[3]['hint']}",
        "idempotency_key": None,
        "created_at": done["redeemed_at"],
    }


def test_revoking_leaves_what_was_redeemed(gateway: Gateway, admin: httpx2.Client, operator: Operator) -> None:
    made, customer, stranger = make_batch(admin), operator.customer("1"), operator.customer("1")
    path = f"/code-batches/{made['id']}"
    first = redeem(gateway, customer, made["codes"][0])
    assert first.status_code == 201
    revoked = admin.post(f"{path}/revoke")
    assert revoked.status_code == 200
    body = revoked.json()
    assert (body["redeemed"], body["open"]) == (1, 0)
    assert body["revoked_at"] is not None
    assert admin.post(f"{path}/revoke").json() == admin.get(path).json() == body
    assert_refused(redeem(gateway, stranger, made["codes"][1]), "code", 400)
    assert redeem(gateway, customer, made["codes"][0]).status_code == 200
    assert operator.account(customer)["balance"] == "6"
    assert operator.account(stranger)["balance"] == "1"


@pytest.mark.parametrize("path", ["/code-batches/{}", "/code-batches/{}/codes", "/code-batches/{}/revoke"])
def test_a_batch_that_isnt_there(admin: httpx2.Client, path: str) -> None:
    call = admin.post if path.endswith("revoke") else admin.get
    missing = call(path.format(2**63 - 1))
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "code_batch_not_found")
    for id in ("0", "-1", "9223372036854775808", "x"):
        assert_refused(call(path.format(id)), "batch_id")


@pytest.fixture(scope="module")
def shell(gateway: Gateway, work_dir: Path) -> Iterator[Shell]:
    settings = {"RELAYGATE_DATABASE_URL": gateway.database_url, "RELAYGATE_SECRET_KEY": SECRET_KEY}
    with zygote() as loaded:
        yield Shell(work_dir, settings, loaded)


class TestCommand:
    """`relaygate codes`."""

    def test_makes_lists_and_revokes(
        self, shell: Shell, gateway: Gateway, admin: httpx2.Client, operator: Operator
    ) -> None:
        done = shell.run("codes", "create", "2.50", "--count", "3", "--name", "shop", "--expires-in-days", "7")
        assert done.code == 0, done
        codes = done.out.splitlines()
        assert len(codes) == 3
        assert all(CODE.fullmatch(code) for code in codes), "stdout holds the codes and nothing else"
        assert not any(code in done.err for code in codes)
        says = re.fullmatch(r"Batch (\d+) \(shop\): 3 codes of 2\.5 dollars, shown this once:\n", done.err)
        assert says is not None, done.err

        customer = operator.customer("1")
        assert redeem(gateway, customer, codes[0]).json()["balance"] == "3.5"
        row = next(row for row in shell.rows("codes", "list") if row["id"] == says[1])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row.pop("expires"))
        assert row == {
            "id": says[1],
            "name": "shop",
            "amount": "2.5",
            "count": "3",
            "redeemed": "1",
            "open": "2",
            "revoked": "-",
        }
        revoked = shell.succeed("codes", "revoke", says[1])
        assert revoked == f"Batch {says[1]} is revoked; 1 of its 3 codes had been redeemed\n"
        assert_refused(redeem(gateway, customer, codes[1]), "code", 400)
        assert admin.get(f"/code-batches/{says[1]}").json()["open"] == 0

    def test_says_what_is_wrong(self, shell: Shell) -> None:
        nobody, amount, name = shell.refusals(
            ["codes", "revoke", "999999999"],
            ["codes", "create", "0"],
            ["codes", "create", "1", "--name", " "],
        )
        assert nobody == "There is no batch of codes 999999999."
        assert amount.startswith("amount: ")
        assert name.startswith("name: ")
