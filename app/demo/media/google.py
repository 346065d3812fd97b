"""Google's Gemini API in the demo: interactions that make videos, their files, and images by generateContent.

Strict as the vendor: a field that isn't known is a 400 that names it. The key stands in `x-goog-api-key` or `?key=`.
The words of `quirk=` here: `inline` (a poll carries the video itself, though a file was asked for), `shorthand` (the video
stands in `output_video` instead of the steps), `processing` (the file is processed until it was looked at twice), `thought`
(an image comes after a draft of it), `prompt` (what fails is the prompt, not the image); and the statuses that a failing
interaction may have: `incomplete`, `budget_exceeded`, `requires_action`, `requires_continuation`. `fail_code` is the
`finishReason` or `blockReason` of an image.

https://ai.google.dev/gemini-api/docs/omni, https://ai.google.dev/api/generate-content
"""

import re
import secrets
import time
from base64 import b64decode, b64encode
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from app.demo.exchange import Exchange
from app.demo.media.desk import Desk, Reply, Trouble, read_object, write_json
from app.demo.media.frames import frame
from app.demo.media.studio import Job, Look, Order
from app.demo.routes import Route

T = TypeVar("T")

VERSIONS = ("v1", "v1beta")
STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
UNHAPPY = ("incomplete", "budget_exceeded", "requires_action", "requires_continuation")
MAX_INLINE = 100 << 20

Ratio = Literal["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9", "1:4", "4:1", "1:8", "8:1"]
Duration = Annotated[str, msgspec.Meta(pattern=r"^([3-9]|1[0-5])s$")]


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A part of a request: what isn't named in it is refused."""


class TextContent(Strict, tag_field="type", tag="text"):
    text: str


class ImageContent(Strict, tag_field="type", tag="image"):
    mime_type: Literal["image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"]
    data: str | None = None
    uri: str | None = None


class VideoContent(Strict, tag_field="type", tag="video"):
    mime_type: Literal["video/mp4", "video/mpeg", "video/mov", "video/webm", "video/3gpp"]
    data: str | None = None
    uri: str | None = None


class VideoFormat(Strict):
    type: Literal["video"]
    aspect_ratio: Literal["16:9", "9:16"] = "16:9"
    resolution: Literal["360p", "720p", "1080p", "4k"] = "720p"
    duration: Duration | None = None
    delivery: Literal["inline", "uri"] = "inline"


class VideoConfig(Strict):
    task: Literal["text_to_video", "image_to_video", "reference_to_video", "edit", "extend", "upscale"] | None = None


class InteractionConfig(Strict):
    video_config: VideoConfig = msgspec.field(default_factory=VideoConfig)
    seed: int | None = None


class Interaction(Strict):
    """The body of `POST /interactions`."""

    model: str
    input: str | list[TextContent | ImageContent | VideoContent]
    response_format: VideoFormat
    background: bool = False
    store: bool = True
    generation_config: InteractionConfig = msgspec.field(default_factory=InteractionConfig)


class Blob(Strict, rename="camel"):
    mime_type: str
    data: str


class Part(Strict, rename="camel"):
    text: str | None = None
    inline_data: Blob | None = None


class Content(Strict):
    parts: Annotated[list[Part], msgspec.Meta(min_length=1)]
    role: Literal["user", "model"] = "user"


class ImageConfig(Strict, rename="camel"):
    aspect_ratio: Ratio | None = None
    image_size: Literal["1K", "2K", "4K"] = "1K"


class GenerationConfig(Strict, rename="camel"):
    response_modalities: list[Literal["TEXT", "IMAGE"]]
    image_config: ImageConfig = msgspec.field(default_factory=ImageConfig)
    seed: int | None = None


class Generation(Strict, rename="camel"):
    """The body of `:generateContent`, as far as images go."""

    contents: Annotated[list[Content], msgspec.Meta(min_length=1)]
    generation_config: GenerationConfig


