"""OpenAI's videos API, `/v1/videos`, as openai-python 3.54.0 speaks it (`resources/videos.py`, `types/video*.py`).

It is there without `/v1` too. OpenAI's own was shut down in September 2026; others go on serving it. Every call needs a key.
Unverified: what it says to a download before its time, that a job in progress can be deleted, and for how long files stay.
"""

import re
import secrets
from typing import Any

from app.demo.exchange import Exchange
from app.demo.media.desk import Desk, Reply, Trouble, read_bearer, read_object, write_json
from app.demo.media.frames import frame
from app.demo.media.makers import make_png
from app.demo.media.requests import read_choice, read_fields, read_number, read_text, want_text
from app.demo.media.studio import MAX_JOBS, Job, Look, Order
from app.demo.routes import Route

BASES = ("/v1", "")
STATUSES = {"queued": "queued", "running": "in_progress", "done": "completed"}
DEFAULT_MODEL, DEFAULT_SECONDS, DEFAULT_SIZE = "sora-2", 4.0, "720x1280"
SIZE = re.compile(r"\d{2,4}x\d{2,4}", re.ASCII)
MOST_SECONDS = 600
KEPT_SECONDS = 3_600
CHARACTER_MODEL = "video-characters"
THUMBNAIL_WIDTH, SPRITES = 320, 5


class OpenAIVideos:
    """Answers the videos API; lengths and sizes beyond OpenAI's own are taken too."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """Videos, their files, and characters, which come first: their paths are like a video's."""
        return [
            route
            for path in (f"{base}/videos" for base in BASES)
            for route in (
                Route("POST", path, self.create),
                Route("GET", path, self.list_videos),
                Route("POST", f"{path}/characters", self.create_character),
                Route("GET", f"{path}/characters/{{job_id}}", self.retrieve_character),
                Route("GET", f"{path}/{{job_id}}", self.retrieve),
                Route("DELETE", f"{path}/{{job_id}}", self.delete),
                Route("GET", f"{path}/{{job_id}}/content", self.content),
                Route("POST", f"{path}/{{job_id}}/remix", self.remix),
            )
        ]

    async def create(self, exchange: Exchange) -> None:
        """A new video, from JSON or a form, with or without a reference picture."""
        body = await exchange.read_body()
        try:
            key, order = read_bearer(exchange), _read_order(exchange, body)
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble)
            return
        await self._submit(exchange, order, key)

    async def remix(self, exchange: Exchange, job_id: str) -> None:
        """A new video of the same model, length and size as a finished one."""
        body = await exchange.read_body()
        try:
            key, source = read_bearer(exchange), self._find(job_id)
            prompt = want_text(read_object(body), "prompt")
            if self._desk.studio.look(source).state != "done":
                raise Trouble(400, "Only a completed video can be remixed.", "invalid_value", "video_id")
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble)
            return
        old = source.order
        details = {**old.details, "remixed_from": job_id}
        order = Order("videos", old.model, prompt, old.width, old.height, seconds=old.seconds, details=details)
        await self._submit(exchange, order, key)

    async def retrieve(self, exchange: Exchange, job_id: str) -> None:
        """The video as it stands; a poll."""
        await exchange.read_body()
        try:
            read_bearer(exchange)
            job = self._find(job_id)
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble)
            return
        if job.options.poll_after_ms is not None:
            exchange.add_header(b"openai-poll-after-ms", str(job.options.poll_after_ms))
        await self._desk.poll(exchange, job_id, lambda job, look: write_json(_write_video(job, look)))

    async def list_videos(self, exchange: Exchange) -> None:
        """Videos by time, `order` `desc` unless told, `limit` of them (20), those `after` an id; no poll."""
        await exchange.read_body()
        query: dict[str, Any] = dict(exchange.query())
        try:
            read_bearer(exchange)
            limit = int(read_number(query, "limit", 20, 0, 100))
            newest_first = read_choice(query, "order", "desc", ("asc", "desc")) == "desc"
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble)
            return
        jobs = [job for job in self._desk.studio.latest(MAX_JOBS) if _is_video(job)]
        if newest_first:
            jobs.reverse()
        after = query.get("after")
        start = next((place for place, job in enumerate(jobs, 1) if job.id == after), 0)
        page = jobs[start : start + limit]
        answer = {
            "object": "list",
            "data": [_write_video(job, self._desk.studio.look(job)) for job in page],
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
            "has_more": start + limit < len(jobs),
        }
        await self._desk.reply(exchange, write_json(answer))

    async def delete(self, exchange: Exchange, job_id: str) -> None:
        """Forgets a video."""
        await exchange.read_body()
        try:
            read_bearer(exchange)
            self._desk.studio.delete(self._find(job_id))
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble)
            return
        await self._desk.reply(exchange, write_json({"id": job_id, "object": "video.deleted", "deleted": True}))

    async def content(self, exchange: Exchange, job_id: str) -> None:
        """The file, or with `variant` a picture of it; PNG, whatever OpenAI's were."""
        await exchange.read_body()
        try:
            read_bearer(exchange)
            job = self._find(job_id)
            variants = ("video", "thumbnail", "spritesheet")
            variant = read_choice(dict(exchange.query()), "variant", "video", variants)
            if self._desk.studio.look(job).state != "done":
                raise Trouble(
                    404, "Video is not ready yet, use GET /v1/videos/{video_id} to check status.", "not_found"
                )
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble)
            return
        if variant == "video":
            await self._desk.send_file(exchange, job)
            return
        height = THUMBNAIL_WIDTH * job.order.height // job.order.width
        width = THUMBNAIL_WIDTH * (SPRITES if variant == "spritesheet" else 1)
        picture = make_png(job.order.prompt, width, max(1, height))
        await self._desk.reply(exchange, Reply(200, ((b"content-type", b"image/png"),), picture))

    async def create_character(self, exchange: Exchange) -> None:
        """A character from a name and a video file. It obeys faults of `video-characters`."""
        body = await exchange.read_body()
        try:
            key, form = read_bearer(exchange), read_fields(exchange, body)
            name = want_text(form.fields, "name")
            if not form.files.get("video"):
                raise Trouble(400, "Missing required parameter: 'video'.", "missing_required_parameter", "video")
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble)
            return
        order = Order("images", f"{CHARACTER_MODEL}?seconds=0", name, 64, 64)
        job_id = f"char_{secrets.token_hex(12)}"
        await self._desk.submit(exchange, order, lambda job: write_json(_write_character(job)), key=key, job_id=job_id)

    async def retrieve_character(self, exchange: Exchange, job_id: str) -> None:
        """A character."""
        await exchange.read_body()
        try:
            read_bearer(exchange)
            job = self._desk.studio.find(job_id)
            if job is None or job.model != CHARACTER_MODEL:
                raise Trouble(404, f"Character with id '{job_id}' not found.", "not_found")
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble)
            return
        await self._desk.reply(exchange, write_json(_write_character(job)))

    async def _submit(self, exchange: Exchange, order: Order, key: str) -> None:
        def answer(job: Job) -> Reply:
            return write_json(_write_video(job, self._desk.studio.look(job)))

        await self._desk.submit(exchange, order, answer, key=key, job_id=f"video_{secrets.token_hex(16)}")

    def _find(self, job_id: str) -> Job:
        job = self._desk.studio.find(job_id)
        if job is None or not _is_video(job):
            raise Trouble(404, f"Video with id '{job_id}' not found.", "not_found")
        return job


