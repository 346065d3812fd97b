"""What a receiver gets, and what becomes of it when the receiver misbehaves."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.catalog.vault import Vault
from tests.gateway import SECRET_KEY, Gateway
from tests.webhooks.desk import SECRET, Desk
from tests.webhooks.receiver import Answer, Receiver, hang_up, not_http, receiving, reply


def cross(desk: Desk, url: str, **fields: Any) -> Any:
    """A customer whose quota has just fallen from 1 to 0.5 dollars, below the threshold of 0.75."""
    customer = desk.customer(url, "0.75", **fields)
    desk.grant(customer, "-0.5")
    return customer


def test_the_message_is_the_contract_s_and_signed(desk: Desk, receiver: Receiver) -> None:
    before = int(time.time())
    customer = cross(desk, receiver.url("/hook?tenant=7"))
    call = receiver.next()
    assert (call.method, call.path) == ("POST", "/hook?tenant=7")
    assert json.loads(call.body) == {"topic": "user_quota_too_low", "data": {"quota": 0.5}}
    assert call.headers["content-type"] == "application/json"
    assert call.headers["authorization"] == f"Bearer {SECRET}"
    assert call.headers["user-agent"] == "Relaygate"
    assert before <= int(call.headers["webhook-timestamp"]) <= time.time()
    assert call.signatures == 1
    assert call.verifies(SECRET.encode())
    assert not call.verifies(b"another")
    assert "relaygate-test" not in call.headers
    delivery = desk.tried(customer, 1)
    assert (delivery["state"], delivery["attempts"], delivery["webhook_id"]) == ("delivered", 1, call.id)
    assert delivery["body"].encode() == call.body
    (attempt,) = delivery["tried"]
    assert (attempt["status"], attempt["answer"], attempt["error"]) == (200, "ok", None)


def test_a_whsec_secret_signs_with_the_bytes_it_stands_for(desk: Desk, receiver: Receiver) -> None:
    key = bytes(range(24))
    secret = "whsec_" + base64.b64encode(key).decode()
    cross(desk, receiver.url(), secret=secret)
    call = receiver.next()
    assert call.headers["authorization"] == f"Bearer {secret}"
    assert call.verifies(key)


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        pytest.param(reply(500, b"broken"), 500, "The receiver answered 500.", id="500"),
        pytest.param(reply(404), 404, "The receiver answered 404.", id="404"),
        pytest.param(
            reply(302, location="http://169.254.169.254/latest/meta-data/"),
            302,
            "The receiver answered 302: redirects aren't followed.",
            id="redirect",
        ),
        pytest.param(
            reply(307, location="http://127.0.0.1:1/"),
            307,
            "The receiver answered 307: redirects aren't followed.",
            id="redirect that keeps the body",
        ),
        pytest.param(hang_up, None, "The connection was closed before the answer was complete.", id="hang-up"),
        pytest.param(not_http, None, "The answer isn't valid HTTP.", id="not http"),
    ],
)
def test_what_is_not_acknowledged_is_tried_again(
    desk: Desk, receiver: Receiver, answer: Answer, status: int | None, error: str
) -> None:
    receiver.answers.put(answer)
    customer = cross(desk, receiver.url())
    first = receiver.next()
    delivery = desk.tried(customer, 1)
    (attempt,) = delivery["tried"]
    assert (delivery["state"], attempt["status"], attempt["error"]) == ("pending", status, error)
    assert 3 < seconds_between(attempt["started_at"], delivery["next_at"]) < 8
    desk.hurry(delivery)
    second = receiver.next()
    assert (second.id, second.body, second.path) == (first.id, first.body, "/hook")
    delivery = desk.tried(customer, 2)
    assert (delivery["state"], delivery["attempts"], delivery["next_at"]) == ("delivered", 2, None)


def test_a_hanging_receiver_holds_nobody_up(desk: Desk, receiver: Receiver) -> None:
    receiver.answers.put(receiver.hang)
    customer = cross(desk, receiver.url())
    receiver.next()
    with receiving() as other:
        neighbour = cross(desk, other.url())
        other.next()
        assert desk.tried(neighbour, 1)["state"] == "delivered"
    assert desk.deliveries(customer)[0]["tried"] == []


@pytest.mark.long
def test_a_hanging_receiver_is_given_up_on(desk: Desk, receiver: Receiver) -> None:
    receiver.answers.put(receiver.hang)
    delivery = desk.tried(cross(desk, receiver.url()), 1)
    (attempt,) = delivery["tried"]
    assert (attempt["status"], attempt["error"]) == (None, "No answer within 10 s.")
    assert delivery["state"] == "pending"


def test_one_receiver_gets_one_call_at_a_time(desk: Desk, receiver: Receiver) -> None:
    receiver.answers.put(receiver.hang)
    customer = desk.customer(receiver.url(), "0.75", "0.25")
    desk.grant(customer, "-0.5")
    first = receiver.next()
    desk.grant(customer, "-0.4")
    with receiving() as other:  # whoever comes later is served: the second of the first customer was passed over
        cross(desk, other.url())
        other.next()
    assert receiver.calls.empty()
    receiver.released.set()
    second = receiver.next()
    assert second.id != first.id
    assert json.loads(second.body)["data"] == {"quota": 0.1}


def test_a_receiver_that_was_down_gets_it_later_under_the_same_id(desk: Desk) -> None:
    with receiving() as gone:
        port = gone.port
    customer = cross(desk, f"http://127.0.0.1:{port}/")
    delivery = desk.tried(customer, 1)
    assert delivery["tried"][0]["error"] == "The connection was refused."
    pauses = []
    for count in (2, 3, 4):
        desk.hurry(delivery)
        delivery = desk.tried(customer, count)
        pauses.append(seconds_between(delivery["tried"][-1]["started_at"], delivery["next_at"]))
    assert all(wanted * 0.7 < pause < wanted * 1.3 for pause, wanted in zip(pauses, (10, 20, 40), strict=True)), pauses
    with receiving(port) as back:
        desk.hurry(delivery)
        assert back.next().id == delivery["webhook_id"]
        assert desk.tried(customer, 5)["state"] == "delivered"


@pytest.mark.parametrize(
    ("status", "retry_after", "least", "most"),
    [
        (429, "120", 118, 130),
        (503, "999999", 3590, 3610),
        (503, "2", 3, 8),  # less than our own pause
        (500, "120", 3, 8),
        (429, "soon", 3, 8),
    ],
)
def test_retry_after_is_heeded_within_bounds(
    desk: Desk, receiver: Receiver, status: int, retry_after: str, least: float, most: float
) -> None:
    receiver.answers.put(reply(status, retry_after=retry_after))
    delivery = desk.tried(cross(desk, receiver.url()), 1)
    assert least < seconds_between(delivery["tried"][0]["started_at"], delivery["next_at"]) < most


def test_it_is_given_up_after_24_hours(desk: Desk, receiver: Receiver) -> None:
    receiver.answers.put(reply(500))
    customer = cross(desk, receiver.url())
    delivery = desk.tried(customer, 1)
    assert seconds_between(delivery["created_at"], delivery["give_up_at"]) == 24 * 3600
    # The pause never leads past the end: the last attempt is made there.
    receiver.answers.put(reply(500))
    desk.execute(
        "UPDATE deliveries SET next_at = now(), give_up_at = now() + interval '1 second' WHERE id = $1", delivery["id"]
    )
    delivery = desk.tried(customer, 2)
    assert delivery["next_at"] in (None, delivery["give_up_at"])
    receiver.answers.put(reply(500))
    delivery = desk.tried(customer, 3)
    assert (delivery["state"], delivery["next_at"], len(delivery["tried"])) == ("failed", None, 3)
    assert delivery["finished_at"] >= delivery["give_up_at"]
    assert (
        desk.operator.call("GET", "/deliveries", params={"account_id": customer.account_id, "state": "pending"})["data"]
        == []
    )


def test_redelivering_keeps_the_id_and_begins_anew(desk: Desk, receiver: Receiver) -> None:
    customer = cross(desk, receiver.url())
    first = receiver.next()
    delivery = desk.tried(customer, 1)
    receiver.answers.put(reply(500))
    again = desk.operator.call("POST", f"/deliveries/{delivery['id']}/redeliver")
    assert (again["state"], again["webhook_id"]) == ("pending", first.id)
    assert seconds_between(delivery["give_up_at"], again["give_up_at"]) > 0
    assert receiver.next().id == first.id
    delivery = desk.tried(customer, 2)
    # The first pause again: what was tried before the operator asked doesn't count.
    assert 3 < seconds_between(delivery["tried"][-1]["started_at"], delivery["next_at"]) < 8
    assert [attempt["number"] for attempt in delivery["tried"]] == [1, 2]


def test_without_a_webhook_any_more_it_fails(desk: Desk, receiver: Receiver) -> None:
    receiver.answers.put(reply(500))
    customer = cross(desk, receiver.url())
    delivery = desk.tried(customer, 1)
    desk.operator.call("PATCH", f"/accounts/{customer.account_id}", json={"notify": None})
    desk.hurry(delivery)
    delivery = desk.tried(customer, 2)
    assert delivery["state"] == "failed"
    assert delivery["tried"][-1]["error"] == "The account has no webhook any more."


def test_of_a_deleted_account_it_fails(desk: Desk, receiver: Receiver) -> None:
    receiver.answers.put(reply(500))
    customer = cross(desk, receiver.url())
    delivery = desk.tried(customer, 1)
    receiver.next()
    desk.operator.call("DELETE", f"/accounts/{customer.account_id}")
    desk.hurry(delivery)
    delivery = desk.tried(customer, 2)
    assert delivery["state"] == "failed"
    assert delivery["tried"][-1]["error"] == "The account has been deleted."
    assert receiver.calls.empty()


def test_a_date_beyond_any_calendar_is_an_answer_like_any_other(desk: Desk, receiver: Receiver) -> None:
    receiver.answers.put(reply(503, retry_after="Mon, 01 Jan 2024 00:00:00 +9999999999999999999"))
    delivery = desk.tried(cross(desk, receiver.url()), 1)
    (attempt,) = delivery["tried"]
    assert (delivery["state"], attempt["status"]) == ("pending", 503)
    assert 3 < seconds_between(attempt["started_at"], delivery["next_at"]) < 8


def test_a_fault_of_the_gateway_is_an_attempt_like_any_other(
    desk: Desk, hook_gateway: Gateway, receiver: Receiver
) -> None:
    receiver.answers.put(reply(500))
    customer = cross(desk, receiver.url())
    delivery = desk.tried(customer, 1)
    # A secret that can't be signed with: it is refused when one is set.
    unusable = Vault([SECRET_KEY]).encrypt("whsec_not base64!")
    desk.execute("UPDATE webhooks SET secret = $1 WHERE account_id = $2", unusable, customer.account_id)
    desk.hurry(delivery)
    delivery = desk.tried(customer, 2)
    attempt = delivery["tried"][-1]
    assert delivery["state"] == "pending"
    assert (attempt["status"], attempt["error"]) == (None, "The attempt failed by a fault of the gateway.")
    assert seconds_between(attempt["started_at"], delivery["next_at"]) > 6, "the second pause"
    assert "delivery_bug" in hook_gateway.log
    desk.execute(
        "UPDATE deliveries SET next_at = now(), give_up_at = now() WHERE id = $1 AND state = 'pending'", delivery["id"]
    )
    assert desk.tried(customer, 3)["state"] == "failed"


def test_a_changed_url_counts_for_what_is_under_way(desk: Desk, receiver: Receiver) -> None:
    receiver.answers.put(reply(500))
    customer = cross(desk, receiver.url("/old"))
    delivery = desk.tried(customer, 1)
    assert receiver.next().path == "/old"
    desk.notify(customer, webhook_url=receiver.url("/new"))
    desk.hurry(delivery)
    assert receiver.next().path == "/new"


def test_while_a_secret_is_replaced_both_verify(desk: Desk, receiver: Receiver) -> None:
    customer = cross(desk, receiver.url(), secret="old-secret-0123456789")
    assert receiver.next().signatures == 1
    shown = desk.notify(customer, webhook_secret="new-secret-0123456789")
    until = datetime.fromisoformat(shown["previous_secret_until"])
    assert timedelta(hours=23) < until - datetime.now(UTC) < timedelta(hours=25)
    desk.test(customer)
    call = receiver.next()
    assert call.headers["authorization"] == "Bearer new-secret-0123456789"
    assert call.signatures == 2
    assert call.verifies(b"old-secret-0123456789")
    assert call.verifies(b"new-secret-0123456789")
    # The same again changes nothing: the overlap doesn't end early, nor begin anew.
    assert desk.notify(customer, webhook_secret="new-secret-0123456789") == shown
    desk.execute("UPDATE webhooks SET previous_until = now() WHERE account_id = $1", customer.account_id)
    desk.test(customer)
    call = receiver.next()
    assert (call.signatures, call.verifies(b"old-secret-0123456789")) == (1, False)
    shown = desk.notify(customer, webhook_secret="newest-secret-0123456789", overlap_hours=0)
    assert shown["previous_secret_until"] is None
    desk.test(customer)
    call = receiver.next()
    assert (call.signatures, call.verifies(b"newest-secret-0123456789")) == (1, True)


def test_a_secret_whose_key_was_lost_is_replaced_and_signs_no_more(desk: Desk, receiver: Receiver) -> None:
    customer = desk.customer(receiver.url(), "0.5")
    lost = Vault(["a-secret-key-that-was-lost"]).encrypt("old-secret-0123456789")
    desk.execute("UPDATE webhooks SET secret = $1 WHERE account_id = $2", lost, customer.account_id)
    shown = desk.notify(customer, webhook_secret="new-secret-0123456789")
    assert shown["previous_secret_until"] is None
    assert desk.test(customer)["state"] == "delivered"
    assert receiver.next().verifies(b"new-secret-0123456789")
    desk.execute(
        "UPDATE webhooks SET previous_secret = $1, previous_until = now() + interval '1 hour' WHERE account_id = $2",
        lost,
        customer.account_id,
    )
    assert desk.test(customer)["state"] == "delivered"
    call = receiver.next()
    assert (call.signatures, call.verifies(b"new-secret-0123456789")) == (1, True)


def test_an_answer_is_kept_in_part_and_without_secrets(desk: Desk, receiver: Receiver) -> None:
    secret = 'he said "psst"/0123456789'
    customer = desk.customer(receiver.url(), "0.5", secret=secret)
    echo = json.dumps({"authorization": f"Bearer {secret}"}).encode() + f" {secret} \x00\x1b \xff".encode("latin-1")
    receiver.answers.put(reply(200, echo))
    (attempt,) = desk.test(customer)["tried"]
    assert attempt["answer"].count("[redacted]") == 2
    assert "psst" not in attempt["answer"]
    assert "\x00" not in attempt["answer"]
    # Where the secret stands across the bound, no half of it is kept.
    receiver.answers.put(reply(200, b"x" * 2040 + secret.encode() * 3 + b"y" * 100_000))
    (attempt,) = desk.test(customer)["tried"]
    assert len(attempt["answer"]) == 2048
    assert "he said" not in attempt["answer"]


def test_a_sample_is_sent_once_at_once(desk: Desk, receiver: Receiver) -> None:
    customer = desk.customer(receiver.url(), "0.5", grant="2.25")
    sent = desk.test(customer)
    call = receiver.next()
    assert json.loads(call.body) == {"topic": "user_quota_too_low", "data": {"quota": 2.25}}
    assert call.headers["relaygate-test"] == "true"
    assert call.verifies(SECRET.encode())
    assert (sent["test"], sent["state"], sent["webhook_id"]) == (True, "delivered", call.id)
    receiver.answers.put(reply(503, b"later", retry_after="1"))
    sent = desk.test(customer)
    assert (sent["state"], sent["tried"][0]["status"], sent["tried"][0]["answer"]) == ("failed", 503, "later")


def test_no_secret_in_log_or_rows(desk: Desk, hook_gateway: Gateway, receiver: Receiver) -> None:
    secret = "whsec_" + base64.b64encode(b"never-to-be-seen-anywhere").decode()
    receiver.answers.put(reply(500, secret.encode()))
    customer = cross(desk, receiver.url(), secret=secret)
    receiver.next()
    shown = [json.dumps(desk.tried(customer, 1)), json.dumps(desk.operator.account(customer)), hook_gateway.log]
    assert [text for text in shown if secret in text or secret.removeprefix("whsec_") in text] == []
    assert SECRET not in hook_gateway.log


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
