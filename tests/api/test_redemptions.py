"""Redeeming codes as holders do: by HTTP, with a key, from several places at once, and through failures."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
import pytest

from app.accounts.secrets import digest_of
from app.api.holder.redemptions import MAX_ACCOUNTS, MAX_FAILED, FailedTries
from app.errors import GatewayError
from app.ledger.codes import new_code
from tests.api.scan import assert_refused
from tests.api.test_codes import make_batch, redeem
from tests.gateway import ADMIN_TOKEN, Customer, Gateway, Operator
from tests.ledger.bank import PATIENCE, eventually

PATH = "/v1/account/redemptions"


@pytest.fixture(scope="module")
def second(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A second process on the shared gateway's database."""
    running = Gateway(gateway.database_url, tmp_path_factory.mktemp("second")).start()
    yield running
    assert running.stop() == 0, running.log


def balance(operator: Operator, customer: Customer) -> str:
    return str(operator.account(customer)["balance"])


def test_a_code_becomes_money(gateway: Gateway, admin: httpx2.Client, operator: Operator) -> None:
    (code,), customer = make_batch(admin, amount="2.5", count=1)["codes"], operator.customer("0.75")
    typed = f" {code.lower().replace('-', ' ').replace('0', 'o').replace('1', 'l')} "
    first = redeem(gateway, customer, typed)
    assert first.status_code == 201, first.text
    body = first.json()
    assert body == {
        "amount": "2.5",
        "balance": "3.25",
        "grant_id": body["grant_id"],
        "redeemed_at": body["redeemed_at"],
    }
    assert body["redeemed_at"].endswith("Z")
    assert first.headers["x-request-id"].startswith("req_")
    operator.call("POST", f"/accounts/{customer.account_id}/grants", json={"amount": "1"})
    again = redeem(gateway, customer, code)
    assert (again.status_code, again.json()) == (200, body | {"balance": "4.25"}), (
        "the first grant, and today's balance"
    )
    assert balance(operator, customer) == "4.25"


def test_redeemed_money_can_be_spent(gateway: Gateway, admin: httpx2.Client, operator: Operator) -> None:
    (code,), customer = make_batch(admin, amount="0.002", count=1)["codes"], operator.customer(None)
    model = operator.model("demo", price={"per_call": "0.001"})
    call = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    with httpx2.Client(base_url=gateway.base_url, headers=customer.headers, timeout=30) as client:
        assert client.post("/chat/completions", json=call).json()["error"]["code"] == "insufficient_quota"
        assert client.post("/account/redemptions", json={"code": code}).status_code == 201
        assert client.post("/chat/completions", json=call).status_code == 200
    operator.entries(customer, count=1)
    assert balance(operator, customer) == "0.001"


def test_refusals_give_nothing_away(gateway: Gateway, admin: httpx2.Client, operator: Operator) -> None:
    owner, stranger = operator.customer("1"), operator.customer("1")
    used, revoked = make_batch(admin, count=1), make_batch(admin, count=1)
    redeem(gateway, owner, used["codes"][0])
    admin.post(f"/code-batches/{revoked['id']}/revoke")
    tried = [new_code(), "RG", "' OR 1=1 --", "a\x00b", used["codes"][0], revoked["codes"][0]]
    answers = [redeem(gateway, stranger, code) for code in tried]
    for answer in answers:
        assert_refused(answer, "code", 400)
    assert {answer.json()["error"]["code"] for answer in answers} == {"invalid_code"}
    assert len({answer.text for answer in answers}) == 1
    assert balance(operator, stranger) == "1"


async def test_an_expired_code_says_so(gateway: Gateway, admin: httpx2.Client, operator: Operator) -> None:
    made, customer = make_batch(admin, count=1, expires_at="2090-01-01T00:00:00Z"), operator.customer("1")
    await run(gateway, "UPDATE code_batches SET expires_at = now() WHERE id = $1", made["id"])
    answer = redeem(gateway, customer, made["codes"][0])
    assert_refused(answer, "code", 400)
    assert answer.json()["error"]["code"] == "code_expired"
    assert admin.get(f"/code-batches/{made['id']}").json()["open"] == 0
    assert balance(operator, customer) == "1"


