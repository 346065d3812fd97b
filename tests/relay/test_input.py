"""Bad requests, by accident and on purpose: a readable refusal, bounded memory, and nothing charged."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator, Iterator

import pytest
import zstandard

from tests.demo.process import DemoProcess
from tests.gateway import Customer, Gateway, Operator
from tests.relay.calls import (
    PATIENCE,
    Answer,
    Client,
    Wire,
    chat,
    connect,
    demo_model,
    little_memory,
    raw_request,
    received,
    serve_model,
    upstream_name,
)

MB = 1024 * 1024
LIMIT = 8 * MB
"""What the shared gateway allows a request body."""


@pytest.fixture(scope="module")
def customer(operator: Operator) -> Iterator[Customer]:
    """One customer for all: at the end it still has all its money, and not one entry."""
    made = operator.customer("10")
    yield made
    account = operator.account(made)
    assert (account["balance"], account["held"], account["charged"]) == ("10", "0", "0")
    assert operator.entries(made) == []


async def refusal(wire: Wire) -> tuple[int, str]:
    """Status and code of an error on a bare connection."""
    status, headers = await wire.read_head()
    body = await asyncio.wait_for(wire.reader.readexactly(int(headers["content-length"])), PATIENCE)
    return status, json.loads(body)["error"]["code"]


# -- bodies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b"", "missing_body", id="none"),
        pytest.param(b"{", "invalid_json", id="cut off"),
        pytest.param(b"hello", "invalid_json", id="no JSON"),
        pytest.param(b"[]", "invalid_json", id="an array"),
        pytest.param(b"\xff\xfe{\x00}\x00", "invalid_json", id="UTF-16"),
        pytest.param(b'{"model":"m","messages":[],"x":' + b"[" * 100_000, "invalid_json", id="nested 100,000 deep"),
        pytest.param(b'{"model":"m","messages":[],"\\ud83d":1}', "invalid_json", id="an unwritable name"),
        pytest.param(b'{"messages":[]}', "missing_required_parameter", id="no model"),
        pytest.param(b'{"model":"m"}', "missing_required_parameter", id="no messages"),
        pytest.param(b'{"model":"m","messages":[],"n":1e9}', "invalid_type", id="no integer"),
        pytest.param(b'{"model":"m","messages":[],"n":1000000000}', "invalid_value", id="a huge n"),
        pytest.param(b'{"model":"m","messages":[],"max_tokens":-1}', "invalid_value", id="a negative cap"),
    ],
)
async def test_a_body_that_is_no_request(client: Client, customer: Customer, body: bytes, code: str) -> None:
    answer = await client.send(body, customer.headers)

    assert (answer.status, answer.error["code"], answer.error["type"]) == (400, code, "invalid_request_error")


async def chunks(size: int) -> AsyncIterator[bytes]:
    part = b"x" * 256 * 1024
    for _ in range(size // len(part)):
        yield part


@pytest.mark.parametrize("announced", [True, False], ids=["content-length", "chunked"])
async def test_a_hundred_megabytes(client: Client, customer: Customer, gateway: Gateway, announced: bool) -> None:
    headers = {**customer.headers, **({"content-length": str(100 * MB)} if announced else {})}
    with little_memory(gateway):
        answer = await client.send(chunks(100 * MB), headers)

    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert answer.headers["connection"] == "close"


async def test_the_largest_body_passes_and_one_byte_more_does_not(
    operator: Operator, client: Client, customer: Customer, demo: DemoProcess
) -> None:
    upstream = upstream_name()
    model = serve_model(operator, {"upstream_model": upstream}, free=True)
    payer = operator.customer()
    body = json.dumps(chat(model, user="")).encode()
    fits = await client.send(body.replace(b'"user": ""', b'"user": "%b"' % (b"x" * (LIMIT - len(body)))), payer.headers)
    more = await client.send(body + b" " * (LIMIT + 1 - len(body)), customer.headers)

    assert (fits.status, more.status) == (200, 413)
    assert len(received(demo, upstream)[0]["body"]["user"]) == LIMIT - len(body)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "zstd", "identity", "GZIP"])
@pytest.mark.parametrize("size", [0, 2 * MB], ids=["small", "large"])
async def test_a_compressed_body_is_a_body(
    operator: Operator, client: Client, demo: DemoProcess, encoding: str, size: int
) -> None:
    upstream, payer = upstream_name(), operator.customer()
    model = serve_model(operator, {"upstream_model": upstream}, free=True)
    body = json.dumps(chat(model, user="x" * size)).encode()
    packed = zstandard.compress(body) if encoding == "zstd" else body if encoding == "identity" else gzip.compress(body)
    answer = await client.send(packed, {**payer.headers, "content-encoding": encoding})

    assert answer.status == 200
    assert received(demo, upstream)[0]["body"] == {**json.loads(body), "model": upstream}
    assert "content-encoding" not in dict(received(demo, upstream)[0]["headers"])


def gzip_bomb() -> bytes:
    """A gigabyte of zeros in one megabyte; without the checksum at the end, which nobody should get to."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(MB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + block * 1024


