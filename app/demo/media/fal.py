"""fal's queue in the demo, under `/fal`: any model by its path, submitted, asked after, fetched and cancelled by its links.

What a model makes is read from its path: `video` anywhere makes videos, else `audio`, `speech` or `music` make sound, and
all others images. A prompt that is missing or no text is the model's to refuse: a 422 as the result. The words of `quirk=`
here: `status_error` (what failed is told by the status already), `runner` (it fails as broken runners do, with a 504),
`no_links` (a submission names its id alone), `sync_mode` (images as data URIs), `untold` (no length is reported).

Unverified, and so of this demo's own making: what the status of a cancelled request is. One that was removed from the queue
is a 404 here, one that was stopped is complete with an error.

https://fal.ai/docs/api-reference/inference-api/openapi/queue.json, https://fal.ai/docs/documentation/model-apis/errors
"""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from app.demo.exchange import Exchange
from app.demo.media.desk import Desk, Reply, Trouble, file_url, read_bearer, read_object, write_json
from app.demo.media.files import CONTENT_TYPES, ENDINGS
from app.demo.media.frames import frame
from app.demo.media.studio import Job, Look, Order, Scope
from app.demo.routes import Route

BASE = "/fal"
NAMESPACES = ("workflows", "comfy")
DEFAULT_SECONDS = 5.0
SOUNDS = ("audio", "speech", "music")
CANCELLED = "The request was cancelled."


class Fal:
    """Answers the queue's calls."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """Those of the queue."""
        request = f"{BASE}/{{app*}}/requests/{{job_id}}"
        return [
            Route("POST", f"{BASE}/{{model*}}", self.submit),
            Route("GET", f"{request}/status", self.ask),
            Route("GET", request, self.fetch),
            Route("PUT", f"{request}/cancel", self.cancel),
        ]

    async def submit(self, exchange: Exchange, model: str) -> None:
        """Anything."""
        body = await exchange.read_body()
        try:
            key, wanted = read_key(exchange), read_object(body)
            if model.count("/") == 0 and not model.startswith("demo"):
                raise Trouble(404, f"Application '{model}' not found")
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble, write_error)
            return
        await self._desk.submit(
            exchange,
            read_order(model, wanted),
            lambda job: write_accepted(exchange, job),
            write_error,
            key=key,
            job_id=str(uuid4()),
        )

    async def ask(self, exchange: Exchange, app: str, job_id: str) -> None:
        """How far a request is."""
        await exchange.read_body()
        await self._poll(exchange, app, job_id, lambda job, look: write_status(exchange, job, look))

    async def fetch(self, exchange: Exchange, app: str, job_id: str) -> None:
        """What the model answered."""
        await exchange.read_body()
        await self._poll(exchange, app, job_id, lambda job, look: self._write_result(exchange, job, look))

    async def cancel(self, exchange: Exchange, app: str, job_id: str) -> None:
        """Removes a request that waits, and stops one that doesn't."""
        await exchange.read_body()
        job = self._desk.studio.find(job_id)
        try:
            read_key(exchange)
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble, write_error)
            return
        if job is None or not is_under(app, job):
            await self._desk.reply(exchange, write_json({"status": "NOT_FOUND"}, 404))
            return
        state = self._desk.studio.look(job).state
        if state not in ("queued", "running"):
            await self._desk.reply(exchange, write_json({"status": "ALREADY_COMPLETED"}, 400))
            return
        self._desk.studio.finish(job, "cancelled", "removed" if state == "queued" else "stopped")
        await self._desk.reply(exchange, write_json({"status": "CANCELLATION_REQUESTED"}, 202))

    async def _poll(self, exchange: Exchange, app: str, job_id: str, answer: Any) -> None:
        job = self._desk.studio.find(job_id)
        try:
            read_key(exchange)
            if job is not None and not is_under(app, job):
                raise Trouble(404, "Request not found")
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble, write_error)
            return
        await self._desk.poll(exchange, job_id, answer, write_error)

    def _write_result(self, exchange: Exchange, job: Job, look: Look) -> Reply:
        if look.state in ("queued", "running"):
            raise Trouble(400, "Request is still in progress")
        if look.state == "cancelled":
            raise Trouble(404, "Request not found")
        if not job.order.prompt:
            return write_invalid(422, "Field required", "missing", ["body", "prompt"])
        if look.state == "failed":
            if job.options.has("runner"):
                return write_json({"detail": look.reason, "error_type": look.code or "request_timeout"}, 504)
            return write_invalid(422, look.reason or "", look.code or "content_policy_violation", ["body", "prompt"])
        files = [self._write_file(exchange, job, number) for number in range(1, job.count + 1)]
        if job.order.scope == "images":
            return write_json({"images": files, "seed": 7, "has_nsfw_concepts": [False] * len(files)})
        name = "video" if job.order.scope == "videos" else "audio"
        body: dict[str, Any] = {name: files[0]} if files else {}
        if job.order.scope == "audio" and not job.options.has("untold"):
            body["duration_ms"] = round(job.seconds * 1000)
        return write_json(body)

    def _write_file(self, exchange: Exchange, job: Job, number: int) -> dict[str, Any]:
        scope = job.order.scope
        url = file_url(exchange, job, number)
        if job.options.has("sync_mode"):
            file = self._desk.file(job, number)
            url = f"data:{CONTENT_TYPES[scope]};base64,{b64encode(file.read(0, file.size)).decode()}"
        said: dict[str, Any] = {
            "url": url,
            "content_type": CONTENT_TYPES[scope],
            "file_name": f"{number}.{ENDINGS[scope]}",
        }
        if scope != "audio":
            said |= {"width": job.order.width, "height": job.order.height}
        if scope == "videos" and not job.options.has("untold"):
            said |= {"duration": job.seconds, "fps": 24}
        return said


