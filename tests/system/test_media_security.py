"""Attacks on media by the front door, against a real gateway and upstreams that mean ill."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "sk-upstream-0123456789abcdefghijklmnopqrstuv"
PER_CALL = {"per_call": "0.1"}
PER_SECOND = {"per_second": "0.1"}


@dataclass(frozen=True, slots=True)
class Hit:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Act = Callable[["Hostile", Hit], tuple[int, dict[str, str], bytes]]


class Hostile:
    """An upstream on loopback that answers each request as `act` says."""

    def __init__(self, act: Act) -> None:
        hostile = self
        self.hits: list[Hit] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                hit = Hit(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                hostile.hits.append(hit)
                status, headers, answer = act(hostile, hit)
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_PUT = do_DELETE = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def tells(submitted: Any, polled: Any = None, *, status: int = 200) -> Act:
    """Answers submissions with the one and everything else with the other; `BASE` in them is its own URL."""

    def act(hostile: Hostile, hit: Hit) -> tuple[int, dict[str, str], bytes]:
        first = hit.method == "POST"
        text = json.dumps(submitted if first else polled).replace("BASE", hostile.url)
        return status if first else 200, {}, text.encode()

    return act
