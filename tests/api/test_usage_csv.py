"""The export: every entry once, exact, harmless in a spreadsheet, and in flat memory however long it is."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import socket
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import asyncpg
import httpx2
import psutil
import pytest

from tests.api.conftest import Chat
from tests.gateway import ADMIN_TOKEN, Customer, Gateway, Operator

MANY = 100_000
MANY_ENTRIES = """
INSERT INTO entries (account_id, id, key_id, request_id, created_at, model, format, status, held, charged, usage, price_id,
    ratio_ppm, group_ppm, estimated, stream, attempts, error)
SELECT $1, (left(first_id(now() - i * interval '10 seconds')::text, 24) || lpad(to_hex(i), 12, '0'))::uuid, $2,
    gen_random_uuid(), now() - i * interval '10 seconds', 'model-' || i % 7, 'openai_chat', 'settled', 5000, i,
    jsonb_build_object('input_tokens', i % 1000, 'output_tokens', i % 100), NULL, 1000000, 1000000, false, true, 1, NULL
FROM generate_series(1, $3::int) AS i
"""

# As if all of them had been paid for: whoever shares the database audits it.
CHARGED = """
WITH granted AS (INSERT INTO grants (account_id, amount) VALUES ($1, $2)),
    paid AS (UPDATE key_balances SET charged = charged + $2 WHERE account_id = $1)
