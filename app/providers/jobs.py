"""What adapters of media have in common: units that a request tells, refusals by name, and files as links or bytes."""

from __future__ import annotations

import binascii
import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit

from app.core.media import Attachment, Job, Scope
from app.core.usage import Usage, read_milliseconds, read_name
from app.errors import bad_upstream_response, invalid_request
from app.providers.media import Output

MAX_ID = 256
MAX_LINK = 8192

FIELDS: Mapping[str, Callable[[Job], bool]] = MappingProxyType(
    {
        "duration": lambda job: job.seconds is not None,
        "aspect_ratio": lambda job: job.aspect_ratio is not None,
        "size": lambda job: job.size is not None,
        "resolution": lambda job: job.resolution is not None,
        "hd": lambda job: job.hd,
        "n": lambda job: job.count != 1,
        "images": lambda job: bool(job.images),
        "videos": lambda job: bool(job.videos),
        "character_url": lambda job: job.character_url is not None,
        "character_timestamps": lambda job: job.character_timestamps is not None,
    }
)
"""The client's fields that a job has a place for, and whether the client gave them."""

_EXTRA_TRAITS = ("quality", "mode", "audio")
"""Traits of a price that are no fields of a job."""

_EXPIRING = frozenset({"expires", "x-amz-expires", "x-goog-expires", "x-oss-expires", "x-tos-expires"})
"""Query fields of links that stop working: CloudFront, older S3 and OSS (`Expires`), AWS SigV4, Google Cloud Storage,
Alibaba's OSS, Volcengine's TOS, and this gateway."""

_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "mp4": "video/mp4",
        "m4v": "video/mp4",
        "webm": "video/webm",
        "mov": "video/quicktime",
        "png": "image/png",
        "jpg": "image/jpeg",
        "jpeg": "image/jpeg",
        "webp": "image/webp",
        "gif": "image/gif",
        "svg": "image/svg+xml",
        "mp3": "audio/mpeg",
        "wav": "audio/wav",
        "flac": "audio/flac",
        "aac": "audio/aac",
        "m4a": "audio/mp4",
        "opus": "audio/opus",
        "ogg": "audio/ogg",
        "pcm": "audio/pcm",
    }
)

USUAL_TYPE: Mapping[Scope, str] = MappingProxyType(
    {Scope.VIDEOS: "video/mp4", Scope.IMAGES: "image/png", Scope.AUDIO: "audio/mpeg"}
)
"""What a result is taken for where nothing says more."""


def requested(job: Job) -> Usage:
    """What a job comes to as far as it tells by itself: results, lengths, a speech's characters, and traits.

    Lengths are those of all results together. Without a length the milliseconds are zero, and there is no `duration`.
    """
    length = 0 if job.seconds is None else read_milliseconds({"seconds": job.seconds}, "seconds") or 0
    said: dict[str, object] = {name: job.extra.get(name) for name in _EXTRA_TRAITS}
    said |= {"resolution": job.resolution, "size": job.size, "aspect_ratio": job.aspect_ratio}
    said["input"] = "video" if job.videos else "image" if job.images else "text"
    said["hd"] = True if job.hd else None
    said["duration"] = None if job.seconds is None else duration_trait(job.seconds)
    return Usage(
        images=job.count if job.scope is Scope.IMAGES else 0,
        videos=job.count if job.scope is Scope.VIDEOS else 0,
        milliseconds=length * job.count,
        characters=len(job.prompt) if job.scope is Scope.AUDIO else 0,
        traits=traits(said),
    )


def traits(said: Mapping[str, object]) -> dict[str, str]:
    """Facts as the traits of a usage: short words; true and false as text; what is None or can't be a trait left out."""
    words = {name: str(value).lower() if isinstance(value, bool) else read_name(value) for name, value in said.items()}
    return {name: word for name, word in words.items() if word is not None}


def duration_trait(seconds: float) -> str:
    """A length as prices name it: whole seconds, begun ones counted."""
    return str(math.ceil(round(seconds, 6)))


def seconds_text(seconds: float) -> str:
    """Seconds as APIs write them that take text: `10`, `7.5`."""
    return str(int(seconds)) if seconds == int(seconds) else str(seconds)


def refuse(job: Job, *names: str, by: str) -> None:
    """Raises a 400 that names the first of these fields that the client gave. `by`: who doesn't take it."""
    for name in names:
        if FIELDS[name](job):
            raise invalid_request(f"{name}: {by} doesn't take it.", name)


def check_scope(job: Job, scopes: frozenset[Scope], by: str) -> None:
    """Raises a 400 for a job that the adapter has no endpoint for."""
    if job.scope not in scopes:
        raise invalid_request(f"model: {by} doesn't make {job.scope.value}.", "model")


def as_link(item: Attachment) -> str:
    """What stands for a file in JSON: the client's URL, or the bytes as a data URI."""
    if item.url is not None:
        return item.url
    if item.data is None:
        raise ValueError("an attachment has neither a URL nor its bytes")
    return f"data:{item.content_type or 'application/octet-stream'};base64,{b64encode(item.data).decode()}"


def segment(id: str) -> str:
    """An upstream's id as one segment of a path."""
    return quote(id, safe=":")


def read_id(value: object) -> str:
    """An upstream's name for a task, text or a number. Raises UpstreamError for what can't stand in a path."""
    id = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not 0 < len(id) <= MAX_ID or not id.isprintable() or set(id) == {"."}:
        raise bad_upstream_response("The upstream's answer has no usable id.")
    return id


def read_base64(value: object) -> bytes:
    """Raises UpstreamError for what isn't base64, or is empty."""
    try:
        data = b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        data = b""
    if not data:
        raise bad_upstream_response("A result in the upstream's answer isn't base64.")
    return data


def read_link(value: object, usual: str) -> Output | None:
    """A result by its URL, which anybody may fetch, or its data URI; None for what is neither.

    It is copied if its link says that it expires. The type is the one that the path's ending says, else `usual`.
    Raises UpstreamError for a data URI that can't be read. Its own type counts only if it is one of media: the file may be
    served under it.
    """
    if not isinstance(value, str):
        return None
    if value.startswith("data:"):
        content_type, data = read_data_uri(value)
        is_media = (content_type or "").startswith(("image/", "video/", "audio/"))
        return Output((is_media and content_type) or usual, data=data)
    if not is_link(value):
        return None
    return Output(type_by_name(urlsplit(value).path, usual), url=value, keep=expires(value))


def is_link(value: str) -> bool:
    """Whether it is an absolute http(s) URL that is fit to be handed on."""
    if len(value) > MAX_LINK or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def expires(url: str) -> bool:
    """Whether a link says that it will stop working, as signed links do."""
    return any(name.lower() in _EXPIRING for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True))


def type_by_name(path: str, usual: str) -> str:
    """The content type that a file's ending stands for."""
    return _TYPES.get(path.rpartition(".")[2].lower(), usual)


def read_data_uri(uri: str) -> tuple[str | None, bytes]:
    """Type and bytes of a data URI (RFC 2397). Raises UpstreamError for one that can't be read, or is empty."""
    head, comma, body = uri.removeprefix("data:").partition(",")
    kind, *parameters = head.split(";")
    if not comma:
        raise bad_upstream_response("A result in the upstream's answer isn't a data URI.")
    content_type = read_name(kind.strip().lower())
    if "base64" in (parameter.strip().lower() for parameter in parameters):
        return content_type, read_base64(body)
    data = unquote_to_bytes(body)
    if not data:
        raise bad_upstream_response("A result in the upstream's answer is empty.")
    return content_type, data
