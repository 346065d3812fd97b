"""Runs the demo upstream as a process of its own: `python -m app.demo --port 8001`."""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys

import uvicorn

from app.demo.server import create_demo_app

# A stalled or paced answer must not keep a stopped process alive.
GRACE_SECONDS = 1
# The server's loop ticks ten times a second.
TICKS_PER_CHECK = 10


class DemoServer(uvicorn.Server):
    """A server that announces itself once it listens and that can outlive its parent by a second at most."""

    def __init__(self, config: uvicorn.Config, parent_pid: int | None) -> None:
        super().__init__(config)
        self._parent = parent_pid
        self._is_child = parent_pid == os.getppid()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to listen, then says where."""
        await super().startup(sockets)
        gc.freeze()  # the encoding's tables are here to stay; collections need not visit them
        assert sockets is not None
        host, port = sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"demo upstream on http://{shown}:{port}", flush=True)  # noqa: T201  (the line that callers wait for)

    async def on_tick(self, counter: int) -> bool:
        """Decides ten times a second whether to go on."""
        if counter % TICKS_PER_CHECK == 0 and self._parent is not None and not self._parent_lives(self._parent):
            return True
        return await super().on_tick(counter)

    def _parent_lives(self, parent: int) -> bool:
        # A dead child of somebody else still takes signals until it is reaped; a parent's death shows at once.
        if self._is_child:
            return os.getppid() == parent
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def is_news(record: logging.LogRecord) -> bool:
    """Whether a line of the server's log tells of a defect; cut answers and a hasty stop are this server's trade."""
    if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
        return False
    message = record.getMessage()
    if "without completing" in message:
        return False
    return "graceful shutdown exceeded" not in message


def bind(host: str, port: int) -> socket.socket:
    """A bound socket; raises OSError when the address is taken."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.setblocking(False)
    return listener


def main() -> None:
    """Reads the command line and serves until a signal or the parent's end."""
    parser = argparse.ArgumentParser(prog="python -m app.demo", description="The demo upstream.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001, help="0 takes any free port")
    parser.add_argument("--parent-pid", type=int, help="exit when this process is gone")
    parser.add_argument("--no-record", action="store_true", help="keep no requests for /_demo/requests")
    args = parser.parse_args()
    try:
        listener = bind(args.host, args.port)
    except OSError as error:
        sys.exit(f"cannot listen on {args.host}:{args.port}: {error}")
    config = uvicorn.Config(
        create_demo_app(record=not args.no_record),
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        log_level="error",
        access_log=False,
        # Each costs microseconds a request, and the benchmarks count them.
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        # As long as common servers keep idle connections; uvicorn's five seconds would race with its clients' reuse.
        timeout_keep_alive=75,
    )
    logging.getLogger("uvicorn.error").addFilter(is_news)
    with contextlib.suppress(KeyboardInterrupt):  # the server has stopped and passes the signal on
        DemoServer(config, args.parent_pid).run(sockets=[listener])


if __name__ == "__main__":
    main()
