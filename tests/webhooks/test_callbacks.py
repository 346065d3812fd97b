"""What is posted to the URL of a request: the body as it is, signed for the account, however its webhook is set."""

from __future__ import annotations

import base64
import json

import httpx2
import pytest

from app.catalog.vault import Vault
from app.webhooks.claims import HEAD
from tests.gateway import Customer, Gateway
from tests.webhooks.desk import SECRET, Desk, wait
from tests.webhooks.receiver import Answer, Call, Receiver, hang_up, receiving, reply

BODY = '{"task_id": "veo3:1-ü", "data": {"output": "https://example.com/1.mp4"}, "status":"SUCCESS"}'


def key_of(shown: dict[str, str]) -> bytes:
    prefix, _, key = shown["secret"].partition("_")
    assert prefix == "whsec"
    return base64.b64decode(key, validate=True)


@pytest.fixture
def customer(desk: Desk) -> Customer:
    """An account that has no webhook."""
    return desk.operator.customer()


def test_the_very_body_is_posted_signed_and_without_a_bearer(
    desk: Desk, customer: Customer, receiver: Receiver
) -> None:
    desk.call_back(customer, receiver.url("/done?task=7"), body=BODY)
    call = receiver.next()
    assert (call.method, call.path, call.body) == ("POST", "/done?task=7", BODY.encode())
    assert call.headers["content-type"] == "application/json"
    assert call.headers["user-agent"] == "Relaygate"
    assert "authorization" not in call.headers
    key = key_of(desk.callback_secret(customer))
    assert len(key) == 32
    assert call.signatures == 1
    assert call.verifies(key)
    delivery = desk.tried(customer, 1)
    assert (delivery["state"], delivery["topic"], delivery["webhook_id"]) == ("delivered", "task_finished", call.id)


def test_the_account_s_webhook_has_no_part_in_it(desk: Desk, receiver: Receiver) -> None:
    with receiving() as hook:
        customer = desk.customer(hook.url(), "0.5")
        shown = desk.callback_secret(customer)
        desk.call_back(customer, receiver.url())
        call = receiver.next()
        assert call.verifies(key_of(shown))
        assert not call.verifies(SECRET.encode())
        assert SECRET not in str(call.headers)
        desk.test(customer)
        told = hook.next()
        assert told.verifies(SECRET.encode())
        assert hook.calls.empty()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(reply(500), "The receiver answered 500.", id="500"),
        pytest.param(
            reply(302, location="http://169.254.169.254/latest/meta-data/"),
            "The receiver answered 302: redirects aren't followed.",
            id="redirect",
        ),
        pytest.param(hang_up, "The connection was closed before the answer was complete.", id="hang-up"),
    ],
)
def test_what_is_not_acknowledged_is_tried_again(
    desk: Desk, customer: Customer, receiver: Receiver, answer: Answer, error: str
) -> None:
    receiver.answers.put(answer)
    desk.call_back(customer, receiver.url(), body=BODY)
    first = receiver.next()
    delivery = desk.tried(customer, 1)
    assert (delivery["state"], delivery["tried"][0]["error"]) == ("pending", error)
    desk.hurry(delivery)
    second = receiver.next()
    assert (second.id, second.body) == (first.id, first.body)
    assert desk.tried(customer, 2)["state"] == "delivered"
    desk.operator.call("POST", f"/deliveries/{delivery['id']}/redeliver")
    assert receiver.next().id == first.id
    assert desk.tried(customer, 3)["state"] == "delivered"


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "http://[::ffff:10.0.0.1]/", "file:///etc/passwd"])
def test_what_it_must_not_reach_is_not_called(desk: Desk, customer: Customer, url: str) -> None:
    desk.call_back(customer, url)
    delivery = desk.tried(customer, 1)
    assert delivery["state"] == "pending"
    assert delivery["tried"][0]["error"].startswith("The URL must ")


def test_of_a_deleted_account_it_fails_without_a_call(desk: Desk, customer: Customer, receiver: Receiver) -> None:
    receiver.answers.put(reply(500))
    desk.call_back(customer, receiver.url())
    delivery = desk.tried(customer, 1)
    receiver.next()
    desk.operator.call("DELETE", f"/accounts/{customer.account_id}")
    desk.call_back(customer, receiver.url("/late"))
    desk.hurry(delivery)
    wait(lambda: all(row["state"] == "failed" for row in desk.deliveries(customer)))
    assert [row["tried"][-1]["error"] for row in desk.deliveries(customer)] == ["The account has been deleted."] * 2
    assert receiver.calls.empty()