def test_needs_a_key(gateway: Gateway, admin: httpx2.Client, operator: Operator) -> None:
    (code,), customer = make_batch(admin, count=1)["codes"], operator.customer("1")
    dead = operator.customer("1", enabled=False)
    headers: list[dict[str, str]] = [
        {},
        {"authorization": "Bearer sk-nothing"},
        {"authorization": f"Bearer {ADMIN_TOKEN}"},
        dead.headers,
    ]
    for given in headers:
        answer = httpx2.post(gateway.url + PATH, headers=given, json={"code": code})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    elsewhere = operator.customer("1", ips=["203.0.113.7"])
    assert redeem(gateway, elsewhere, code).json()["error"]["code"] == "ip_not_allowed"
    assert redeem(gateway, customer, code).status_code == 201, "the code was not used up"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "code"),
        ({"code": None}, "code"),
        ({"code": 5}, "code"),
        ({"code": ""}, "code"),
        ({"code": "A" * 201}, "code"),
        ({"code": "x", "amount": "100"}, "amount"),
        ({"code": "x", "account_id": 1}, "account_id"),
    ],
)
def test_a_bad_body_is_named(gateway: Gateway, operator: Operator, body: dict[str, Any], field: str) -> None:
    customer = operator.customer("1")
    answer = httpx2.post(gateway.url + PATH, headers=customer.headers, json=body)
    assert_refused(answer, field)


def test_bodies_are_bounded(gateway: Gateway, operator: Operator) -> None:
    headers = operator.customer("1").headers | {"content-type": "application/json"}
    content = json.dumps({"code": "A" * 5000}).encode()
    for body in (content, iter([content[:100], content[100:]])):
        answer = httpx2.post(gateway.url + PATH, headers=headers, content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    half = httpx2.post(gateway.url + PATH, headers=headers, content=b'{"code": "\\ud83d"}')
    assert_refused(half, "code")
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) as stranger:
        stranger.sendall(head.encode())
        assert stranger.recv(100).startswith(b"HTTP/1.1 401 "), "a stranger's body isn't waited for"


# -- guessing --------------------------------------------------------------------------------------------------------


def test_ten_failed_tries_a_minute(gateway: Gateway, second: Gateway, admin: httpx2.Client, operator: Operator) -> None:
    codes = make_batch(admin, amount="1", count=3)["codes"]
    customer, other = operator.customer("1"), operator.customer("1")
    sibling = operator.call("POST", "/keys", json={"account_id": customer.account_id, "name": "b", "quota": None})
    assert redeem(gateway, customer, codes[0]).status_code == 201
    for _ in range(20):
        assert redeem(gateway, customer, codes[0]).status_code == 200, "what succeeds isn't counted"
    for number in range(10):
        guess = new_code() if number % 2 else "no code at all"
        assert_refused(redeem(gateway, customer, guess), "code", 400)

    for code in (new_code(), codes[1], codes[0]):
        answer = redeem(gateway, customer, code)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_tries")
        assert 0 < int(answer.headers["retry-after"]) <= 60
    with_sibling = redeem(gateway, Customer(customer.account_id, sibling["id"], sibling["key"]), codes[1])
    assert with_sibling.status_code == 429, "another key of the account is no way around it"
    assert balance(operator, customer) == "2"
    assert redeem(gateway, other, codes[1]).status_code == 201, "nobody else is kept waiting"
    assert redeem(second, customer, codes[2]).status_code == 201, "each process counts for itself"


