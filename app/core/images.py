"""What an image counts for: OpenAI's tile formula, and an image's size read off its first bytes, never decoded."""

from __future__ import annotations

import binascii
from dataclasses import dataclass

LOW = 85
TILE = 170
TILE_SIDE = 512
LONG_SIDE = 2048
SHORT_SIDE = 768

MOST = LOW + TILE * 8
"""The most that the formula gives: 4 × 2 tiles, for whatever comes to 2048 × 768 or a little less after scaling."""

LOW_DETAILS = frozenset({"low", "auto"})

PREFIX = 128 * 1024
"""Base64 characters of an image that are looked at. A JPEG's size may stand behind a thumbnail of 64 KB and a colour
profile; where it stands further behind, the most is assumed."""

MAX_SEGMENTS = 256
"""JPEG segments that are walked over: a camera's file has some twenty, one with a huge colour profile a hundred."""

_HEADER = 256
"""Characters of a data URL before its comma, at most: types and their parameters are short."""

_FIRST_LOOK = 128
"""Base64 characters that hold the size of everything but a JPEG."""


_ESCAPES = ((b"\\/", b"/"), (b"\\u002B", b"+"), (b"\\u002b", b"+"), (b"\\n", b""), (b"\\r", b""))
"""How JSON writers of PHP, .NET and Java spell base64."""

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
"""The other alphabet (RFC 4648, 5), which Google's APIs take as well: https://protobuf.dev/programming-guides/json/."""


@dataclass(frozen=True, slots=True)
class Size:
    """Pixels, both positive."""

    width: int
    height: int


def image_tokens(detail: object, size: Size | None) -> int:
    """The tokens of one image by its `detail` field and its size; an unknown size counts as the dearest.

    Source: OpenAI's vision guide, as the contract fixes it: `low` and `auto` are low; `high`, nothing, and whatever else
    comes (`original`) are high.
    """
    if isinstance(detail, str) and detail in LOW_DETAILS:
        return LOW
    return MOST if size is None else LOW + TILE * _tiles(size)


def _tiles(size: Size) -> int:
    """512-pixel tiles after fitting into 2048 × 2048, then the shorter side into 768; nothing is ever scaled up.

    In whole numbers: the scale stays a fraction, so no rounding can add or lose a tile.
    """
    short, long = sorted((size.width, size.height))
    over, under = 1, 1  # the scale, over / under
    if long > LONG_SIDE:
        over, under = LONG_SIDE, long
    if short * over > SHORT_SIDE * under:
        over, under = SHORT_SIDE, short
    return -(-short * over // (TILE_SIDE * under)) * -(-long * over // (TILE_SIDE * under))


def read_data_url(url: bytes) -> Size | None:
    """The size of the image in a base64 data URL, or None: not one, no PNG, JPEG, WEBP or GIF, or damaged.

    Takes the URL as it stands in JSON, slashes escaped or not; a bounded prefix of it is enough. Never raises.
    """
    start = data_start(url, 0, len(url))
    return None if start is None else read_base64(url[start : start + PREFIX])


def data_start(text: bytes, start: int, end: int) -> int | None:
    """Where the base64 begins if `text[start:end]` is a base64 data URL. Source: RFC 2397."""
    if text[start : start + 5].lower() != b"data:":
        return None
    comma = text.find(b",", start, min(end, start + _HEADER))
    if comma < 0 or text[max(start, comma - 7) : comma].lower() != b";base64":
        return None
    return comma + 1


def read_base64(text: bytes) -> Size | None:
    """The size of an image whose first bytes are here in base64."""
    head = decode_start(text[:_FIRST_LOOK])
    if head.startswith(b"\xff\xd8"):
        return _read_jpeg(decode_start(text[:PREFIX]))
    return read_size(head)


def decode_start(text: bytes) -> bytes:
    """What of a base64 prefix can be decoded, up to the last whole group of four; nothing if it holds anything else."""
    text = plain_base64(text).partition(b"\\")[0]  # a cut prefix may end with half an escape
    try:
        return binascii.a2b_base64(text[: len(text) // 4 * 4], strict_mode=True)
    except binascii.Error:
        return b""


def plain_base64(text: bytes) -> bytes:
    """Base64 without JSON's escapes and line breaks, in the usual alphabet."""
    if b"\\" in text:
        for escape, plain in _ESCAPES:
            text = text.replace(escape, plain)
    return text.translate(_URL_SAFE, b"\r\n")


def read_size(data: bytes) -> Size | None:
    """The size of a PNG, JPEG, WEBP or GIF by its first bytes; None for anything else. Never raises."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _read_png(data)
    if data.startswith(b"\xff\xd8"):
        return _read_jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _read_webp(data)
    if data.startswith((b"GIF87a", b"GIF89a")) and len(data) >= 10:
        return _size(int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little"))
    return None


def _size(width: int, height: int) -> Size | None:
    return Size(width, height) if width > 0 and height > 0 else None


def _read_png(data: bytes) -> Size | None:
    """IHDR comes first (PNG specification, 5.6)."""
    if len(data) < 24 or data[12:16] != b"IHDR":
        return None
    return _size(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))


def _read_webp(data: bytes) -> Size | None:
    """RFC 9649: a VP8 key frame (with RFC 6386, 9.1), a VP8L header, or the canvas of VP8X."""
    match data[12:16]:
        case b"VP8 " if len(data) >= 30 and data[23:26] == b"\x9d\x01\x2a":
            width, height = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
            return _size(width & 0x3FFF, height & 0x3FFF)
        case b"VP8L" if len(data) >= 25 and data[20] == 0x2F:
            bits = int.from_bytes(data[21:25], "little")
            return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        case b"VP8X" if len(data) >= 30:
            return Size(int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
        case _:
            return None


def _read_jpeg(data: bytes) -> Size | None:
    """Walks the segments to the frame header, SOF0 to SOF15 (ITU-T T.81, B.1.1 and B.2.2). Thumbnails are inside segments."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        if data[at : at + 1] != b"\xff" or at + 9 > len(data):
            return None
        marker = data[at + 1]
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # filling before a marker
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _size(int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big"))
        elif marker == 0x01 or 0xD0 <= marker <= 0xDA or length < 2:
            return None  # the picture's data or its end, before any frame
        else:
            at += 2 + length
    return None
