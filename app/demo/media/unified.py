"""Another platform with the unified media API, at the root: `/v2/{scope}/generations`, and `/sora/v1/characters`.

Every call needs a Bearer key. Results are public. Errors come in OpenAI's shape.
"""

import secrets
import time
from typing import Any, cast

from app.demo.exchange import Exchange
from app.demo.media.desk import Desk, Reply, Trouble, file_url, read_bearer, read_object, write_json
from app.demo.media.frames import frame
from app.demo.media.studio import Job, Look, Order, Scope
from app.demo.routes import Route

SCOPES = ("images", "videos", "audio")
STATUSES = {"queued": "QUEUED", "running": "IN_PROGRESS", "done": "SUCCESS"}
DEFAULT_SECONDS = {"images": 0.0, "videos": 10.0, "audio": 3.0}
LEAST_APART, MOST_APART = 1.0, 3.0


class Unified:
    """Answers the unified API."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """Tasks of all scopes, and characters."""
        return [
            Route("POST", "/v2/{scope}/generations", self.create),
            Route("GET", "/v2/{scope}/generations/{job_id}", self.retrieve),
            Route("DELETE", "/v2/{scope}/generations/{job_id}", self.cancel),
            Route("POST", "/sora/v1/characters", self.create_character),
        ]

    async def create(self, exchange: Exchange, scope: str) -> None:
        """`{"task_id"}` for a prompt and a model."""
        body = await exchange.read_body()
        try:
            key, order = read_bearer(exchange), _read_order(scope, read_object(body))
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble)
            return
        job_id = f"{order.model.partition('?')[0]}:{int(time.time())}-{secrets.token_hex(5)}"
        await self._desk.submit(exchange, order, lambda job: write_json({"task_id": job.id}), key=key, job_id=job_id)

    async def retrieve(self, exchange: Exchange, scope: str, job_id: str) -> None:
        """The task as it stands."""
        await exchange.read_body()
        try:
            read_bearer(exchange)
            self._find(scope, job_id)
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble)
            return
        await self._desk.poll(exchange, job_id, lambda job, look: _write_task(exchange, job, look))

    async def cancel(self, exchange: Exchange, scope: str, job_id: str) -> None:
        """Stops a task that isn't final; 409 for one that is. `quirk=unstoppable` refuses all."""
        await exchange.read_body()
        try:
            read_bearer(exchange)
            job = self._find(scope, job_id)
            if self._desk.studio.look(job).final or job.options.has("unstoppable"):
                raise Trouble(409, "This task can't be cancelled any more.", "task_not_cancellable")
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble)
            return
        look = self._desk.studio.finish(job, "cancelled", "Cancelled.")
        await self._desk.reply(exchange, _write_task(exchange, job, look))

    async def create_character(self, exchange: Exchange) -> None:
        """A character out of one to three seconds of a video, or of a finished task. It obeys faults of `sora-characters`."""
        body = await exchange.read_body()
        try:
            key, wanted = read_bearer(exchange), read_object(body)
            _check_timestamps(wanted.get("timestamps"))
            source = wanted.get("from_task")
            if source is not None:
                job = self._desk.studio.find(str(source))
                if job is None or self._desk.studio.look(job).state != "done":
                    raise Trouble(404, f"There is no finished task {source}.", "task_not_found", "from_task")
            elif not isinstance(wanted.get("url"), str):
                raise Trouble(400, "url or from_task is required", None, "url")
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble)
            return
        order = Order("images", "sora-characters?seconds=0", "A character", 64, 64)
        await self._desk.submit(exchange, order, lambda job: self._write_character(exchange, job), key=key)

    def _write_character(self, exchange: Exchange, job: Job) -> Reply:
        if job.options.fail is not None:
            raise Trouble(400, job.options.fail, job.options.fail_code)
        self._desk.studio.finish(job, "done")
        username = f"demo.{job.id[:8]}"
        host = exchange.header(b"host") or "127.0.0.1"
        return write_json(
            {
                "id": f"ch_{job.id}",
                "username": username,
                "permalink": f"http://{host}/_demo/profiles/{username}",
                "profile_picture_url": file_url(exchange, job),
            }
        )

    def _find(self, scope: str, job_id: str) -> Job:
        job = self._desk.studio.find(job_id)
        if job is None or job.order.scope != scope:
            raise Trouble(404, f"There is no task {job_id}.", "task_not_found")
        return job


def _read_order(scope: str, wanted: dict[str, Any]) -> Order:
    if scope not in SCOPES:
        raise Trouble(404, f"There is no scope {scope}.", "not_found")
    for name in ("prompt", "model"):
        if not isinstance(wanted.get(name), str) or not wanted[name]:
            raise Trouble(400, f"{name} is required", "missing_required_parameter", name)
    for name in ("images", "videos"):
        given = wanted.get(name, [])
        if not isinstance(given, list) or not all(isinstance(item, str) and item for item in given):
            raise Trouble(400, f"{name} must be a list of texts", "invalid_type", name)
    size = {name: wanted.get(name) for name in ("size", "aspect_ratio", "resolution")}
    width, height = frame(cast(Scope, scope), **size)
    count = wanted.get("n", 1)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 10:
        raise Trouble(400, "n must be a number from 1 to 10", "invalid_value", "n")
    seconds = _read_seconds(wanted.get("duration"), DEFAULT_SECONDS[scope])
    return Order(cast(Scope, scope), wanted["model"], wanted["prompt"], width, height, seconds=seconds, count=count)


def _read_seconds(given: object, default: float) -> float:
    if given is None:
        return default
    try:
        seconds = float(given) if isinstance(given, str | int | float) else -1.0
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 60:
        raise Trouble(400, "duration must be a number of seconds, at most 60", "invalid_value", "duration")
    return seconds


def _check_timestamps(given: object) -> None:
    try:
        start, end = [float(part) for part in str(given).split(",")]
    except ValueError as error:
        raise Trouble(400, 'timestamps must be "start,end"', "invalid_value", "timestamps") from error
    if not LEAST_APART <= end - start <= MOST_APART:
        raise Trouble(400, "timestamps must be 1 to 3 seconds apart", "invalid_value", "timestamps")


def _write_task(exchange: Exchange, job: Job, look: Look) -> Reply:
    failed = look.final and look.state != "done"
    data = None
    if look.state == "done" and job.count:
        urls = [file_url(exchange, job, number) for number in range(1, job.count + 1)]
        data = {"output": urls[0], "outputs": urls}
    return write_json(
        {
            "task_id": job.id,
            "platform": "demo",
            "action": f"demo-{job.order.scope}",
            "status": "FAILURE" if failed else STATUSES[look.state],
            "fail_reason": (look.reason or "") if failed else "",
            "submit_time": int(job.created_at),
            "start_time": int(look.started_at or 0),
            "finish_time": int(look.finished_at or 0),
            "progress": f"{100 if look.final else look.progress}%",
            "data": data,
            "search_item": "",
        }
    )
