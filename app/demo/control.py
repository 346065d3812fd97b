"""The `/_demo/...` endpoints through which tests script faults and read what was received.

| request | effect |
|---|---|
| `GET /_demo/requests?limit=N` | `{"requests": [...]}`, the last N received, oldest first |
| `DELETE /_demo/requests` | forgets them |
| `GET /_demo/stats?idle_ms=N` | `{requests, open, disconnects, chunks}`; waits up to N ms until none is open |
| `POST /_demo/faults` | `{"model", "faults": [{option: value}], "repeat"}` replaces the model's script |
| `DELETE /_demo/faults` | forgets every script |

`disconnects` and `chunks` grow when a request ends.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
import orjson

from app.demo.asgi import Receive, Scope, Send
from app.demo.faults import JSON, FaultScripts
from app.demo.journal import MAX_ENTRIES, Journal
from app.demo.options import OptionsError

PREFIX = "/_demo/"


class FaultOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /_demo/faults`; an empty fault is a plain answer, model `*` is any without its own script."""

    model: str
    faults: list[dict[str, Any]]
    repeat: bool = False


class Control:
    """Serves what stands under `/_demo/`; none of it is journaled or counted."""

    def __init__(self, journal: Journal, scripts: FaultScripts) -> None:
        self._journal = journal
        self._scripts = scripts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one control request."""
        body = await _read(receive)
        query = {key: values[-1] for key, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
        try:
            match scope["method"], scope["path"].removeprefix(PREFIX):
                case "GET", "requests":
                    limit = int(query.get("limit", MAX_ENTRIES))
                    await reply_json(send, 200, {"requests": self._journal.latest(limit)})
                case "DELETE", "requests":
                    self._journal.clear()
                    await reply_json(send, 200, {})
                case "GET", "stats":
                    await self._journal.wait_idle(int(query.get("idle_ms", 0)) / 1000)
                    await reply_json(send, 200, self._journal.stats())
                case "POST", "faults":
                    order = msgspec.json.decode(body, type=FaultOrder)
                    self._scripts.put(order.model, order.faults, repeat=order.repeat)
                    await reply_json(send, 200, {})
                case "DELETE", "faults":
                    self._scripts.clear()
                    await reply_json(send, 200, {})
                case _:
                    await reply_json(send, 404, {"error": "no such control endpoint"})
        except (OptionsError, msgspec.DecodeError, ValueError) as error:
            await reply_json(send, 400, {"error": str(error)})


async def reply_json(send: Send, status: int, body: Mapping[str, Any]) -> None:
    """Answers with a JSON object."""
    data = orjson.dumps(body)
    headers = [JSON, (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data, "more_body": False})


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        body += message["body"]
        if not message["more_body"]:
            break
    return body
