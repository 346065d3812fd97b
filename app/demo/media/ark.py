"""Seedance's tasks in the demo, under `/api/v3` as at Volcengine Ark and BytePlus ModelArk.

Strict about parts of `content` and the roles that go together; other fields that aren't known are ignored. The words of
`quirk=` here: `expired` (a job that fails is reported as expired), `no_usage` (no tokens are reported), `frames` (the length
is reported in frames).

What DELETE answers for a running task is unverified: here it is a 409. A final task's record is deleted by it.

Fields and statuses as in byteplus-python-sdk-v2 3.0.63 (`types/content_generation`), roles as in @ai-sdk/bytedance 1.0.
"""

import math
import secrets
import time
from collections import Counter
from typing import Annotated, Any, Literal

import msgspec

from app.demo.exchange import Exchange
from app.demo.media.desk import Desk, Reply, Trouble, file_url, read_bearer, write_json
from app.demo.media.frames import frame
from app.demo.media.studio import Job, Look, Order
from app.demo.routes import Route

TASKS = "/api/v3/contents/generations/tasks"
FRAMES_PER_SECOND = 24
PIXELS = {"480p": 854 * 480, "720p": 1280 * 720, "1080p": 1920 * 1080}
STATUSES = {"queued": "queued", "running": "running", "done": "succeeded", "failed": "failed", "cancelled": "cancelled"}
FRAMES = frozenset({"first_frame", "last_frame"})

Link = Annotated[str, msgspec.Meta(pattern=r"^https?://")]


class Picture(msgspec.Struct):
    """A public URL, or a data URI."""

    url: Annotated[str, msgspec.Meta(pattern=r"^(https?://|data:image/)")]


class Film(msgspec.Struct):
    """A public URL."""

    url: Link


class TextPart(msgspec.Struct, tag_field="type", tag="text"):
    text: Annotated[str, msgspec.Meta(min_length=1)]


class ImagePart(msgspec.Struct, tag_field="type", tag="image_url"):
    image_url: Picture
    role: Literal["first_frame", "last_frame", "reference_image"] = "first_frame"


class VideoPart(msgspec.Struct, tag_field="type", tag="video_url"):
    video_url: Film
    role: Literal["reference_video"]


class Creation(msgspec.Struct):
    """The body of `POST /contents/generations/tasks`."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    content: Annotated[list[TextPart | ImagePart | VideoPart], msgspec.Meta(min_length=1)]
    ratio: Literal["16:9", "9:16", "1:1", "4:3", "3:4", "21:9", "adaptive"] = "16:9"
    resolution: Literal["480p", "720p", "1080p"] = "720p"
    duration: Annotated[int, msgspec.Meta(ge=2, le=15)] = 5
    seed: int = -1
    generate_audio: bool = True
    watermark: bool = False
    camera_fixed: bool = False
    return_last_frame: bool = False
    service_tier: Literal["default", "flex"] = "default"


class Ark:
    """Answers the calls that make, ask after and cancel Seedance's tasks."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """Those of the tasks."""
        return [
            Route("POST", TASKS, self.create),
            Route("GET", f"{TASKS}/{{job_id}}", self.retrieve),
            Route("DELETE", f"{TASKS}/{{job_id}}", self.delete),
        ]

    async def create(self, exchange: Exchange) -> None:
        """A video."""
        body = await exchange.read_body()
        try:
            key, wanted = read_key(exchange), read_creation(body)
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble, write_error)
            return
        prompt = next((part.text for part in wanted.content if isinstance(part, TextPart)), "")
        width, height = frame("videos", aspect_ratio=wanted.ratio)
        details = {
            "ratio": wanted.ratio,
            "resolution": wanted.resolution,
            "generate_audio": wanted.generate_audio,
            "service_tier": wanted.service_tier,
        }
        order = Order("videos", wanted.model, prompt, width, height, seconds=wanted.duration, details=details)
        job_id = f"cgt-{time.strftime('%Y%m%d%H%M%S')}-{secrets.token_hex(4)}"
        await self._desk.submit(
            exchange, order, lambda job: write_json({"id": job.id}), write_error, key=key, job_id=job_id
        )

    async def retrieve(self, exchange: Exchange, job_id: str) -> None:
        """How far a task is."""
        await exchange.read_body()
        try:
            read_key(exchange)
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble, write_error)
            return
        await self._desk.poll(exchange, job_id, lambda job, look: write_task(exchange, job, look), write_error)

    async def delete(self, exchange: Exchange, job_id: str) -> None:
        """Cancels a task that waits, and deletes the record of one that is final."""
        await exchange.read_body()
        job = self._desk.studio.find(job_id)
        try:
            read_key(exchange)
            if job is None:
                raise Trouble(404, f"The task {job_id} isn't found.", "ResourceNotFound")
            state = self._desk.studio.look(job).state
            if state == "running":
                raise Trouble(409, f"The task {job_id} is running.", "InvalidAction.RunningTaskDeletion")
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble, write_error)
            return
        if state == "queued":
            self._desk.studio.finish(job, "cancelled")
        else:
            self._desk.studio.delete(job)
        await self._desk.reply(exchange, write_json({}))