class Gemini:
    """Answers the Gemini API's calls that make images and videos."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        # Files that were looked at once, of jobs that process theirs.
        self._processed: set[str] = set()

    def routes(self) -> list[Route]:
        """Those of both versions."""
        return [
            route
            for version in VERSIONS
            for route in (
                Route("POST", f"/{version}/interactions", self.create),
                Route("GET", f"/{version}/interactions/{{job_id}}", self.retrieve),
                Route("POST", f"/{version}/interactions/{{job_id}}/cancel", self.cancel),
                Route("GET", f"/{version}/files/{{job_id}}:download", self.download),
                Route("GET", f"/{version}/files/{{job_id}}", self.retrieve_file),
                Route("POST", f"/{version}/models/{{model*}}:generateContent", self.generate),
            )
        ]

    async def create(self, exchange: Exchange) -> None:
        """`POST /interactions`."""
        body = await exchange.read_body()
        try:
            key = read_key(exchange)
            order = _read_order(read_as(Interaction, body))
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble, write_error)
            return
        await self._desk.submit(
            exchange,
            order,
            lambda job: self._write_interaction(exchange, job, self._desk.studio.look(job)),
            write_error,
            key=key,
            job_id=f"v1_{secrets.token_urlsafe(24)}",
        )

    async def retrieve(self, exchange: Exchange, job_id: str) -> None:
        """`GET /interactions/{id}`."""
        if await self._admit(exchange):
            await self._desk.poll(
                exchange, job_id, lambda job, look: self._write_interaction(exchange, job, look), write_error
            )

    async def cancel(self, exchange: Exchange, job_id: str) -> None:
        """`POST /interactions/{id}/cancel`: an interaction that has ended stays as it is."""
        if not await self._admit(exchange):
            return
        job = self._desk.studio.find(job_id)
        if job is None:
            await self._desk.refuse(exchange, _missing("interaction"), write_error)
            return
        look = self._desk.studio.finish(job, "cancelled")
        await self._desk.reply(exchange, self._write_interaction(exchange, job, look))

    async def retrieve_file(self, exchange: Exchange, job_id: str) -> None:
        """`GET /files/{id}`: what is known of a file, not the file."""
        if not await self._admit(exchange):
            return
        job = self._desk.studio.find(f"v1_{job_id}")
        if job is None or self._desk.studio.look(job).state != "done":
            await self._desk.refuse(exchange, _missing("file"), write_error)
            return
        processing = job.options.has("processing") and job.id not in self._processed
        if processing:
            self._processed.add(job.id)
        body = {
            "name": f"files/{job_id}",
            "mimeType": "video/mp4",
            "sizeBytes": str(self._desk.file(job).size),
            "state": "PROCESSING" if processing else "ACTIVE",
            "source": "GENERATED",
            "downloadUri": _file_uri(exchange, job),
        }
        await self._desk.reply(exchange, write_json(body))

    async def download(self, exchange: Exchange, job_id: str) -> None:
        """`GET /files/{id}:download?alt=media`."""
        if not await self._admit(exchange):
            return
        job = self._desk.studio.find(f"v1_{job_id}")
        if job is None or exchange.query().get("alt") != "media":
            await self._desk.refuse(exchange, _missing("file"), write_error)
            return
        await self._desk.send_file(exchange, job, errors=write_error)

    async def generate(self, exchange: Exchange, model: str) -> None:
        """`POST /models/{model}:generateContent` for images; what is to be answered with text goes elsewhere."""
        body = await exchange.read_body()
        try:
            key = read_key(exchange)
            wanted = read_as(Generation, body)
            parts = [part for content in wanted.contents for part in content.parts]
            for part in parts:
                if part.inline_data is not None:
                    check_base64(part.inline_data.data)
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble, write_error)
            return
        config = wanted.generation_config.image_config
        width, height = frame("images", aspect_ratio=config.aspect_ratio)
        prompt = " ".join(part.text for part in parts if part.text)
        order = Order("images", model, prompt, width, height)
        await self._desk.submit(exchange, order, self._write_content, write_error, key=key)

    async def _admit(self, exchange: Exchange) -> bool:
        """Whether a key was given; if not, that was answered."""
        await exchange.read_body()
        try:
            read_key(exchange)
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble, write_error)
            return False
        return True

    def _write_interaction(self, exchange: Exchange, job: Job, look: Look) -> Reply:
        failure = next((word for word in UNHAPPY if job.options.has(word)), "failed")
        names = {"queued": "queued", "running": "in_progress", "done": "completed", "cancelled": "cancelled"}
        body: dict[str, Any] = {
            "id": job.id,
            "object": "interaction",
            "model": job.model,
            "status": names.get(look.state, failure),
            "created": _moment(job.created_at),
            "updated": _moment(look.finished_at or time.time()),
        }
        steps: list[dict[str, Any]] = [
            {"type": "user_input", "content": [{"type": "text", "text": job.order.prompt}]},
        ]
        if look.state == "done":
            self._add_result(body, steps, exchange, job)
        elif look.state == "failed":
            body["errors"] = [{"code": look.code or "https://ai.google.dev/errors/failed", "message": look.reason}]
        body["steps"] = steps
        return write_json(body)

    def _add_result(self, body: dict[str, Any], steps: list[dict[str, Any]], exchange: Exchange, job: Job) -> None:
        video: dict[str, Any] = {"type": "video", "mime_type": "video/mp4"}
        if job.order.details["delivery"] == "uri" and not job.options.has("inline"):
            video["uri"] = _file_uri(exchange, job)
        elif job.count:
            video["data"] = self._read_file(job)
        if not job.count:
            steps.append({"type": "model_output", "content": [{"type": "text", "text": "I made no video."}]})
        elif job.options.has("shorthand"):
            body["output_video"] = video
        else:
            steps.append({"type": "model_output", "content": [video]})
        tokens = int(job.seconds * 5792) if job.options.tokens is None else job.options.tokens
        counts = {"total_input_tokens": len(job.order.prompt.split()), "total_output_tokens": tokens}
        body["usage"] = {**counts, "total_thought_tokens": 0, "total_tokens": sum(counts.values())}

    def _write_content(self, job: Job) -> Reply:
        options = job.options
        failed = options.fail is not None
        self._desk.studio.finish(job, "failed" if failed else "done", options.fail)
        if failed and options.has("prompt"):
            return write_json({"promptFeedback": {"blockReason": options.fail_code or "PROHIBITED_CONTENT"}})
        parts: list[dict[str, Any]] = []
        for number in range(1, 0 if failed else job.count + 1):
            inline = {"inlineData": {"mimeType": "image/png", "data": self._read_file(job, number)}}
            parts += [{**inline, "thought": True}, inline] if options.has("thought") else [inline]
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
        if failed:
            candidate |= {"finishReason": options.fail_code or "IMAGE_SAFETY", "finishMessage": options.fail}
        counts = {
            "promptTokenCount": len(job.order.prompt.split()),
            "candidatesTokenCount": options.tokens if options.tokens is not None else 1120 * len(parts),
        }
        usage = {**counts, "totalTokenCount": sum(counts.values())}
        body = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": job.model, "responseId": job.id}
        return write_json(body)

    def _read_file(self, job: Job, number: int = 1) -> str:
        file = self._desk.file(job, number)
        return b64encode(file.read(0, min(file.size, MAX_INLINE))).decode("ascii")


def write_error(trouble: Trouble) -> Reply:
    """An error as Google's APIs write it (https://google.aip.dev/193)."""
    name = STATUS_NAMES.get(trouble.status, "INVALID_ARGUMENT" if trouble.status < 500 else "INTERNAL")
    error: dict[str, Any] = {"code": trouble.status, "message": trouble.message, "status": name}
    if trouble.code is not None:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        error["details"] = [{"@type": kind, "reason": trouble.code, "domain": "googleapis.com"}]
    return write_json({"error": error}, trouble.status)


