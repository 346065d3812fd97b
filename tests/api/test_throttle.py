"""Addresses that present unknown credentials are slowed down, and nobody is locked out by a neighbour."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import anthropic
import httpx2
import openai
import pytest
from sqlalchemy import event

from app.accounts.admin_tokens import AdminTokens, create_token
from app.accounts.principals import Principals
from app.accounts.secrets import new_admin_token, new_key
from app.accounts.throttle import AT_ONCE, MAX_SOURCES, Throttle
from app.db.engine import Database
from app.errors import GatewayError
from tests.demo.process import DemoProcess
from tests.gateway import ADMIN_TOKEN, Customer, Gateway, Operator

HERE = ip_address("203.0.113.7")
FAILURES = 5
ADMIN_FAILURES = 3


# -- the bucket ------------------------------------------------------------------------------------------------------


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def wait_of(throttle: Throttle, address: IPv4Address | IPv6Address | None) -> float | None:
    """What `retry-after` says; None: it may try."""
    try:
        throttle.check(address)
    except GatewayError as error:
        return error.retry_after if error.code == "too_many_auth_failures" else None
    return None


def test_a_bucket_runs_dry_and_fills_evenly() -> None:
    clock = Clock()
    throttle = Throttle(4, clock)
    for _ in range(4):
        assert wait_of(throttle, HERE) is None
        throttle.add(HERE)
    assert wait_of(throttle, HERE) == 15
    clock.now += 14.5
    assert wait_of(throttle, HERE) == 1
    clock.now += 0.5
    assert wait_of(throttle, HERE) is None
    throttle.add(HERE)
    assert wait_of(throttle, HERE) == 15
    clock.now += 60
    for _ in range(4):
        assert wait_of(throttle, HERE) is None
        throttle.add(HERE)
    assert wait_of(throttle, HERE) == 15


def test_failures_under_way_do_not_add_to_the_wait() -> None:
    throttle = Throttle(4, Clock())
    for _ in range(100):
        throttle.add(HERE)
    assert wait_of(throttle, HERE) == 15


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("203.0.113.7", "203.0.113.8", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("0.0.0.1", "::1:0:0:0:0", False),
        (None, None, True),
        (None, "203.0.113.7", False),
    ],
)
def test_what_counts_as_one_address(first: str | None, second: str | None, shared: bool) -> None:
    one, other = (None if text is None else ip_address(text) for text in (first, second))
    throttle = Throttle(1, Clock())
    throttle.add(one)
    assert wait_of(throttle, one) == 60
    assert (wait_of(throttle, other) is not None) is shared


def test_its_memory_is_bounded_and_forgets_who_failed_longest_ago() -> None:
    throttle = Throttle(1, Clock())
    for number in range(MAX_SOURCES):
        throttle.add(IPv4Address(number))
    throttle.add(IPv4Address(0))
    throttle.add(HERE)
    assert wait_of(throttle, IPv4Address(0)) == 60
    assert wait_of(throttle, IPv4Address(1)) is None
    assert len(throttle._full_at) == MAX_SOURCES


def test_zero_is_no_bound() -> None:
    throttle = Throttle(0, Clock())
    for _ in range(1000):
        throttle.add(HERE)
    assert wait_of(throttle, HERE) is None


# -- what it keeps from the database -----------------------------------------------------------------------------------


@asynccontextmanager
async def counted(url: str, table: str) -> AsyncIterator[tuple[Database, list[str]]]:
    """A database, and the statements on a table that were sent to it."""
    database = Database(url, pool_size=1)
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if f"FROM {table}" in statement:
            sent.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield database, sent
    finally:
        await database.close()


async def test_a_refused_key_costs_no_look_up(migrated_database: Callable[[], str]) -> None:
    async with counted(migrated_database(), "keys") as (database, sent):
        principals = Principals(database.engine, Throttle(FAILURES))
        for _ in range(FAILURES):
            assert await principals.find(new_key(), lambda: HERE) is None
        for _ in range(20):
            with pytest.raises(GatewayError, match="too_many_auth_failures"):
                await principals.find(new_key(), lambda: HERE)
        assert len(sent) == FAILURES


async def test_a_burst_costs_few_look_ups_more(migrated_database: Callable[[], str]) -> None:
    """All of it is there before the first has failed."""
    async with counted(migrated_database(), "keys") as (database, sent):
        principals = Principals(database.engine, Throttle(FAILURES))
        burst = [principals.find(new_key(), lambda: HERE) for _ in range(100)]
        found = await asyncio.gather(*burst, return_exceptions=True)
        assert FAILURES <= len(sent) < FAILURES + AT_ONCE
        assert found.count(None) == len(sent)
        assert {error.code for error in found if isinstance(error, GatewayError)} == {"too_many_auth_failures"}


async def test_a_burst_of_admin_tokens_costs_few_look_ups_more(migrated_database: Callable[[], str]) -> None:
    async with counted(migrated_database(), "admin_tokens") as (database, sent):
        tokens = AdminTokens(database.engine, Throttle(FAILURES))
        await asyncio.gather(*(tokens.find(new_admin_token(), HERE) for _ in range(100)), return_exceptions=True)
        assert FAILURES <= len(sent) < FAILURES + AT_ONCE


async def test_a_burst_of_good_ones_is_refused_nothing(migrated_database: Callable[[], str]) -> None:
    async with counted(migrated_database(), "admin_tokens") as (database, _):
        async with database.engine.begin() as connection:
            good = [(await create_token(connection, "good"))[1] for _ in range(4 * FAILURES)]
        tokens = AdminTokens(database.engine, Throttle(FAILURES))
        assert None not in await asyncio.gather(*(tokens.find(token, HERE) for token in good))


async def test_a_refused_admin_token_costs_no_look_up(migrated_database: Callable[[], str]) -> None:
    async with counted(migrated_database(), "admin_tokens") as (database, sent):
        tokens = AdminTokens(database.engine, Throttle(FAILURES))
        async with database.engine.begin() as connection:
            _, good = await create_token(connection, "good")
        for _ in range(FAILURES):
            assert await tokens.find(new_admin_token(), HERE) is None
        for _ in range(20):
            with pytest.raises(GatewayError, match="too_many_auth_failures"):
                await tokens.find(new_admin_token(), HERE)
        assert len(sent) == FAILURES
        with pytest.raises(GatewayError, match="too_many_auth_failures"):
            await tokens.find(good, HERE)  # good, but nobody here knows yet
        assert await tokens.find(good, IPv4Address("203.0.113.8")) is not None
        assert await tokens.find(good, HERE) is not None


# -- by the front door -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(work_dir: Path, migrated_database: Callable[[], str]) -> Iterator[Gateway]:
    """A gateway that believes our X-Forwarded-For: each test comes from addresses of its own."""
    data_dir = work_dir / "throttle"
    data_dir.mkdir()
    settings = {
        "RELAYGATE_AUTH_FAILURES_PER_MINUTE": str(FAILURES),
        "RELAYGATE_ADMIN_AUTH_FAILURES_PER_MINUTE": str(ADMIN_FAILURES),
        "RELAYGATE_TRUSTED_PROXIES": "127.0.0.0/8",
    }
    gateway = Gateway(migrated_database(), data_dir, settings).start()
    yield gateway
    assert gateway.stop() == 0, gateway.log


@pytest.fixture(scope="module")
def chief(strict: Gateway, demo: DemoProcess) -> Iterator[Operator]:
    made = Operator(strict, demo.url)
    yield made
    made.close()


def models(gateway: Gateway, key: str, address: str) -> httpx2.Response:
    headers = {"authorization": f"Bearer {key}", "x-forwarded-for": address}
    return httpx2.get(f"{gateway.url}/v1/models", headers=headers)


def exhaust(gateway: Gateway, address: str) -> None:
    """Presents unknown keys until the address's bucket is empty."""
    for _ in range(FAILURES):
        assert models(gateway, new_key(), address).status_code == 401
    refused = models(gateway, new_key(), address)
    assert refused.status_code == 429, refused.text
    assert refused.json()["error"]["code"] == "too_many_auth_failures"
    assert 1 <= int(refused.headers["retry-after"]) <= 60 / FAILURES


