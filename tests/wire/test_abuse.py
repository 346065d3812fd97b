"""What clients do to a socket: slow heads, floods of headers and requests, nonsense; and that nobody else notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import httpx2
import psutil
import pytest

from tests.gateway import ADMIN_TOKEN, Customer, Gateway, Operator
from tests.wire.talk import head, talk


@pytest.fixture(scope="module")
def customer(operator: Operator) -> Customer:
    return operator.customer()


@pytest.fixture(autouse=True)
def nothing_is_left(gateway: Gateway) -> Iterator[None]:
    """After every abuse the gateway answers, and no request is open."""
    yield
    assert httpx2.get(f"{gateway.url}/healthz").status_code == 200
    for _ in range(100):
        text = httpx2.get(f"{gateway.url}/metrics", headers={"authorization": f"Bearer {ADMIN_TOKEN}"}).text
        if "relaygate_open_requests 0.0" in text:
            return
    raise AssertionError("requests are left open")


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        pytest.param(head("GET", "/" + "a" * 20_000), 414, "uri_too_long", id="a long target"),
        pytest.param(head("GET", "/x?" + "a" * 200_000), 414, "uri_too_long", id="a long query"),
        pytest.param(head("GET", "/", *(f"x-{n}: 1" for n in range(200))), 431, "headers_too_large", id="many headers"),
        pytest.param(head("GET", "/", "x: " + "a" * 70_000), 431, "headers_too_large", id="a large header"),
        pytest.param(
            head("GET", "/", *(f"x{n}: {'a' * 7000}" for n in range(12))), 431, "headers_too_large", id="large headers"
        ),
        pytest.param(b"GET / HTTP/1.1\r\nx: " + b"a" * 200_000, 431, "headers_too_large", id="a header without an end"),
        pytest.param(b"x" * 100_000, 400, "invalid_http", id="no HTTP at all"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200, 400, "invalid_http", id="TLS"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "invalid_http", id="HTTP/2"),
        pytest.param(b"GET / HTTP/1.1\nHost: x\n\n", 400, "invalid_http", id="bare line feeds"),
        pytest.param(head("GET", "/", "x: a\0b"), 400, "invalid_http", id="NUL in a header"),
        pytest.param(head("GET", "/", "x y: 1"), 400, "invalid_http", id="a space in a name"),
        pytest.param(
            head("POST", "/", "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400, "invalid_http",
            id="two framings",
        ),
        pytest.param(head("POST", "/", "Content-Length: 5", "Content-Length: 6"), 400, "invalid_http", id="two lengths"),
        pytest.param(head("POST", "/", "Content-Length: -5"), 400, "invalid_http", id="a negative length"),
        pytest.param(head("POST", "/", "Content-Length: " + "9" * 30), 400, "invalid_http", id="an absurd length"),
        pytest.param(
            head("GET", "/v1/models", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400, "upgrade_not_supported", id="a WebSocket",
        ),
        pytest.param(
            head("GET", "/v1/realtime", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"), 400,
            "invalid_websocket", id="a WebSocket without a key",
        ),
        pytest.param(
            head("GET", "/v1/realtime", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 8",
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400, "invalid_websocket", id="an old WebSocket",
        ),
        pytest.param(
            head("POST", "/v1/realtime", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400, "invalid_websocket", id="a WebSocket by POST",
        ),
        pytest.param(
            head("GET", "/v1/realtime", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Content-Length: 5"), 400, "invalid_websocket",
            id="a WebSocket with a body",
        ),
        pytest.param(
            head("GET", "/v1/realtime?x=" + "a" * 9_000, "Connection: Upgrade", "Upgrade: websocket",
                 "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 414, "uri_too_long",
            id="a WebSocket with a long target",
        ),
        pytest.param(
            head("GET", "/v1/realtime", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "x: " + "a" * 9_000), 431, "headers_too_large",
            id="a WebSocket with a long header",
        ),
        pytest.param(
            head("GET", "/v1/realtime?model=x", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==") + b"\x81\x85\0\0\0\0hello" * 3, 401, "invalid_api_key",
            id="a WebSocket of a stranger, with frames sent ahead",
        ),
    ],
)  # fmt: skip
async def test_is_refused_with_a_word_and_the_connection_closed(
    gateway: Gateway, data: bytes, status: int, code: str
) -> None:
    async with talk(gateway) as client:
        await client.send(data)
        answer = await client.answer()
        assert answer is not None
        assert (answer.status, answer.code) == (status, code)
        assert b"connection: close" in answer.head.lower()
        assert await client.ended() == b""


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(b"FFFFFFFFFFFFFFFFFFFF\r\n", id="beyond 64 bits"),
        pytest.param(b"-1\r\n", id="negative"),
        pytest.param(b"xyz\r\n", id="no number"),
        pytest.param(b"5;" + b"a" * 100_000 + b"\r\nhello\r\n0\r\n\r\n", id="a long extension"),
        pytest.param(b"5\r\nhelloX", id="no line break"),
    ],
)
async def test_absurd_chunks(gateway: Gateway, customer: Customer, chunk: bytes) -> None:
    async with talk(gateway) as client:
        await client.send(
            head("POST", "/v1/chat/completions", "Transfer-Encoding: chunked", f"Authorization: Bearer {customer.key}")
            + chunk
        )
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 400


async def test_trailers_are_no_headers(gateway: Gateway, customer: Customer) -> None:
    """Who asks is told by the head alone: a trailer can't bring a key, nor a second one."""
    body = b"2\r\n{}\r\n0\r\nauthorization: Bearer " + customer.key.encode() + b"\r\n\r\n"
    async with talk(gateway) as client:
        await client.send(head("POST", "/v1/chat/completions", "Transfer-Encoding: chunked") + body)
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 401


