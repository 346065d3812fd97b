"""What sessions may not do: last for ever, outlive their key, fill the gateway's memory, or be cut by a restart."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import httpx2
import psutil
import pytest

from tests.gateway import ADMIN_TOKEN, Customer, Gateway, Operator
from tests.ledger.proxy import Proxy
from tests.realtime.talk import entries, realtime_model, talk
from tests.wire.talk import head

MEGABYTE = 1_000_000


@pytest.fixture
def customer(operator: Operator) -> Customer:
    return operator.customer()


async def test_a_session_without_a_frame_ends(tight: Gateway, tight_operator: Operator) -> None:
    customer = tight_operator.customer()
    model = realtime_model(tight_operator, "")
    async with talk(tight, customer, model) as session:
        code, reason, events = await session.end()
    assert (code, reason) == (1001, "session_idle")
    assert events[-1]["error"]["code"] == "session_idle"
    assert events[-1]["error"]["type"] == "timeout_error"
    (rest,) = await entries(tight_operator, customer, 1)
    assert (rest["status"], rest["error"]) == ("released", "session_idle")


@pytest.mark.long
async def test_a_session_that_goes_on_ends_too(tight: Gateway, tight_operator: Operator) -> None:
    customer = tight_operator.customer()
    model = realtime_model(tight_operator, "mirror=1")

    async def chatter() -> None:
        while True:
            await session.say("input_audio_buffer.append", audio="AAAA")
            await asyncio.sleep(0.2)

    async with talk(tight, customer, model) as session:
        talking = asyncio.create_task(chatter())
        code, reason, events = await session.end()
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
    assert (code, reason) == (1001, "session_expired")
    assert events[-1]["error"]["code"] == "session_expired"


async def test_frames_that_are_too_large(tight: Gateway, tight_operator: Operator) -> None:
    customer = tight_operator.customer()
    model = realtime_model(tight_operator, "mirror=1")
    async with talk(tight, customer, model) as session:
        await session.hear()
        await session.say("input_audio_buffer.append", audio="A" * (MEGABYTE + 50_000))
        code, _, _ = await session.end()
    assert code == 1009
    async with talk(tight, customer, model) as session:
        await session.hear()
        # The upstream's is larger than what it is made of: the same bytes, and an event's name and id.
        frame = json.dumps({"type": "input_audio_buffer.append", "audio": "A" * (1024 * 1024 - 50)})
        await session.socket.send(frame)
        code, _, events = await session.end()
    assert (code, events[-1]["error"]["code"]) == (1011, "upstream_bad_response")


async def test_pings_go_out_and_are_answered(tight: Gateway, tight_operator: Operator) -> None:
    customer = tight_operator.customer()
    async with raw_session(tight, customer, realtime_model(tight_operator, "")) as (reader, writer):
        opcodes = [await read_opcode(reader) for _ in range(2)]
        assert opcodes == [0x81, 0x89]  # session.created, then a ping that this client doesn't answer
        writer.write(b"\x89\x82\0\0\0\0hi")
        assert await read_opcode(reader) == 0x8A
        async with asyncio.timeout(5):
            assert await read_opcode(reader) == 0x88


async def test_a_revoked_key_ends_its_session(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    model = realtime_model(operator, "tokens=1000&chunk_ms=20")
    async with talk(gateway, customer, model) as session:
        await session.say("response.create")
        await session.until("response.output_text.delta")
        await asyncio.to_thread(operator.call, "PATCH", f"/keys/{customer.key_id}", json={"enabled": False})
        async with asyncio.timeout(3):
            code, reason, events = await session.end()
    assert (code, reason) == (1008, "invalid_api_key")
    assert events[-1]["error"]["code"] == "invalid_api_key"
    (broken,) = await entries(operator, customer, 1)
    assert (broken["estimated"], broken["error"]) == (True, "invalid_api_key")


async def test_a_client_that_does_not_read(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    """100 MB stay with the upstream; read at last, every byte of them comes."""
    model = realtime_model(operator, "flood_mb=100")
    assert gateway.process is not None
    process = psutil.Process(gateway.process.pid)
    async with raw_session(gateway, customer, model, window=65536) as (reader, _):
        await asyncio.sleep(0.3)
        before = process.memory_info().rss
        await asyncio.sleep(0.7)
        assert process.memory_info().rss - before < 10 * MEGABYTE
        total = 0
        while total < 100 * MEGABYTE:
            async with asyncio.timeout(10):
                data = await reader.read(1 << 20)
            assert data
            total += len(data)
        assert process.memory_info().rss - before < 40 * MEGABYTE


async def test_an_upstream_that_does_not_read(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    """What the client sends on waits with the client, not in the gateway."""
    assert gateway.process is not None
    process = psutil.Process(gateway.process.pid)
    with deaf_upstream() as url:
        model = realtime_model(operator)
        operator.channel(model, "any", base_url=f"{url}/v1")
        async with talk(gateway, customer, model, open_timeout=10) as session:
            before = process.memory_info().rss
            frame = json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 100_000})
            sent = 0

            async def push() -> None:
                nonlocal sent
                for _ in range(1000):
                    await session.socket.send(frame)
                    sent += 1

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(push(), 1)
            assert sent < 400
            assert process.memory_info().rss - before < 40 * MEGABYTE
            session.socket.transport.abort()


@pytest.mark.long
async def test_a_client_that_never_reads_again_is_cut(tight: Gateway, tight_operator: Operator) -> None:
    customer = tight_operator.customer()
    model = realtime_model(tight_operator, "flood_mb=50")
    async with raw_session(tight, customer, model, window=65536) as (_, writer):
        port = writer.get_extra_info("sockname")[1]
        await entries(tight_operator, customer, 1)
        async with asyncio.timeout(15):
            while await asyncio.to_thread(is_connected, tight, port):
                await asyncio.sleep(0.2)
    assert sessions_of(tight) == 0


async def test_a_flood_of_pings_and_of_fragments(gateway: Gateway, operator: Operator, customer: Customer) -> None:
    assert gateway.process is not None
    process = psutil.Process(gateway.process.pid)
    model = realtime_model(operator, "")
    before = process.memory_info().rss
    ping = b"\x89\xfd\0\0\0\0" + b"x" * 125
    async with raw_session(gateway, customer, model, window=65536) as (_, writer):
        with pytest.raises((TimeoutError, ConnectionError)):
            await asyncio.wait_for(pour(writer, ping * 1000, 400), 1)
    async with raw_session(gateway, customer, model) as (reader, writer):
        assert await read_opcode(reader) == 0x81  # session.created
        writer.write(b"\x01\x81\0\0\0\0{" + b"\x00\x80\0\0\0\0" * 3000)
        assert await read_opcode(reader) == 0x88
    assert process.memory_info().rss - before < 30 * MEGABYTE


async def test_connections_are_counted_once(tight: Gateway, tight_operator: Operator) -> None:
    """Of thirty, each session takes one, and gives it back."""
    customer = tight_operator.customer()
    model = realtime_model(tight_operator, "")
    for _ in range(2):
        open_ones = []
        for _ in range(20):
            session = talk(tight, customer, model)
            open_ones.append((session, await session.__aenter__()))
        extra = [await plain(tight) for _ in range(15)]
        statuses = [await status_of(reader, writer) for reader, writer in extra]
        assert 503 in statuses
        assert 200 in statuses
        for session, _ in open_ones:
            await session.__aexit__(None, None, None)
        for _, writer in extra:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        await asyncio.sleep(0.3)


async def test_a_stop_ends_sessions_with_a_word(start_gateway: Callable[..., Gateway], operator: Operator) -> None:
    stopped = start_gateway(RELAYGATE_DRAIN="10")
    own = Operator(stopped, operator.demo_url)
    customer = own.customer()
    model = realtime_model(own, "tokens=1000&chunk_ms=10")
    async with talk(stopped, customer, model) as idle, talk(stopped, customer, model) as busy:
        await busy.say("response.create")
        for _ in range(5):
            await busy.until("response.output_text.delta")
        stopping = asyncio.create_task(asyncio.to_thread(stopped.stop))
        for session in (idle, busy):
            code, reason, events = await session.end()
            assert (code, reason) == (1001, "gateway_stopping")
            assert events[-1]["error"]["code"] == "gateway_stopping"
    assert await stopping == 0
    assert "Traceback" not in stopped.log
    assert "settlements_lost" not in stopped.log
    own.close()
    stopped.start()
    again = Operator(stopped, operator.demo_url)
    found = await entries(again, customer, 2)
    assert sorted((entry["status"], entry["error"]) for entry in found) == [
        ("released", "gateway_stopping"),
        ("settled", "gateway_stopping"),
    ]
    again.close()


@pytest.mark.long
async def test_a_database_that_goes_away(
    start_gateway: Callable[..., Gateway], operator: Operator, migrated_database: Callable[[], str], work_dir: Path
) -> None:
    """The session goes on until its next slice is due; then it ends, and what was used is charged once it is back."""
    folder = work_dir / uuid4().hex[:8]
    async with Proxy(migrated_database(), folder) as proxy:
        cut = await asyncio.to_thread(start_gateway, proxy.url)
        own = Operator(cut, operator.demo_url)
        customer = await asyncio.to_thread(own.customer)
        model = await asyncio.to_thread(realtime_model, own, "tokens=1&input_text=1000")
        async with talk(cut, customer, model) as session:
            await session.hear()
            proxy.freeze()
            await asyncio.sleep(2.5)  # the key can't be checked meanwhile, which is no reason to end it
            await session.say("response.create")
            code, reason, events = await session.end()
            assert [event["type"] for event in events[-2:]] == ["response.done", "error"]
            assert (code, reason) == (1013, "service_unavailable")
            assert events[-1]["error"]["code"] == "service_unavailable"
        proxy.resume()
        (turn, *_) = await entries(own, customer, 1)
        assert (turn["status"], turn["usage"]["input_tokens"]) == ("settled", 1000)
        own.close()
        await asyncio.to_thread(cut.stop)


# -- raw sockets -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def raw_session(
    gateway: Gateway, customer: Customer, model: str, *, window: int | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A session whose frames nobody reads unless the test does. `window`: bytes that arrive before any is read."""
    reader, writer = await plain(gateway, window)
    handshake = head(
        "GET", f"/v1/realtime?model={model}", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"Authorization: Bearer {customer.key}",
    )  # fmt: skip
    try:
        writer.write(handshake)
        async with asyncio.timeout(10):
            answer = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in answer.split(b"\r\n")[0] + b" "
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def plain(gateway: Gateway, window: int | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    own = socket.socket()
    own.setblocking(False)
    if window is not None:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", gateway.port))
    return await asyncio.open_connection(sock=own, limit=window or 2**20)


async def status_of(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    writer.write(head("GET", "/healthz"))
    try:
        async with asyncio.timeout(5):
            return int((await reader.readline()).split()[1])
    except (ConnectionError, IndexError):
        return 503


async def read_opcode(reader: asyncio.StreamReader) -> int:
    """The first byte of the next frame, which is read as a whole."""
    async with asyncio.timeout(10):
        first, size = await reader.readexactly(2)
        if size == 126:
            size = struct.unpack("!H", await reader.readexactly(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", await reader.readexactly(8))[0]
        await reader.readexactly(size)
        return first


async def pour(writer: asyncio.StreamWriter, data: bytes, times: int) -> None:
    for _ in range(times):
        writer.write(data)
        await writer.drain()


class deaf_upstream:
    """Shakes hands, and reads nothing afterwards."""

    def __enter__(self) -> str:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(4096)
                lines = dict(line.lower().split(b": ", 1) for line in request.split(b"\r\n")[1:] if b": " in line)
                raw = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
                assert lines[b"upgrade"] == b"websocket"
                key = raw.split(b": ", 1)[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
                accept = base64.b64encode(hashlib.sha1(key).digest())
                connection.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                    b"sec-websocket-accept: " + accept + b"\r\n\r\n"
                )
        except OSError:
            return


def sessions_of(gateway: Gateway) -> int:
    """Those that the gateway's metrics show."""
    text = httpx2.get(f"{gateway.url}/metrics", headers={"authorization": f"Bearer {ADMIN_TOKEN}"}).text
    line = next(line for line in text.splitlines() if line.startswith("relaygate_realtime_sessions "))
    return int(float(line.split()[1]))


def is_connected(gateway: Gateway, port: int) -> bool:
    """Whether the gateway still has the connection from this port of ours."""
    assert gateway.process is not None
    found = psutil.Process(gateway.process.pid).net_connections("tcp")
    return any(item.raddr and item.raddr.port == port for item in found)
