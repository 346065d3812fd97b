"""Several workers, workers that die, workers that stop: each message arrives, under one id."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.demo.process import DemoProcess
from tests.gateway import SECRET_KEY, Gateway, Operator
from tests.webhooks.desk import ALLOWED, Desk, wait
from tests.webhooks.receiver import Receiver, reply

Open = Callable[[Gateway], Desk]


@pytest.fixture
def open_desk(demo: DemoProcess) -> Iterator[Open]:
    made: list[Operator] = []

    def open_one(gateway: Gateway) -> Desk:
        made.append(Operator(gateway, demo.url))
        return Desk(made[-1])

    yield open_one
    for operator in made:
        operator.close()


@pytest.mark.long
def test_two_workers_deliver_each_message_once(
    start_gateway: Callable[..., Gateway], open_desk: Open, receiver: Receiver
) -> None:
    first = start_gateway(**ALLOWED)
    start_gateway(first.database_url, **ALLOWED)
    desk = open_desk(first)
    customers = [desk.customer(receiver.url(f"/{number}"), "0.75", "0.5") for number in range(20)]
    for customer in customers:
        desk.grant(customer, "-0.3")
        desk.grant(customer, "-0.3")
    desk.call_back(customers[0], *[receiver.url("/callback")] * 40)
    calls = [receiver.next() for _ in range(80)]
    assert len({call.id for call in calls}) == 80
    assert sum(call.path == "/callback" for call in calls) == 40
    found = desk.operator.call("GET", "/deliveries", params={"limit": 200})["data"]
    assert {row["webhook_id"] for row in found} == {call.id for call in calls}
    delivered = {"state": "delivered", "limit": 200}
    wait(lambda: len(desk.operator.call("GET", "/deliveries", params=delivered)["data"]) == 80)
    rows = [desk.operator.call("GET", f"/deliveries/{row['id']}") for row in found]
    assert {(row["state"], row["attempts"], len(row["tried"])) for row in rows} == {("delivered", 1, 1)}
    assert receiver.calls.empty()


def test_what_a_killed_worker_had_under_way_is_delivered_again_under_its_id(
    start_gateway: Callable[..., Gateway], open_desk: Open, receiver: Receiver
) -> None:
    gateway = start_gateway(**ALLOWED)
    desk = open_desk(gateway)
    customers = {"/hook": desk.customer(receiver.url("/hook"), "0.75"), "/callback": desk.operator.customer()}
    for _ in customers:
        receiver.answers.put(receiver.hang)
    desk.grant(customers["/hook"], "-0.5")
    desk.call_back(customers["/callback"], receiver.url("/callback"))
    calls = (receiver.next() for _ in customers)
    first = {call.path: (call.id, call.body) for call in calls}
    gateway.kill()
    gateway.start()
    desk = open_desk(gateway)
    for customer in customers.values():
        (delivery,) = desk.deliveries(customer)
        assert (delivery["state"], delivery["attempts"], delivery["tried"]) == ("pending", 1, [])
    assert receiver.calls.empty()
    # The dead worker's claims run out.
    desk.execute("UPDATE deliveries SET claimed_until = now()")
    calls = (receiver.next() for _ in customers)
    assert {call.path: (call.id, call.body) for call in calls} == first
    for customer in customers.values():
        delivery = desk.tried(customer, 1)
        assert (delivery["state"], [attempt["number"] for attempt in delivery["tried"]]) == ("delivered", [2])


@pytest.mark.long
def test_what_a_stopping_worker_had_under_way_is_given_back(
    start_gateway: Callable[..., Gateway], open_desk: Open, receiver: Receiver
) -> None:
    gateway = start_gateway(**ALLOWED)
    desk = open_desk(gateway)
    receiver.answers.put(receiver.hang)
    customer = desk.customer(receiver.url(), "0.75")
    desk.grant(customer, "-0.5")
    first = receiver.next()
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log
    gateway.start()
    desk = open_desk(gateway)
    # No claim to wait for.
    assert receiver.next().id == first.id
    assert desk.tried(customer, 1)["state"] == "delivered"


@pytest.mark.long
def test_a_process_that_only_serves_sends_samples_and_nothing_else(
    start_gateway: Callable[..., Gateway], open_desk: Open, receiver: Receiver
) -> None:
    server = start_gateway(RELAYGATE_ROLE="api", **ALLOWED)
    desk = open_desk(server)
    customer = desk.customer(receiver.url("/hook"), "0.75")
    desk.grant(customer, "-0.5")
    sample = desk.test(customer)
    assert (sample["state"], receiver.next().id) == ("delivered", sample["webhook_id"])
    crossing = desk.deliveries(customer)[0]
    assert (crossing["test"], crossing["state"], crossing["attempts"]) == (False, "pending", 0)
    start_gateway(server.database_url, **ALLOWED)
    assert receiver.next().id == crossing["webhook_id"]
    assert receiver.calls.empty()


@pytest.mark.long
def test_a_short_trouble_of_the_database_repeats_no_message(desk: Desk, receiver: Receiver) -> None:
    customer = desk.customer(receiver.url(), "0.75")
    # The first two times that the attempt is written down fail; a sequence counts on in transactions that are rolled back.
    desk.execute(
        f"""
        CREATE SEQUENCE trouble;
        CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('trouble') <= 2 THEN RAISE EXCEPTION 'trouble'; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER trouble BEFORE INSERT ON delivery_attempts FOR EACH ROW
            WHEN (NEW.account_id = {customer.account_id}) EXECUTE FUNCTION trouble();
        """
    )
    desk.grant(customer, "-0.5")
    receiver.next()
    delivery = desk.tried(customer, 1)
    assert (delivery["state"], [attempt["number"] for attempt in delivery["tried"]]) == ("delivered", [1])
    assert receiver.calls.empty()
    desk.execute("DROP TRIGGER trouble ON delivery_attempts")


@pytest.mark.long
def test_a_secret_that_can_t_be_decrypted_is_waited_for(
    start_gateway: Callable[..., Gateway], open_desk: Open, receiver: Receiver
) -> None:
    gateway = start_gateway(**ALLOWED)
    desk = open_desk(gateway)
    receiver.answers.put(reply(500))
    customer = desk.customer(receiver.url(), "0.75")
    desk.grant(customer, "-0.5")
    delivery = desk.tried(customer, 1)
    first = receiver.next()
    other_key = "another-secret-key-0123456789"
    for key, error in (
        (other_key, "The webhook's secret can't be decrypted: RELAYGATE_SECRET_KEY has changed."),
        (f"{other_key},{SECRET_KEY}", None),
    ):
        gateway.stop()
        gateway.settings = {**ALLOWED, "RELAYGATE_SECRET_KEY": key}
        gateway.start()
        desk = open_desk(gateway)
        desk.hurry(delivery)
        count = len(delivery["tried"]) + 1
        delivery = desk.tried(customer, count)
        assert delivery["tried"][-1]["error"] == error
    assert delivery["state"] == "delivered"
    assert receiver.next().id == first.id
    assert receiver.calls.empty()