def test_tries_come_back_one_by_one_after_a_minute() -> None:
    now = 1000.0
    tries = FailedTries(lambda: now)
    for _ in range(MAX_FAILED):
        tries.check(7)
        tries.add(7)
        now += 1
    with pytest.raises(GatewayError) as raised:
        tries.check(7)
    assert raised.value.retry_after == 50
    tries.check(8)
    now = 1060.0
    tries.check(7)
    tries.add(7)
    with pytest.raises(GatewayError, match="too_many_tries") as raised:
        tries.check(7)
    assert raised.value.retry_after == 1


def test_what_is_remembered_is_bounded() -> None:
    tries = FailedTries()
    for account_id in [1] * MAX_FAILED + [2] * MAX_FAILED + list(range(3, MAX_ACCOUNTS + 2)):
        tries.add(account_id)
    tries.check(1)  # the one whose failure is the longest ago is forgotten
    with pytest.raises(GatewayError):
        tries.check(2)


async def test_a_burst_of_guesses_gets_no_more_verdicts_than_there_are_connections(
    gateway: Gateway, operator: Operator
) -> None:
    customer = operator.customer("1")
    answers = await try_all([gateway], [customer], [new_code() for _ in range(60)])
    tally = Counter((answer.status_code, answer.json()["error"]["code"]) for answer in answers)
    assert set(tally) == {(400, "invalid_code"), (429, "too_many_tries")}
    assert 10 <= tally[400, "invalid_code"] < 10 + 5


# -- once ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accounts", [1, 50])
async def test_fifty_at_once_over_two_processes(
    gateway: Gateway, second: Gateway, admin: httpx2.Client, operator: Operator, accounts: int
) -> None:
    made = make_batch(admin, amount="5", count=1)
    customers = [operator.customer("1") for _ in range(accounts)]
    answers = await try_all([gateway, second], customers, made["codes"] * 50)
    won = [answer.json() for answer in answers if answer.is_success]
    assert Counter(answer.status_code for answer in answers) == (
        {201: 1, 200: 49} if accounts == 1 else {201: 1, 400: 49}
    )
    assert len({(body["grant_id"], body["redeemed_at"], body["amount"]) for body in won}) == 1
    balances = Counter(balance(operator, customer) for customer in customers)
    assert balances == Counter({"6": 1, "1": accounts - 1})
    batch = admin.get(f"/code-batches/{made['id']}").json()
    assert (batch["redeemed"], batch["open"]) == (1, 0)
    assert operator.audit()["ok"] is True


async def test_an_answer_that_was_lost_can_be_asked_for_again(
    gateway: Gateway, second: Gateway, admin: httpx2.Client, operator: Operator
) -> None:
    made, customer = make_batch(admin, amount="5", count=1), operator.customer("1")
    content = json.dumps({"code": made["codes"][0]})
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {customer.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    async with counters_locked(gateway, customer):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) as connection:
            connection.sendall((head + content).encode())
            await waiting_for(gateway, "account_balances")

    async def redeemed() -> bool:
        return bool(admin.get(f"/code-batches/{made['id']}").json()["redeemed"])

    await eventually(redeemed)
    again = redeem(second, customer, made["codes"][0])
    assert (again.status_code, again.json()["balance"]) == (200, "6")
    grants = admin.get(f"/accounts/{customer.account_id}/grants").json()["data"]
    assert [grant["id"] for grant in grants if grant["amount"] == "5"] == [again.json()["grant_id"]]


