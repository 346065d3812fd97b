"""xAI's media APIs in the demo, under `/xai/v1`: deferred videos and their edits, images at once.

A wrong key is a 400, a missing one a 401 (https://docs.x.ai/developers/debugging). Fields that aren't known are ignored, as
the vendor does with some; those that are must have their documented form. The words of `quirk=` here: `empty` (a poll while
pending has no body), `bare` (a made video has no status, as of old), `moderated` (what was made is blocked), `expired` (a
job that fails is reported as expired), `data_uri` (images as data URIs).

https://docs.x.ai/docs/guides/video-generation, https://docs.x.ai/docs/guides/image-generations; REST as in @ai-sdk/xai 3.0.
"""

from base64 import b64encode
from typing import Annotated, Any, Literal, TypeVar
from uuid import uuid4

import msgspec

from app.demo.exchange import Exchange
from app.demo.faults import JSON
from app.demo.media.desk import Desk, Reply, Trouble, file_url, read_bearer, write_json
from app.demo.media.frames import frame
from app.demo.media.studio import Job, Look, Order
from app.demo.routes import Route

T = TypeVar("T")

BASE = "/xai/v1"
DEFAULT_SECONDS = 8
EDITED_SECONDS = 4.0
TICKS_PER_SECOND = 500_000_000
NO_KEY = "No API key was provided."

