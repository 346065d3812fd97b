"""The client reaches what was checked and nothing else, whatever names lead to and receivers answer."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from app.egress.client import Egress, EgressError, read_start
from app.egress.guard import UrlRefused
from app.settings import Network
from app.webhooks.deliver import PLACES
from tests.egress.forms import PRIVATE_ADDRESSES, refused_urls

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LOOPBACK: list[Network] = [ipaddress.ip_network("127.0.0.0/8")]
PORT = 18017
"""For URLs that nobody calls: forms differ in the host, and have to be the same in every process of the suite."""


class Names(AbstractResolver):
    """Answers with the next of some lists of addresses, and with the last one from then on."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        if not answer:
            raise socket.gaierror(socket.EAI_NONAME, "unknown name")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in answer
        ]

    async def close(self) -> None:
        pass


class Server:
    """Counts connections on loopback and answers each with the same bytes."""

    def __init__(self, answer: bytes, eager: bool) -> None:
        self.answer = answer
        self.eager = eager
        self.connections = 0
        self.heads: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if not self.eager:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(
    answer: bytes = OK, *, eager: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """`eager`: it answers before it is asked."""
    server = Server(answer, eager)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server


@asynccontextmanager
async def egress(allowed: Sequence[Network] = (), resolver: AbstractResolver | None = None) -> AsyncIterator[Egress]:
    client = Egress(allowed, resolver=resolver)
    client.start()
    try:
        yield client
    finally:
        await client.close()


async def fetch(client: Egress, url: str, *, timeout: float = 5.0) -> tuple[int, bytes]:
    async with client.request("POST", url, timeout=timeout, body=b"{}") as response:
        return response.status, await read_start(response, 100)


@pytest.mark.parametrize("url", refused_urls(PORT))
async def test_a_refused_url_is_refused_at_save_and_at_connect(url: str) -> None:
    async with egress() as client:
        with pytest.raises(UrlRefused):
            await client.check(url)
        with pytest.raises(EgressError, match=r"^The (URL must|host leads to a private or reserved address)"):
            await fetch(client, url)


@pytest.mark.parametrize("address", PRIVATE_ADDRESSES)
async def test_a_name_that_leads_to_a_private_address_is_refused_at_save_and_at_connect(address: str) -> None:
    async with egress(resolver=Names([address])) as client:
        with pytest.raises(UrlRefused, match="private or reserved"):
            await client.check("https://example.com/")
        with pytest.raises(EgressError, match="private or reserved"):
            await fetch(client, f"http://example.com:{PORT}/")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_name_that_is_bound_anew_is_refused_at_connect(scheme: str) -> None:
    names = Names(["93.184.215.14"], ["127.0.0.1"])
    async with serving() as server, egress(resolver=names) as client:
        url = f"{scheme}://rebound.example:{server.port}/"
        await client.check(url)
        assert names.asked == 1
        with pytest.raises(EgressError, match="private or reserved"):
            await fetch(client, url)
        assert names.asked == 2
        assert server.connections == 0


async def test_of_several_addresses_only_those_that_pass_are_tried() -> None:
    allowed = [ipaddress.ip_network("127.0.0.1/32")]
    names = Names(["127.0.0.2", "::1", "127.0.0.1"])
    async with serving() as server, egress(allowed, names) as client:
        # One address that it must not lead to is enough at save: nothing good looks like that.
        with pytest.raises(UrlRefused):
            await client.check("http://mixed.example/")
        assert await fetch(client, f"http://mixed.example:{server.port}/") == (200, b"ok")
        assert server.connections == 1


async def test_each_call_is_looked_up_and_connected_anew() -> None:
    names = Names(["127.0.0.1"], ["127.0.0.1"], ["10.0.0.1"])
    async with serving() as server, egress(LOOPBACK, names) as client:
        url = f"http://changing.example:{server.port}/"
        assert await fetch(client, url) == (200, b"ok")
        assert await fetch(client, url) == (200, b"ok")
        with pytest.raises(EgressError, match="private or reserved"):
            await fetch(client, url)
        assert server.connections == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer(status: int) -> None:
    async with serving() as target:
        head = f"HTTP/1.1 {status} Go\r\nlocation: http://127.0.0.1:{target.port}/\r\ncontent-length: 0\r\n\r\n"
        async with serving(head.encode()) as server, egress(LOOPBACK) as client:
            assert await fetch(client, f"http://127.0.0.1:{server.port}/") == (status, b"")
        assert target.connections == 0


async def test_proxies_of_the_environment_and_cookies_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 2\r\n\r\nok"
    async with serving() as proxy, serving(answer) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with egress(LOOPBACK) as client:
            for _ in range(2):
                assert await fetch(client, f"http://127.0.0.1:{server.port}/x") == (200, b"ok")
        assert proxy.connections == 0
        assert [head.split(b"\r\n")[0] for head in server.heads] == [b"POST /x HTTP/1.1"] * 2
        assert [head for head in server.heads if b"cookie" in head.lower()] == []


async def test_tls_is_verified(tmp_path: Path) -> None:
    context = self_signed("receiver.example", tmp_path)
    async with serving(tls=context) as server, egress(LOOPBACK, Names(["127.0.0.1"])) as client:
        with pytest.raises(EgressError, match="The receiver's TLS certificate isn't valid"):
            await fetch(client, f"https://receiver.example:{server.port}/")
        assert server.connections == 0
    async with serving(b"not TLS\r\n\r\n", eager=True) as server, egress(LOOPBACK) as client:
        with pytest.raises(EgressError, match="TLS couldn't be set up"):
            await fetch(client, f"https://127.0.0.1:{server.port}/")


def self_signed(name: str, folder: Path) -> ssl.SSLContext:
    """A server's side of TLS with a certificate that nobody has vouched for."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    encoded = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(encoded + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def test_an_answer_is_read_no_further_than_asked() -> None:
    endless = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n" + b"x" * 100_000
    async with serving(endless) as server, egress(LOOPBACK) as client:
        assert await fetch(client, f"http://127.0.0.1:{server.port}/") == (200, b"x" * 100)


async def test_a_silent_server_is_given_up_on() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx") as cut, egress(LOOPBACK) as client:
        with pytest.raises(EgressError, match="closed before the answer was complete"):
            await fetch(client, f"http://127.0.0.1:{cut.port}/")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with egress(LOOPBACK) as client:
            with pytest.raises(EgressError, match=r"No answer within 0\.2 s"):
                await fetch(client, f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.2)


async def test_as_many_dead_name_servers_as_deliveries_hold_up_no_other_look_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released, waiting = threading.Event(), threading.Semaphore(0)
    look_up = socket.getaddrinfo

    def ask(host: str, *rest: Any, **named: Any) -> Any:
        if host.startswith("dead"):  # a name server that never answers
            waiting.release()
            released.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return look_up(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    async with serving() as server, egress([*LOOPBACK, ipaddress.ip_network("::1/128")]) as client:
        calls = [asyncio.create_task(fetch(client, f"http://dead{n}.example/", timeout=30)) for n in range(PLACES)]
        try:
            for _ in calls:
                assert await asyncio.to_thread(waiting.acquire, timeout=10)
            assert await fetch(client, f"http://localhost:{server.port}/") == (200, b"ok")
        finally:
            released.set()
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(answer, EgressError)


async def test_a_name_that_does_not_resolve_is_refused() -> None:
    async with egress(resolver=Names([])) as client:
        with pytest.raises(UrlRefused, match="can't be resolved"):
            await client.check("https://nowhere.example/")
        with pytest.raises(EgressError, match="can't be resolved"):
            await fetch(client, "https://nowhere.example/")
