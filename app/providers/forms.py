"""Fields and files of `multipart/form-data` bodies, as OpenAI's SDKs write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from app.core.media import Attachment
from app.providers.media import Part

_ENDINGS: Mapping[str, str] = MappingProxyType(
    {
        "image/png": "png",
        "image/jpeg": "jpg",
        "image/webp": "webp",
        "image/gif": "gif",
        "video/mp4": "mp4",
        "video/webm": "webm",
        "video/quicktime": "mov",
    }
)


def write_fields(fields: Mapping[str, Any]) -> tuple[Part, ...]:
    """Text fields out of JSON: `a[b]` for what stands inside an object, `a[]` for each item of a list, no field for null.

    Source: openai-python, `_qs.py`, `_base_client.py` (`_serialize_multipartform`).
    """
    return tuple(part for name, value in fields.items() for part in _write(name, value))


def _write(name: str, value: Any) -> Iterator[Part]:
    match value:
        case None:
            return
        case bool():
            yield Part(name, "true" if value else "false")
        case Mapping():
            for inner, item in value.items():
                yield from _write(f"{name}[{inner}]", item)
        case list() | tuple():
            for item in value:
                yield from _write(f"{name}[]", item)
        case _:
            yield Part(name, str(value))


def write_file(name: str, item: Attachment, stem: str) -> Part:
    """A file's bytes. Servers tell its type by its name too, so that the name ends as the type does."""
    if item.data is None:
        raise ValueError("an attachment has no bytes")
    content_type = item.content_type or "application/octet-stream"
    return Part(name, item.data, f"{stem}.{_ENDINGS.get(content_type, 'bin')}", content_type)
