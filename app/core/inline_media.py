"""Media inside a JSON request, found by its bytes: where each piece stands, in the spellings of all four chat formats.

Nothing is parsed: a long conversation is never materialised for it, and what is no media costs one look for each mark. Only
structure counts: inside a JSON string the quotes would be escaped, so a text can't pass itself off as a piece.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from app.core.images import data_start

MAX_LOOKS = 4096
"""Places of one request that are looked at for each field: more than any vendor takes."""

MAX_TOKENS = 20_000
"""Strings and braces of tools' arguments that are walked over; whatever stands behind them is taken for text."""

Span = tuple[int, int]

_MAX_MEMBERS = 8
_AT_VALUE = re.compile(rb'\s*:\s*(["{])')
_MEMBER = re.compile(rb'\s*"([A-Za-z_]{1,32})"\s*:\s*(?:"|(null)\b)')
_NEXT = re.compile(rb"\s*([,}])")
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}]', re.DOTALL)
_DETAIL_BEHIND = re.compile(rb'\s*,\s*"detail"\s*:\s*"([a-z]{1,16})"')
_DETAIL_BEFORE = re.compile(rb'"detail"\s*:\s*"([a-z]{1,16})"\s*,\s*(?:"type"\s*:\s*"[a-z_]{1,32}"\s*,\s*)?\Z')
_BEFORE = 128
"""Bytes before an image in which its `detail` may stand."""

_BY_THE_PIECE = ("image/", "audio/", "video/", "application/pdf")
"""Media types that aren't read as text: a text file in base64 is as long as it is, and stays text."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One image or file. `at`: where its field begins; `media_type` as declared, in lower case; `data`: where its base64
    stands, None for one by address or file id, or that can't be read easily.
    """

    at: int
    field: str
    is_image: bool
    detail: str | None = None
    media_type: str | None = None
    data: Span | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The pieces, each once; `beyond`: how many more places there are that weren't looked at."""

    pieces: tuple[Piece, ...]
    beyond: int


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a format writes media: `marks`, one of which is in every body that has any; `fields` that hold a piece;
    `arguments`: objects that a client fills as it likes, where a piece would be text; `part`: the type of parts that are
    images whatever else they hold.
    """

    marks: tuple[bytes, ...]
    fields: tuple[bytes, ...]
    arguments: tuple[bytes, ...] = ()
    part: bytes | None = None


_CHAT = Spelling(
    (b'"image_url"', b";base64,", b'"input_audio"'), (b'"image_url"', b'"file_data"', b'"url"', b'"input_audio"')
)
_RESPONSES = Spelling(
    (b'"input_image"', b'"input_file"', b'"input_audio"'),
    (b'"image_url"', b'"file_data"', b'"file_url"', b'"input_audio"'),
    part=b'"input_image"',
)
_MESSAGES = Spelling((b'"source"',), (b'"source"',), (b'"input"',))
_GENERATE = Spelling(
    (b'Data"', b'_data"'),
    (b'"inlineData"', b'"inline_data"', b'"fileData"', b'"file_data"'),
    (b'"args"', b'"response"'),
)
ANY = Spelling(
    (b'_url"', b";base64,", b'"source"', b'Data"', b'_data"', b'"input_image"', b'"input_audio"'),
    (*_CHAT.fields, b'"file_url"', *_MESSAGES.fields, b'"inlineData"', b'"inline_data"', b'"fileData"'),
    (*_MESSAGES.arguments, *_GENERATE.arguments),
    _RESPONSES.part,
)

_BY_FORMAT: Mapping[str, Spelling] = MappingProxyType(
    {
        "openai_chat": _CHAT,
        "openai_responses": _RESPONSES,
        "anthropic_messages": _MESSAGES,
        "gemini_generate": _GENERATE,
    }
)


def spelling_of(format: str) -> Spelling:
    """How the format of this name writes media; any way there is, for another."""
    return _BY_FORMAT.get(format, ANY)


def may_have_media(body: bytes, spelling: Spelling) -> bool:
    """False: it surely has none."""
    return any(mark in body for mark in spelling.marks)


def find_media(body: bytes, spelling: Spelling = ANY) -> Found:
    """All pieces in the order of their fields. Reads past base64, not through it, and never raises."""
    pieces: list[Piece] = []
    beyond = 0
    for field in spelling.fields:
        found, more = _find(body, field, pieces)
        pieces += found
        beyond += more
    if spelling.part is not None:
        # By file id, or with nothing at all: such a part has no field of an image.
        beyond += max(0, body.count(spelling.part) - sum(piece.is_image for piece in pieces))
    pieces = _outside_arguments(body, pieces, spelling.arguments)
    return Found(tuple(sorted(pieces, key=lambda piece: piece.at)), beyond)


def _find(body: bytes, field: bytes, known: list[Piece]) -> tuple[list[Piece], int]:
    """The pieces in one field, beside those whose data was found already, and how many places were left out."""
    found: list[Piece] = []
    read, seen = _READERS[field], {piece.data for piece in known if piece.data is not None}
    looks = 0
    for start, end in _gaps(len(body), seen):
        at = body.find(field, start, end)
        while at >= 0:
            looks += 1
            if looks > MAX_LOOKS:
                return found, len(re.findall(re.escape(field) + rb"\s*:", body[at:]))
            value = _AT_VALUE.match(body, at + len(field))
            piece = None if value is None else read(body, at, value.end(), value[1] == b'"')
            following = at + len(field)
            if piece is not None and piece.data not in seen:
                found.append(piece)
                following = piece.data[1] if piece.data is not None else following
            at = body.find(field, following, end)
    return found, 0


def _gaps(size: int, spans: set[Span]) -> Iterator[Span]:
    at = 0
    for start, end in sorted(spans):
        yield at, start
        at = max(at, end)
    yield at, size


# -- one reader for each field: of a string that begins at `at`, or of an object ---------------------------------------


def _read_image_url(body: bytes, field: int, at: int, is_string: bool) -> Piece | None:
    """OpenAI: `{"url", "detail"}`, or the URL itself with `detail` beside it. An object that can't be read counts as one."""
    if is_string:
        end = _end_of_string(body, at)
        if end is None:
            return Piece(field, "image_url", True)
        return _of_url(body, field, (at, end), _detail_beside(body, field, end))
    members = _read_members(body, at)
    if members is None:
        return Piece(field, "image_url", True)
    url = members.get(b"url")
    return None if url is None else _of_url(body, field, url, _word(body, members.get(b"detail")))


