"""Forms with files, read as they come: however large they are, no more of them is in memory than a piece."""

from dataclasses import dataclass, field
from typing import Any

from python_multipart.multipart import MultipartParser

from app.demo.exchange import Exchange
from app.demo.forms import MAX_SHOWN_PARTS, MAX_SHOWN_TEXT, put_field, read_boundary, read_disposition
from app.demo.journal import MAX_SHOWN
from app.demo.openai_errors import Refusal
from app.demo.surfaces.spool import Spool

MOST_FIELD = 1 << 20


@dataclass(slots=True)
class Upload:
    """One part: a file if it has a `filename`."""

    name: str
    filename: str | None
    content_type: str | None
    spool: Spool = field(default_factory=Spool)

    def render(self) -> dict[str, Any]:
        """The part as the journal shows it."""
        text = None if self.filename is not None else self.spool.head[:MAX_SHOWN_TEXT].decode("utf-8", "replace")
        return {
            "name": self.name,
            "filename": self.filename,
            "content_type": self.content_type,
            "size": self.spool.size,
            "sha256": self.spool.sha256,
            "text": text,
        }


@dataclass(frozen=True, slots=True)
class Form:
    """The fields as JSON would have them, and the files by name, a trailing `[]` left out."""

    fields: dict[str, Any]
    files: dict[str, list[Upload]]

    def file(self, name: str) -> Upload:
        """The one file of that name; raises Refusal."""
        found = self.files.get(name, [])
        if not found:
            message = f"Missing required parameter: '{name}'."
            raise Refusal(400, message, code="missing_required_parameter", param=name)
        if len(found) > 1:
            raise Refusal(400, f"Invalid '{name}': one file is wanted.", code="invalid_value", param=name)
        return found[0]


class _Reader:
    """Takes what the parser finds; `keeps` says whether anybody will read the files again."""

    def __init__(self, boundary: bytes, *, keeps: bool) -> None:
        self.parts: list[Upload] = []
        self.complete = False
        self._keeps = keeps
        self._header: list[bytes] = [b"", b""]
        self._headers: dict[str, str] = {}
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
                "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin,
                "on_part_data": lambda data, start, end: self._take(data[start:end]),
                "on_end": self._end,
            },
        )

    def write(self, data: bytes) -> None:
        """Parses the next piece; raises ValueError."""
        self._parser.write(data)

    def _add(self, place: int, data: bytes) -> None:
        self._header[place] += data

    def _end_header(self) -> None:
        name, value = self._header
        self._headers[name.decode("latin-1").lower()] = value.decode("utf-8").strip()
        self._header = [b"", b""]

    def _begin(self) -> None:
        name, filename = read_disposition(self._headers.get("content-disposition", ""))
        self.parts.append(Upload(name, filename, self._headers.get("content-type")))

    def _take(self, data: bytes) -> None:
        part = self.parts[-1]
        if part.filename is None and part.spool.size + len(data) > MOST_FIELD:
            raise ValueError(f"the field {part.name!r} is too long")
        if part.filename is None or self._keeps:
            part.spool.write(data)
        else:
            part.spool.note(data)

    def _end(self) -> None:
        self.complete = True


async def read_form(exchange: Exchange, *, keeps: bool = False) -> Form:
    """The form of a request; without `keeps` its files are only measured. Raises Refusal, once all has arrived."""
    entry, raw, held, trouble = exchange.entry, b"", True, ""
    reader = None
    try:
        reader = _Reader(read_boundary(exchange.header(b"content-type")), keeps=keeps)
    except ValueError as error:
        trouble = str(error)
    async for piece in exchange.read_pieces():
        held = held and len(raw) + len(piece) <= MAX_SHOWN
        raw = raw + piece if held else b""
        if reader is not None and not trouble:
            try:
                reader.write(piece)
            except ValueError as error:
                trouble = str(error)
    if reader is not None:
        entry.parts = [part.render() for part in reader.parts[:MAX_SHOWN_PARTS]]
        trouble = trouble or ("" if reader.complete else "it doesn't end with its boundary")
    exchange.journal.keep(entry, raw)
    if trouble or reader is None:
        raise Refusal(400, f"We could not parse the form of your request: {trouble}.")
    return _sort(reader.parts)


def _sort(parts: list[Upload]) -> Form:
    form = Form({}, {})
    for part in parts:
        if part.filename is not None:
            form.files.setdefault(part.name.removesuffix("[]"), []).append(part)
            continue
        try:
            put_field(form.fields, part.name, part.spool.read().decode())
        except ValueError as error:  # bad UTF-8 included
            raise Refusal(400, f"We could not parse the form of your request: {error}.", param=part.name) from error
    return form
