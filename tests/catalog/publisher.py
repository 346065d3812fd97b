"""A server that publishes price lists, as genai-prices' updater finds them, or something else in their place."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Publisher:
    """What is answered to a GET, and what was asked for."""

    url: str = ""
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def publish(self, content: Any, status: int = 200, **headers: str) -> None:
        self.status, self.headers = status, headers
        self.body = content if isinstance(content, bytes) else json.dumps(content).encode()


@contextmanager
def run_publisher() -> Iterator[Publisher]:
    """A real server on loopback."""
    publisher = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            publisher.asked.append(self.path)
            self.send_response(publisher.status)
            for name, value in publisher.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(publisher.body)))
            self.end_headers()
            self.wfile.write(publisher.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        publisher.url = f"http://127.0.0.1:{server.server_port}/v2/data.json"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield publisher
        server.shutdown()
        thread.join()
