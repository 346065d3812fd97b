"""Secrets for browsers: made with a key, good for sessions alone, for a while, and no longer than their key."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

import httpx2
import openai
import pytest

from app.errors import GatewayError
from app.realtime.client_secrets import ClientSecret, ClientSecrets
from tests.demo.process import DemoProcess
from tests.gateway import SECRET_KEY, Customer, Gateway, Operator
from tests.realtime.talk import entries, frames, realtime_model, refused, talk, upstream_of

SECRETS = ClientSecrets([SECRET_KEY])


@pytest.fixture(scope="module")
def model(operator: Operator) -> str:
    return realtime_model(operator, "tokens=4")


@pytest.fixture
def customer(operator: Operator) -> Customer:
    return operator.customer()


def make(gateway: Gateway, customer: Customer, body: Any = None, path: str = "/v1/realtime/client_secrets") -> Any:
    options = {} if body is None else {"json": body}
    return httpx2.post(gateway.url + path, headers=customer.headers, **options)


def bearer(value: str) -> dict[str, str]:
    return {"authorization": f"Bearer {value}"}


async def test_openai_sdk(gateway: Gateway, operator: Operator, demo: DemoProcess, customer: Customer) -> None:
    """Made by a server with its key, used by a browser as a subprotocol; the key's account pays."""
    model = realtime_model(operator, "tokens=4")
    async with openai.AsyncOpenAI(api_key=customer.key, base_url=gateway.base_url) as sdk:
        made = await sdk.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session={"type": "realtime", "model": model, "instructions": "Be brief."},
        )
    assert made.value.startswith("ek_")
    assert abs(made.expires_at - time.time() - 60) < 5
    assert made.session.type == "realtime"
    assert made.session.model == model
    assert customer.key not in made.value
    protocols = ["realtime", f"openai-insecure-api-key.{made.value}"]
    async with talk(gateway, None, None, subprotocols=protocols) as session:
        assert session.socket.subprotocol == "realtime"
        assert (await session.hear())["type"] == "session.created"
        updated = await session.hear()
        assert updated["type"] == "session.updated"
        assert (updated["session"]["model"], updated["session"]["instructions"]) == (model, "Be brief.")
        await session.turn()
    turn, _ = await entries(operator, customer, 2)
    assert turn["key_id"] == customer.key_id
    upstream = upstream_of(operator, model)
    assert upstream in (await frames(demo, upstream))["frames"][0]


async def test_it_is_good_for_sessions_alone(gateway: Gateway, customer: Customer, model: str) -> None:
    value = make(gateway, customer, {"session": {"type": "realtime", "model": model}}).json()["value"]
    for method, path in (
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/models"),
        ("POST", "/v1/realtime/client_secrets"),
        ("POST", "/v1/realtime/calls/rtc_1/hangup"),
    ):
        answer = httpx2.request(method, gateway.url + path, headers=bearer(value), content=b"{}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_it_is_bound_to_its_model(gateway: Gateway, operator: Operator, customer: Customer, model: str) -> None:
    other = realtime_model(operator, "")
    value = make(gateway, customer, {"session": {"type": "realtime", "model": model}}).json()["value"]
    status, error = await refused(gateway, None, other, headers=bearer(value))
    assert (status, error["code"]) == (403, "model_not_allowed")
    free = make(gateway, customer).json()
    assert abs(free["expires_at"] - time.time() - 600) < 5
    for name in (model, other):
        async with talk(gateway, None, name, headers=bearer(free["value"])) as session:
            assert (await session.hear())["session"]["model"] == name
    assert (await refused(gateway, None, None, headers=bearer(free["value"])))[1]["code"] == "missing_model"


@pytest.mark.parametrize("change", ["disable", "delete", "rotate"])
async def test_it_dies_with_its_key(
    gateway: Gateway, operator: Operator, customer: Customer, model: str, change: str
) -> None:
    value = make(gateway, customer).json()["value"]
    async with talk(gateway, None, model, headers=bearer(value)) as session:
        await session.hear()
        path = f"/keys/{customer.key_id}"
        match change:
            case "disable":
                await asyncio.to_thread(operator.call, "PATCH", path, json={"enabled": False})
            case "delete":
                await asyncio.to_thread(operator.call, "DELETE", path)
            case "rotate":
                await asyncio.to_thread(operator.call, "POST", f"{path}/rotate")
        assert (await session.end())[0] == 1008
    status, error = await refused(gateway, None, model, headers=bearer(value))
    assert (status, error["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_after": {"anchor": "created_at", "seconds": 9}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "created_at", "seconds": 7201}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "now", "seconds": 60}}, "expires_after.anchor"),
        ({"session": "realtime"}, "session"),
        ({"session": {"type": "translation"}}, "session.type"),
        ({"session": {"model": 5}}, "session.model"),
        ({"sessions": {}}, "sessions"),
        ([], None),
    ],
)
def test_bodies_that_are_wrong(gateway: Gateway, customer: Customer, body: Any, param: str | None) -> None:
    answer = make(gateway, customer, body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_what_it_is_not_made_for(gateway: Gateway, operator: Operator, customer: Customer, model: str) -> None:
    unknown = make(gateway, customer, {"session": {"model": "no-such-model"}})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    bound = operator.customer(models=["another"])
    assert make(gateway, bound, {"session": {"model": model}}).json()["error"]["code"] == "model_not_allowed"
    large = make(gateway, customer, {"session": {"instructions": secrets.token_hex(10_000)}})
    assert (large.status_code, large.json()["error"]["code"]) == (400, "session_too_large")
    for path in ("/v1/realtime/sessions", "/v1/realtime/transcription_sessions", "/realtime/sessions"):
        gone = make(gateway, customer, {}, path)
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "beta_not_supported")
        assert "client_secrets" in gone.json()["error"]["message"]
    assert make(gateway, customer, None, "/realtime/client_secrets").status_code == 200
    plain = httpx2.get(f"{gateway.base_url}/realtime", headers=customer.headers)
    assert (plain.status_code, plain.json()["error"]["code"]) == (426, "websocket_required")