def zstd_bomb() -> bytes:
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    return b"".join(packer.compress(bytes(MB)) for _ in range(1024)) + packer.flush()


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_a_bomb(client: Client, customer: Customer, gateway: Gateway, encoding: str) -> None:
    bomb = gzip_bomb() if encoding == "gzip" else zstd_bomb()
    with little_memory(gateway):
        answers = await asyncio.gather(
            *(client.send(bomb, {**customer.headers, "content-encoding": encoding}) for _ in range(4))
        )

    assert {(answer.status, answer.error["code"]) for answer in answers} == {(413, "request_too_large")}
    assert max(answer.seconds for answer in answers) < 5.0


PLAIN = json.dumps(chat("m")).encode()


@pytest.mark.parametrize(
    ("encoding", "body", "status", "code"),
    [
        pytest.param("gzip", gzip.compress(PLAIN)[:-9], 400, "invalid_content_encoding", id="gzip cut short"),
        pytest.param("gzip", gzip.compress(PLAIN) * 2, 400, "invalid_content_encoding", id="gzip twice"),
        pytest.param("gzip", PLAIN, 400, "invalid_content_encoding", id="no gzip"),
        pytest.param("gzip", b"", 400, "invalid_content_encoding", id="gzip of nothing at all"),
        pytest.param("zstd", zstandard.compress(PLAIN)[:-3], 400, "invalid_content_encoding", id="zstd cut short"),
        pytest.param("zstd", PLAIN, 400, "invalid_content_encoding", id="no zstd"),
        pytest.param("zstd", b"", 400, "invalid_content_encoding", id="zstd of nothing at all"),
        pytest.param("br", PLAIN, 415, "unsupported_content_encoding", id="brotli"),
        pytest.param("deflate", PLAIN, 415, "unsupported_content_encoding", id="deflate"),
        pytest.param("gzip, gzip", PLAIN, 415, "unsupported_content_encoding", id="gzip in gzip"),
    ],
)
async def test_a_body_that_is_not_what_its_encoding_says(
    client: Client, customer: Customer, encoding: str, body: bytes, status: int, code: str
) -> None:
    answer = await client.send(body, {**customer.headers, "content-encoding": encoding})

    assert (answer.status, answer.error["code"], answer.error["param"]) == (status, code, "content-encoding")


# -- credentials -------------------------------------------------------------------------------------------------------


def with_key(customer: Customer, text: str) -> str:
    return text.replace("KEY", customer.key)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="none"),
        pytest.param([("authorization", "")], id="empty"),
        pytest.param([("authorization", "Bearer")], id="no token"),
        pytest.param([("authorization", "Bearer ")], id="an empty token"),
        pytest.param([("authorization", "KEY")], id="no scheme"),
        pytest.param([("authorization", "Basic KEY")], id="another scheme"),
        pytest.param([("authorization", "Bearer KEY KEY")], id="two tokens in one"),
        pytest.param([("authorization", "Bearer KEY"), ("authorization", "Bearer KEY")], id="twice"),
        pytest.param([("authorization", "Bearer KEY"), ("authorization", "Bearer sk-other")], id="two identities"),
        pytest.param([("authorization", "Bearer sk-wrong"), ("x-api-key", "KEY")], id="a wrong one first"),
        pytest.param([("authorization", "Bearer KEYx")], id="one character more"),
        pytest.param([("authorization", 'Bearer "KEY"')], id="quotes"),
        pytest.param([("authorization", "Bearer KEY' OR '1'='1")], id="SQL"),
        pytest.param([("authorization", "Bearer sk-' OR 1=1 --")], id="more SQL"),
        pytest.param([("authorization", "Bearer sk-\xe9\xff")], id="no ASCII"),
        pytest.param([("authorization", "Bearer sk-" + "x" * 1_000)], id="a long one"),
        pytest.param([("x-api-key", "")], id="an empty x-api-key"),
        pytest.param([("x-api-key", "Bearer KEY")], id="a scheme where none belongs"),
        pytest.param([("cookie", "key=KEY")], id="in a cookie"),
    ],
)
async def test_credentials_that_are_none(gateway: Gateway, customer: Customer, headers: list[tuple[str, str]]) -> None:
    given = [(name, with_key(customer, value)) for name, value in headers]
    async with connect(gateway, raw_request(chat("m"), *given)) as wire:
        assert await refusal(wire) == (401, "invalid_api_key")


