"""The floor: the least a Python gateway can do, a bare ASGI pass-through without keys, money, routing or logs."""

import argparse
import gc
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp
import uvicorn

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Floor:
    """Posts every request body to the same path of one upstream and hands the answer back."""

    def __init__(self, upstream: str, key: str, ready: str) -> None:
        self._upstream = upstream
        self._headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        self._ready = ready
        self._session: aiohttp.ClientSession

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await self._relay(scope["path"], await _read_body(receive), send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        gc.collect()
        gc.freeze()
        print(self._ready, flush=True)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._session.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _relay(self, path: str, body: bytes, send: Send) -> None:
        async with self._session.post(self._upstream + path, data=body, headers=self._headers) as answer:
            headers = [(b"content-type", answer.headers["content-type"].encode())]
            start = {"type": "http.response.start", "status": answer.status, "headers": headers}
            length = answer.headers.get("content-length")
            if length is not None:
                headers.append((b"content-length", length.encode()))
                whole = await answer.read()
                await send(start)
                await send({"type": "http.response.body", "body": whole})
                return
            await send(start)
            async for chunk in answer.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def _read_body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    return body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", required=True, help="base URL without a path")
    parser.add_argument("--key", required=True, help="the upstream's key")
    args = parser.parse_args()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)  # so that who reads the ready line may connect at once
    ready = f"floor on http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        Floor(args.upstream, args.key, ready),
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        log_level="warning",
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