Ratio = Literal["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class Media(msgspec.Struct):
    """A picture or a video: a public URL, or a data URI."""

    url: Annotated[str, msgspec.Meta(pattern=r"^(https?://|data:)")]


class Picture(Media):
    """A picture that images are edited from."""

    type: Literal["image_url"]


class Generation(msgspec.Struct):
    """The body of `POST /videos/generations`."""

    model: Text
    prompt: Text
    duration: Annotated[int, msgspec.Meta(ge=1, le=15)] = DEFAULT_SECONDS
    aspect_ratio: Ratio | None = None
    resolution: Literal["480p", "720p", "1080p"] = "480p"
    image: Media | None = None
    reference_images: Annotated[list[Media], msgspec.Meta(min_length=1, max_length=7)] | None = None


class Edit(msgspec.Struct):
    """The body of `POST /videos/edits`: it looks like the video that goes in, and is as long."""

    model: Text
    prompt: Text
    video: Media
    duration: None = None
    aspect_ratio: None = None
    resolution: None = None


class Images(msgspec.Struct):
    """The body of `POST /images/generations` and `/images/edits`."""

    model: Text
    prompt: Text
    n: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    aspect_ratio: str | None = None
    resolution: Literal["1k", "2k"] = "1k"
    response_format: Literal["url", "b64_json"] = "url"
    image: Picture | None = None
    images: Annotated[list[Picture], msgspec.Meta(min_length=2)] | None = None
    size: None = None


class Xai:
    """Answers xAI's calls that make videos and images."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """Those of both APIs."""
        return [
            Route("POST", f"{BASE}/videos/generations", self.generate),
            Route("POST", f"{BASE}/videos/edits", self.edit),
            Route("GET", f"{BASE}/videos/{{job_id}}", self.retrieve),
            Route("POST", f"{BASE}/images/generations", self.draw),
            Route("POST", f"{BASE}/images/edits", self.redraw),
        ]

    async def generate(self, exchange: Exchange) -> None:
        """A video from text, a first frame, or references."""
        body = await exchange.read_body()
        try:
            key, wanted = read_key(exchange), read_body(body, Generation)
            if wanted.reference_images and wanted.resolution == "1080p":
                raise Trouble(400, "reference-to-video is limited to 720p", "invalid-argument")
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble, write_error)
            return
        width, height = frame("videos", aspect_ratio=wanted.aspect_ratio)
        order = Order("videos", wanted.model, wanted.prompt, width, height, seconds=wanted.duration)
        await self._accept(exchange, order, key)

    async def edit(self, exchange: Exchange) -> None:
        """A video from a video."""
        body = await exchange.read_body()
        try:
            key, wanted = read_key(exchange), read_body(body, Edit)
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble, write_error)
            return
        width, height = frame("videos")
        await self._accept(
            exchange, Order("videos", wanted.model, wanted.prompt, width, height, seconds=EDITED_SECONDS), key
        )

    async def retrieve(self, exchange: Exchange, job_id: str) -> None:
        """How far a video is."""
        await exchange.read_body()
        try:
            read_key(exchange)
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble, write_error)
            return
        await self._desk.poll(exchange, job_id, lambda job, look: write_video(exchange, job, look), write_error)

    async def draw(self, exchange: Exchange) -> None:
        """Images from text."""
        await self._draw(exchange, edits=False)

    async def redraw(self, exchange: Exchange) -> None:
        """Images from pictures."""
        await self._draw(exchange, edits=True)

    async def _draw(self, exchange: Exchange, *, edits: bool) -> None:
        body = await exchange.read_body()
        try:
            key, wanted = read_key(exchange), read_body(body, Images)
            pictures = (wanted.image is not None) + (wanted.images is not None)
            if pictures != edits:
                raise Trouble(422, "image: one of image and images belongs to an edit, and to nothing else")
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble, write_error)
            return
        width, height = frame("images", aspect_ratio=wanted.aspect_ratio)
        order = Order("images", wanted.model, wanted.prompt, width, height, count=wanted.n)
        as_bytes = wanted.response_format == "b64_json"
        await self._desk.submit(
            exchange, order, lambda job: self._write_images(exchange, job, as_bytes), write_error, key=key
        )

    def _write_images(self, exchange: Exchange, job: Job, as_bytes: bool) -> Reply:
        if job.options.fail is not None:
            raise Trouble(400, job.options.fail, job.options.fail_code)
        self._desk.studio.finish(job, "done")
        return write_json({"data": [self._write_image(exchange, job, n + 1, as_bytes) for n in range(job.count)]})

    def _write_image(self, exchange: Exchange, job: Job, number: int, as_bytes: bool) -> dict[str, Any]:
        if job.options.has("moderated"):
            return {"url": None, "b64_json": None, "respect_moderation": False}
        if not as_bytes:
            return {"url": file_url(exchange, job, number), "respect_moderation": True}
        file = self._desk.file(job, number)
        encoded = b64encode(file.read(0, file.size)).decode()
        prefix = "data:image/png;base64," if job.options.has("data_uri") else ""
        return {"b64_json": prefix + encoded, "respect_moderation": True}

    async def _accept(self, exchange: Exchange, order: Order, key: str) -> None:
        await self._desk.submit(
            exchange,
            order,
            lambda job: write_json({"request_id": job.id}),
            write_error,
            key=key,
            job_id=str(uuid4()),
        )


def read_key(exchange: Exchange) -> str:
    """The Bearer key; raises Trouble 401 without one, 400 for a wrong one."""
    if not exchange.header(b"authorization").startswith("Bearer "):
        raise Trouble(401, NO_KEY, "unauthenticated")
    return read_bearer(exchange)


def read_body(body: bytes, kind: type[T]) -> T:
    """Raises Trouble: 400 for what isn't JSON, 422 for a field of the wrong form."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Trouble(422, f"Failed to deserialize the JSON body into the target type: {error}") from error
    except msgspec.DecodeError as error:
        raise Trouble(400, f"Failed to parse the request body as JSON: {error}") from error


def write_error(trouble: Trouble) -> Reply:
    """`{"code", "error"}`."""
    status = 400 if trouble.code == "invalid_api_key" else trouble.status
    code = "Client specified an invalid argument" if status == 400 and trouble.code is None else trouble.code
    return write_json({"code": code or f"error-{status}", "error": trouble.message}, status)


def write_video(exchange: Exchange, job: Job, look: Look) -> Reply:
    """A deferred request as it stands."""
    model = job.model
    if not look.final:
        if job.options.has("empty"):
            return Reply(202, (JSON,), b"")
        return write_json({"status": "pending", "progress": look.progress}, 202)
    if look.state != "done":
        if look.state == "cancelled" or job.options.has("expired"):
            return write_json({"status": "expired", "model": model})
        error = {"code": look.code or "internal_error", "message": look.reason}
        return write_json({"status": "failed", "model": model, "error": error})
    moderated = job.options.has("moderated")
    shown = job.count > 0 and not moderated
    video = {
        "url": file_url(exchange, job) if shown else "",
        "duration": round(job.seconds),
        "respect_moderation": not moderated,
    }
    body = {"video": video, "model": model, "usage": {"cost_in_usd_ticks": round(job.seconds * TICKS_PER_SECOND)}}
    return write_json(body if job.options.has("bare") else {"status": "done", "progress": 100, **body})
