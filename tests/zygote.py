"""Runs `relaygate` commands in processes forked off one that has loaded their code, which takes a command a second otherwise.

`python -m tests.zygote` reads requests as JSON lines and answers each: a command once it has ended, a server once it was
forked. Each gets its own environment, folder and output, and goes through the entry point that the shell's command goes
through.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]


class Zygote:
    """The process that commands are forked off."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lock = threading.Lock()

    def run(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of `relaygate ARGUMENTS`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        answer = self._ask({"arguments": list(arguments), "environment": dict(environment), "folder": str(folder)})
        return answer["code"], answer["out"], answer["err"]

    def serve(self, environment: Mapping[str, str], folder: Path, log: Path) -> Server:
        """`relaygate serve`, its output at the end of a log."""
        request = {"arguments": ["serve"], "environment": dict(environment), "folder": str(folder), "log": str(log)}
        return Server(self, self._ask(request)["pid"])

    def exit_code(self, pid: int) -> int | None:
        """None: it runs."""
        code: int | None = self._ask({"wait": pid})["code"]
        return code

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


class Server:
    """A server that was forked off, with the face of a `subprocess.Popen`."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self._zygote = zygote
        self._code: int | None = None
        self.pid = pid

    def poll(self) -> int | None:
        if self._code is None:
            self._code = self._zygote.exit_code(self.pid)
        return self._code

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("relaygate serve", timeout)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def start_zygote() -> Zygote:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RELAYGATE_")}
    command = [sys.executable, "-m", "tests.zygote"]
    return Zygote(
        subprocess.Popen(command, cwd=ROOT, env=inherited, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    )


@contextmanager
def zygote() -> Iterator[Zygote]:
    """One that runs as long as the block."""
    started = start_zygote()
    yield started
    started.close()


@cache
def shared_zygote() -> Zygote:
    """One for the whole run: it ends with the process that has started it."""
    started = start_zygote()
    atexit.register(started.close)
    return started


def serve_requests() -> None:
    import rich.console  # noqa: F401 - what Typer loads once it has something to say

    import app.cli
    import app.main  # noqa: F401 - what all the commands need, loaded once
    from app.__main__ import main

    gc.collect()
    gc.freeze()  # a child would copy all of it otherwise, only to take it apart when it ends: half a second
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            pid, status = os.waitpid(request["wait"], os.WNOHANG)
            answer: dict[str, Any] = {"code": os.waitstatus_to_exitcode(status) if pid else None}
        elif "log" in request:
            with open(request["log"], "ab") as log:
                answer = {"pid": fork(request, log, log, main)}
        else:
            with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
                _, status = os.waitpid(fork(request, out, err, main), 0)
                answer = {"code": os.waitstatus_to_exitcode(status), "out": read(out), "err": read(err)}
        print(json.dumps(answer), flush=True)


def fork(request: dict[str, Any], out: IO[bytes], err: IO[bytes], main: Callable[[], None]) -> int:
    """The pid of a new process that runs what was asked for."""
    child = os.fork()
    if not child:
        become(request, out, err)
        main()
        sys.exit(0)
    return child


def become(request: dict[str, Any], out: IO[bytes], err: IO[bytes]) -> None:
    """The process of one command: nothing of the zygote's but its loaded code."""
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = ["relaygate", *request["arguments"]]


def read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


if __name__ == "__main__":
    serve_requests()