def _of_url(body: bytes, field: int, url: Span, detail: str | None) -> Piece:
    start = data_start(body, *url)
    if start is None:
        return Piece(field, "image_url", True, detail)
    return Piece(field, "image_url", True, detail, _type_of_url(body, url[0], start), (start, url[1]))


def _detail_beside(body: bytes, field: int, end: int) -> str | None:
    behind = _DETAIL_BEHIND.match(body, end + 1)
    found = behind or _DETAIL_BEFORE.search(body[max(0, field - _BEFORE) : field])
    return None if found is None else found[1].decode()


def _read_source(body: bytes, field: int, at: int, is_string: bool) -> Piece | None:
    """Anthropic: `{"type": "base64", "media_type", "data"}`, or by `url` or `file`. A source of text is text."""
    if is_string:
        return None  # where a search result comes from
    members = _read_members(body, at)
    if members is None:
        return Piece(field, "source", True)
    match _word(body, members.get(b"type")):
        case "text" | "content":
            return None
        case "base64":
            return _of_data(body, field, "source", members.get(b"media_type"), members.get(b"data"))
        case _:
            return Piece(field, "source", True)


def _read_blob(body: bytes, field: int, at: int, is_string: bool) -> Piece | None:
    """Gemini: `{"mimeType", "data"}`."""
    if is_string:
        return None
    members = _read_members(body, at)
    if members is None:
        return Piece(field, "inlineData", True)
    media_type = members.get(b"mimeType") or members.get(b"mime_type")
    return _of_data(body, field, "inlineData", media_type, members.get(b"data"))


def _read_sound(body: bytes, field: int, at: int, is_string: bool) -> Piece | None:
    """OpenAI: `{"data", "format"}`; as the value of a part's type the word is no sound."""
    if is_string:
        return None
    members = _read_members(body, at)
    data = None if members is None else members.get(b"data")
    return Piece(field, "input_audio", False, None, "audio/", data) if data is not None else None


def _of_data(body: bytes, field: int, name: str, media_type: Span | None, data: Span | None) -> Piece | None:
    declared = (_word(body, media_type) or "").lower()
    if data is None or not declared.startswith(_BY_THE_PIECE):
        return None
    return Piece(field, name, declared.startswith("image/"), None, declared, data)


