"""An upstream that answers whatever it is told to, byte for byte; and what a good one would have said."""

from __future__ import annotations

import re
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx2

from tests.demo.process import DemoProcess
from tests.fuzz.seeds import FORMATS, GENERATE, MESSAGES, body_of, path_of

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
STREAM, WHOLE = "text/event-stream", "application/json"

TALES = (
    "reply=one+two+three", "tool=2&reply=first+this", "reasoning=6&reply=thought", "refuse=1", "citations=1&reply=as+told",
    "finish=length&tokens=3", "blocked=1", "dialect=openrouter&reasoning=4", "dialect=azure", "cached=3&cache_written=2",
)  # fmt: skip
"""Options of the demo for answers of every kind."""


class Liar:
    """Answers each request with `answer`: all bytes from the status line on. `heard`: how many requests came."""

    def __init__(self) -> None:
        self.answer = b""
        self.heard = 0
        self.port = 0

    def base_url(self, base: str) -> str:
        return f"http://127.0.0.1:{self.port}{base}"


@contextmanager
def serve_liar() -> Iterator[Liar]:
    liar = Liar()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            connection: socket.socket = self.request
            try:
                _read_request(connection)
                liar.heard += 1
                connection.sendall(liar.answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):  # closed with bytes unread, the connection would be reset
                    pass
            except ConnectionError:
                pass  # the gateway has heard enough

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as server:
        liar.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield liar
        finally:
            server.shutdown()
            thread.join()


def _read_request(connection: socket.socket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    left = (int(length[1]) if length else 0) - len(body)
    while left > 0:
        left -= len(_more(connection))


def _more(connection: socket.socket) -> bytes:
    part = connection.recv(65536)
    if not part:
        raise ConnectionError("the request ended early")
    return part


def head(status: int = 200, content_type: str = WHOLE, *more: str) -> bytes:
    """The beginning of an answer whose body lasts until the connection ends."""
    return "\r\n".join((f"HTTP/1.1 {status} X", f"content-type: {content_type}", *more, "", "")).encode("latin-1")


def good_answers(demo: DemoProcess) -> Mapping[tuple[str, bool], tuple[bytes, ...]]:
    """Bodies of true answers of every kind, by format and by whether they are streams."""
    found: dict[tuple[str, bool], tuple[bytes, ...]] = {}
    with httpx2.Client(base_url=demo.url, headers=_CREDENTIALS) as http:
        for format in FORMATS:
            for stream in (False, True):
                bodies = (_ask(http, format, tale, stream=stream) for tale in TALES)
                found[format, stream] = tuple(body for body in bodies if body is not None)
                assert len(found[format, stream]) >= 5, format
    return found


_CREDENTIALS = {"authorization": "Bearer sk-test", "x-api-key": "sk-test", "anthropic-version": "2023-06-01"}


def _ask(http: httpx2.Client, format: str, tale: str, *, stream: bool) -> bytes | None:
    """None: the format has nothing of that kind."""
    body = body_of(format, 1, "u-liar", stream=stream)
    body.pop("tool_choice", None)
    if format == MESSAGES:
        body.pop("thinking", None)
    headers = {"x-demo": tale, "x-goog-api-key": "sk-test"} if format == GENERATE else {"x-demo": tale}
    answer = http.post(path_of(format, "u-liar", stream=stream), json=body, headers=headers)
    return answer.content if answer.status_code == 200 else None
