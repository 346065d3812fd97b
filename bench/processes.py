"""Processes of a benchmark: start one on a core, wait until it is ready, read its memory and CPU time, stop it."""

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
LOG_TAIL = 4_000


class BenchError(Exception):
    """The benchmark can't go on; the text says why."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Where things run; None where nothing can be pinned, and then `note` says why."""

    gateway: int | None
    others: int | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Child:
    """A process that this benchmark started; what it prints goes to `log`."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid


def choose_cores() -> Cores:
    """The first usable core for the gateway, the second for everything else."""
    if not hasattr(os, "sched_setaffinity"):
        return Cores(None, None, f"no process can be pinned to a core on {sys.platform}; shares say less here")
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        return Cores(None, None, "only one core: load, upstream and gateway share it; shares say less here")
    return Cores(usable[0], usable[1])


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Whatever is started inside inherits this core."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def move_tree(pid: int, core: int | None) -> None:
    """Move a process and all it has started to a core; what it starts later inherits it."""
    if core is None:
        return
    for member in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(member).cpu_affinity([core])


@contextlib.contextmanager
def started(
    name: str, arguments: Sequence[str], core: int | None, folder: Path, env: Mapping[str, str] | None = None
) -> Iterator[Child]:
    """`python ARGUMENTS` on a core for as long as the block lasts."""
    log = folder / f"{name}.log"
    with log.open("wb") as output, on_core(core):
        # A session of its own: Ctrl-C in the terminal reaches this benchmark only, which then stops all in order.
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    child = Child(name, process, log)
    try:
        yield child
    finally:
        stop(child)


def stop(child: Child, patience: float = 20.0) -> None:
    """SIGTERM, then SIGKILL for what doesn't listen."""
    child.process.terminate()
    try:
        child.process.wait(patience)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()


def stop_stray(pid: int, patience: float = 10.0) -> bool:
    """End a Postgres that the process which started it should have ended; True if there was anything to do."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for kind in (None, signal.SIGINT, signal.SIGQUIT):  # Postgres: fast shutdown, then immediate
            if kind is not None:
                process.send_signal(kind)
            try:
                process.wait(patience)
            except psutil.TimeoutExpired:
                continue
            return kind is not None
    return False


def wait_for_url(child: Child, patience: float = 20.0) -> str:
    """The first `http://…:PORT` that the process prints; it does so once it listens."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = re.search(rb"http://\S+:\d+", child.log.read_bytes())
        if found:
            return found[0].decode()
        if child.process.poll() is not None:
            break
        time.sleep(0.02)
    raise BenchError(f"{child.name} did not start:\n{tail(child)}")


def tail(child: Child) -> str:
    """The end of what a process printed."""
    return child.log.read_bytes()[-LOG_TAIL:].decode(errors="replace")


def tree(pid: int, without: int | None = None) -> list[int]:
    """A process and its descendants, less one branch."""
    try:
        process = psutil.Process(pid)
        children = [child.pid for child in process.children()]
    except psutil.NoSuchProcess:
        return []
    branches = [tree(child, without) for child in children if child != without]
    return [pid, *(member for branch in branches for member in branch)]


def find_worker(pid: int, port: int) -> int:
    """Which process of a tree answers on a port: the one that listens and has no child that does."""
    listening = [member for member in tree(pid) if _listens(member, port)]
    parents = {psutil.Process(member).ppid() for member in listening}
    leaves = [member for member in listening if member not in parents]
    return leaves[0] if leaves else pid


def memory_mb(pid: int) -> float:
    """Resident memory in MB (10^6 bytes)."""
    resident: int = psutil.Process(pid).memory_info().rss
    return round(resident / 1e6, 1)


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of processes, and of the children they have reaped."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def machine_seconds(cores: Cores) -> float:
    """CPU time that anybody took on these cores (on all where nothing is pinned), stolen time included."""
    by_core = psutil.cpu_times(percpu=True)
    if cores.gateway is not None and cores.others is not None:
        by_core = [by_core[cores.gateway], by_core[cores.others]]
    taken = [one.user + one.nice + one.system + getattr(one, "steal", 0.0) for one in by_core]
    return float(sum(taken))


def finished_children_seconds() -> float:
    """CPU time of those children of this process that have come to their end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _listens(pid: int, port: int) -> bool:
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)
