"""Keys and admin tokens: drawn from the operating system's generator, kept only as digests."""

from __future__ import annotations

import hashlib
import secrets

KEY_PREFIX = "sk-"
TOKEN_PREFIX = "rga-"  # noqa: S105 - a prefix, not a token
MAX_KEY_LENGTH = 256


def new_key() -> str:
    """`sk-` and 43 URL-safe characters: 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def new_admin_token() -> str:
    """`rga-` and 43 URL-safe characters: 256 random bits."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    """SHA-256; enough for a secret of 256 random bits, which can't be guessed whatever the hash costs."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def hint_of(key: str) -> str:
    """What is shown in lists so that people can tell keys apart: the prefix and the last four characters."""
    return f"{key[:3]}…{key[-4:]}"
