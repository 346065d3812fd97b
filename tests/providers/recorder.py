"""A server on loopback that keeps the requests it gets: to compare what two clients send."""

from __future__ import annotations

import email.parser
import email.policy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

Field = tuple[str, str | None, str | None, bytes]


@dataclass(frozen=True, slots=True)
class Request:
    """One request: header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return orjson.loads(self.body)

    def form(self) -> list[Field]:
        """Name, file name, type and value of each part; the type of files only, since clients differ on that of text."""
        head = f"content-type: {self.headers['content-type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + self.body)
        assert message.get_content_type() == "multipart/form-data"
        return [_read_part(part) for part in message.iter_parts()]


def _read_part(part: Any) -> Field:
    name = part.get_param("name", header="content-disposition")
    value = part.get_payload(decode=True)
    filename = part.get_filename()
    return name, filename, part.get_content_type() if filename else None, value


@dataclass(slots=True)
class Recorder:
    """`answer` is what every request gets. `cut`: the connection ends before all of it has come."""

    answer: bytes = b"{}"
    status: int = 200
    cut: bool = False
    content_type: str = "application/json"
    port: int = 0
    requests: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def run_recorder() -> Iterator[Recorder]:
    """Listens as long as the block lasts."""
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            recorder.requests.append(Request(self.command, self.path, headers, body))
            self.send_response(recorder.status)
            self.send_header("content-type", recorder.content_type)
            self.send_header("content-length", str(len(recorder.answer) + recorder.cut))
            self.end_headers()
            self.wfile.write(recorder.answer)
            self.close_connection = recorder.cut

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        recorder.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield recorder
        finally:
            server.shutdown()
            thread.join()
