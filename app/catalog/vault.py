"""Upstream secrets at rest: encrypted with the operator's key, which can be rotated."""

from __future__ import annotations

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from app.errors import Blame, GatewayError, Kind


class Vault:
    """Encrypts with the first of the keys, decrypts with any. A key is any long string; it is stretched by SHA-256."""

    def __init__(self, secret_keys: list[str]) -> None:
        if not secret_keys or any(len(key) < 16 for key in secret_keys):
            raise ValueError("RELAYGATE_SECRET_KEY needs at least 16 characters a key")
        self._first = Fernet(_derive(secret_keys[0]))
        self._fernet = MultiFernet([Fernet(_derive(key)) for key in secret_keys])

    def encrypt(self, secret: str) -> bytes:
        return self._fernet.encrypt(secret.encode())

    def decrypt(self, token: bytes) -> str:
        """Raises GatewayError when the row was encrypted with a key that isn't configured any more."""
        try:
            return self._fernet.decrypt(token).decode()
        except InvalidToken as error:
            raise GatewayError(
                Kind.INTERNAL,
                "secret_unreadable",
                "A channel's secret can't be decrypted: RELAYGATE_SECRET_KEY has changed.",
                blame=Blame.GATEWAY,
            ) from error

    def renew(self, token: bytes) -> bytes | None:
        """The same secret under the first key; None if it is already. Raises GatewayError as `decrypt` does."""
        try:
            self._first.decrypt(token)
        except InvalidToken:
            return self.encrypt(self.decrypt(token))
        return None


def _derive(key: str) -> bytes:
    return base64.urlsafe_b64encode(hashlib.sha256(b"relaygate vault\0" + key.encode()).digest())
