"""A webhook receiver on loopback that does what a test tells it, and an independent check of signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verifies(self, key: bytes) -> bool:
        """Whether one of the signatures is this key's, by the letter of the Standard Webhooks specification."""
        signed = b".".join([self.id.encode(), self.headers["webhook-timestamp"].encode(), self.body])
        wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        given = [part.split(",", 1) for part in self.headers["webhook-signature"].split(" ")]
        assert all(version == "v1" for version, _ in given)
        return any(hmac.compare_digest(signature, wanted) for _, signature in given)

    @property
    def signatures(self) -> int:
        return len(self.headers["webhook-signature"].split(" "))


Answer = Callable[[BaseHTTPRequestHandler], None]


class Receiver:
    """Every call lands in `calls`; `answers` holds what to do with the next ones, after which each gets a 200."""

    def __init__(self, port: int = 0) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.calls.put(Call(self.command, self.path, headers, body))
                try:
                    answer = receiver.answers.get_nowait()
                except queue.Empty:
                    answer = reply(200)
                answer(self)

            do_GET = do_PUT = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self.calls: queue.Queue[Call] = queue.Queue()
        self.answers: queue.Queue[Answer] = queue.Queue()
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def next(self) -> Call:
        """The next call, once it is there."""
        return self.calls.get(timeout=PATIENCE)

    def hang(self, handler: BaseHTTPRequestHandler) -> None:
        """Says nothing until the test is over."""
        self.released.wait(60)
        handler.close_connection = True

    def hold(self, handler: BaseHTTPRequestHandler) -> None:
        """A 200, but only once it is released."""
        self.released.wait(60)
        reply(200)(handler)

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def reply(status: int, body: bytes = b"ok", **headers: str) -> Answer:
    """An ordinary answer; header names with _ for -."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Closes the connection instead of an answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def not_http(handler: BaseHTTPRequestHandler) -> None:
    """Bytes that are no answer."""
    handler.wfile.write(b"garbage\r\n\r\n")
    handler.close_connection = True


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    receiver = Receiver(port)
    try:
        yield receiver
    finally:
        receiver.close()
