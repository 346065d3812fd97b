"""Deliveries over the admin API: listed, looked at, delivered again, and samples on request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.api.scan import Scanner, assert_refused
from tests.demo.process import DemoProcess
from tests.gateway import Customer, Gateway, Operator
from tests.webhooks.desk import ALLOWED, SECRET, Desk, wait
from tests.webhooks.receiver import Receiver, receiving


@pytest.fixture(scope="module")
def desk(work_dir: Path, migrated_database: Callable[[], str], demo: DemoProcess) -> Iterator[Desk]:
    """A gateway of the module's own: it may call loopback, and all its deliveries are the tests'."""
    data_dir = work_dir / "deliveries"
    data_dir.mkdir()
    gateway = Gateway(migrated_database(), data_dir, ALLOWED).start()
    operator = Operator(gateway, demo.url)
    yield Desk(operator)
    operator.close()
    assert gateway.stop() == 0, gateway.log


@pytest.fixture(scope="module")
def admin(desk: Desk) -> Iterator[httpx2.Client]:
    scanner = Scanner()
    with desk.operator.gateway.admin() as client:
        client.event_hooks = {"response": [scanner.check]}
        yield client


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture(scope="module")
def told(desk: Desk, receiver: Receiver) -> Customer:
    """A customer who was told five times, after another who was told once."""
    desk.grant(desk.customer(receiver.url(), "0.5"), "-0.6")
    customer = desk.customer(receiver.url(), "0.9", "0.8", "0.7", "0.6")
    for _ in range(4):
        desk.grant(customer, "-0.101")
    desk.test(customer)
    # Rows change a moment after the receiver has answered: who counts them by state asks several times.
    wait(lambda: [row["state"] for row in desk.deliveries(customer)] == ["delivered"] * 5)
    return customer


def test_are_listed_newest_first(admin: httpx2.Client, told: Customer) -> None:
    query = {"account_id": told.account_id, "limit": 3}
    first = admin.get("/deliveries", params=query).json()
    second = admin.get("/deliveries", params={**query, "cursor": first["next_cursor"]}).json()
    ids = [row["id"] for row in first["data"] + second["data"]]
    assert len(ids) == 5
    assert ids == sorted(ids, reverse=True)
    assert second["next_cursor"] is None
    assert {row["account_id"] for row in first["data"] + second["data"]} == {told.account_id}


def test_are_filtered(admin: httpx2.Client, told: Customer) -> None:
    def count(**query: Any) -> int:
        return len(admin.get("/deliveries", params={"account_id": told.account_id, **query}).json()["data"])

    assert count(topic="user_quota_too_low") == 5
    assert count(topic="another") == 0
    assert [count(state=state) for state in ("pending", "delivered", "failed")] == [0, 5, 0]
    assert len(admin.get("/deliveries").json()["data"]) >= 6
    assert count(account_id=9_999_999) == 0


@pytest.mark.parametrize(
    ("query", "field", "status"),
    [
        ({"state": "lost"}, "state", 422),
        ({"account_id": "0"}, "account_id", 422),
        ({"topic": ""}, "topic", 422),
        ({"limit": "201"}, "limit", 422),
        ({"url": "x"}, "url", 422),
        ({"cursor": "x"}, "cursor", 400),
    ],
)
def test_bad_queries_are_refused(admin: httpx2.Client, query: dict[str, str], field: str, status: int) -> None:
    assert_refused(admin.get("/deliveries", params=query), field, status)


def test_one_is_shown_with_its_attempts(admin: httpx2.Client, told: Customer) -> None:
    sample = admin.get("/deliveries", params={"account_id": told.account_id}).json()["data"][0]
    shown = admin.get(f"/deliveries/{sample['id']}").json()
    (attempt,) = shown.pop("tried")
    assert shown == sample
    assert (shown["test"], shown["state"], shown["next_at"], shown["attempts"]) == (True, "delivered", None, 1)
    assert shown["body"] == '{"topic": "user_quota_too_low", "data": {"quota": 0.596}}'
    assert attempt == {
        "number": 1,
        "started_at": attempt["started_at"],
        "latency_ms": attempt["latency_ms"],
        "status": 200,
        "answer": "ok",
        "error": None,
    }
    assert SECRET not in str(shown)


def test_what_is_not_there(admin: httpx2.Client, desk: Desk) -> None:
    silent = desk.operator.customer()
    for answer, code in (
        (admin.get("/deliveries/9999999"), "delivery_not_found"),
        (admin.post("/deliveries/9999999/redeliver"), "delivery_not_found"),
        (admin.post("/accounts/9999999/notify/test"), "account_not_found"),
    ):
        assert_refused(answer, "", 404)
        assert answer.json()["error"]["code"] == code
    answer = admin.post(f"/accounts/{silent.account_id}/notify/test")
    assert_refused(answer, "", 409)
    assert answer.json()["error"]["code"] == "webhook_not_set"
    assert desk.deliveries(silent) == []


def test_a_deleted_account_gets_no_sample(admin: httpx2.Client, desk: Desk) -> None:
    with receiving() as receiver:
        customer = desk.customer(receiver.url(), "0.5")
        assert admin.delete(f"/accounts/{customer.account_id}").status_code == 204
        answer = admin.post(f"/accounts/{customer.account_id}/notify/test")
        assert_refused(answer, "", 404)
        assert answer.json()["error"]["code"] == "account_not_found"
        assert receiver.calls.empty()
        assert desk.deliveries(customer) == []


@pytest.mark.long
async def test_a_list_that_takes_too_long_is_refused(admin: httpx2.Client, desk: Desk) -> None:
    holder = await asyncpg.connect(desk.operator.gateway.database_url)
    try:
        async with holder.transaction():  # whoever reads now waits
            await holder.execute("LOCK TABLE deliveries")
            query = {"topic": "another", "state": "failed"}
            answer = await asyncio.to_thread(admin.get, "/deliveries", params=query, timeout=60)
    finally:
        await holder.close()
    assert_refused(answer, "account_id", 400)
    assert answer.json()["error"]["code"] == "query_too_broad"


def test_a_sample_to_nobody_is_an_answer(admin: httpx2.Client, desk: Desk) -> None:
    with receiving() as gone:
        url = gone.url()
    customer = desk.customer(url, "0.5")
    sent = admin.post(f"/accounts/{customer.account_id}/notify/test")
    assert sent.status_code == 200
    assert (sent.json()["state"], sent.json()["next_at"]) == ("failed", None)
    assert sent.json()["tried"][0]["error"] == "The connection was refused."


def test_redelivering_answers_at_once(admin: httpx2.Client, desk: Desk) -> None:
    with receiving() as receiver:
        customer = desk.customer(receiver.url(), "0.5")
        sent = desk.test(customer)
        first = receiver.next()
        again = admin.post(f"/deliveries/{sent['id']}/redeliver")
        assert again.status_code == 202
        assert again.json()["webhook_id"] == sent["webhook_id"] == first.id
        assert receiver.next().id == first.id
        assert desk.tried(customer, 2)["state"] == "delivered"