def read_key(exchange: Exchange) -> str:
    """The API key; raises Trouble with the vendor's own statuses, of which neither is 401."""
    key = exchange.header(b"x-goog-api-key") or exchange.query().get("key", "")
    if not key:
        raise Trouble(403, "Method doesn't allow unregistered callers. Please use API Key.")
    if "bad" in key:
        raise Trouble(400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID")
    return key


def read_as(kind: type[T], body: bytes) -> T:
    """A body of that kind; raises Trouble 400."""
    try:
        return msgspec.convert(read_object(body), kind)
    except msgspec.ValidationError as error:
        raise Trouble(400, f"Invalid JSON payload received. {error}") from error


def check_base64(data: str) -> None:
    """Raises Trouble 400."""
    try:
        b64decode(data, validate=True)
    except ValueError as error:
        raise Trouble(400, "Invalid value (TYPE_BYTES), Base64 decoding failed.") from error


def _read_order(wanted: Interaction) -> Order:
    content = [TextContent(text=wanted.input)] if isinstance(wanted.input, str) else wanted.input
    images = [item for item in content if isinstance(item, ImageContent)]
    videos = [item for item in content if isinstance(item, VideoContent)]
    media: list[ImageContent | VideoContent] = [*images, *videos]
    for item in media:
        if (item.data is None) == (item.uri is None):
            raise Trouble(400, "Either data or uri is required.")
        check_base64(item.data or "")
    if wanted.background and not wanted.store:
        raise Trouble(400, "background requires store.")
    _check_task(wanted.generation_config.video_config.task, len(images), len(videos))
    wish = wanted.response_format
    prompt = " ".join(item.text for item in content if isinstance(item, TextContent))
    width, height = frame("videos", aspect_ratio=wish.aspect_ratio)
    seconds = float(re.sub("s$", "", wish.duration or "8s"))
    return Order("videos", wanted.model, prompt, width, height, seconds, details={"delivery": wish.delivery})


def _check_task(task: str | None, images: int, videos: int) -> None:
    needs = {"text_to_video": not images and not videos, "image_to_video": images > 0, "reference_to_video": images > 0}
    if not needs.get(task or "", videos > 0 if task in ("edit", "extend", "upscale") else True):
        raise Trouble(400, f"The input doesn't fit the task {task}.")


def _file_uri(exchange: Exchange, job: Job) -> str:
    host = exchange.header(b"host") or "127.0.0.1"
    return f"http://{host}/v1beta/files/{job.id.removeprefix('v1_')}:download?alt=media"


def _missing(what: str) -> Trouble:
    return Trouble(404, f"The {what} was not found.")


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
