"""The `/_demo/...` endpoints through which tests script faults and read what was received.

| request | effect |
|---|---|
| `GET /_demo/requests?limit=N&naming=text` | `{"requests": [...]}`, the last N received that hold the text, oldest first |
| `DELETE /_demo/requests` | forgets them |
| `GET /_demo/stats?idle_ms=N` | `{requests, open, disconnects, chunks}`; waits up to N ms until none is open |
| `POST /_demo/faults` | `{"model", "faults": [{option: value}], "repeat"}` replaces the model's script |
| `DELETE /_demo/faults` | forgets every script |
| `GET /_demo/studio` | `{submissions, accepted, polls, most_open_polls, cancels, by_key}`: the counters of media jobs |
| `GET /_demo/jobs?limit=N` | `{"jobs": [...]}`, the last N media jobs, oldest first; 100 unless told |
| `GET /_demo/jobs/{id}` | one of them |
| `POST /_demo/jobs/{id}` | `{"state": "done" or "failed" or "cancelled", "reason"}` ends the job now; answers with it |
| `DELETE /_demo/jobs` | forgets every job and its counters |

`disconnects` and `chunks` grow when a request ends. `submissions` counts what arrived, `accepted` the jobs that were made,
`by_key` the submissions of each `Idempotency-Key`; `most_open_polls` is the most polls of one job that were open at once.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
import orjson

from app.demo.asgi import Receive, Scope, Send
from app.demo.faults import JSON, FaultScripts
from app.demo.journal import MAX_ENTRIES, Journal
from app.demo.media.studio import Studio, Verdict, render_job
from app.demo.options import OptionsError

PREFIX = "/_demo/"
SHOWN_JOBS = 100
NOTHING = {"error": "no such control endpoint"}


class FaultOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /_demo/faults`; an empty fault is a plain answer, model `*` is any without its own script."""

    model: str
    faults: list[dict[str, Any]]
    repeat: bool = False


class JobOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /_demo/jobs/{id}`."""

    state: Verdict
    reason: str | None = None


class Control:
    """Serves what stands under `/_demo/`; none of it is journaled or counted."""

    def __init__(self, journal: Journal, scripts: FaultScripts, studio: Studio) -> None:
        self._journal = journal
        self._scripts = scripts
        self._studio = studio

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one control request."""
        body = await _read(receive)
        query = {key: values[-1] for key, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
        try:
            match scope["method"], scope["path"].removeprefix(PREFIX):
                case "GET", "requests":
                    limit = int(query.get("limit", MAX_ENTRIES))
                    await reply_json(send, 200, {"requests": self._journal.latest(limit, query.get("naming", ""))})
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
                case method, path if path.partition("/")[0] in ("studio", "jobs"):
                    await self._serve_studio(send, method, path, query, body)
                case _:
                    await reply_json(send, 404, NOTHING)
        except (OptionsError, msgspec.DecodeError, ValueError) as error:
            await reply_json(send, 400, {"error": str(error)})

    async def _serve_studio(self, send: Send, method: str, path: str, query: Mapping[str, str], body: bytes) -> None:
        studio = self._studio
        job = studio.find(path.removeprefix("jobs/"))
        match method, path:
            case "GET", "studio":
                await reply_json(send, 200, studio.stats())
            case "GET", "jobs":
                limit = int(query.get("limit", SHOWN_JOBS))
                jobs = studio.latest(limit)
                await reply_json(send, 200, {"jobs": [render_job(job, studio.look(job)) for job in jobs]})
            case "DELETE", "jobs":
                studio.clear()
                await reply_json(send, 200, {})
            case "GET", _ if job is not None:
                await reply_json(send, 200, render_job(job, studio.look(job)))
            case "POST", _ if job is not None:
                order = msgspec.json.decode(body, type=JobOrder)
                await reply_json(send, 200, render_job(job, studio.finish(job, order.state, order.reason)))
            case _:
                await reply_json(send, 404, NOTHING)


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