@pytest.mark.parametrize("cut", [1, 10, 40])
async def test_a_part_of_a_key_is_no_key(client: Client, customer: Customer, cut: int) -> None:
    answer = await client.send(PLAIN, {"authorization": f"Bearer {customer.key[:-cut]}"})

    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "value",
    [b"Bearer sk-\0", b"Bearer KEY\0", b"Bearer " + b"sk-" + b"x" * MB],
    ids=["NUL", "NUL behind", "a megabyte"],
)
async def test_headers_that_are_no_http_are_refused(gateway: Gateway, customer: Customer, value: bytes) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nauthorization: "
    async with connect(gateway, head + value.replace(b"KEY", customer.key.encode()) + b"\r\n\r\n{}") as wire:
        status, _ = await wire.read_head()

    assert status in (400, 401, 431)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
async def test_the_scheme_may_be_spelled_in_any_case(client: Client, customer: Customer, scheme: str) -> None:
    answer = await client.send(PLAIN, {"authorization": f"{scheme} {customer.key}"})

    assert answer.error["code"] == "model_not_found"


@pytest.mark.parametrize("query", ["key=KEY", "a=b&key=KEY", "key=KEY&alt=sse"])
async def test_a_key_in_the_query(client: Client, customer: Customer, query: str) -> None:
    answer = await client.send(PLAIN, {}, f"/v1/chat/completions?{with_key(customer, query)}")

    assert answer.error["code"] == "model_not_found"


@pytest.mark.parametrize("query", ["key=", "key=sk-x", "key=KEY&key=KEY", "Key=KEY", "x=KEY", "key=KEY" + "&a=1" * 60])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_query_without_a_key(client: Client, customer: Customer, query: str, method: str) -> None:
    path = {"GET": "/v1/models", "POST": "/v1/chat/completions"}[method]
    answer = await client.http.request(method, f"{path}?{with_key(customer, query)}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_a_stranger_is_refused_before_its_body_is_read(gateway: Gateway) -> None:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {100 * MB}\r\n\r\n"
    async with connect(gateway, head.encode()) as wire:
        assert await refusal(wire) == (401, "invalid_api_key")


async def test_refusals_are_quick_and_alike(client: Client, customer: Customer) -> None:
    """A wrong key tells nothing: not whether it exists, not whether it was revoked."""
    answers: list[Answer] = [
        await client.send(PLAIN, {"authorization": f"Bearer {key}"})
        for key in ("sk-x", customer.key[:-1], "sk-" + "A" * 43, "other")
    ]

    assert len({answer.body for answer in answers}) == 1
    assert max(answer.seconds for answer in answers) < 1.0


async def test_a_flood_of_bad_requests_harms_no_good_one(
    operator: Operator, client: Client, customer: Customer
) -> None:
    payer, model = operator.customer(), demo_model(operator, "tokens=3")
    bad = [client.send(b"{", customer.headers) for _ in range(60)]
    wrong = [client.send(PLAIN, {"authorization": f"Bearer sk-{number}"}) for number in range(60)]
    good = [client.chat(payer, model) for _ in range(10)]
    started = time.monotonic()
    answers = await asyncio.gather(*bad, *wrong, *good)

    assert [answer.status for answer in answers] == [400] * 60 + [401] * 60 + [200] * 10
    assert time.monotonic() - started < 10