def test_unknown_keys_are_refused_after_some(strict: Gateway) -> None:
    exhaust(strict, "198.51.100.1")
    assert models(strict, new_key(), "198.51.100.2").status_code == 401


def test_a_relay_refuses_them_in_the_clients_words(strict: Gateway) -> None:
    address = "198.51.100.3"
    exhaust(strict, address)
    headers = {"x-forwarded-for": address}
    message = {"role": "user", "content": "Hello"}
    with openai.OpenAI(api_key=new_key(), base_url=strict.base_url, max_retries=0, default_headers=headers) as client:
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(model="m", messages=[message])  # type: ignore[list-item]
        assert refused.value.code == "too_many_auth_failures"
    with (
        anthropic.Anthropic(api_key=new_key(), base_url=strict.url, max_retries=0, default_headers=headers) as other,
        pytest.raises(anthropic.RateLimitError),
    ):
        other.messages.create(model="m", max_tokens=5, messages=[message])  # type: ignore[list-item]


@pytest.mark.parametrize("key", ["not-a-key", "pk-" + "x" * 40, "sk-" + "x" * 5000])
def test_what_is_never_looked_up_is_never_counted(strict: Gateway, key: str) -> None:
    for _ in range(FAILURES + 2):
        assert models(strict, key, "198.51.100.4").status_code == 401
    assert models(strict, new_key(), "198.51.100.4").status_code == 401


