"""Reads the bodies of media requests: large ones are bounded in every way before Python objects are made of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.errors import GatewayError, Kind, invalid_request
from app.formats.body import read_fields
from app.relay.authenticate import authenticate
from app.relay.body import read_body
from app.relay.exchange import Exchange, Message
from app.services import Services

T = TypeVar("T")

READ_IN_THREAD = 64 * 1024
"""Bytes. Pictures of megabytes in base64 take tenths of a second to read, in which the loop serves others."""

MAX_FIELD = 256 * 1024
"""Bytes of JSON of a field that holds anything but texts: an object of Python's takes a multiple of it."""

LARGE = 1024 * 1024
MAX_QUOTES = 20_000
"""In a body above LARGE bytes: what makes one large is pictures, which are few long texts."""

MAX_FIELDS = 200
MAX_FILES = 10
PIECE = 256 * 1024

CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})
"""Of a form (RFC 7578, 5.1.2). Python has others that take quadratic time, or fail in ways of their own."""

_BRACKETED = re.compile(r"([^\[\]]+)\[([^\[\]]*)\]")
_texts = msgspec.json.Decoder(str | list[str] | dict[str, str])
_anything = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart body: `fields` with bracketed ones as objects and lists, and whole files by name with their type."""

    fields: Mapping[str, Any]
    files: Mapping[str, tuple[bytes, str | None]]


async def read_whole(request: Request, services: Services, *, again: bool = True) -> bytes:
    """The body within RELAYGATE_MAX_BODY_MB, unpacked. Call it once it is known who asks. `again`: asks once more.

    Raises GatewayError: 413 too large, 415 unknown encoding, 408 too slow, 400 broken, 401 when the key is good no longer.
    """
    settings = services.settings
    exchange = Exchange(request.scope, request.receive, _never_send)
    try:
        async with asyncio.timeout(settings.body_timeout):
            body = await read_body(exchange, settings.max_body_bytes, settings.body_timeout)
    except TimeoutError as error:
        message = "The request body took too long to arrive."
        raise GatewayError(Kind.INVALID, "request_timeout", message, status=408) from error
    # A body may take a minute, and the key may have been revoked meanwhile.
    if again:
        await authenticate(request.scope, services.principals, settings.trusted_proxies)
    return body


async def _never_send(_message: Message) -> None:
    raise RuntimeError("a body is read before anything is answered")


async def in_thread_if_large(body: bytes, read: Callable[[bytes], T]) -> T:
    """`read(body)`, in a thread if the body is large. Raises whatever it raises."""
    return await asyncio.to_thread(read, body) if len(body) > READ_IN_THREAD else read(body)


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object as Python has it. Raises GatewayError 400 for anything else, and naming a field that is too large."""
    if len(body) > LARGE and body.count(b'"') > MAX_QUOTES:
        raise invalid_request("The request body holds too many values for its size.", code="invalid_json")
    fields = read_fields(body)
    if len(fields) > MAX_FIELDS:
        raise invalid_request(f"The request body has more than {MAX_FIELDS} fields.")
    return {name: _read_value(name, value) for name, value in fields.items()}


def _read_value(name: str, value: msgspec.Raw) -> Any:
    large = len(memoryview(value)) > MAX_FIELD
    try:
        return _texts.decode(value) if large else _anything.decode(value)
    except (msgspec.DecodeError, RecursionError) as error:
        why = "is too large, or holds something else than texts" if large else "isn't valid JSON, or out of range"
        raise invalid_request(f"{name[:200]}: {why}.", name[:200]) from error


def is_form(request: Request) -> bool:
    """Whether the body says that it is multipart. Any other body is read as JSON, whatever it says."""
    return request.headers.get("content-type", "").strip().lower().startswith("multipart/form-data")


async def read_form(request: Request, body: bytes) -> Form:
    """A multipart body taken apart. Raises GatewayError 400."""
    charset = parse_options_header(request.headers["content-type"])[1].get(b"charset", b"utf-8")
    if charset.lower() not in CHARSETS:
        raise invalid_request("The multipart body's charset must be utf-8.", "content-type")
    parser = MultiPartParser(
        request.headers, _pieces(body), max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD
    )
    parser.spool_max_size = len(body) + 1  # it is in memory and bounded: a copy on disk would only be slower
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise invalid_request(f"The multipart body can't be read: {error.message}") from error
    fields: dict[str, Any] = {}
    files: dict[str, tuple[bytes, str | None]] = {}
    try:
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                _add_field(fields, name, value)
            elif name in files:
                raise invalid_request(f"{name[:200]}: stands twice.", name[:200])
            else:
                files[name] = (await value.read(), value.content_type)
    finally:
        await form.close()
    return Form(fields, files)


async def _pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]
        await asyncio.sleep(0)


def _add_field(fields: dict[str, Any], name: str, value: str) -> None:
    """`name[key]` is a key of an object, `name[]` an item of a list, as SDKs write them. Raises GatewayError 400."""
    bracketed = _BRACKETED.fullmatch(name)
    if bracketed is None:
        clashes = name in fields
        fields.setdefault(name, value)
    elif bracketed[2]:
        place = fields.setdefault(bracketed[1], {})
        clashes = not isinstance(place, dict) or bracketed[2] in place
        if not clashes:
            place[bracketed[2]] = value
    else:
        place = fields.setdefault(bracketed[1], [])
        clashes = not isinstance(place, list)
        if not clashes:
            place.append(value)
    if clashes:
        raise invalid_request(f"{name[:200]}: stands twice.", name[:200])
