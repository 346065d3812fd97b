"""Parts of a content, as requests and answers have them in common: media, and arguments as JSON text."""

from __future__ import annotations

import json
from base64 import b64encode
from mimetypes import guess_type
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.core.conversation import Audio, File, Image, Media

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

DEFAULT_TYPES = {Image: "image/jpeg", File: "application/pdf", Audio: "audio/wav"}
"""What a medium is taken for whose type nobody tells."""

OWN_PLACES = ("gs://", "https://generativelanguage.googleapis.com/")
"""Where files lie that only Google reads: Cloud Storage, and its Files API."""


def write_arguments(value: object) -> str:
    """A JSON value as text."""
    try:
        return _encode(value).decode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))


def load_object(text: str) -> dict[str, Any] | None:
    """The object that a JSON text is, None if it is none. No text at all is an empty object."""
    if not text:
        return {}
    try:
        value = _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        value = _load_lenient(text)  # escaped lone surrogates, which the fast decoder refuses
    return {} if value is None and text.strip() == "null" else value if isinstance(value, dict) else None


def _load_lenient(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_media(media_type: str, media: Media, name: str | None = None) -> Image | Audio | File | None:
    """The block of a medium by its type; None for a video, which no other format has."""
    kind = media_type.partition("/")[0]
    if kind == "image":
        return Image(media)
    if kind == "audio":
        return Audio(media)
    return None if kind == "video" else File(media, name)


def write_media(block: Image | Audio | File) -> dict[str, Any] | None:
    """`inlineData` or `fileData` of a medium; None for a file that lives at another vendor."""
    media = block.media
    if media.data is not None:
        data = b64encode(media.data.encode("utf-8", "replace")).decode() if media.text else media.data
        kind = media.media_type or ("text/plain" if media.text else DEFAULT_TYPES[type(block)])
        return {"inlineData": {"mimeType": kind, "data": data}}
    place = media.url
    if place is None and media.file_id is not None and media.file_id.startswith(OWN_PLACES):
        place = media.file_id
    if place is None:
        return None
    kind = (
        media.media_type
        or guess_media_type(place)
        or ("" if place.startswith(OWN_PLACES) else DEFAULT_TYPES[type(block)])
    )
    return {"fileData": {"mimeType": kind, "fileUri": place} if kind else {"fileUri": place}}


def guess_media_type(url: str) -> str | None:
    """By the name at the end of an address, as google-genai does."""
    try:
        return guess_type(urlsplit(url).path)[0]
    except ValueError:  # an address that is none: its upstream says so
        return None
