"""The client for URLs that users gave: it connects to the very address that was checked, and follows no redirect."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType
from yarl import URL

from app.egress.connector import Connector
from app.egress.guard import Address, AddressRefused, Guard, UrlRefused, read_address
from app.settings import Network

CHECK_TIMEOUT = 5.0
RESOLVER_THREADS = 32
"""Look-ups at a time: twice the deliveries that a process has under way. An idle thread costs next to nothing."""

HEADERS = {"User-Agent": "Relaygate", "Accept-Encoding": "identity"}
"""What every call says; compressed answers aren't asked for, since nobody unpacks them here."""


class EgressError(Exception):
    """A call that brought no answer. The message says why, in words of ours: safe to store and to show."""


class ThreadResolver(AbstractResolver):
    """Asks the system's resolver, in threads of its own, so that nothing else of the process waits for them.

    `getaddrinfo` can't be broken off: a look-up that was given up on keeps its thread until the system gives up too (with
    glibc's defaults 10 seconds a name server). Dead name servers hold up others only while they keep all threads.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="egress-resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=family, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for family, _, proto, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Egress:
    """Calls what the guard lets pass. `start` it on the running loop; `resolver` stands in for the system's."""

    def __init__(self, allowed: Sequence[Network] = (), *, resolver: AbstractResolver | None = None) -> None:
        self.guard = Guard(allowed)
        self._resolver = ThreadResolver() if resolver is None else resolver
        self._session: aiohttp.ClientSession | None = None

    def start(self) -> None:
        # Every address goes through `_open_socket` on its way to `connect`, whatever was resolved before, and a connection
        # is used for one request only: what was checked is what is called. The environment's proxies are left out.
        connector = Connector(
            resolver=self._resolver,
            use_dns_cache=False,
            socket_factory=self._open_socket,
            force_close=True,
            limit=0,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers=HEADERS,
            trust_env=False,
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await self._resolver.close()

    async def check(self, text: str) -> None:
        """For the moment a URL is saved. Raises UrlRefused if it isn't one, or leads to an address it must not.

        Where it leads may change at any time, so this only tells early what `request` would refuse.
        """
        url = self.guard.read_url(text)
        for address in await self._resolve(url):
            self.guard.check_address(address)

    async def _resolve(self, url: URL) -> list[Address]:
        host = url.raw_host
        assert host is not None
        with suppress(ValueError):
            return [ipaddress.ip_address(host)]
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                found = await self._resolver.resolve(host, url.port or 0, socket.AF_UNSPEC)
        except (OSError, UnicodeError) as error:
            raise UrlRefused("names a host that can't be resolved") from error
        return [read_address(result["host"]) for result in found]

    @asynccontextmanager
    async def request(
        self, method: str, text: str, *, timeout: float, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Calls the URL; the block gets the answer once its head is there, and has `timeout` seconds in all.

        Raises EgressError for a URL that is refused and for whatever goes wrong on the way, within the block too: so read
        the answer there, and do nothing else. The connection is closed with the block, however much was read of it. A
        redirect is an answer like any other.
        """
        try:
            async with asyncio.timeout(timeout):
                response = await self._send(method, text, headers, body)
                try:
                    yield response
                finally:
                    response.close()
        except (aiohttp.ClientError, OSError) as error:
            raise _explain(error, timeout) from error

    @asynccontextmanager
    async def download(self, text: str, *, idle: float) -> AsyncIterator[aiohttp.ClientResponse]:
        """GETs an answer of any length: `idle` seconds for its head, and for each piece of it after the one before.

        Otherwise like `request`. While the block doesn't read, the sender is held up, and its time stands still.
        """
        try:
            async with asyncio.timeout(idle):
                response = await self._send("GET", text, None, b"", idle=idle)
            try:
                yield response
            finally:
                response.close()
        except (aiohttp.ClientError, OSError) as error:
            raise _explain(error, idle) from error

    async def _send(
        self, method: str, text: str, headers: Mapping[str, str] | None, body: bytes, *, idle: float | None = None
    ) -> aiohttp.ClientResponse:
        assert self._session is not None, "egress isn't started"
        try:
            return await self._session.request(
                method,
                self.guard.read_url(text),
                data=body or None,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_read=idle),
            )
        except UrlRefused as error:
            raise EgressError(f"The URL {error}.") from error

    def _open_socket(self, info: AddrInfoType) -> socket.socket:
        """Called with each address before it is connected to."""
        family, kind, proto, _, address = info
        if not self.guard.allows(read_address(str(address[0]))):
            raise AddressRefused("the address is private or reserved")
        return socket.socket(family, kind, proto)


async def read_start(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The first `most` bytes of an answer; fewer only if there are no more."""
    found = b""
    while len(found) < most and (part := await response.content.read(most - len(found))):
        found += part
    return found


def _explain(error: Exception, timeout: float) -> EgressError:
    match error:
        case TimeoutError():
            return EgressError(f"No answer within {timeout:g} s.")
        case aiohttp.ClientConnectorDNSError():
            return EgressError("The host name can't be resolved.")
        case aiohttp.ClientConnectorCertificateError():
            return EgressError("The receiver's TLS certificate isn't valid.")
        case aiohttp.ClientSSLError():
            return EgressError("TLS couldn't be set up.")
        case aiohttp.ClientConnectorError(os_error=AddressRefused()):
            return EgressError("The host leads to a private or reserved address.")
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return EgressError("The connection was refused.")
        case aiohttp.ClientConnectorError():
            return EgressError("The host can't be reached.")
        case aiohttp.ServerConnectionError() | aiohttp.ClientOSError() | aiohttp.ClientPayloadError() | OSError():
            return EgressError("The connection was closed before the answer was complete.")
        case aiohttp.ClientResponseError():
            return EgressError("The answer isn't valid HTTP.")
        case _:
            return EgressError("The call couldn't be made.")
