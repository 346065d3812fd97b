"""Model groups: set up, in use, and what they do to a charge; and what a channel's own price does."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.api.conftest import Chat, await_status
from tests.api.scan import assert_refused
from tests.gateway import Customer, Operator


@pytest.fixture
def name() -> str:
    return f"tier/g-{uuid4().hex[:12]}"


def _put(admin: httpx2.Client, name: str, ratio: object = "1.5", status: int = 201) -> dict[str, Any]:
    response = admin.put(f"/model-groups/{name}", json={"ratio": ratio})
    assert response.status_code == status, response.text
    made: dict[str, Any] = response.json()
    return made


def test_a_group_is_made_changed_and_deleted(admin: httpx2.Client, name: str) -> None:
    path = f"/model-groups/{name}"
    assert admin.get(path).json()["error"]["code"] == "group_not_found"
    assert _put(admin, name) == {"name": name, "ratio": "1.5", "models": 0}
    assert _put(admin, name, 0.25, 200) == admin.get(path).json() == {"name": name, "ratio": "0.25", "models": 0}
    assert admin.delete(path).status_code == 204
    for response in (admin.get(path), admin.delete(path)):
        assert (response.status_code, response.json()["error"]["code"]) == (404, "group_not_found")


@pytest.mark.parametrize("ratio", ["-1", "1001", "0.0000001", "x", None, True, "NaN"])
def test_a_bad_ratio_is_refused(admin: httpx2.Client, name: str, ratio: object) -> None:
    assert_refused(admin.put(f"/model-groups/{name}", json={"ratio": ratio}), "ratio")
    assert_refused(admin.put(f"/model-groups/{name}", json={}), "ratio")
    assert_refused(admin.put(f"/model-groups/{name}", json={"ratio": "1", "name": "x"}), "name")
    assert admin.get(f"/model-groups/{name}").status_code == 404


def test_groups_are_listed_by_name_and_page(admin: httpx2.Client) -> None:
    prefix = f"zz-{uuid4().hex[:8]}"
    names = [f"{prefix}-{letter}" for letter in "bca"]
    for each in names:
        _put(admin, each)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = admin.get("/model-groups", params={"limit": 2} | ({} if cursor is None else {"cursor": cursor})).json()
        seen += [group["name"] for group in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [each for each in seen if each.startswith(prefix)] == sorted(names)


def test_a_model_names_its_group(admin: httpx2.Client, operator: Operator, name: str) -> None:
    _put(admin, name)
    model = operator.model(group=name)
    path = f"/models/{model}"
    shown = admin.patch(path, json={}).json()
    assert (shown["group"], shown["group_ratio"]) == (name, "1.5")
    assert admin.get(f"/model-groups/{name}").json()["models"] == 1
    refused = admin.delete(f"/model-groups/{name}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "group_in_use")
    assert admin.get(f"/model-groups/{name}").json()["models"] == 1
    assert_refused(admin.patch(path, json={"group": "no-such-group"}), "group")
    assert_refused(admin.patch(path, json={"group": ""}), "group")
    cleared = admin.patch(path, json={"group": None}).json()
    assert (cleared["group"], cleared["group_ratio"]) == (None, "1")
    assert admin.patch(path, json={"group": name}).json() == shown
    # PUT replaces whole
    body = {"kind": "chat", "price": shown["price"]}
    assert admin.put(path, json=body).json()["group"] is None
    assert admin.delete(f"/model-groups/{name}").status_code == 204


def _await_charge(chat: Chat, operator: Operator, customer: Customer, model: str, charged: str) -> dict[str, Any]:
    """The newest entry, once a call is charged so: within a second of a change."""
    deadline = time.monotonic() + 1
    while True:
        assert chat(customer, model).status_code == 200
        late = time.monotonic() > deadline
        entry: dict[str, Any] = operator.entries(customer)[0]
        if entry["charged"] == charged:
            return entry
        assert not late, entry


def test_a_ratio_multiplies_what_is_charged(admin: httpx2.Client, operator: Operator, chat: Chat, name: str) -> None:
    _put(admin, name, "1.5")
    customer, model = operator.customer(), operator.model("demo", price={"per_call": "0.1"}, group=name)
    operator.call("PATCH", f"/accounts/{customer.account_id}", json={"price_ratio": "0.5"})
    entry = _await_charge(chat, operator, customer, model, "0.075")  # 0.1 x 1.5 x 0.5
    assert (Decimal(entry["price_ratio"]), Decimal(entry["group_ratio"])) == (Decimal("0.5"), Decimal("1.5"))
    _put(admin, name, "3", 200)
    _await_charge(chat, operator, customer, model, "0.15")
    assert operator.entries(customer)[-1]["charged"] == "0.075"  # frozen
    admin.patch(f"/models/{model}", json={"group": None})
    _await_charge(chat, operator, customer, model, "0.05")
    assert operator.audit()["ok"]


class TestAChannelsPrice:
    """What clients pay when a channel with a price of its own answers."""

    def _serve(self, operator: Operator, model: str, **prices: Any) -> dict[str, Any]:
        return operator.channel(model, "demo", models=[{"model": model, "upstream_model": "demo", **prices}])

    def test_goes_before_the_models(self, admin: httpx2.Client, operator: Operator, chat: Chat) -> None:
        model = operator.model(price={"per_call": "0.1"})
        channel = self._serve(operator, model, price={"per_call": "0.3"}, cost={"per_call": "0.2"})
        customer = operator.customer()
        await_status(chat, customer, model, 200)
        (entry,) = operator.entries(customer, count=1)
        assert (entry["charged"], entry["price"], entry["cost"]) == ("0.3", {"per_call": "0.3"}, "0.2")
        again = [{"model": model, "upstream_model": "demo", "cost": None}]
        admin.patch(f"/channels/{channel['id']}", json={"models": again})
        entry = _await_charge(chat, operator, customer, model, "0.1")
        assert (entry["price"], entry["cost"]) == ({"per_call": "0.1"}, None)

    def test_is_enough_for_a_model_without_one(self, admin: httpx2.Client, operator: Operator, chat: Chat) -> None:
        model = f"m-{uuid4().hex[:12]}"
        admin.put(f"/models/{model}", json={"kind": "chat", "price": None})
        customer = operator.customer()
        unpriced = operator.channel(model, "demo", priority=1)
        assert chat(customer, model).json()["error"]["code"] == "model_not_priced"
        priced = self._serve(operator, model, price={"per_call": "0.3"})
        await_status(chat, customer, model, 200)
        (entry,) = operator.entries(customer, count=1)
        assert (entry["channel_id"], entry["charged"]) == (priced["id"], "0.3")
        assert unpriced["id"] != priced["id"]  # which stands first, and isn't asked

    def test_is_nothing_to_a_free_model(self, operator: Operator, chat: Chat) -> None:
        model = operator.model(free=True)
        self._serve(operator, model, price={"per_call": "0.3"}, cost={"per_call": "0.2"})
        customer = operator.customer()
        await_status(chat, customer, model, 200)
        (entry,) = operator.entries(customer, count=1)
        assert (entry["charged"], entry["price"], entry["cost"]) == ("0", None, "0.2")