UPDATE account_balances SET granted = granted + $2, charged = charged + $2 WHERE account_id = $1
"""


def _read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def _export(admin: httpx2.Client, **params: Any) -> list[dict[str, str]]:
    response = admin.get("/usage.csv", params=params)
    assert response.status_code == 200, response.text
    return _read(response.text)


async def _run(url: str, query: str, *values: Any) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(query, *values)
    await connection.close()


@pytest.fixture(scope="module")
def customer(operator: Operator, chat: Chat) -> Customer:
    """With a paid entry, an estimated one and a failed one."""
    made = operator.customer("10")
    operator.call("PATCH", f"/accounts/{made.account_id}", json={"price_ratio": "0.5"})
    for upstream, status in (("demo", 200), ("demo?usage=missing", 200), ("demo?status=500", 502)):
        assert chat(made, operator.model(upstream)).status_code == status
    operator.entries(made, count=3)
    return made


def test_a_line_says_what_the_entry_says(admin: httpx2.Client, customer: Customer) -> None:
    response = admin.get("/usage.csv", params={"account_id": customer.account_id})
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="usage.csv"'
    assert response.text.count("\r\n") == response.text.count("\n") == 4
    entries = admin.get("/usage", params={"account_id": customer.account_id}).json()["data"]
    lines = _read(response.text)
    assert len(lines) == 3
    for line, entry in zip(lines, reversed(entries), strict=True):  # the oldest first
        assert line["margin"] == ""
        for field in ("usage", "price"):
            assert json.loads(line[field]) == entry[field]
        for field in ("input_tokens", "output_tokens"):
            assert line[field] == str(entry["usage"].get(field, ""))
        assert line["created_at"].rstrip("0Z") == entry["created_at"].rstrip("0Z")
        for field in set(entry) - {"usage", "price", "created_at"}:
            value = entry[field]
            assert line[field] == (
                "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
            )


def test_costs_and_margins(admin: httpx2.Client, operator: Operator, chat: Chat, gateway: Gateway) -> None:
    spender, model = operator.customer(), operator.model("demo", price={"per_call": "0.25"})
    assert chat(spender, model).status_code == 200
    operator.entries(spender, count=1)
    asyncio.run(
        _run(gateway.database_url, "UPDATE entries SET cost = 250000001 WHERE account_id = $1", spender.account_id)
    )
    (line,) = _export(admin, account_id=spender.account_id)
    assert (line["charged"], line["cost"], line["margin"]) == ("0.25", "0.250000001", "-0.000000001")


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("＝1", "'＝1"),
        ('a "quoted", text\r\nof two lines', 'a "quoted", text\r\nof two lines'),
        ("a=b", "a=b"),
        ("'", "'"),
        ("", ""),
        ("名前 🙂", "名前 🙂"),
    ],
)
def test_no_text_is_a_formula(
    admin: httpx2.Client, operator: Operator, chat: Chat, gateway: Gateway, text: str, cell: str
) -> None:
    victim, model = operator.customer(), operator.model("demo")
    assert chat(victim, model).status_code == 200
    operator.entries(victim, count=1)
    query = "UPDATE entries SET error = $2, model = $2 WHERE account_id = $1"
    asyncio.run(_run(gateway.database_url, query, victim.account_id, text))
    (line,) = _export(admin, account_id=victim.account_id)
    assert (line["error"], line["model"]) == (cell, cell)


def test_filters_choose(admin: httpx2.Client, customer: Customer) -> None:
    entries = admin.get("/usage", params={"account_id": customer.account_id}).json()["data"]
    middle = entries[1]["created_at"]
    for filters in (
        {},
        {"key_id": customer.key_id},
        {"model": entries[0]["model"]},
        {"status": "released"},
        {"since": middle},
        {"until": middle},
        {"channel_id": entries[0]["channel_id"]},
    ):
        params = {"account_id": customer.account_id, **filters}
        expected = [entry["id"] for entry in admin.get("/usage", params=params).json()["data"]]
        assert [line["id"] for line in reversed(_export(admin, **params))] == expected, filters
    assert _export(admin, account_id=2**62) == []
    assert _export(admin, key_id=customer.key_id) == _export(admin, account_id=customer.account_id)


def test_the_export_needs_the_admin_token(gateway: Gateway, customer: Customer) -> None:
    for headers in ({}, customer.headers):
        assert httpx2.get(f"{gateway.url}/admin/v1/usage.csv", headers=headers).status_code == 401


@pytest.fixture(scope="module")
def full(gateway: Gateway, operator: Operator) -> Customer:
    """With a hundred thousand entries of nearly twelve days."""
    made = operator.customer("10")
    asyncio.run(_run(gateway.database_url, MANY_ENTRIES, made.account_id, made.key_id, MANY))
    asyncio.run(_run(gateway.database_url, CHARGED, made.account_id, sum(range(MANY + 1))))
    asyncio.run(_run(gateway.database_url, "ANALYZE entries"))
    return made


def _worker(gateway: Gateway) -> psutil.Process:
    assert gateway.process is not None
    family = [psutil.Process(gateway.process.pid), *psutil.Process(gateway.process.pid).children(recursive=True)]
    (serving,) = [one for one in family if any(c.laddr.port == gateway.port for c in one.net_connections("tcp4"))]
    return serving


@pytest.mark.long
def test_many_lines_in_flat_memory(gateway: Gateway, full: Customer) -> None:
    process = _worker(gateway)
    with gateway.admin() as admin:
        # What the first pages make room for is used again by the rest.
        assert len(_export(admin, account_id=full.account_id, model="model-1")) == MANY // 7 + 1
        before = peak = process.memory_info().rss
        count, charged, size, rest = -1, 0, 0, ""
        with admin.stream("GET", "/usage.csv", params={"account_id": full.account_id}) as response:
            for part in response.iter_text():
                size += len(part)
                *lines, rest = (rest + part).split("\r\n")
                count += len(lines)
                charged += sum(int(Decimal(line.split(",")[6]) * 10**9) for line in lines if line[0].isdigit())
                peak = max(peak, process.memory_info().rss)
    assert (count, rest) == (MANY, "")
    assert charged == MANY * (MANY + 1) // 2
    assert size > 20_000_000
    assert peak - before < size // 2


@pytest.mark.long
def test_a_reader_that_stalls_holds_no_connection(
    start_gateway: Callable[..., Gateway], gateway: Gateway, full: Customer
) -> None:
    alone = start_gateway(gateway.database_url, RELAYGATE_DATABASE_POOL="1", RELAYGATE_WRITE_TIMEOUT="2")
    request = (
        f"GET /admin/v1/usage.csv?account_id={full.account_id} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {ADMIN_TOKEN}\r\n\r\n"
    )
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", alone.port))
        reader.sendall(request.encode())
        assert reader.recv(12) == b"HTTP/1.1 200"
        # The only connection of the pool serves others while this reader doesn't read.
        with alone.admin() as admin:
            assert admin.get("/accounts", params={"limit": 1}).status_code == 200
        asyncio.run(_await_log(alone, "export_cut"))
        received = b""
        while part := reader.recv(1 << 16):
            received += part
    assert not received.endswith(b"\r\n0\r\n\r\n"), "a part looks like the whole"
    assert received.count(b"\r\n") < MANY


async def _await_log(gateway: Gateway, event: str) -> None:
    async with asyncio.timeout(20):
        while event not in gateway.log:
            await asyncio.sleep(0.05)