@pytest.mark.parametrize(
    "tail", [pytest.param(b"0\r\nx: ", id="a trailer"), pytest.param(b"1;x=", id="an extension of a chunk")]
)
async def test_what_never_ends_in_a_body(gateway: Gateway, customer: Customer, tail: bytes) -> None:
    """The parser keeps the first in memory; of the second nobody would hear anything."""
    request = head(
        "POST", "/v1/chat/completions", "Transfer-Encoding: chunked", f"Authorization: Bearer {customer.key}"
    )
    async with talk(gateway) as client:
        await client.send(request + tail)
        await client.send(b"a" * 1_000_000)
        answer = await client.answer()  # may be lost: the gateway closes with bytes unread
        assert answer is None or (answer.status, answer.code) == (431, "headers_too_large")


async def test_a_large_head_in_small_pieces(gateway: Gateway) -> None:
    """What is within the bounds is served, however it arrives."""
    request = head("GET", "/healthz", *(f"x{n}: {'a' * 600}" for n in range(95)))
    async with talk(gateway) as client:
        for _ in range(3):
            for start in range(0, len(request), 5000):
                await client.send(request[start : start + 5000])
                await asyncio.sleep(0)
            answer = await client.answer()
            assert answer is not None
            assert answer.status == 200


async def test_a_large_head_behind_another_request(gateway: Gateway) -> None:
    """Its beginning comes with the end of that one, its end alone."""
    large = head("GET", "/healthz", *(f"x{n}: {'a' * 900}" for n in range(90)))
    async with talk(gateway) as client:
        await client.send(head() + large[:-100])
        first = await client.answer()
        assert first is not None
        assert first.status == 200
        await client.send(large[-100:])
        second = await client.answer()
        assert second is None or (second.status, second.code) == (431, "headers_too_large")
        assert await client.ended() == b""


async def test_http_1_0_is_answered_and_closed(gateway: Gateway) -> None:
    async with talk(gateway) as client:
        await client.send(b"GET /healthz HTTP/1.0\r\nHost: x\r\n\r\n" * 2)
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 200
        assert await client.ended() == b""


