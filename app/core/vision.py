"""Which images a chat may hold: PNG, JPEG, WEBP and GIFs that stand still, of at most 20 MB, and what they say they are."""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from app.core.images import decode_start, plain_base64
from app.core.inline_media import ANY, Spelling, find_media

MAX_BYTES = 20 * 1024 * 1024
"""Bytes of one image, decoded: the contract's 20 MB."""

MAX_BLOCKS = 120_000
"""Blocks of a GIF that are walked over: 20 MB in blocks of 255 bytes, as encoders write them, are some 82,000."""

_LOOK = 128
"""Base64 characters that tell what an image is."""

_PIECE, _DECODED = 65_536, 49_152
"""Base64 characters that are decoded at a time, a multiple of four, and the bytes that they come to."""

_NAMES: Mapping[str, str] = MappingProxyType(
    {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP", "image/gif": "GIF"}
)
_ALIASES: Mapping[str, str] = MappingProxyType(
    {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png", "image/apng": "image/png"}
)

_DESCRIPTOR, _EXTENSION = 0x2C, 0x21


@dataclass(frozen=True, slots=True)
class InlineImage:
    """An image in a request's body, the `number`th of them: its base64 is `body[start:end]`, as it stands in JSON."""

    number: int
    field: str
    media_type: str | None
    start: int
    end: int


def inline_images(body: bytes, spelling: Spelling = ANY) -> Iterator[InlineImage]:
    """The images that stand in a conversation's JSON in base64, the same that a hold counts; those by address are numbered
    along with them. Give it the field in which upstreams look for images, as a hold does.
    """
    images = (piece for piece in find_media(body, spelling).pieces if piece.is_image)
    for number, piece in enumerate(images, 1):
        if piece.data is not None:
            yield InlineImage(number, piece.field, piece.media_type, *piece.data)


def check_image(media_type: str | None, data: bytes | str) -> str | None:
    """Why this image can't be taken, in words that go on after its name; None: it can. Never raises.

    `data`: base64, in JSON's spelling or plain. Looks at the length and the first bytes; only GIFs are walked through. An
    animated WEBP or PNG passes: the contract names GIFs alone, and their first picture is an image like any other.
    """
    text = data.encode("ascii", "replace") if isinstance(data, str) else data
    if _decoded_size(text) > MAX_BYTES:
        return f"is larger than {MAX_BYTES // (1024 * 1024)} MB."
    head = decode_start(text[:_LOOK])
    if not head:
        return "isn't valid base64." if text else "is empty."
    found = sniff_image(head)
    if found is None:
        return "is no PNG, JPEG, WEBP or GIF."
    declared = (media_type or "").lower()
    if declared and _ALIASES.get(declared, declared) != found:
        return f"is declared as {declared[:50]}, but is a {_NAMES[found]}."
    return _check_gif(text) if found == "image/gif" else None


def sniff_image(head: bytes) -> str | None:
    """The media type of an image that we take, by its first 12 bytes.

    Sources: PNG 5.2, T.81 B.1.1.3, RFC 9649 2.4, GIF89a 17.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return "image/gif" if head.startswith((b"GIF87a", b"GIF89a")) else None


def _decoded_size(text: bytes) -> int:
    """Bytes that base64 holds. Escapes and line breaks are only taken out where they decide."""
    size = len(text) * 3 // 4 - text[-2:].count(b"=")
    if size > MAX_BYTES and b"\\" in text:
        text = plain_base64(text)
        size = len(text) * 3 // 4 - text[-2:].count(b"=")
    return size


# -- GIF: the blocks of the GIF89a specification, 17 to 27 -------------------------------------------------------------


def _check_gif(text: bytes) -> str | None:
    """None for a GIF of one picture. One that is cut short passes as far as it is there: its upstream decides."""
    try:
        return "is an animated GIF." if _is_animated(_Bytes(plain_base64(text))) else None
    except IndexError:
        return None
    except binascii.Error:
        return "isn't valid base64."


class _Bytes:
    """Single bytes of what base64 holds, decoded piece by piece as they are asked for in order."""

    __slots__ = ("_end", "_piece", "_start", "_text")

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._start = self._end = 0
        self._piece = b""

    def __getitem__(self, at: int) -> int:
        """Raises IndexError past the end, binascii.Error for what can't be decoded."""
        if not self._start <= at < self._end:
            place = at // _DECODED
            part = self._text[place * _PIECE : (place + 1) * _PIECE]
            self._piece = binascii.a2b_base64(part[: len(part) // 4 * 4], strict_mode=True)
            self._start = place * _DECODED
            self._end = self._start + len(self._piece)
        return self._piece[at - self._start]


def _is_animated(data: _Bytes) -> bool:
    """Whether there is a second picture. Raises as `_Bytes` does: IndexError for a GIF without its end.

    Of one whose blocks are too many to be walked over it is assumed: no encoder writes such.
    """
    at = 13 + _table_size(data[10])
    pictures, left = 0, MAX_BLOCKS
    while left > 0:
        kind = data[at]
        if kind == _DESCRIPTOR:
            pictures += 1
            if pictures > 1:
                return True
            at += 10 + _table_size(data[at + 9]) + 1  # and the least code size
        elif kind == _EXTENSION:
            at += 2
        else:
            return False  # the trailer; or no block of GIF's, where decoders stop
        while left > 0 and (length := data[at]):
            at += length + 1
            left -= 1
        at += 1
        left -= 1
    return True


def _table_size(packed: int) -> int:
    """Bytes of the colour table that these flags announce."""
    return 3 << ((packed & 0x07) + 1) if packed & 0x80 else 0
