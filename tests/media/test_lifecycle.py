"""What becomes of tasks and of their money: done, failed, refused, cancelled, late, left by their channel, lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Customer, Gateway, Operator
from tests.media.client import MediaClient

PRICE = {"per_second": "0.1"}


@pytest.fixture
def customer(operator: Operator) -> Customer:
    return operator.customer("10")


@pytest.fixture
def client(gateway: Gateway, customer: Customer) -> Iterator[MediaClient]:
    made = MediaClient(gateway, customer)
    yield made
    made.close()


def film(operator: Operator, *upstream_models: str, provider: str = "demo", **fields: Any) -> str:
    """A model of kind video, served by one channel for each upstream model, the first with the highest priority."""
    name = operator.model(kind="video", price=fields.pop("price", PRICE), max_output_tokens=None, **fields)
    for rank, upstream_model in enumerate(upstream_models):
        operator.channel(name, upstream_model, provider=provider, priority=-rank)
    return name


def task_of(operator: Operator, task_id: str) -> dict[str, Any]:
    found: dict[str, Any] = operator.call("GET", f"/tasks/{task_id}")
    return found


def wait_for_step(operator: Operator, task_id: str, step: str, timeout: float = 15.0) -> dict[str, Any]:
    deadline = time.monotonic() + timeout
    while (found := task_of(operator, task_id))["step"] != step:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def test_a_success_is_charged_what_was_made(operator: Operator, client: MediaClient, customer: Customer) -> None:
    model = film(operator, "demo-video?seconds=1&made_seconds=4")
    task_id = client.submit(model, duration=5)
    assert operator.account(customer)["held"] in ("0.5", "0")  # it may be done by now
    task = client.wait(task_id)
    assert (task["status"], task["progress"], task["fail_reason"]) == ("SUCCESS", "100%", "")
    assert 0 < task["submit_time"] <= task["start_time"] <= task["finish_time"]
    (entry,) = operator.entries(customer, count=1)
    assert (entry["status"], entry["charged"], entry["model"]) == ("settled", "0.5", model)
    assert entry["usage"]["milliseconds"] == 5000
    assert operator.account(customer)["balance"] == "9.5"
    assert operator.audit()["ok"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("fail=The+prompt+is+not+allowed", "The prompt is not allowed"),
        ("refuse=The+prompt+is+too+long", "The prompt is too long"),
    ],
)
def test_a_failure_costs_nothing(
    operator: Operator, client: MediaClient, customer: Customer, script: str, reason: str
) -> None:
    task = client.wait(client.submit(film(operator, f"demo-video?seconds=0&{script}"), duration=5))
    assert (task["status"], task["data"], task["progress"]) == ("FAILURE", None, "100%")
    assert reason in task["fail_reason"]
    (entry,) = operator.entries(customer, count=1)
    assert (entry["status"], entry["charged"]) == ("released", "0")
    account = operator.account(customer)
    assert (account["balance"], account["held"]) == ("10", "0")


def test_a_channel_that_refuses_for_its_own_reasons_is_passed_over(
    operator: Operator, client: MediaClient, customer: Customer
) -> None:
    model = film(
        operator, "demo-video?status=500", "demo-video?status=429", "demo-video?drop=1", "demo-video?seconds=0"
    )
    # `drop` closes the connection unanswered: that may be a submission that was accepted, so nothing is tried after it.
    task_id = client.submit(model, duration=5)
    found = wait_for_step(operator, task_id, "stuck")
    assert found["last_fault"] == "upstream_lost"
    assert client.query(task_id)["status"] == "NOT_START"
    operator.call("POST", f"/tasks/{task_id}/resolve", json={"action": "submit"})
    wait_for_step(operator, task_id, "stuck")
    operator.call("POST", f"/tasks/{task_id}/resolve", json={"action": "fail"})
    assert client.wait(task_id)["status"] == "FAILURE"
    other = film(operator, "demo-video?status=500", "demo-video?status=429", "demo-video?seconds=0")
    assert client.wait(client.submit(other, duration=5))["status"] == "SUCCESS"
    assert [entry["charged"] for entry in operator.entries(customer, count=2)] == ["0.5", "0"]


def test_a_lost_answer_is_never_paid_for_twice(
    operator: Operator, client: MediaClient, customer: Customer, demo: DemoProcess
) -> None:
    """The upstream has the job, and its answer was lost: an operator finds it there, and the task goes on under its id."""
    model = film(operator, "demo-video?lost=1&seconds=0")
    task_id = client.submit(model, duration=5)
    found = wait_for_step(operator, task_id, "stuck")
    assert httpx2.get(f"{demo.url}/_demo/studio").json()["by_key"][found["hold_id"]] == 1
    jobs = httpx2.get(f"{demo.url}/_demo/jobs").json()["jobs"]
    (job,) = [job for job in jobs if job["idempotency_key"] == found["hold_id"]]
    operator.call("POST", f"/tasks/{task_id}/resolve", json={"action": "poll", "upstream_id": job["id"]})
    assert client.wait(task_id)["status"] == "SUCCESS"
    (entry,) = operator.entries(customer, count=1)
    assert (entry["status"], entry["charged"]) == ("settled", "0.5")


def test_polls_that_fail_are_no_failure(operator: Operator, client: MediaClient) -> None:
    model = film(operator, "demo-video?polls=1&poll_faults=1")
    task = client.wait(client.submit(model, duration=5), timeout=40)
    assert task["status"] == "SUCCESS"


def test_tasks_that_cannot_go_on_give_their_money_back_once(
    operator: Operator, client: MediaClient, customer: Customer
) -> None:
    """A deadline, with and without an upstream that has taken it, a channel that was deleted, a cancellation."""
    late = client.submit(film(operator, "demo-video?never=1"), duration=5)
    unserved = client.submit(film(operator, "demo-video?status=503"), duration=5)
    cancelled = client.submit(film(operator, "demo-video?never=1"), duration=5)
    name = operator.model(kind="video", price=PRICE, max_output_tokens=None)
    channel = operator.channel(name, "demo-video?never=1", provider="demo")
    left = client.submit(name, duration=5)
    for task_id in (left, cancelled):
        client.wait(task_id, until=lambda task: task["status"] not in ("NOT_START",))
    operator.call("DELETE", f"/channels/{channel['id']}")
    answer = client.http.delete(f"/v2/videos/generations/{cancelled}")
    assert (answer.status_code, answer.json()["task_id"]) == (200, cancelled)
    client.wait(late, until=lambda task: task["status"] != "NOT_START")
    while not task_of(operator, unserved)["rounds"]:
        time.sleep(0.05)
    for task_id in (late, unserved):
        client.expire(task_id)
    codes = {}
    for task_id in (cancelled, left, late, unserved):
        assert client.wait(task_id, timeout=40)["status"] == "FAILURE"
        codes[task_id] = task_of(operator, task_id)["fail_code"]
    assert list(codes.values()) == ["task_cancelled", "channel_removed", "task_timeout", "task_timeout"]
    entries = operator.entries(customer, count=4)
    assert {(entry["status"], entry["charged"]) for entry in entries} == {("released", "0")}
    account = operator.account(customer)
    assert (account["balance"], account["held"], account["charged"]) == ("10", "0", "0")
    again = client.http.delete(f"/v2/videos/generations/{cancelled}")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "task_not_cancellable")
    assert operator.audit()["ok"]


@pytest.mark.long
def test_a_model_s_own_time_is_the_deadline(operator: Operator, client: MediaClient) -> None:
    submitted = time.monotonic()
    task_id = client.submit(film(operator, "demo-video?never=1", task_timeout=10), duration=5)
    assert client.wait(task_id, timeout=40)["status"] == "FAILURE"
    assert task_of(operator, task_id)["fail_code"] == "task_timeout"
    assert time.monotonic() - submitted >= 10


def test_what_the_account_cannot_pay_is_not_begun(operator: Operator, gateway: Gateway) -> None:
    poor = operator.customer("0.4")
    client = MediaClient(gateway, poor)
    model = film(operator, "demo-video?never=1")
    refused = client.http.post("/v2/videos/generations", json={"model": model, "prompt": "A cat", "duration": 5})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    assert operator.call("GET", "/tasks", params={"account_id": poor.account_id})["data"] == []
    held = client.submit(model, duration=3)
    refused = client.http.post("/v2/videos/generations", json={"model": model, "prompt": "A cat", "duration": 3})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "balance_held")
    client.http.delete(f"/v2/videos/generations/{held}")
    client.wait(held)
    client.close()


def test_others_tasks_do_not_exist(operator: Operator, client: MediaClient, gateway: Gateway) -> None:
    task_id = client.submit(film(operator, "demo-video?never=1"), duration=5)
    stranger = MediaClient(gateway, operator.customer("1"))
    unknown = stranger.http.get("/v2/videos/generations/nothing:1-abc")
    for method in ("GET", "DELETE"):
        answer = stranger.http.request(method, f"/v2/videos/generations/{task_id}")
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == unknown.json()["error"]["code"] == "task_not_found"
    assert stranger.http.get("/v2/videos/generations").json()["data"] == []
    assert client.http.get(f"/v2/images/generations/{task_id}").status_code == 404
    stranger.close()
    client.http.delete(f"/v2/videos/generations/{task_id}")


def test_the_same_idempotency_key_is_the_same_task(operator: Operator, client: MediaClient, customer: Customer) -> None:
    model = film(operator, "demo-video?seconds=0")
    headers = {"idempotency-key": "once"}
    first = client.submit(model, duration=5, headers=headers)
    assert client.submit(model, duration=5, headers=headers) == first
    body = {"model": model, "prompt": "A dog", "duration": 5}
    other = client.http.post("/v2/videos/generations", json=body, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
    client.wait(first)
    assert client.submit(model, duration=5, headers=headers) == first
    assert len(operator.entries(customer, count=1)) == 1
