"""Image jobs as calls of `/images/generations` and `/images/edits`, and their answers.

Sources: openai-python, `types/image_generate_params.py`, `image_edit_params.py`, `images_response.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from app.core.images import MOST
from app.core.media import Attachment, Job, Measured
from app.core.usage import Usage, read_count, read_details, read_part
from app.errors import UpstreamError, bad_upstream_response, invalid_request
from app.providers.forms import write_fields, write_file
from app.providers.jobs import (
    USUAL_TYPE,
    read_base64,
    read_data_uri,
    read_link,
    refuse,
    requested,
    traits,
    type_by_name,
)
from app.providers.media import Call, Done, Output, Part, Reply
from app.providers.replies import read_json

TIMEOUT = 300.0
"""Seconds: the picture itself is the answer, and the largest take minutes."""

MAX_COUNT = 10
MAX_IMAGES = 16
MAX_PROMPT = 32_000
STEP, MAX_EDGE, MAX_PIXELS, MAX_RATIO = 16, 3840, 3840 * 2160, 3

FILES = ("mask", "markup")
"""Fields of an edit that are pictures."""

_SIZES: Mapping[str, str] = MappingProxyType({"1:1": "1024x1024", "3:2": "1536x1024", "2:3": "1024x1536"})
"""The sizes that every model has, by their shape."""

_PIXELS = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})", re.ASCII)
_RATIO = re.compile(r"([1-9]\d{0,4}):([1-9]\d{0,4})", re.ASCII)

_STANDARD_PIXELS = 1536 * 1024
_HELD_TOKENS: Mapping[str, int] = MappingProxyType({"low": 500, "medium": 2100})
_FAITHFUL = 6240
"""Tokens that a picture of high fidelity costs beside the formula's, at the most (OpenAI's image guide; not verified)."""

_MOST_HELD_TOKENS = 8300
"""Output tokens that are held for a picture of the largest standard size, by quality; larger ones have more.

Up to GPT Image 1.5 one has 272 to 6,240. OpenAI's calculator for GPT Image 2, as its forum has taken it apart, comes to
q² × short/long × (2,000,000 + pixels) / 4,000,000 with q = 16, 48, 96 for low, medium, high. What `xhigh` and `max` take
isn't published. Every answer of OpenAI's tells the true count, and that is charged.
"""

_BYTES_PER_TOKEN = 3


def check(job: Job, *, exact: bool) -> None:
    """Raises GatewayError 400 naming the field. `exact`: OpenAI's own bounds hold."""
    by = "this upstream's images"
    refuse(job, "duration", "resolution", "hd", "videos", "character_url", "character_timestamps", by=by)
    if job.extra.get("stream"):
        raise invalid_request("stream: a task's pictures come when they are done.", "stream")
    for name in FILES:
        _check_file(job, name)
    _check_shape(job)
    if exact:
        _check_bounds(job)


def _check_file(job: Job, name: str) -> None:
    value = job.extra.get(name)
    if value is None:
        return
    if not job.images:
        raise invalid_request(f"{name}: needs a picture in images.", name)
    try:
        _read_file(name, value)
    except UpstreamError as error:
        raise invalid_request(f"{name}: must be a data URI of a picture.", name) from error


def _check_shape(job: Job) -> None:
    ratio, size = _RATIO.fullmatch(job.aspect_ratio or ""), _read_pixels(job.size)
    if ratio and size and size[0] * int(ratio[2]) != size[1] * int(ratio[1]):
        raise invalid_request("aspect_ratio: says something else than size; give one of them.", "aspect_ratio")
    _choose_size(job)


def _read_pixels(size: str | None) -> tuple[int, int] | None:
    pixels = _PIXELS.fullmatch(size or "")
    return None if pixels is None else (int(pixels[1]), int(pixels[2]))


def _check_bounds(job: Job) -> None:
    if job.count > MAX_COUNT:
        raise invalid_request(f"n: this upstream makes {MAX_COUNT} pictures a call at most.", "n")
    if len(job.images) > MAX_IMAGES:
        raise invalid_request(f"images: this upstream takes {MAX_IMAGES} at most.", "images")
    if len(job.prompt) > MAX_PROMPT:
        raise invalid_request(f"prompt: this upstream takes {MAX_PROMPT} characters at most.", "prompt")
    if job.size in (None, "auto"):
        return
    pixels = _PIXELS.fullmatch(job.size or "")
    width, height = (int(pixels[1]), int(pixels[2])) if pixels else (0, 0)
    long, short = max(width, height), min(width, height)
    if not short or width % STEP or height % STEP or long > MAX_RATIO * short:
        message = (
            f"size: must be auto, or WIDTHxHEIGHT in multiples of {STEP}, no longer than {MAX_RATIO} times its width."
        )
        raise invalid_request(message, "size")
    if long > MAX_EDGE or width * height > MAX_PIXELS:
        raise invalid_request("size: this upstream makes 3840x2160 at most.", "size")


def _choose_size(job: Job) -> str | None:
    """The size asked for, in pixels or as a shape that every model has; None: the upstream's own choice."""
    if job.size is not None or job.aspect_ratio in (None, "auto"):
        return job.size
    size = _SIZES.get(job.aspect_ratio or "")
    if size is None:
        message = f"aspect_ratio: this upstream makes {', '.join(_SIZES)}; for others name a size, such as 1536x864."
        raise invalid_request(message, "aspect_ratio")
    return size


