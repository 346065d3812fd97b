"""Blocks of content that a request and an answer have in common, read into the canonical ones."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from app.core.conversation import Citation

_encode = msgspec.json.Encoder().encode


def write_arguments(value: object) -> str:
    """A tool's input as JSON text."""
    try:
        return _encode(value).decode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))


def read_citation(value: object) -> Citation | None:
    """A source that has an address; None for a place in one of the request's own documents."""
    if not isinstance(value, dict):
        return None
    url, title = value.get("url"), value.get("title")
    if value.get("type") == "search_result_location":
        url = value.get("source")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        return None
    return Citation(url, title if isinstance(title, str) else None)


def read_citations(value: Any) -> tuple[Citation, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(citation for entry in value if (citation := read_citation(entry)) is not None)