async def test_a_process_killed_in_the_middle_leaves_the_code_as_it_was(
    start_gateway: Callable[..., Gateway], gateway: Gateway, admin: httpx2.Client, operator: Operator
) -> None:
    """kill -9 between the code's lock and the commit, while the account's counters keep the redemption waiting."""
    made, customer = make_batch(admin, amount="5", count=1), operator.customer("1")
    (code,) = made["codes"]
    victim = start_gateway(gateway.database_url)
    async with httpx2.AsyncClient(timeout=30) as client, counters_locked(gateway, customer) as blocker:
        url, body = f"{victim.url}{PATH}", {"code": code}
        trying = asyncio.create_task(client.post(url, headers=customer.headers, json=body))
        pid = await waiting_for(gateway, "account_balances")
        locked = "SELECT 1 FROM codes WHERE digest = $1 FOR UPDATE SKIP LOCKED"
        assert await blocker.fetch(locked, digest_of(code)) == [], "it has got as far as the code's row"
        victim.kill()
        with pytest.raises(httpx2.HTTPError):
            await trying
    await gone(gateway, pid)
    assert admin.get(f"/code-batches/{made['id']}").json()["open"] == 1
    assert balance(operator, customer) == "1"
    done = redeem(gateway, customer, code)
    assert (done.status_code, done.json()["balance"]) == (201, "6")
    assert operator.audit()["ok"] is True


async def test_a_commit_that_fails_is_no_redemption(gateway: Gateway, admin: httpx2.Client, operator: Operator) -> None:
    made, customer = make_batch(admin, amount="5", count=1), operator.customer("1")
    await run(
        gateway,
        "CREATE FUNCTION fail_grant() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'too late'; END $$",
    )
    try:
        await run(
            gateway,
            "CREATE CONSTRAINT TRIGGER fail_grant AFTER INSERT ON grants DEFERRABLE INITIALLY DEFERRED "
            f"FOR EACH ROW WHEN (NEW.account_id = {customer.account_id}) EXECUTE FUNCTION fail_grant()",
        )
        failed = redeem(gateway, customer, made["codes"][0])
        assert (failed.status_code, failed.json()["error"]["code"]) == (503, "service_unavailable")
        assert admin.get(f"/code-batches/{made['id']}").json()["open"] == 1
        assert balance(operator, customer) == "1"
    finally:
        await run(gateway, "DROP FUNCTION fail_grant CASCADE")
    assert redeem(gateway, customer, made["codes"][0]).status_code == 201
    assert balance(operator, customer) == "6"


# -- what the tests above are made of --------------------------------------------------------------------------------


async def try_all(gateways: list[Gateway], customers: list[Customer], codes: list[str]) -> list[httpx2.Response]:
    """Each code once, all at the same time, spread over the gateways and customers."""
    async with httpx2.AsyncClient(timeout=60) as client:
        tries = [
            client.post(
                gateways[number % len(gateways)].url + PATH,
                headers=customers[number % len(customers)].headers,
                json={"code": code},
            )
            for number, code in enumerate(codes)
        ]
        return list(await asyncio.gather(*tries))


@asynccontextmanager
async def counters_locked(gateway: Gateway, customer: Customer) -> AsyncIterator[asyncpg.Connection]:
    """While the block runs, no money of the account moves: its redemptions wait for the commit."""
    connection = await asyncpg.connect(gateway.database_url)
    try:
        async with connection.transaction():
            query = "SELECT 1 FROM account_balances WHERE account_id = $1 FOR UPDATE"
            await connection.execute(query, customer.account_id)
            yield connection
    finally:
        await connection.close()


async def run(gateway: Gateway, statement: str, *values: Any) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(gateway.database_url)
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()


async def waiting_for(gateway: Gateway, table: str) -> int:
    """The process id of the first connection that waits for a lock in a query of this table."""
    query = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
        "AND query LIKE '%' || $1 || '%' AND pid <> pg_backend_pid()"
    )
    deadline = time.monotonic() + PATIENCE
    while True:
        rows = await run(gateway, query, table)
        if rows:
            return int(rows[0]["pid"])
        assert time.monotonic() < deadline


async def gone(gateway: Gateway, pid: int) -> None:
    """Returns once that connection has ended."""

    async def ended() -> bool:
        return not await run(gateway, "SELECT 1 FROM pg_stat_activity WHERE pid = $1", pid)

    await eventually(ended)
