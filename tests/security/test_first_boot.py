"""First boot: a fresh folder, the embedded database and no settings, as a newcomer starts it."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.gateway import free_port

START = 40.0


@pytest.fixture
def serve(work_dir: Path) -> Iterator[Callable[[], tuple[str, str]]]:
    """Starts the gateway in one and the same folder, waits until it answers and stops it; its address and what it printed."""
    folder = work_dir / "first-boot"
    folder.mkdir()
    running: list[subprocess.Popen[str]] = []

    def start() -> tuple[str, str]:
        port = free_port()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RELAYGATE_")}
        environment |= {"RELAYGATE_DATA_DIR": str(folder / "data"), "RELAYGATE_PORT": str(port)}
        with (folder / f"{port}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve"], cwd=folder, env=environment, stdout=log, stderr=log, text=True
            )
        running.append(process)
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            assert process.poll() is None, (folder / f"{port}.log").read_text()
            try:
                if httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    break
            except httpx2.HTTPError:
                time.sleep(0.1)
        return f"http://127.0.0.1:{port}", (folder / f"{port}.log").read_text()

    def stop() -> None:
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(30)
        running.clear()

    def start_after_stop() -> tuple[str, str]:
        stop()
        return start()

    yield start_after_stop
    stop()


def test_first_boot(serve: Callable[[], tuple[str, str]], work_dir: Path) -> None:
    url, printed = serve()
    tokens = re.findall(r"Admin token, shown this once: (\S+)", printed)
    assert len(tokens) == 1
    assert len(tokens[0]) >= 40  # 256 random bits

    # Nothing is open but what says that the process lives.
    for path in ("/metrics", "/admin/v1/accounts", "/v1/models", "/v1/account"):
        assert httpx2.get(url + path).status_code == 401, path
    for password in ("admin", "123456", "password", "sk-1234", "relaygate"):
        headers = {"authorization": f"Bearer {password}"}
        assert httpx2.get(f"{url}/admin/v1/accounts", headers=headers).status_code == 401
    owner = {"authorization": f"Bearer {tokens[0]}"}
    assert httpx2.get(f"{url}/admin/v1/accounts", headers=owner).status_code == 200
    assert httpx2.get(f"{url}/metrics", headers=owner).status_code == 200

    # What was generated is for this user alone, and the token itself is nowhere.
    data = work_dir / "first-boot" / "data"
    secrets = [path for path in data.iterdir() if path.is_file()]
    assert secrets
    for file in secrets:
        assert not file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH | stat.S_IWGRP | stat.S_IWOTH), file
        assert tokens[0] not in file.read_text(errors="replace")

    # The second start shows no secret, and the first token is still good.
    url, printed = serve()
    assert "Admin token" not in printed
    assert tokens[0] not in printed
    assert httpx2.get(f"{url}/admin/v1/accounts", headers=owner).status_code == 200
