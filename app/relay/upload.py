"""Reads a form with files as it arrives: fields into memory, files onto disk, so that a large one passes in little memory.

A file is on disk before an upstream hears of it: so it can be sent to another one, should the first fail, and no upstream
waits for a slow client (docs/decisions/0035-uploads-lie-on-disk.md).
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import GatewayError, Kind, invalid_request, unavailable
from app.logs import get_log
from app.relay.exchange import Exchange, Interrupt
from app.surfaces.form import Form, Part, Spool

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

log = get_log("relaygate.relay")

IN_MEMORY = 64 * 1024
"""Bytes of a file above which it goes to disk."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

MAX_PARTS = 300
MAX_FIELD = 8 * 1024 * 1024
"""Bytes of all fields that aren't files: the voices of known speakers come as data URIs in fields."""

MAX_PART_HEAD = 16 * 1024
SLOWEST = 64 * 1024
"""Bytes a second that an upload must come with on average, beyond the time that any body is given."""


def is_form(exchange: Exchange) -> bool:
    """Whether the body says that it is a form with files."""
    return _content_type(exchange).lower().startswith(b"multipart/form-data")


def _content_type(exchange: Exchange) -> bytes:
    for name, value in exchange.scope["headers"]:
        if name == b"content-type":
            return bytes(value).strip()
    return b""


async def read_form(exchange: Exchange, folder: Path, limit: int, timeout: float) -> Form:
    """The form; its caller closes it. Raises GatewayError: 400 broken or incomplete, 413 above `limit` bytes, 415 packed.

    `timeout`: seconds for a body, and longer for one that keeps coming.
    """
    _check_head(exchange, limit)
    boundary = parse_options_header(_content_type(exchange))[1].get(b"boundary")
    if not boundary:
        raise invalid_request("The form's content type names no boundary.", "content-type", "invalid_form")
    gatherer = _Gatherer(folder)
    try:
        await _feed(exchange, gatherer, MultipartParser(boundary, gatherer.callbacks()), limit, timeout)
        return Form(tuple(gatherer.parts))
    except FormParserError as error:
        gatherer.close()
        raise invalid_request(
            "The form can't be read: it isn't valid multipart/form-data.", code="invalid_form"
        ) from error
    except OSError as error:
        gatherer.close()
        log.error("upload_not_stored", folder=str(folder), error=str(error))
        raise unavailable("The gateway has no room for the upload at the moment.") from error
    except BaseException:
        gatherer.close()
        raise


async def _feed(exchange: Exchange, gatherer: _Gatherer, parser: MultipartParser, limit: int, timeout: float) -> None:
    size, began = 0, exchange.seconds()
    while True:
        exchange.allow(max(0.0, began + timeout + size / SLOWEST - exchange.seconds()), Interrupt.BODY_TIMEOUT)
        message = await exchange.receive()
        if message["type"] == "http.disconnect":
            raise GatewayError(Kind.INVALID, "client_closed_request", "The request body ended too early.", status=499)
        body = message.get("body", b"")
        size += len(body)
        if size > limit:
            raise _too_large(exchange, limit)
        parser.write(body)
        gatherer.check()
        if not message.get("more_body"):
            break
    parser.finalize()
    if not gatherer.ended:
        raise invalid_request("The form ends before its last boundary.", code="invalid_form")


def _check_head(exchange: Exchange, limit: int) -> None:
    for name, value in exchange.scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:20]) > limit:
            raise _too_large(exchange, limit)
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            message = "A form with files can't be compressed: its content-encoding must be absent."
            raise GatewayError(Kind.UNSUPPORTED, "unsupported_content_encoding", message, param="content-encoding")


def _too_large(exchange: Exchange, limit: int) -> GatewayError:
    # Nobody reads half a gigabyte on, only to be able to say this.
    exchange.extra_headers.append((b"connection", b"close"))
    message = f"The form is larger than {limit // (1024 * 1024)} MB."
    return GatewayError(Kind.TOO_LARGE, "request_too_large", message)


class _Gatherer:
    """Takes what the parser finds, part by part."""

    def __init__(self, folder: Path) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._folder = folder
        self._fields = 0
        self._head = 0
        self._name = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._data = bytearray()
        self._descriptor: int | None = None
        self._size = 0
        self._filename: str | None = None

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }  # fmt: skip

    def check(self) -> None:
        """Raises GatewayError 400 for more than any client needs."""
        if len(self.parts) > MAX_PARTS:
            raise invalid_request(f"The form has more than {MAX_PARTS} parts.", code="invalid_form")
        if self._fields > MAX_FIELD or self._head > MAX_PART_HEAD:
            raise invalid_request("The form's fields are too large; only files may be.", code="invalid_form")

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        Form(tuple(self.parts)).close()

    def _begin(self) -> None:
        self._headers, self._data, self._size, self._head = {}, bytearray(), 0, 0
        self._name = self._value = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._head += end - start

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._head += end - start

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name, filename = options.get(b"name"), options.get(b"filename")
        if name is None:
            raise invalid_request("A part of the form has no name.", code="invalid_form")
        self._part_name = _decoded(name)
        if '"' in self._part_name or "\\" in self._part_name:
            raise invalid_request(
                f"A part's name holds a quote or a backslash: {self._part_name[:200]}", code="invalid_form"
            )
        self._filename = None if filename is None else _decoded(filename)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._filename is None:
            self._fields += end - start
            if self._fields > MAX_FIELD:
                return  # `check` says so
        elif self._descriptor is None and self._size > IN_MEMORY:
            self._descriptor = open_spool(self._folder)
            write_all(self._descriptor, memoryview(self._data))
            self._data = bytearray()
        if self._descriptor is None:
            self._data += memoryview(data)[start:end]
        else:
            write_all(self._descriptor, memoryview(data)[start:end])

    def _part_end(self) -> None:
        value: bytes | Spool = bytes(self._data)
        if self._descriptor is not None:
            value, self._descriptor = Spool(self._descriptor, self._size), None
        kind = self._headers.get(b"content-type")
        content_type = None if kind is None else _decoded(kind)
        self.parts.append(Part(self._part_name, value, self._filename, content_type))

    def _end(self) -> None:
        self.ended = True


def _decoded(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    if _CONTROL.search(text):
        raise invalid_request("A part's name, file name or type holds a control character.", code="invalid_form")
    return text


def open_spool(folder: Path) -> int:
    """A file without a name, so that none is left behind by a process that is killed."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, path = tempfile.mkstemp(dir=folder)
    os.unlink(path)
    return descriptor


def write_all(descriptor: int, data: memoryview) -> None:
    """All of it, at the end of the file."""
    while data:
        data = data[os.write(descriptor, data) :]