def test_a_session_too_large_for_a_header() -> None:
    noise = secrets.token_hex(10_000)
    with pytest.raises(GatewayError) as refusal:
        SECRETS.seal(ClientSecret(b"d" * 32, 2**31, None, {"instructions": noise}))
    assert refusal.value.code == "session_too_large"
    # Ordinary text packs well.
    SECRETS.seal(ClientSecret(b"d" * 32, 2**31, None, {"instructions": "You are a friendly assistant. " * 300}))


def test_secrets_are_sealed() -> None:
    secret = ClientSecret(b"d" * 32, 1_000, "m", {"instructions": "hidden"})
    value = SECRETS.seal(secret)
    assert SECRETS.open(value, now=999.0) == secret
    for wrong, now in (
        (value, 1_000.0),
        (value[:-2] + ("AA" if value[-2:] != "AA" else "BB"), 1.0),
        (value[:40], 1.0),
        ("ek_", 1.0),
        ("ek_" + "x" * 10_000, 1.0),
        ("ek_\u00e4", 1.0),
        (ClientSecrets(["another-secret-key-0123456789"]).seal(secret), 1.0),
    ):
        with pytest.raises(GatewayError) as refusal:
            SECRETS.open(wrong, now=now)
        assert refusal.value.code == "invalid_api_key"
    # Keys are replaced one by one.
    rotated = ClientSecrets(["another-secret-key-0123456789", SECRET_KEY])
    assert rotated.open(value, now=1.0) == secret


SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\n"


def call(gateway: Gateway, key: str, model: str | None, path: str = "/v1/realtime/calls") -> httpx2.Response:
    query = {} if model is None else {"model": model}
    headers = {**bearer(key), "content-type": "application/sdp"}
    return httpx2.post(gateway.url + path, params=query, content=SDP, headers=headers)


async def test_a_call_is_charged_once(
    gateway: Gateway, operator: Operator, demo: DemoProcess, customer: Customer
) -> None:
    model = realtime_model(operator, "", price={"per_call": "0.25"})
    answer = call(gateway, customer.key, model)
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/sdp"
    assert answer.content.startswith(b"v=0")
    location = answer.headers["location"]
    assert location.startswith("/v1/realtime/calls/rtc_")
    (entry,) = await entries(operator, customer, 1)
    assert (entry["charged"], entry["status"]) == ("0.25", "settled")
    upstream = upstream_of(operator, model)
    form: Any = {"sdp": (None, SDP, "application/sdp"), "session": (None, f'{{"type":"realtime","model":"{model}"}}')}
    answer = httpx2.post(f"{gateway.base_url}/realtime/calls", files=form, headers=customer.headers)
    assert answer.status_code == 201, answer.text
    (sent,) = [r for r in demo.received(upstream) if r["parts"]]
    assert upstream in str(sent["parts"])
    assert model not in str(sent["parts"])
    other = operator.customer()
    assert httpx2.post(gateway.url + location + "/hangup", headers=other.headers).status_code == 404
    assert httpx2.post(gateway.url + location + "/hangup", headers=customer.headers).status_code == 200
    gone = httpx2.post(gateway.url + location + "/accept", headers=customer.headers)
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "call_not_found")
    value = make(gateway, customer, {"session": {"type": "realtime", "model": model}}).json()["value"]
    assert call(gateway, value, None).status_code == 201


async def test_a_call_that_could_not_be_metered(
    gateway: Gateway, operator: Operator, customer: Customer, model: str
) -> None:
    answer = call(gateway, customer.key, model)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "calls_not_metered")
    timed = realtime_model(operator, "", price={"per_minute": "1"})
    assert call(gateway, customer.key, timed).status_code == 403
    assert await entries(operator, customer, 0) == []
    free = realtime_model(operator, "", free=True, price=None)
    assert call(gateway, customer.key, free).status_code == 201


async def test_a_call_without_money(gateway: Gateway, operator: Operator, demo: DemoProcess) -> None:
    """No upstream hears of it."""
    poor = operator.customer(grant="0.1")
    model = realtime_model(operator, "", price={"per_call": "0.25"})
    answer = call(gateway, poor.key, model)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")
    assert demo.received(upstream_of(operator, model)) == []
    assert await entries(operator, poor, 0) == []


async def test_calls_by_the_sdk(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    model = realtime_model(operator, "", free=True, price=None)
    session: Any = {"type": "realtime", "model": model}
    with openai.OpenAI(base_url=gateway.base_url, api_key=customer.key, max_retries=0) as plain:
        made = plain.realtime.calls.with_raw_response.create(sdp=SDP.decode(), session=session)
        assert made.content.startswith(b"v=0")
        id = made.headers["location"].rpartition("/")[2]
        plain.realtime.calls.refer(id, target_uri="tel:+15550100")
        plain.realtime.calls.hangup(id)
        with pytest.raises(openai.NotFoundError):
            plain.realtime.calls.accept(id, type="realtime")
    async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=customer.key, max_retries=0) as other:
        answer = await other.realtime.calls.with_raw_response.create(sdp=SDP.decode(), session=session)
        await other.realtime.calls.reject(answer.headers["location"].rpartition("/")[2])
