"""Connections to upstreams and to users' servers, made so that a broken TLS handshake harms no other connection.

aiohttp hands uvloop a socket of Python's, and forgets it when the handshake fails. Collected, it closes a descriptor that
uvloop still owns and that may be another connection's by then: calls fail at random, and in the end libuv aborts the
process (github.com/MagicStack/uvloop, issue 653).
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohappyeyeballs
import aiohttp
from aiohttp.client_exceptions import cert_errors, ssl_errors
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import ceil_timeout


class Connector(aiohttp.TCPConnector):
    """Lets go of a socket whose connection couldn't be made: the loop closes it."""

    # As aiohttp 3.14 has it, but for `detach`. tests/chaos/test_handshakes.py fails where this isn't called any more.
    async def _wrap_create_connection(
        self,
        *args: Any,
        addr_infos: Any,
        req: Any,
        timeout: aiohttp.ClientTimeout,
        client_error: type[Exception] = aiohttp.ClientConnectorError,
        **kwargs: Any,
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        try:
            async with ceil_timeout(timeout.sock_connect, ceil_threshold=timeout.ceil_threshold):
                sock = await aiohappyeyeballs.start_connection(
                    addr_infos=addr_infos,
                    local_addr_infos=self._local_addr_infos,
                    happy_eyeballs_delay=self._happy_eyeballs_delay,
                    interleave=self._interleave,
                    loop=self._loop,
                    socket_factory=self._socket_factory,
                )
                try:
                    return await self._loop.create_connection(*args, **kwargs, sock=sock)
                except BaseException:
                    sock.detach()
                    raise
        except cert_errors as error:
            raise aiohttp.ClientConnectorCertificateError(req.connection_key, error) from error
        except ssl_errors as error:
            raise aiohttp.ClientConnectorSSLError(req.connection_key, error) from error
        except OSError as error:
            if error.errno is None and isinstance(error, TimeoutError):
                raise
            raise client_error(req.connection_key, error) from error