def read_key(exchange: Exchange) -> str:
    """The key after `Key`; raises Trouble 401."""
    if not exchange.header(b"authorization").startswith("Key "):
        raise Trouble(401, "Authentication is required to access this application.")
    return read_bearer(exchange)


def read_app(model: str) -> str:
    """Owner and app of a model's id, without what follows them."""
    parts = model.partition("?")[0].split("/")
    return "/".join(parts[: 3 if parts[0] in NAMESPACES else 2])


def is_under(app: str, job: Job) -> bool:
    """Whether a path names the job's owner and app, and no more than that but the demo's options."""
    return app.partition("?")[0] == read_app(job.model)


def read_order(model: str, wanted: Mapping[str, Any]) -> Order:
    """An order of whatever a model of this path makes; what can't be read counts as not said."""
    name = model.partition("?")[0]
    scope: Scope = "images"
    if "video" in name:
        scope = "videos"
    elif any(sound in name for sound in SOUNDS):
        scope = "audio"
    prompt, size, count = wanted.get("prompt"), wanted.get("image_size"), wanted.get("num_images")
    said = f"{size.get('width')}x{size.get('height')}" if isinstance(size, dict) else None
    width, height = frame(scope, size=said, aspect_ratio=wanted.get("aspect_ratio"))
    return Order(
        scope,
        model,
        prompt if isinstance(prompt, str) else "",
        width,
        height,
        seconds=read_seconds(wanted.get("duration")),
        count=count if isinstance(count, int) and 1 <= count <= 4 and scope == "images" else 1,
    )


def read_seconds(value: object) -> float:
    """`5`, `"5"` and `"5s"`."""
    try:
        seconds = float(str(value).removesuffix("s"))
    except ValueError:
        return DEFAULT_SECONDS
    return seconds if 0 < seconds <= 60 else DEFAULT_SECONDS


def write_error(trouble: Trouble) -> Reply:
    """`{"detail"}`, as the queue's own errors have it."""
    return write_json({"detail": trouble.message}, trouble.status)


def write_invalid(status: int, message: str, kind: str, place: list[str]) -> Reply:
    """A model's own error."""
    return write_json({"detail": [{"loc": place, "msg": message, "type": kind, "input": {}}]}, status)


def write_accepted(exchange: Exchange, job: Job) -> Reply:
    """A submission's answer."""
    body = {"status": "IN_QUEUE", "request_id": job.id, "queue_position": 0}
    return write_json(body if job.options.has("no_links") else body | write_links(exchange, job))


def write_links(exchange: Exchange, job: Job) -> dict[str, str]:
    """Where the request goes on, on the host that this request named."""
    host = exchange.header(b"host") or "127.0.0.1"
    url = f"http://{host}{BASE}/{read_app(job.model)}/requests/{job.id}"
    return {"status_url": f"{url}/status", "response_url": url, "cancel_url": f"{url}/cancel"}


def write_status(exchange: Exchange, job: Job, look: Look) -> Reply:
    """A request as it stands: 202 until it is complete."""
    body: dict[str, Any] = {"request_id": job.id, **write_links(exchange, job)}
    match look.state:
        case "queued":
            return write_json({"status": "IN_QUEUE", "queue_position": 0, **body}, 202)
        case "running":
            return write_json({"status": "IN_PROGRESS", "logs": None, **body}, 202)
        case "cancelled" if look.reason == "removed":
            raise Trouble(404, "Request not found")
        case "cancelled":
            return write_json({"status": "COMPLETED", "error": CANCELLED, "error_type": "cancelled", **body})
        case "failed" if job.options.has("status_error"):
            kind = look.code or "internal_server_error"
            return write_json({"status": "COMPLETED", "error": look.reason, "error_type": kind, **body})
        case _:
            return write_json({"status": "COMPLETED", "logs": None, "metrics": {"inference_time": 1.5}, **body})
