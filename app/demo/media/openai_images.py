"""OpenAI's images API, `/v1/images/generations`, `/edits` and `/variations` (openai-python 3.54.0, `types/image*.py`).

They are there without `/v1` too, and make PNG only. Variations are a matter of older models: they answer with links unless
told, and without usage. A stream is of one picture. Tokens: one for every 32 by 32 pixels, in and out,
and one for every four characters of the prompt: true of nobody's models, but exact. `quirk=url` answers with links,
`quirk=no_usage` or `usage=missing` without usage, as others do.
"""

import re
import time
from base64 import b64encode
from typing import Any

import orjson

from app.demo.exchange import Exchange
from app.demo.forms import Form
from app.demo.media.desk import Desk, Reply, Trouble, file_url, read_bearer, read_object, write_json
from app.demo.media.frames import frame
from app.demo.media.makers import make_png
from app.demo.media.requests import read_choice, read_fields, read_number, read_text, want_text
from app.demo.media.studio import Job, Order
from app.demo.routes import Route
from app.demo.saying import spoil
from app.demo.streaming import SSE, Framing

BASES = ("/v1", "", "/openai/v1")
DEFAULT_MODEL, DEFAULT_SIZE = "gpt-image-2", "1024x1024"
VARYING_MODEL, VARYING_SIZES = "dall-e-2", ("256x256", "512x512", "1024x1024")
FORMATS = ("png",)
QUALITIES = ("auto", "low", "medium", "high", "xhigh", "max", "standard", "hd")
SIZE = re.compile(r"auto|\d{2,4}x\d{2,4}", re.ASCII)
MOST_IMAGES = 10
MOST_PARTIAL = 3
FRAMING = Framing(before=b"", space=b" ", eol=b"\n")
MOST_REFERENCES = 16
PIXELS_A_TOKEN = 32 * 32
TOKENS_A_REFERENCE = 256
# An answer in base64 is held whole.
MOST_INLINE = 64 << 20


