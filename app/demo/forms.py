"""Reads `multipart/form-data` bodies (RFC 7578), strictly enough to notice a client that writes them wrongly."""

import hashlib
import re
from dataclasses import dataclass
from email.message import Message
from typing import Any

from app.demo.asgi import Headers

MULTIPART = "multipart/form-data"
BRACKETED = re.compile(r"([^\[\]]+)(?:\[([^\[\]]*)\])?")
# As many parts, and as much of a field's text, as an inspection shows.
MAX_SHOWN_PARTS = 100
MAX_SHOWN_TEXT = 4_096


@dataclass(frozen=True, slots=True)
class Part:
    """One field, or one file if it has a `filename`."""

    name: str
    filename: str | None
    content_type: str | None
    data: bytes

    def render(self) -> dict[str, Any]:
        """The part as JSON; `text` is null for a file and for what isn't text."""
        text = None
        if self.filename is None:
            text = self.data[:MAX_SHOWN_TEXT].decode("utf-8", "replace")
        return {
            "name": self.name,
            "filename": self.filename,
            "content_type": self.content_type,
            "size": len(self.data),
            "sha256": hashlib.sha256(self.data).hexdigest(),
            "text": text,
        }


@dataclass(frozen=True, slots=True)
class Form:
    """The fields as JSON would have them, and the files by name, a trailing `[]` left out."""

    fields: dict[str, Any]
    files: dict[str, list[Part]]


def read_parts(content_type: str, body: bytes) -> list[Part]:
    """The parts in order; raises ValueError for what is no such form."""
    boundary = read_boundary(content_type)
    preamble, *rest = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if preamble or not rest or not rest[-1].startswith(b"--"):
        raise ValueError("the form doesn't begin with its boundary, or doesn't end with it")
    return [_read_part(raw) for raw in rest[:-1]]


def read_form(content_type: str, body: bytes) -> Form:
    """Fields and files; `a[b]` is a field of an object and `a[]` an item of a list. Raises ValueError."""
    form = Form({}, {})
    for part in read_parts(content_type, body):
        if part.filename is not None:
            form.files.setdefault(part.name.removesuffix("[]"), []).append(part)
            continue
        put_field(form.fields, part.name, part.data.decode())
    return form


def put_field(fields: dict[str, Any], name: str, text: str) -> None:
    """Adds a field to those that are known; `a[b]` is one of an object and `a[]` an item of a list. Raises ValueError."""
    match = BRACKETED.fullmatch(name)
    if match is None:
        raise ValueError(f"the name {name!r} has odd brackets")
    _put(fields, match[1], match[2], text)


def read_boundary(content_type: str) -> bytes:
    """What stands between the parts; raises ValueError for what is no such form."""
    head = Message()
    head["content-type"] = content_type
    boundary = head.get_param("boundary")
    if head.get_content_type() != MULTIPART or not isinstance(boundary, str):
        raise ValueError(f"not a {MULTIPART} body with a boundary")
    return boundary.encode()


def read_disposition(header: str) -> tuple[str, str | None]:
    """The name and the file name in a `content-disposition`; raises ValueError."""
    disposition = Message()
    disposition["content-disposition"] = header
    name = disposition.get_param("name", header="content-disposition")
    if disposition.get_content_disposition() != "form-data" or not isinstance(name, str):
        raise ValueError("a part has no name")
    return name, disposition.get_filename()


def render_parts(headers: Headers, body: bytes) -> list[dict[str, Any]] | None:
    """The parts as JSON, None for what is no form."""
    content_type = next((value.decode("latin-1") for name, value in headers if name == b"content-type"), "")
    if not content_type.startswith(MULTIPART):
        return None
    try:
        return [part.render() for part in read_parts(content_type, body)[:MAX_SHOWN_PARTS]]
    except ValueError:
        return None


def _put(fields: dict[str, Any], name: str, inner: str | None, text: str) -> None:
    if inner is None:
        fields[name] = text
        return
    held = fields.setdefault(name, {} if inner else [])
    if isinstance(held, dict) and inner:
        held[inner] = text
    elif isinstance(held, list) and not inner:
        held.append(text)
    else:
        raise ValueError(f"{name} is a text, a list and an object at once")


def _read_part(raw: bytes) -> Part:
    # What follows the boundary on its line is white space (RFC 2046 section 5.1.1).
    head, separator, data = raw.lstrip(b" \t").partition(b"\r\n\r\n")
    if not separator:
        raise ValueError("a part has no end of its headers")
    headers: dict[str, str] = {}
    for line in head.decode("utf-8").split("\r\n")[1:]:
        field, _, value = line.partition(":")
        headers[field.strip().lower()] = value.strip()
    name, filename = read_disposition(headers.get("content-disposition", ""))
    return Part(name, filename, headers.get("content-type"), data)