def read_key(exchange: Exchange) -> str:
    """The Bearer key; raises Trouble 401."""
    if not exchange.header(b"authorization").startswith("Bearer "):
        raise Trouble(401, "The API key in the request is missing or invalid.", "AuthenticationError")
    return read_bearer(exchange)


def read_creation(body: bytes) -> Creation:
    """Raises Trouble 400: for a field of the wrong form, and for roles that exclude each other."""
    try:
        wanted = msgspec.json.decode(body, type=Creation)
    except msgspec.DecodeError as error:  # of which a validation error is one
        raise Trouble(400, f"The request isn't valid: {error}", "InvalidParameter") from error
    roles = Counter(part.role for part in wanted.content if not isinstance(part, TextPart))
    texts = sum(isinstance(part, TextPart) for part in wanted.content)
    frames = roles.keys() & FRAMES
    if texts > 1 or max((roles[role] for role in frames), default=0) > 1:
        raise Trouble(
            400, "content: a text, a first frame and a last one may each stand there once", "InvalidParameter"
        )
    if "last_frame" in roles and "first_frame" not in roles:
        raise Trouble(400, "content: a last frame needs a first one", "InvalidParameter")
    if frames and roles.keys() - FRAMES:
        raise Trouble(400, "content: frames can't be mixed with reference media", "InvalidParameter")
    return wanted


def write_error(trouble: Trouble) -> Reply:
    """`{"error": {"code", "message", "param", "type"}}`."""
    kind = {400: "BadRequest", 401: "Unauthorized", 404: "NotFound", 429: "TooManyRequests"}.get(
        trouble.status, "Error"
    )
    code = "AuthenticationError" if trouble.code == "invalid_api_key" else trouble.code or kind
    error = {"code": code, "message": trouble.message, "param": trouble.param or "", "type": kind}
    return write_json({"error": error}, trouble.status)


def write_task(exchange: Exchange, job: Job, look: Look) -> Reply:
    """A task as it stands."""
    details = job.order.details
    body: dict[str, Any] = {
        "id": job.id,
        "model": job.model,
        "status": STATUSES[look.state],
        "created_at": int(job.created_at),
        "updated_at": int(look.finished_at or look.started_at or job.created_at),
        "service_tier": details["service_tier"],
        "execution_expires_after": 172_800,
    }
    if look.state == "failed" and job.options.has("expired"):
        body["status"] = "expired"
    elif look.state == "failed":
        body["error"] = {"code": look.code or "InternalServiceError", "message": look.reason}
    elif look.state == "done":
        body |= _write_result(exchange, job)
    return write_json(body)


def _write_result(exchange: Exchange, job: Job) -> dict[str, Any]:
    details = job.order.details
    frames = round(job.seconds * FRAMES_PER_SECOND)
    counted = math.ceil(frames * PIXELS[details["resolution"]] / 1024)
    tokens = counted if job.options.tokens is None else job.options.tokens
    result: dict[str, Any] = {
        "content": {"video_url": file_url(exchange, job)} if job.count else {},
        "seed": 7,
        "resolution": details["resolution"],
        "ratio": "16:9" if details["ratio"] == "adaptive" else details["ratio"],
        "framespersecond": FRAMES_PER_SECOND,
        "generate_audio": details["generate_audio"],
    }
    result |= {"frames": frames} if job.options.has("frames") else {"duration": round(job.seconds)}
    if not job.options.has("no_usage"):
        result["usage"] = {"completion_tokens": tokens, "total_tokens": tokens}
    return result