async def test_a_body_is_asked_for_only_where_it_is_wanted(gateway: Gateway, customer: Customer) -> None:
    """`Expect: 100-continue`: who has no key needn't send the body."""
    fields = ("Content-Length: 2", "Expect: 100-continue")
    async with talk(gateway) as client:
        await client.send(head("POST", "/admin/v1/accounts", *fields))
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 401
    async with talk(gateway) as client:
        await client.send(head("POST", "/v1/chat/completions", *fields, f"Authorization: Bearer {customer.key}"))
        async with asyncio.timeout(10):
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"{}")
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 400


async def test_a_hang_up_is_noticed_in_spite_of_requests_sent_ahead(gateway: Gateway, operator: Operator) -> None:
    customer, model = operator.customer(), operator.model("demo?chunks=400&chunk_ms=50")
    body = json.dumps({"model": model, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    request = head(
        "POST", "/v1/chat/completions", f"Authorization: Bearer {customer.key}", f"Content-Length: {len(body)}"
    )
    async with talk(gateway) as client:
        await client.send(request + body + head())
        await client.reader.readuntil(b"data: ")
    (entry,) = await asyncio.to_thread(operator.entries, customer, count=1)  # the whole stream would take 20 s
    assert entry["error"] == "client_closed_request"


async def test_requests_may_be_sent_ahead_a_few(gateway: Gateway) -> None:
    async with talk(gateway) as client:
        await client.send(head() * 10)
        answers = [await client.answer() for _ in range(10)]
        assert [answer.status for answer in answers if answer is not None] == [200] * 10


async def test_thousands_sent_ahead_are_not_queued(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    """A client that sends on without reading costs no memory: it is closed."""
    assert gateway.process is not None
    process = psutil.Process(gateway.process.pid)
    before = process.memory_info().rss
    model = operator.model("demo?delay_ms=300")
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    request = head(
        "POST", "/v1/chat/completions", f"Authorization: Bearer {customer.key}", f"Content-Length: {len(body)}"
    )
    async with talk(gateway) as client:
        for _ in range(20):
            await client.send((request + body) * 500)
        await client.ended()
    assert process.memory_info().rss - before < 30_000_000


@pytest.mark.parametrize("key", ["", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="])
async def test_a_flood_of_web_sockets(gateway: Gateway, key: str) -> None:
    """Of strangers, with frames sent ahead: no line of log, no memory, and every connection is given back."""
    lines = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", *([key] if key else [])]
    request = head("GET", "/v1/realtime", *lines)

    async def knock() -> int:
        async with talk(gateway) as client:
            await client.send(request + b"\x81\x05hello" * 100)
            answer = await client.answer()
            return 0 if answer is None else answer.status

    size = len(gateway.log)
    statuses = await asyncio.gather(*(knock() for _ in range(200)))
    expected = 401 if key else 400
    assert set(statuses) <= {expected, 0}  # what was sent behind the head may reset the connection
    assert expected in statuses
    assert "WebSocket library" not in gateway.log[size:]
    assert "Traceback" not in gateway.log[size:]
    assert "ASGI" not in gateway.log[size:]


async def test_a_web_socket_behind_another_request(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    """Its frames would be read by nobody while the first is served."""
    model = operator.model("demo?delay_ms=500")
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    first = head(
        "POST", "/v1/chat/completions", f"Authorization: Bearer {customer.key}", f"Content-Length: {len(body)}"
    )
    upgrade = head(
        "GET", "/v1/realtime?model=x", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )  # fmt: skip
    async with talk(gateway) as client:
        await client.send(first + body + upgrade)
        answer = await client.answer()
        assert answer is not None
        assert (answer.status, answer.code) == (400, "invalid_websocket")
        assert await client.ended() == b""
