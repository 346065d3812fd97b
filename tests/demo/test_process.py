"""The demo as a process: it says where it listens, and it ends when told to."""

import signal
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from tests.demo.process import read_announcement, run_demo, start_demo
from tests.demo.wire import ask, call, chat

# Starts a demo as a child, which announces itself, and dies when its own standard input closes.
PARENT = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-m", "app.demo", "--port", "0", "--parent-pid", str(os.getpid())])
sys.stdin.read()
os._exit(0)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_without_a_word(number: signal.Signals) -> None:
    with start_demo(stderr=subprocess.PIPE) as process:
        read_announcement(process)
        process.send_signal(number)
        rest, errors = process.communicate(timeout=10)

    assert process.returncode in (0, -number)
    assert (rest, errors) == ("", "")


async def test_a_stalled_answer_does_not_hold_it() -> None:
    with start_demo(stderr=subprocess.PIPE) as process:
        demo = read_announcement(process)
        async with call(demo, chat("demo?stall=headers")) as wire:
            assert await wire.is_silent(0.05)
            process.terminate()
            _, errors = process.communicate(timeout=10)

    assert errors == ""


async def test_cuts_leave_no_trace_in_its_log() -> None:
    with start_demo(stderr=subprocess.PIPE) as process:
        demo = read_announcement(process)
        for options in ("cut=1", "drop=1"):
            async with call(demo, chat(f"demo?{options}", stream=True)) as wire:
                await wire.read_to_end()
        process.terminate()
        _, errors = process.communicate(timeout=10)

    assert errors == ""


def test_it_ends_with_its_parent() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert read_announcement(parent).port
        # Closes the parent's input, then waits until the last holder of its output, the demo, has closed that.
        rest, _ = parent.communicate(timeout=10)

    assert rest == ""


def test_a_taken_port_is_an_error() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "app.demo", "--port", port]
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    assert result.returncode == 1
    assert result.stderr.startswith(f"cannot listen on 127.0.0.1:{port}: ")


async def test_two_processes_share_nothing() -> None:
    with run_demo() as one, run_demo() as other:
        await ask(one, chat())
        assert (len(one.settled()), len(other.settled())) == (1, 0)
