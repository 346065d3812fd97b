"""Which channel requests of one conversation keep to: prompt caches live at one upstream, and are a tenth of the price."""

from __future__ import annotations

import hashlib

import msgspec

from app.formats.base import Request

CACHE_KEY = "prompt_cache_key"
CONVERSATION_HEADERS = (b"x-grok-conv-id",)
"""Source: xAI's guide to prompt caching."""

LEADING = 2048
"""Bytes at the beginning of a conversation that tell it from others."""

LEAST = 4096
"""Bytes below which a request is too short to be cached anywhere: vendors cache from 1,024 tokens on."""

_text = msgspec.json.Decoder(str).decode


def stickiness_of(account_id: int, request: Request, headers: list[tuple[bytes, bytes]]) -> float | None:
    """A place between 0 and 1 that is the same for all requests of a conversation; None: nothing is gained by keeping to one.

    By `prompt_cache_key`, by a header that names the conversation, else by how a long conversation begins.
    """
    named = request.fields.get(CACHE_KEY)
    if named is not None:
        seed = bytes(named)
    else:
        seed = next((value for name, value in headers if name in CONVERSATION_HEADERS), b"")
        if not seed:
            if len(request.body) < LEAST:
                return None
            seed = bytes(memoryview(request.conversation)[:LEADING])
    digest = hashlib.blake2b(b"%d\0" % account_id + seed, digest_size=8).digest()
    return int.from_bytes(digest) / 2.0**64
