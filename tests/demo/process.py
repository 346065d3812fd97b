"""Starts the demo upstream as the process that users start."""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

ANNOUNCEMENT = "demo upstream on http://127.0.0.1:"


@dataclass(frozen=True, slots=True)
class DemoProcess:
    """A running demo upstream."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        """Its origin, without a path."""
        return f"http://127.0.0.1:{self.port}"

    def control(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Calls `/_demo/{path}`."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)) as connection:
            connection.request(method, f"/_demo/{path}", None if body is None else json.dumps(body))
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        assert response.status == 200, answer
        return answer

    def script(self, model: str, *faults: dict[str, Any], repeat: bool = False) -> None:
        """Queues faults for a model."""
        self.control("POST", "faults", {"model": model, "faults": list(faults), "repeat": repeat})

    def received(self, naming: str = "") -> list[dict[str, Any]]:
        """The journal, oldest first: all that it has, or what has a text in its path or body."""
        requests: list[dict[str, Any]] = self.control("GET", "requests?" + urlencode({"naming": naming}))["requests"]
        return requests

    def settled(self, naming: str = "") -> list[dict[str, Any]]:
        """The journal, once no request is open any more."""
        assert self.control("GET", "stats?idle_ms=5000")["open"] == 0
        return self.received(naming)


def read_announcement(process: "subprocess.Popen[str]") -> DemoProcess:
    """Waits until a started process says where it listens."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith(ANNOUNCEMENT), line
    return DemoProcess(process.pid, int(line.removeprefix(ANNOUNCEMENT)))


@contextmanager
def start_demo(*arguments: str, stderr: int | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Starts `python -m app.demo` on a free port; it ends with the block, and with this process."""
    command = [sys.executable, "-m", "app.demo", "--port", "0", "--parent-pid", str(os.getpid()), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(10)


@contextmanager
def run_demo(*arguments: str) -> Iterator[DemoProcess]:
    """Starts a demo and waits until it listens."""
    with start_demo(*arguments) as process:
        yield read_announcement(process)


def read_peak_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
