"""What a key may do, and how soon it is dead."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from app.relay.pipeline import SLOW_BODY
from tests.gateway import Customer, Gateway, Operator
from tests.relay.calls import Answer, Client, chat, demo_model
from tests.wire.talk import head, talk


async def answer_to(client: Client, key: str, model: str) -> Answer:
    return await client.send(json.dumps(chat(model)).encode(), {"authorization": f"Bearer {key}"})


@pytest.mark.parametrize(
    "how", ["expired", "disabled", "revoked", "rotated", "its account disabled", "its account deleted"]
)
async def test_a_key_dies_within_a_second(operator: Operator, client: Client, how: str) -> None:
    customer, model = operator.customer(), demo_model(operator, "", free=True)
    assert (await answer_to(client, customer.key, model)).status == 200
    key, account = f"/keys/{customer.key_id}", f"/accounts/{customer.account_id}"
    fresh = None
    match how:
        case "expired":
            past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
            operator.call("PATCH", key, json={"expires_at": past})
        case "disabled":
            operator.call("PATCH", key, json={"enabled": False})
        case "revoked":
            operator.call("DELETE", key)
        case "rotated":
            fresh = operator.call("POST", f"{key}/rotate")["key"]
        case "its account disabled":
            operator.call("PATCH", account, json={"enabled": False})
        case "its account deleted":
            operator.call("DELETE", account)

    deadline = time.monotonic() + 1.0
    while (answer := await answer_to(client, customer.key, model)).status == 200:
        assert time.monotonic() < deadline
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    if fresh is not None:
        assert (await answer_to(client, fresh, model)).status == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v2/images/generations"])
async def test_a_key_dies_while_its_body_arrives(
    gateway: Gateway, operator: Operator, client: Client, path: str
) -> None:
    """Whoever holds bodies back can't use a key for as long as bodies may take."""
    customer, model = operator.customer(), demo_model(operator, "", free=True)
    body = json.dumps(chat(model)).encode()
    credential = f"Authorization: Bearer {customer.key}"
    async with talk(gateway) as slow:
        await slow.send(head("POST", path, credential, "Expect: 100-continue", f"Content-Length: {len(body)}"))
        assert b" 100 " in await slow.reader.readuntil(b"\r\n\r\n")
        operator.call("DELETE", f"/keys/{customer.key_id}")
        async with asyncio.timeout(5):
            while (await answer_to(client, customer.key, model)).status == 200:
                await asyncio.sleep(0.01)
        await asyncio.sleep(SLOW_BODY)
        await slow.send(body)
        answer = await slow.answer()
    assert answer is not None
    assert (answer.status, answer.code) == (401, "invalid_api_key")


async def test_a_key_expires_by_itself(operator: Operator, client: Client) -> None:
    expiry = datetime.now(UTC) + timedelta(seconds=1)
    customer, model = operator.customer(expires_at=expiry.isoformat()), demo_model(operator, "", free=True)
    before = await answer_to(client, customer.key, model)
    while datetime.now(UTC) < expiry:
        await asyncio.sleep(0.05)
    after = await answer_to(client, customer.key, model)

    assert (before.status, after.status) == (200, 401)


async def test_a_disabled_key_lives_again(operator: Operator, client: Client) -> None:
    customer, model = operator.customer(enabled=False), demo_model(operator, "", free=True)
    assert (await answer_to(client, customer.key, model)).status == 401
    operator.call("PATCH", f"/keys/{customer.key_id}", json={"enabled": True})

    deadline = time.monotonic() + 1.0
    while (await answer_to(client, customer.key, model)).status != 200:
        assert time.monotonic() < deadline


async def test_an_unknown_key_that_is_made_afterwards_is_known(operator: Operator, client: Client) -> None:
    model = demo_model(operator, "", free=True)
    customers = [operator.customer() for _ in range(3)]

    for customer in customers:
        assert (await answer_to(client, customer.key, model)).status == 200


async def test_a_list_of_models(operator: Operator, client: Client) -> None:
    alias = f"alias-{time.time_ns()}"
    allowed, other = demo_model(operator, "", aliases=[alias]), demo_model(operator, "")
    customer = operator.customer(models=[allowed])
    listed = (await client.http.get("/v1/models", headers=customer.headers)).json()
    hidden = await client.http.get(f"/v1/models/{other}", headers=customer.headers)
    refused = await client.chat(customer, other)

    assert (await client.chat(customer, allowed)).status == 200
    assert (await client.chat(customer, alias)).status == 200
    assert [model["id"] for model in listed["data"]] == sorted([allowed, alias])
    assert (hidden.status_code, hidden.json()["error"]["code"]) == (404, "model_not_found")
    assert (refused.status, refused.error["code"], refused.error["param"]) == (403, "model_not_allowed", "model")
    assert len(operator.entries(customer)) == 2


async def from_address(client: Client, customer: Customer, *forwarded: str) -> int:
    headers = [("authorization", f"Bearer {customer.key}"), *(("x-forwarded-for", value) for value in forwarded)]
    answer = await client.http.get("/v1/models", headers=headers)
    if answer.status_code == 403:
        assert answer.json()["error"]["code"] == "ip_not_allowed"
    return answer.status_code


async def test_a_list_of_addresses(operator: Operator, client: Client) -> None:
    here, elsewhere = operator.customer(ips=["127.0.0.0/8"]), operator.customer(ips=["10.0.0.0/8", "2001:db8::/32"])
    refused = await client.chat(elsewhere, demo_model(operator, ""))

    assert await from_address(client, here) == 200
    assert await from_address(client, elsewhere) == 403
    assert (refused.status, refused.error["code"], refused.error["type"]) == (403, "ip_not_allowed", "permission_error")
    assert operator.entries(elsewhere) == []


async def test_an_untrusted_peer_does_not_say_who_it_is(operator: Operator, client: Client) -> None:
    here, elsewhere = operator.customer(ips=["127.0.0.0/8"]), operator.customer(ips=["10.0.0.0/8"])

    assert await from_address(client, elsewhere, "10.1.2.3") == 403
    assert await from_address(client, here, "10.1.2.3") == 200


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        pytest.param(["10.1.2.3"], 200, id="one hop"),
        pytest.param(["8.8.8.8, 10.1.2.3"], 200, id="what the client claims stands left of what the proxy saw"),
        pytest.param(["10.1.2.3, 8.8.8.8"], 403, id="a claim is not believed"),
        pytest.param(["10.1.2.3, 127.0.0.9"], 200, id="two trusted hops"),
        pytest.param(["8.8.8.8", "10.1.2.3"], 200, id="two headers"),
        pytest.param(["10.1.2.3", "8.8.8.8"], 403, id="two headers, a claim first"),
        pytest.param(["::ffff:10.1.2.3"], 200, id="IPv4 in IPv6"),
        pytest.param(["10.1.2.3,"], 200, id="an empty hop"),
        pytest.param(["10.1.2.3, unknown"], 403, id="a hop that is no address"),
        pytest.param(["10.1.2.3:80"], 403, id="an address with a port"),
        pytest.param(["' OR 1=1 --"], 403, id="SQL"),
        pytest.param([""], 403, id="an empty header: the proxy itself"),
        pytest.param([], 403, id="no header: the proxy itself"),
    ],
)
async def test_a_trusted_proxy_is_believed_from_the_right(
    other_operator: Operator, other_client: Client, forwarded: list[str], status: int
) -> None:
    customer = other_operator.customer(ips=["10.0.0.0/8"])

    assert await from_address(other_client, customer, *forwarded) == status