class OpenAIImages:
    """Answers with the pictures themselves, in base64."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """Making and editing."""
        return [
            route
            for base in BASES
            for route in (
                Route("POST", f"{base}/images/generations", self.generate),
                Route("POST", f"{base}/images/edits", self.edit),
                Route("POST", f"{base}/images/variations", self.vary),
            )
        ]

    async def generate(self, exchange: Exchange) -> None:
        """Pictures from a prompt."""
        await self._answer(exchange, edits=False)

    async def edit(self, exchange: Exchange) -> None:
        """Pictures from a prompt and 1 to 16 files, `image` or `image[]`, and a `mask`."""
        await self._answer(exchange, edits=True)

    async def vary(self, exchange: Exchange) -> None:
        """Pictures from a file, `image`."""
        body = await exchange.read_body()
        try:
            key = read_bearer(exchange)
            order = _read_variation(read_fields(exchange, body))
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble)
            return
        await self._desk.submit(exchange, order, lambda job: self._write(exchange, job), key=key)

    async def _answer(self, exchange: Exchange, *, edits: bool) -> None:
        body = await exchange.read_body()
        try:
            key = read_bearer(exchange)
            form = read_fields(exchange, body) if edits else Form(read_object(body), {})
            if not edits:
                _check_types(form.fields)
            order = _read_order(
                form, _count_references(form) if edits else 0, "image_edit" if edits else "image_generation"
            )
        except Trouble as trouble:
            await self._desk.refuse(exchange, trouble)
            return
        await self._desk.submit(exchange, order, lambda job: self._write(exchange, job), key=key)

    def _write(self, exchange: Exchange, job: Job) -> Reply:
        options, order = job.options, job.order
        if options.fail is not None:
            self._desk.studio.finish(job, "failed", options.fail)
            raise Trouble(400, options.fail, options.fail_code or "moderation_blocked")
        if (options.big or 0) > MOST_INLINE:
            raise Trouble(400, f"Demo options: big is at most {MOST_INLINE} where it is sent in base64", "demo_options")
        self._desk.studio.finish(job, "done")
        if order.details.get("streams"):
            return self._write_stream(job)
        numbers = range(1, job.count + 1)
        if options.has("url") or order.details.get("links"):
            data = [{"url": file_url(exchange, job, number)} for number in numbers]
        else:
            data = [{"b64_json": self._encode(job, number)} for number in numbers]
        answer: dict[str, Any] = {
            "created": int(time.time()),
            "data": data,
        }
        if "quality" in order.details:
            answer |= _describe(order)
            usage = _count_tokens(job)
            answer |= {} if usage is None else {"usage": usage}
        return write_json(answer)

    def _write_stream(self, job: Job) -> Reply:
        """Events with names; what is partial looks like another picture."""
        order, usage = job.order, _count_tokens(job)
        kind: str = order.details["streams"]
        head = {"created_at": int(time.time()), **_describe(order)}
        events: list[dict[str, Any]] = []
        for index in range(order.details["partial_images"]):
            picture = b64encode(make_png(f"{order.prompt} ~{index}", order.width, order.height)).decode()
            events.append({"type": f"{kind}.partial_image", "b64_json": picture, "partial_image_index": index, **head})
        last = {"type": f"{kind}.completed", "b64_json": self._encode(job, 1), **head}
        events.append(last if usage is None else {**last, "usage": usage})
        pieces = tuple(FRAMING.event(event["type"].encode(), orjson.dumps(event)) for event in events)
        return Reply(200, SSE, b"", pieces)

    def _encode(self, job: Job, number: int) -> str:
        file = self._desk.file(job, number)
        return b64encode(file.read(0, file.size)).decode()


def _count_references(form: Form) -> int:
    count = len(form.files.get("image", ()))
    if not count:
        raise Trouble(400, "Missing required parameter: 'image'.", "missing_required_parameter", "image")
    if count > MOST_REFERENCES:
        raise Trouble(400, f"Invalid 'image': at most {MOST_REFERENCES} files.", "array_above_max_length", "image")
    for name, files in form.files.items():
        if any(not file.data for file in files):
            raise Trouble(400, f"The file of '{name}' is empty.", "empty_file", name)
    return count


def _check_types(fields: dict[str, Any]) -> None:
    """JSON has numbers and truths of its own; only forms spell them as text."""
    count, streams = fields.get("n"), fields.get("stream")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
        raise Trouble(400, "Invalid type for 'n': expected an integer.", "invalid_type", "n")
    if streams is not None and not isinstance(streams, bool):
        raise Trouble(400, "Invalid type for 'stream': expected a boolean.", "invalid_type", "stream")


def _read_order(form: Form, references: int, kind: str) -> Order:
    """An order; `kind` is how the events of a stream are called."""
    fields = form.fields
    prompt = want_text(fields, "prompt")
    model = read_text(fields, "model", DEFAULT_MODEL)
    count = int(read_number(fields, "n", 1, 1, MOST_IMAGES))
    size = read_text(fields, "size", "auto")
    if not SIZE.fullmatch(size):
        raise Trouble(400, f"Invalid value: '{size}'. Expected auto or WIDTHxHEIGHT.", "invalid_value", "size")
    read_choice(fields, "output_format", "png", FORMATS)
    quality = read_choice(fields, "quality", "auto", QUALITIES)
    streams = fields.get("stream") in (True, "true")
    partial = int(read_number(fields, "partial_images", 0, 0, MOST_PARTIAL))
    if streams and count > 1:
        raise Trouble(400, "Streaming is for one image only.", "invalid_value", "n")
    size = DEFAULT_SIZE if size == "auto" else size
    width, height = frame("images", size=size)
    details = {"size": size, "quality": "medium" if quality == "auto" else quality, "references": references}
    if streams:
        details |= {"streams": kind, "partial_images": partial}
    return Order("images", model, prompt, width, height, count=count, details=details)


def _read_variation(form: Form) -> Order:
    fields = form.fields
    _count_references(form)
    model = read_text(fields, "model", VARYING_MODEL)
    count = int(read_number(fields, "n", 1, 1, MOST_IMAGES))
    size = read_choice(fields, "size", DEFAULT_SIZE, VARYING_SIZES)
    links = read_choice(fields, "response_format", "url", ("url", "b64_json")) == "url"
    width, height = frame("images", size=size)
    return Order("images", model, "a variation", width, height, count=count, details={"links": links})


def _describe(order: Order) -> dict[str, Any]:
    quality, size = order.details["quality"], order.details["size"]
    return {"background": "opaque", "output_format": "png", "quality": quality, "size": size}


def _count_tokens(job: Job) -> dict[str, Any] | None:
    """None where none are reported."""
    if job.options.has("no_usage"):
        return None
    order = job.order
    text = -(-len(order.prompt) // 4)
    shown = TOKENS_A_REFERENCE * int(order.details["references"])
    made = job.options.tokens
    if made is None:
        made = job.count * -(-order.width * order.height // PIXELS_A_TOKEN)
    usage = {
        "input_tokens": text + shown,
        "input_tokens_details": {"text_tokens": text, "image_tokens": shown},
        "output_tokens": made,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": made},
        "total_tokens": text + shown + made,
    }
    return spoil(job.options, usage)
