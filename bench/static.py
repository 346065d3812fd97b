"""A trivial responder with one fixed answer: what the load generator itself can reach."""

import asyncio
import gc
from typing import cast

import uvloop

BODY = (
    b'{"id":"chatcmpl-static","object":"chat.completion","created":1760000000,"model":"static","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"A fixed answer."},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":60,"completion_tokens":4,"total_tokens":64}}'
)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)


class Responder(asyncio.Protocol):
    """Answers whenever what came so far ends like a JSON body; good enough for requests that aren't pipelined."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"}"):
            self._transport.write(ANSWER)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Responder, "127.0.0.1", 0)
    print(f"static on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    gc.collect()
    gc.freeze()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