def _read_file(body: bytes, field: int, at: int, is_string: bool) -> Piece | None:
    """OpenAI: `file_data`, a data URL. Gemini: `{"fileUri", "mimeType"}`."""
    return _read_data_url(body, field, at, is_string) if is_string else Piece(field, "fileData", False)


def _read_file_url(_body: bytes, field: int, _at: int, is_string: bool) -> Piece | None:
    return Piece(field, "file_url", False) if is_string else None


def _read_data_url(body: bytes, field: int, at: int, is_string: bool) -> Piece | None:
    """Files, and the video and audio that some upstreams of OpenAI's format take by `url`."""
    end = _end_of_string(body, at) if is_string else None
    start = None if end is None else data_start(body, at, end)
    if start is None or end is None:
        return None
    return Piece(field, "file_data", False, None, _type_of_url(body, at, start), (start, end))


_Reader = Callable[[bytes, int, int, bool], Piece | None]
_READERS: Mapping[bytes, _Reader] = MappingProxyType(
    {
        b'"image_url"': _read_image_url,
        b'"source"': _read_source,
        b'"inlineData"': _read_blob,
        b'"inline_data"': _read_blob,
        b'"fileData"': _read_file,
        b'"file_data"': _read_file,
        b'"file_url"': _read_file_url,
        b'"url"': _read_data_url,
        b'"input_audio"': _read_sound,
    }
)


def _read_members(body: bytes, at: int) -> Mapping[bytes, Span | None] | None:
    """An object's strings by name; None if it can't be read easily: it holds objects, numbers, quotes."""
    spans: dict[bytes, Span | None] = {}
    for _ in range(_MAX_MEMBERS):
        member = _MEMBER.match(body, at)
        end = None if member is None else member.end() if member[2] else _end_of_string(body, member.end())
        if member is None or end is None:
            return None
        spans[member[1]] = None if member[2] else (member.end(), end)
        following = _NEXT.match(body, end if member[2] else end + 1)
        if following is None:
            return None
        at = following.end()
        if following[1] == b"}":
            return spans
    return None


def _word(body: bytes, span: Span | None) -> str | None:
    return None if span is None else body[span[0] : min(span[1], span[0] + 256)].replace(b"\\/", b"/").decode("latin-1")


def _type_of_url(body: bytes, start: int, data: int) -> str:
    """The media type of a data URL, in lower case, empty where there is none."""
    return body[start + 5 : data].replace(b"\\/", b"/").partition(b";")[0].decode("latin-1").strip().lower()


def _end_of_string(body: bytes, at: int) -> int | None:
    """The index of the quote that ends the string which begins at `at`; None if there's an escaped one before."""
    end = body.find(b'"', at)
    return None if end < 0 or body[end - 1 : end] == b"\\" else end


# -- arguments of tools ------------------------------------------------------------------------------------------------


def _outside_arguments(body: bytes, pieces: list[Piece], names: tuple[bytes, ...]) -> list[Piece]:
    """Without those inside a tool's arguments or results, which are the client's own JSON: upstreams read it as text."""
    if not pieces or not names:
        return pieces
    regions = sorted(_regions(body, names))
    starts = [start for start, _ in regions]

    def is_inside(piece: Piece) -> bool:
        place = bisect_right(starts, piece.at) - 1
        return place >= 0 and piece.at < regions[place][1]

    return [piece for piece in pieces if not is_inside(piece)]


def _regions(body: bytes, names: tuple[bytes, ...]) -> Iterator[Span]:
    """The objects of these names, not those within one another: of each name, up to the end where there are too many."""
    for name in names:
        left = MAX_TOKENS
        at = body.find(name)
        while at >= 0:
            value = _AT_VALUE.match(body, at + len(name))
            end = at + len(name)
            if value is not None and value[1] == b"{":
                end, left = _end_of_object(body, value.end(), left)
                yield at, end
            at = body.find(name, end)


def _end_of_object(body: bytes, at: int, left: int) -> tuple[int, int]:
    """Where the object ends whose brace stands before `at`, and how many tokens are left to be walked over."""
    depth = 1
    for token in _STRUCTURE.finditer(body, at):
        left -= 1
        if left <= 0:
            break
        if token[0] == b"{":
            depth += 1
        elif token[0] == b"}":
            depth -= 1
            if depth == 0:
                return token.end(), left
    return len(body), left
