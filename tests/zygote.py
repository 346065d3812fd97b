"""Runs `relaygate` commands in processes forked off one that has loaded their code, which takes a command a second otherwise.

`python -m tests.zygote` reads requests as JSON lines and answers each once its command has ended. Each command gets its own
environment, folder and output, and goes through the entry point that the shell's command goes through.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
        request = {"arguments": list(arguments), "environment": dict(environment), "folder": str(folder)}
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        return answer["code"], answer["out"], answer["err"]


@contextmanager
def zygote() -> Iterator[Zygote]:
    """One that runs as long as the block."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RELAYGATE_")}
    command = [sys.executable, "-m", "tests.zygote"]
    with subprocess.Popen(
        command, cwd=ROOT, env=inherited, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Zygote(process)
        assert process.stdin is not None
        process.stdin.close()


def serve_requests() -> None:
    import app.cli  # noqa: F401 - what all the commands need, loaded once
    from app.__main__ import main

    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if not child:
                become(request, out, err)
                main()
                sys.exit(0)
            _, status = os.waitpid(child, 0)
            answer = {"code": os.waitstatus_to_exitcode(status), "out": read(out), "err": read(err)}
        print(json.dumps(answer), flush=True)


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
