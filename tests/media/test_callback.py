"""`notify_hook`: once a task is final its receiver gets the very body of a query, signed, and later if it was away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from app.webhooks.sign import key_of
from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator
from tests.media.client import MediaClient
from tests.webhooks.receiver import receiving, reply


@pytest.fixture
def own(start_gateway: Callable[..., Gateway], demo: DemoProcess) -> Iterator[Operator]:
    """Whose gateway may call loopback."""
    operator = Operator(start_gateway(RELAYGATE_ALLOWED_PRIVATE_NETWORKS="127.0.0.0/8"), demo.url)
    yield operator
    operator.close()


@pytest.mark.long
def test_a_final_task_is_told_in_a_querys_words(own: Operator) -> None:
    customer = own.customer()
    client = MediaClient(own.gateway, customer)
    model = own.model(kind="video", price={"per_second": "0.1"}, max_output_tokens=None)
    own.channel(model, "demo-video?seconds=0", provider="demo")
    failing = own.model(kind="video", price={"per_second": "0.1"}, max_output_tokens=None)
    own.channel(failing, "demo-video?seconds=0&fail=No+luck", provider="demo")
    secret = key_of(client.http.get("/v1/account/callback-secret").json()["secret"])
    with receiving() as receiver:
        receiver.answers.put(reply(500))
        for name, status in ((model, "SUCCESS"), (failing, "FAILURE")):
            task_id = client.submit(name, duration=5, notify_hook=receiver.url("/hook"))
            first = receiver.next()
            assert json.loads(first.body) == client.query(task_id)
            assert json.loads(first.body)["status"] == status
            assert (first.method, first.headers["content-type"]) == ("POST", "application/json")
            assert first.verifies(secret)
            assert "authorization" not in first.headers
            if status == "SUCCESS":  # that one was answered with 500
                again = receiver.next()
                assert (again.id, again.body) == (first.id, first.body)
        (delivery, *_) = own.call("GET", "/deliveries", params={"account_id": customer.account_id})["data"]
        own.call("POST", f"/deliveries/{delivery['id']}/redeliver")
        assert receiver.next().id == first.id
    client.close()
    assert own.audit()["ok"]
