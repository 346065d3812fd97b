"""Short-lived secrets for browsers: `ek_` and a sealed text that only a gateway with the same secret key can read.

Nothing is stored: the text says which key it was made with, and that key is looked up whenever it is used. So a secret dies
with its key, rotated or deleted, and every process takes it (decision 39).
"""

from __future__ import annotations

import base64
import binascii
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.errors import invalid_request, unauthenticated

PREFIX = "ek_"
MAX_LENGTH = 6_000
"""It travels in a header, and browsers put it into the one that names subprotocols; a line there has 8,000 bytes."""

MAX_SESSION = 256 * 1024

SHORTEST, LONGEST, USUAL = 10, 7_200, 600
"""Seconds that one is good for. Source: OpenAI's `client_secret_create_params.py`."""

_TOO_LARGE = "The session is too large for a client secret. Leave out what is long, and send it in a session.update."


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """What a secret says: the digest of the key that it was made with, until when it is good (Unix seconds), for which model
    (None: any that its key may call), and how the session begins.
    """

    key_digest: bytes
    expires_at: int
    model: str | None
    session: Mapping[str, Any] | None


class ClientSecrets:
    """Seals with the first of the gateway's secret keys, reads what any of them has sealed."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(_derive(key)) for key in secret_keys])

    def seal(self, secret: ClientSecret) -> str:
        """Raises GatewayError 400 for a session that has too much in it."""
        content = orjson.dumps([secret.key_digest.hex(), secret.expires_at, secret.model, secret.session])
        value = PREFIX + self._fernet.encrypt(zlib.compress(content, 9)).decode().rstrip("=")
        if len(value) > MAX_LENGTH or len(content) > MAX_SESSION:
            raise invalid_request(_TOO_LARGE, "session", "session_too_large")
        return value

    def open(self, value: str, now: float | None = None) -> ClientSecret:
        """Raises GatewayError 401 for one that isn't ours, or has expired."""
        sealed = value.removeprefix(PREFIX)
        if len(value) > MAX_LENGTH:
            raise unauthenticated("Incorrect API key provided.")
        try:
            packed = self._fernet.decrypt(sealed + "=" * (-len(sealed) % 4))
        except (InvalidToken, binascii.Error, ValueError) as error:
            raise unauthenticated("Incorrect API key provided.") from error
        digest, expires_at, model, session = orjson.loads(zlib.decompress(packed))
        if (time.time() if now is None else now) >= expires_at:
            raise unauthenticated("This client secret has expired.")
        return ClientSecret(bytes.fromhex(digest), expires_at, model, session)


def _derive(secret_key: str) -> bytes:
    """A key for this purpose alone (RFC 5869)."""
    derived = HKDF(SHA256(), length=32, salt=None, info=b"relaygate realtime client secrets").derive(
        secret_key.encode()
    )
    return base64.urlsafe_b64encode(derived)
