"""A form with files (`multipart/form-data`) that never is in memory as a whole: its parts, and the body that is made of them.

Source: RFC 7578. Parts keep their order, names, file names and types; files lie on disk, and are read piece by piece each
time that a body is sent.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace

from app.errors import invalid_request

PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Spool:
    """A file on disk that has no name: gone when its last descriptor is closed, whatever happens to the process."""

    descriptor: int
    size: int

    def read(self, start: int, size: int) -> bytes:
        """Some bytes; fewer only at the end."""
        return os.pread(self.descriptor, size, start)


@dataclass(frozen=True, slots=True)
class Part:
    """One part. `filename` None: a field, whose value is text. A file's value is a spool where it is large."""

    name: str
    value: bytes | Spool
    filename: str | None = None
    content_type: str | None = None

    @property
    def size(self) -> int:
        return len(self.value) if isinstance(self.value, bytes) else self.value.size

    def content(self) -> bytes:
        """All of its bytes."""
        return self.value if isinstance(self.value, bytes) else self.value.read(0, self.value.size)

    def head(self) -> bytes:
        """The part's own headers."""
        lines = f'Content-Disposition: form-data; name="{_escaped(self.name)}"'
        if self.filename is not None:
            lines += f'; filename="{_escaped(self.filename)}"'
        if self.content_type is not None:
            lines += f"\r\nContent-Type: {self.content_type}"
        return f"{lines}\r\n\r\n".encode()


@dataclass(frozen=True, slots=True)
class Form:
    """The parts of a request, in the order in which they came."""

    parts: tuple[Part, ...]

    def texts(self, name: str) -> list[str]:
        """The values of a field that may come several times, as `name` or as `name[]`. Raises GatewayError 400."""
        return [_text(part) for part in self.parts if part.name in (name, f"{name}[]") and part.filename is None]

    def text(self, name: str) -> str | None:
        """A field's value; None: it isn't there. Raises GatewayError 400 for one that stands twice or is a file."""
        found = [part for part in self.parts if part.name == name]
        if not found:
            return None
        if len(found) > 1:
            raise invalid_request(f"'{name}' stands twice.", name, "invalid_value")
        if found[0].filename is not None:
            raise invalid_request(f"'{name}' must be a text, not a file.", name, "invalid_type")
        return _text(found[0])

    def files(self, name: str) -> list[Part]:
        """The files under a name, as `name` or as `name[]`."""
        return [part for part in self.parts if part.name in (name, f"{name}[]") and part.filename is not None]

    def with_texts(self, values: Mapping[str, str | None]) -> Form:
        """The form with these fields' values instead of its own; None leaves the field out. What it lacks comes last."""
        kept = []
        for part in self.parts:
            if part.name not in values:
                kept.append(part)
            elif (value := values[part.name]) is not None:
                kept.append(replace(part, value=value.encode()))
        had = {part.name for part in self.parts}
        kept += [Part(name, value.encode()) for name, value in values.items() if value is not None and name not in had]
        return Form(tuple(kept))

    def with_file(self, file: Part) -> Form:
        """The form with another file under the same name."""
        return Form(
            tuple(file if part.name == file.name and part.filename is not None else part for part in self.parts)
        )

    def close(self) -> None:
        """Gives the files up."""
        for part in self.parts:
            if isinstance(part.value, Spool):
                os.close(part.value.descriptor)


class FormBody:
    """See `app.relay.sending.Upload`: a form as bytes to send."""

    __slots__ = ("_boundary", "_form", "content_type", "size")

    def __init__(self, form: Form) -> None:
        self._form = form
        self._boundary = secrets.token_hex(16).encode()
        self.content_type = f"multipart/form-data; boundary={self._boundary.decode()}"
        self.size = sum(len(piece) if isinstance(piece, bytes) else piece.size for piece in self._pieces())

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces():
            if isinstance(piece, bytes):
                yield piece
                continue
            for start in range(0, piece.size, PIECE):
                yield await asyncio.to_thread(piece.read, start, PIECE)

    def _pieces(self) -> Iterator[bytes | Spool]:
        for part in self._form.parts:
            yield b"--%b\r\n%b" % (self._boundary, part.head())
            yield part.value
            yield b"\r\n"
        yield b"--%b--\r\n" % self._boundary


def _text(part: Part) -> str:
    try:
        return part.content().decode()
    except UnicodeDecodeError as error:
        raise invalid_request(f"'{part.name[:200]}' isn't valid UTF-8.", part.name[:200], "invalid_type") from error


def _escaped(name: str) -> str:
    """As browsers escape names (WHATWG HTML, "Multipart form data"), and backslashes: some readers take them for escapes."""
    return name.replace('"', "%22").replace("\\", "%5C").replace("\r", "%0D").replace("\n", "%0A")
