"""One call over a bare socket: any bytes out, and whatever comes back read as HTTP."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

HANG = 15.0
"""Seconds after which a call counts as hanging. An answer takes milliseconds; the gateway's own time-outs are a minute."""


class Hung(AssertionError):
    """Nothing came for so long, or it doesn't end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `headers` by their names in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str:
        return self.headers.get("x-request-id", "")


def post(path: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """A POST as it goes over the wire, its length told."""
    lines = [b"POST " + path + b" HTTP/1.1", b"host: gateway", b"connection: close"]
    lines += [name + b": " + value for name, value in headers]
    lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def call(port: int, request: bytes) -> Answer:
    """Sends a whole request and reads the whole answer. Raises Hung, and http.client.HTTPException for what is no HTTP."""
    with _connected(port, request) as connection:
        return _read(connection)


def poke(port: int, request: bytes, *, hang_up: bool = True) -> Answer | None:
    """Sends what may be half a request or none. None: the connection was closed without an answer.

    `hang_up`: says that nothing follows, so that nobody waits for the rest.
    """
    try:
        with _connected(port, request) as connection:
            if hang_up:
                connection.shutdown(socket.SHUT_WR)
            return _read(connection)
    except (ConnectionError, http.client.HTTPException):
        return None


@contextmanager
def _connected(port: int, request: bytes) -> Iterator[socket.socket]:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=HANG)) as connection:
        try:
            connection.sendall(request)
            yield connection
        except TimeoutError as error:
            raise Hung(f"no end of an answer to {request[:500]!r}") from error


def _read(connection: socket.socket) -> Answer:
    with closing(http.client.HTTPResponse(connection, method="POST")) as response:
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