def units(job: Job, *, exact: bool) -> Usage:
    """So many pictures. Where the upstream is OpenAI, tokens too, so that prices by the token hold something: about what
    the words come to, and enough for the pictures that go in and come out.
    """
    asked = requested(job)
    asked = replace(asked, traits={**traits({"size": _choose_size(job)}), **asked.traits})
    if not exact:
        return asked
    made = held_tokens(asked.traits) * job.count
    words = -(-len(job.prompt.encode()) // _BYTES_PER_TOKEN)
    shown = shown_tokens(job.extra.get("input_fidelity")) * len(job.images)
    return replace(
        asked,
        input_tokens=words + shown,
        input_image_tokens=shown,
        output_tokens=made,
        output_image_tokens=made,
    )


def shown_tokens(fidelity: object, *, most: bool = False) -> int:
    """Input tokens of a picture to start from. `fidelity`: the request's `input_fidelity`; what a model does without one
    isn't known here, and at the `most` it is faithful.
    """
    return MOST + _FAITHFUL if fidelity == "high" or (most and fidelity != "low") else MOST


def held_tokens(asked: Mapping[str, str]) -> int:
    """Output tokens that are held for one picture of this size and quality."""
    most = _HELD_TOKENS.get(asked.get("quality", "auto"), _MOST_HELD_TOKENS)
    size = _read_pixels(asked.get("size"))
    larger = 0 if size is None else max(0, size[0] * size[1] - _STANDARD_PIXELS)
    return most + most * larger // (2_000_000 + _STANDARD_PIXELS)


def write(job: Job, model: str) -> Call:
    """JSON, or a form with files where there are pictures to start from."""
    fields: dict[str, Any] = {name: value for name, value in job.extra.items() if name != "stream"}
    fields |= {"prompt": job.prompt, "model": model}
    if (size := _choose_size(job)) is not None:
        fields["size"] = size
    if job.count != 1:
        fields["n"] = job.count
    if not job.images:
        return Call("POST", "/images/generations", json=fields, timeout=TIMEOUT)
    files = [_read_file(name, value) for name in FILES if (value := fields.pop(name, None)) is not None]
    name = "image" if len(job.images) == 1 else "image[]"
    pictures = [write_file(name, item, f"image-{index}") for index, item in enumerate(job.images, 1)]
    return Call("POST", "/images/edits", form=(*write_fields(fields), *pictures, *files), timeout=TIMEOUT)


def _read_file(name: str, value: object) -> Part:
    """A picture in a field of its own. Raises UpstreamError for what isn't a data URI."""
    if not isinstance(value, str) or not value.startswith("data:"):
        raise bad_upstream_response(f"{name} isn't a data URI.")
    content_type, data = read_data_uri(value)
    return write_file(name, Attachment(content_type=content_type or "image/png", data=data), name)


def read(job: Job, reply: Reply) -> Done:
    """The pictures of an answer. Raises UpstreamError."""
    body = read_json(reply)
    listed = body.get("data")
    usual = _usual_type(job, body)
    outputs = [_read_picture(item, usual) for item in listed] if isinstance(listed, list) else []
    if not outputs:
        raise bad_upstream_response("The upstream's answer has no pictures.")
    return Done(tuple(outputs), _read_measured(body, len(outputs)))


def _usual_type(job: Job, body: Mapping[str, Any]) -> str:
    """The type that the answer names, else the one that was asked for, else PNG."""
    usual = USUAL_TYPE[job.scope]
    for said in (body.get("output_format"), job.extra.get("output_format")):
        if isinstance(said, str):
            return type_by_name(f".{said}", usual)
    return usual


def _read_picture(item: object, usual: str) -> Output:
    if isinstance(item, dict):
        if item.get("b64_json") is not None:
            data = read_base64(item["b64_json"])
            return Output(_type_of(data) or usual, data=data)
        output = read_link(item.get("url"), usual)
        if output is not None:
            # OpenAI's links end after an hour, and what others' do is unknown.
            return replace(output, keep=True)
    raise bad_upstream_response("A picture in the upstream's answer is neither bytes nor a link.")


def _type_of(data: bytes) -> str | None:
    """A picture's type by its first bytes: servers of this kind don't always say which of them they made."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _read_measured(body: Mapping[str, Any], made: int) -> Measured:
    """The same counts as `/v1/images` is charged by (`app/formats/openai_media/usage.py`): tokens only if both are there."""
    report = read_details(body, "usage")
    inside, outside = read_count(report, "input_tokens"), read_count(report, "output_tokens")
    said = traits({"size": body.get("size"), "quality": body.get("quality")})
    if inside is None or outside is None:
        return Measured(images=made, traits=said)
    made_of = read_details(report, "output_tokens_details")
    return Measured(
        images=made,
        input_tokens=inside,
        input_image_tokens=read_part(read_details(report, "input_tokens_details"), "image_tokens", inside),
        output_tokens=outside,
        # What comes out is a picture; only newer models say how much of it was text.
        output_image_tokens=read_part(made_of, "image_tokens", outside) if "image_tokens" in made_of else outside,
        traits=said,
    )
