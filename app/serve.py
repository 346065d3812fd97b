"""`relaygate serve`: prepares, serves on one port with as many processes as set, and says how to call it."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from types import FrameType
from urllib.request import urlopen

import uvicorn
from uvicorn.supervisors import Multiprocess

from app.bootstrap import Ready, SetupError, prepared
from app.db.engine import DatabaseUrlError
from app.db.host import EmbeddedPostgresError
from app.logs import configure_logs
from app.services import Services
from app.settings import Settings
from app.wire.protocol import GuardedProtocol
from app.wire.websocket import GuardedWebSocket
from app.worker.loop import Worker

READY_TIMEOUT = 60.0


def serve() -> None:
    """Serve the gateway: API and background worker, as the RELAYGATE_* settings say."""
    settings = Settings()
    # uvicorn raises the signal again when it has drained: turned into an exit, so that the database is stopped too.
    signal.signal(signal.SIGTERM, _exit)
    try:
        with prepared(settings) as ready:
            _export(ready.settings)
            if settings.role == "worker":
                asyncio.run(_work(ready.settings))
            else:
                _serve_api(ready)
    except (SetupError, EmbeddedPostgresError, DatabaseUrlError) as error:
        sys.exit(f"relaygate: {error}")


def _exit(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _export(settings: Settings) -> None:
    """API processes are started afresh and read the environment: what was found or made belongs there."""
    assert settings.database_url is not None
    assert settings.secret_key is not None
    os.environ["RELAYGATE_DATABASE_URL"] = settings.database_url.get_secret_value()
    os.environ["RELAYGATE_SECRET_KEY"] = settings.secret_key.get_secret_value()


class AnnouncingServer(uvicorn.Server):
    """Says how to reach the gateway as soon as it listens."""

    def __init__(self, config: uvicorn.Config, ready: Ready) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _announce(self._ready)


def _serve_api(ready: Ready) -> None:
    settings = ready.settings
    configure_logs(settings)
    _allow_open_files()
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http=GuardedProtocol,
        ws=GuardedWebSocket,
        ws_max_size=settings.realtime_max_frame_bytes,
        ws_ping_interval=settings.realtime_ping_interval,
        ws_ping_timeout=settings.realtime_ping_interval,
        ws_per_message_deflate=False,
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=4096,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(settings.drain)),
    )
    if settings.workers == 1:
        server = AnnouncingServer(config, ready)
        with suppress(KeyboardInterrupt):  # Ctrl-C, raised again once everything is drained
            server.run()
        if not server.started:
            raise SetupError("The gateway didn't start; its log says why.")
        return
    with _shared_metrics():
        threading.Thread(target=_announce_when_ready, args=(ready,), daemon=True).start()
        Multiprocess(config, sockets=[config.bind_socket()]).run()


def _allow_open_files() -> None:
    """As many as the hard limit allows: the soft one is often 1024, for programs that call select(), and too few sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # an unlimited hard limit is more than some kernels take
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def _shared_metrics() -> Iterator[None]:
    """Several processes share one /metrics through files; prometheus-client wants their folder in the environment."""
    folder = tempfile.mkdtemp(prefix="relaygate-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _work(settings: Settings) -> None:
    """Only the background worker, until SIGTERM or SIGINT."""
    configure_logs(settings)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Services(settings) as services:
        worker = Worker(services)
        worker.start()
        await stop.wait()
        await worker.stop()


def _announce_when_ready(ready: Ready) -> None:
    """For several processes, none of which knows when the others are ready."""
    deadline = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < deadline:
        with suppress(OSError), urlopen(f"{ready.settings.local_url}/readyz", timeout=2.0) as answer:  # noqa: S310 - ours
            if answer.status == 200:
                _announce(ready)
                return
        time.sleep(0.1)


def _announce(ready: Ready) -> None:
    print(_welcome(ready, ready.settings.public_url or ready.settings.local_url), flush=True)  # noqa: T201 - for people


def _welcome(ready: Ready, url: str) -> str:
    lines = ["", f"Relaygate serves on {url}  (OpenAI base URL: {url}/v1, API docs: {url}/docs)"]
    if ready.new_admin_token is not None:
        lines += ["", f"Admin token, shown this once: {ready.new_admin_token}"]
    if ready.demo_key is not None:
        lines += [
            "",
            "No provider is configured yet, so a demo upstream answers. Try it:",
            "",
            _curl(url, ready.demo_key),
        ]
        lines += ["", _python(url, ready.demo_key)]
        lines += ["", "A video takes some seconds; the answer names the task:", "", _video(url, ready.demo_key)]
    return "\n".join([*lines, ""])


def _curl(url: str, key: str) -> str:
    return f"""curl {url}/v1/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "demo", "messages": [{{"role": "user", "content": "Hello"}}]}}'"""


def _video(url: str, key: str) -> str:
    return f"""curl {url}/v2/videos/generations \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "demo-video", "prompt": "A cat on a bicycle", "duration": "5"}}'
curl -H "Authorization: Bearer {key}" {url}/v2/videos/generations/TASK_ID"""


def _python(url: str, key: str) -> str:
    python = "python3" if find_spec("openai") is None else os.path.relpath(sys.executable)
    first = "pip install openai\n" if find_spec("openai") is None else ""
    return f"""{first}{python} - <<'EOF'
from openai import OpenAI

client = OpenAI(base_url="{url}/v1", api_key="{key}")
for chunk in client.chat.completions.create(
    model="demo", messages=[{{"role": "user", "content": "Hello"}}], stream=True
):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
EOF"""