def test_one_account_and_one_host_take_eight_places_each_and_hold_nobody_up(desk: Desk, receiver: Receiver) -> None:
    with receiving() as other:
        busy, neighbour = desk.customer(other.url("/hook"), "0.75"), desk.operator.customer()
        for _ in range(8):
            receiver.answers.put(receiver.hold)
        desk.call_back(busy, *[receiver.url()] * 12)
        first = [receiver.next() for _ in range(8)]
        # Neither a callback to another host, nor the account's own message, nor another account waits for them.
        desk.grant(busy, "-0.5")
        assert other.next().path == "/hook"
        desk.call_back(neighbour, receiver.url("/neighbour"), other.url("/neighbour"))
        assert other.next().path == "/neighbour"
        assert receiver.calls.empty(), "a ninth call of one host"
        receiver.released.set()
        rest = [receiver.next() for _ in range(5)]
    assert sorted(call.path for call in rest) == ["/hook"] * 4 + ["/neighbour"]
    assert len({call.id for call in first + rest}) == 13


def test_a_backlog_deeper_than_a_quick_look_hides_nobody(desk: Desk, receiver: Receiver) -> None:
    busy, neighbour = desk.operator.customer(), desk.operator.customer()
    for _ in range(8):
        receiver.answers.put(receiver.hold)
    desk.call_back(busy, *[receiver.url()] * (HEAD + 50))
    for _ in range(8):
        receiver.next()
    try:
        with receiving() as other:
            desk.call_back(neighbour, other.url())
            other.next()
    finally:
        desk.execute("DELETE FROM deliveries WHERE account_id = $1 AND claimed_until IS NULL", busy.account_id)
    assert receiver.calls.empty()


def test_a_place_that_gets_free_is_taken_at_once(desk: Desk, customer: Customer, receiver: Receiver) -> None:
    desk.call_back(customer, *[receiver.url()] * 40)
    assert len({receiver.next().id for _ in range(40)}) == 40
    wait(lambda: {row["state"] for row in desk.deliveries(customer)} == {"delivered"})
    assert receiver.calls.empty()


# -- the secret ------------------------------------------------------------------------------------------------------


def test_the_secret_is_one_for_all_keys_of_an_account(desk: Desk, customer: Customer) -> None:
    shown = desk.callback_secret(customer)
    assert shown["previous_until"] is None
    assert desk.callback_secret(customer) == shown
    body = {"account_id": customer.account_id, "name": "second", "quota": None}
    second = desk.operator.call("POST", "/keys", json=body)
    assert desk.callback_secret(Customer(customer.account_id, second["id"], second["key"])) == shown
    assert desk.callback_secret(desk.operator.customer())["secret"] != shown["secret"]


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/rotate")])
def test_strangers_get_a_401(hook_gateway: Gateway, method: str, path: str) -> None:
    url = f"{hook_gateway.url}/v1/account/callback-secret{path}"
    assert httpx2.request(method, url).status_code == 401
    answer = httpx2.request(method, url, headers={"authorization": "Bearer sk-nobody"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_while_it_is_replaced_both_verify(desk: Desk, customer: Customer, receiver: Receiver) -> None:
    def called() -> Call:
        desk.call_back(customer, receiver.url())
        return receiver.next()

    old = desk.callback_secret(customer)
    new = desk.callback_secret(customer, rotate=True)
    assert new["secret"] != old["secret"]
    assert new["previous_until"] > new["created_at"] > old["created_at"]
    assert desk.callback_secret(customer) == new
    call = called()
    assert (call.signatures, call.verifies(key_of(old)), call.verifies(key_of(new))) == (2, True, True)
    desk.execute("UPDATE callback_secrets SET previous_until = now() WHERE account_id = $1", customer.account_id)
    call = called()
    assert (call.signatures, call.verifies(key_of(old)), call.verifies(key_of(new))) == (1, False, True)
    assert desk.callback_secret(customer)["previous_until"] is None


def test_one_whose_key_was_lost_is_told_and_replaced(desk: Desk, customer: Customer, receiver: Receiver) -> None:
    desk.callback_secret(customer)
    lost = Vault(["a-secret-key-that-was-lost"]).encrypt("whsec_bG9zdA==")
    desk.execute("UPDATE callback_secrets SET secret = $1 WHERE account_id = $2", lost, customer.account_id)
    desk.call_back(customer, receiver.url())
    delivery = desk.tried(customer, 1)
    error = delivery["tried"][0]["error"]
    assert error == "The callback secret can't be decrypted: RELAYGATE_SECRET_KEY has changed."
    url = f"{desk.operator.gateway.url}/v1/account/callback-secret"
    answer = httpx2.get(url, headers=customer.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "secret_unreadable")
    new = desk.callback_secret(customer, rotate=True)
    assert new["previous_until"] is None
    desk.hurry(delivery)
    call = receiver.next()
    assert (call.signatures, call.verifies(key_of(new))) == (1, True)


def test_it_is_kept_encrypted_and_shown_to_its_holder_alone(
    desk: Desk, customer: Customer, hook_gateway: Gateway, receiver: Receiver
) -> None:
    secret = desk.callback_secret(customer)["secret"]
    receiver.answers.put(reply(500, json.dumps({"seen": secret}).encode()))
    desk.call_back(customer, receiver.url())
    delivery = desk.tried(customer, 1)
    assert "[redacted]" in delivery["tried"][0]["answer"]
    shown = json.dumps(delivery) + json.dumps(desk.operator.account(customer)) + hook_gateway.log
    assert secret.removeprefix("whsec_") not in shown