def _is_video(job: Job) -> bool:
    # The studio is shared: other formats' jobs aren't to be seen here.
    return job.id.startswith("video_")


def _read_order(exchange: Exchange, body: bytes) -> Order:
    form = read_fields(exchange, body)
    fields = form.fields
    prompt = want_text(fields, "prompt")
    model = read_text(fields, "model", DEFAULT_MODEL)
    seconds = read_number(fields, "seconds", DEFAULT_SECONDS, 1, MOST_SECONDS)
    size = read_text(fields, "size", DEFAULT_SIZE)
    if not SIZE.fullmatch(size):
        raise Trouble(400, f"Invalid value: '{size}'. Expected WIDTHxHEIGHT.", "invalid_value", "size")
    if not _is_reference(fields.get("input_reference")):
        message = "Invalid 'input_reference': expected a file, or an object with image_url or file_id."
        raise Trouble(400, message, "invalid_type", "input_reference")
    if any(not file.data for file in form.files.get("input_reference", ())):
        raise Trouble(400, "The file of 'input_reference' is empty.", "invalid_value", "input_reference")
    width, height = frame("videos", size=size)
    return Order("videos", model, prompt, width, height, seconds=seconds, details={"size": size})


def _is_reference(value: object) -> bool:
    """Whether it is none at all, or an object that names a picture."""
    if value is None:
        return True
    named = [value.get("image_url"), value.get("file_id")] if isinstance(value, dict) else []
    return any(named) and all(item is None or isinstance(item, str) for item in named)


def _write_video(job: Job, look: Look) -> dict[str, Any]:
    finished = int(look.finished_at) if look.state == "done" and look.finished_at is not None else None
    video: dict[str, Any] = {
        "id": job.id,
        "object": "video",
        "model": job.model,
        "status": STATUSES.get(look.state, "failed"),
        "progress": look.progress,
        "created_at": int(job.created_at),
        "completed_at": finished,
        "expires_at": None if finished is None else finished + KEPT_SECONDS,
        "prompt": job.order.prompt,
        "seconds": f"{job.seconds:g}",
        "size": job.order.details["size"],
        "remixed_from_video_id": job.order.details.get("remixed_from"),
        "error": None,
    }
    if look.final and look.state != "done":
        video["error"] = {"code": look.code or "video_generation_failed", "message": look.reason or "Cancelled."}
    return video


def _write_character(job: Job) -> dict[str, Any]:
    return {"id": job.id, "name": job.order.prompt, "created_at": int(job.created_at)}
