"""Reads the images and videos that clients send along: by URL, in base64, or as files of a form."""

from __future__ import annotations

import binascii
import io
import ipaddress
from typing import Literal

from app.core.media import Attachment
from app.core.vision import MAX_BYTES, sniff_image
from app.egress.guard import Guard, UrlRefused
from app.errors import GatewayError, invalid_request

MAX_IMAGE = MAX_BYTES
"""Bytes, decoded."""

Sort = Literal["image", "video"]

_SYNTAX = Guard((ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")))
"""Looks at a URL's form alone: where it leads is for those to check who know which networks the operator allows."""

_HEADER = 256
"""Characters of a data URI before its comma, at most."""

_SLICE = 1024 * 1024
"""Characters that are decoded at a time, a multiple of four."""

LOOK = 64
"""First bytes that tell what a file is."""

_PICTURES = "PNG, JPEG, WEBP or GIF"

_MP4_BRANDS = (b"iso", b"mp4", b"avc1", b"M4V", b"dash", b"MSNV", b"mmp4", b"3gp", b"3g2", b"f4v ", b"hvc1")
"""Beginnings of the major brands of MP4 videos (mp4ra.org). HEIC, AVIF and M4A are the same container under other brands."""


def read_image(text: str, param: str) -> Attachment:
    """An image as clients write it: a URL (checked for its form, not called), a base64 data URI, or base64 alone.

    Raises GatewayError 400 naming `param`: `invalid_image`, `image_too_large`, and `invalid_request` for a URL.
    """
    scheme, colon, _ = text[:_HEADER].partition(":")
    if not colon:
        return read_picture(_decode(text, 0, param), param)
    if scheme.lower() == "data":
        return read_picture(_decode(text, _data_start(text, param), param), param)
    try:
        _SYNTAX.read_url(text)
    except UrlRefused as error:
        raise invalid_request(f"{param}: the URL {error}.", param) from error
    return Attachment(url=text)


def read_upload(data: bytes, content_type: str | None, param: str) -> Attachment:
    """A file of a form, an image or a video. What it is its first bytes tell; the client's `content_type` is only for words.

    Raises GatewayError 400 naming `param`: `invalid_image`, `invalid_video`, `image_too_large`.
    """
    found = sniff(data)
    if found is None:
        sort: Sort = "video" if content_type is not None and content_type.lower().startswith("video/") else "image"
        raise not_media(param, sort)
    return read_picture(data, param) if found.startswith("image/") else Attachment(content_type=found, data=data)


def sniff(head: bytes) -> str | None:
    """The media type of an image or a video that we take, by its first 64 bytes; None for everything else.

    Sources: `sniff_image`'s, RFC 8794 with webmproject.org's container guidelines, ISO/IEC 14496-12 4.3, Apple's QuickTime
    File Format.
    """
    found = sniff_image(head)
    if found is not None:
        return found
    if head.startswith(b"\x1a\x45\xdf\xa3") and b"webm" in head[:LOOK]:
        return "video/webm"
    return _sniff_boxes(head)


def _sniff_boxes(head: bytes) -> str | None:
    kind, brand = head[4:8], head[8:12]
    if kind in (b"moov", b"wide") or (kind == b"ftyp" and brand == b"qt  "):
        return "video/quicktime"
    return "video/mp4" if kind == b"ftyp" and brand.startswith(_MP4_BRANDS) else None


def not_media(param: str, sort: Sort) -> GatewayError:
    """A 400 for bytes that aren't what they should be."""
    if sort == "video":
        return invalid_request(f"{param}: must be an MP4, WebM or QuickTime video.", param, "invalid_video")
    return invalid_request(f"{param}: must be an image: {_PICTURES}.", param, "invalid_image")


def too_large(param: str, sort: Sort, most: int) -> GatewayError:
    """A 400 for more than `most` bytes."""
    message = f"{param}: the {sort} is larger than {most // (1024 * 1024)} MB."
    return invalid_request(message, param, "video_too_large" if sort == "video" else "image_too_large")


def read_picture(data: bytes, param: str) -> Attachment:
    """A file that must be an image. Raises GatewayError 400 naming `param`: `invalid_image`, `image_too_large`."""
    content_type = sniff(data[:LOOK])
    if content_type is None or not content_type.startswith("image/"):
        raise not_media(param, "image")
    if len(data) > MAX_IMAGE:
        raise too_large(param, "image", MAX_IMAGE)
    return Attachment(content_type=content_type, data=data)


def _data_start(text: str, param: str) -> int:
    """Where the base64 of a data URI begins (RFC 2397)."""
    comma = text.find(",", 0, _HEADER)
    if comma < 0 or not text[:comma].lower().endswith(";base64"):
        raise invalid_request(f"{param}: the data URI must hold base64.", param, "invalid_image")
    return comma + 1


def _decode(text: str, start: int, param: str) -> bytes:
    """Base64 with its padding, without line breaks (RFC 4648 section 4). In slices, so that beside the text only the bytes
    themselves are in memory; what is too long, or begins like no image, isn't decoded at all.
    """
    if (len(text) - start) // 4 * 3 > MAX_IMAGE + 3:
        raise too_large(param, "image", MAX_IMAGE)
    decoded = io.BytesIO()
    try:
        for at in range(start, len(text), _SLICE):
            part = binascii.a2b_base64(text[at : at + _SLICE], strict_mode=True)
            if at == start and sniff(part) is None:
                raise not_media(param, "image")
            if len(part) % 3 and at + _SLICE < len(text):
                raise binascii.Error("padding before the end")
            decoded.write(part)
    except ValueError as error:  # binascii.Error is one
        message = f"{param}: must be an http(s) URL, a data URI, or base64 without line breaks and with its padding."
        raise invalid_request(message, param, "invalid_image") from error
    if not decoded.tell():
        raise not_media(param, "image")
    return decoded.getvalue()