def test_a_good_key_passes_whatever_its_neighbours_do(strict: Gateway, chief: Operator) -> None:
    address = "198.51.100.5"
    customer = chief.customer()
    assert models(strict, customer.key, address).status_code == 200
    exhaust(strict, address)
    assert models(strict, customer.key, address).status_code == 200
    # Memory forgets a key that is changed, but not that it was good.
    chief.call("PATCH", f"/keys/{customer.key_id}", json={"name": "changed"})
    for _ in range(3):
        assert models(strict, customer.key, address).status_code == 200
    chief.call("PATCH", f"/accounts/{customer.account_id}", json={"name": "changed"})
    assert models(strict, customer.key, address).status_code == 200


def test_a_revoked_key_becomes_a_stranger(strict: Gateway, chief: Operator) -> None:
    address = "198.51.100.6"
    customer = chief.customer()
    assert models(strict, customer.key, address).status_code == 200
    exhaust(strict, address)
    chief.call("DELETE", f"/keys/{customer.key_id}")
    deadline = time.monotonic() + 2
    while (status := models(strict, customer.key, address).status_code) == 200:
        assert time.monotonic() < deadline
    assert status == 401, "it was good: it is looked up once more"
    assert models(strict, customer.key, address).status_code == 429


def test_a_new_key_waits_where_its_neighbours_failed(strict: Gateway, chief: Operator) -> None:
    address = "198.51.100.7"
    exhaust(strict, address)
    customer: Customer = chief.customer()
    assert models(strict, customer.key, address).status_code == 429
    assert models(strict, customer.key, "198.51.100.8").status_code == 200
    assert models(strict, customer.key, address).status_code == 200


def admin(gateway: Gateway, token: str, address: str, path: str = "/admin/v1/accounts") -> httpx2.Response:
    return httpx2.get(gateway.url + path, headers={"authorization": f"Bearer {token}", "x-forwarded-for": address})


@pytest.mark.parametrize("path", ["/admin/v1/accounts", "/metrics"])
def test_admin_tokens_have_a_bucket_of_their_own(strict: Gateway, chief: Operator, path: str) -> None:
    address = f"198.51.100.{10 + len(path)}"
    good = chief.call("POST", "/tokens", json={"name": "good", "scopes": ["admin"]})["token"]
    assert admin(strict, good, address, path).status_code == 200
    for _ in range(ADMIN_FAILURES):
        assert admin(strict, new_admin_token(), address, path).status_code == 401
    refused = admin(strict, new_admin_token(), address, path)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "too_many_auth_failures"
    assert 1 <= int(refused.headers["retry-after"]) <= 60 / ADMIN_FAILURES
    assert admin(strict, good, address, path).status_code == 200
    assert admin(strict, ADMIN_TOKEN, address, path).status_code == 200
    assert models(strict, new_key(), address).status_code == 401
