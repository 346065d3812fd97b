"""Links to stored media: whoever has one may fetch the file until it expires, and nobody can make one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.errors import GatewayError, Kind
from app.media.storage import is_key

PATH = "/v2/files/"

_UNIX_TIME = re.compile(r"[0-9]{1,12}", re.ASCII)


class Links:
    """Signs with the first of the gateway's secret keys, takes the signatures of all: keys can be replaced one by one."""

    def __init__(self, secret_keys: Sequence[str], public_url: str, hours: int) -> None:
        """`public_url`: how clients reach the gateway. `hours`: how long a link is good at most."""
        self._keys = tuple(_derive(key) for key in secret_keys)
        self._base = public_url.rstrip("/") + PATH
        self._step = hours * 1800

    def sign(self, key: str, since: datetime, now: datetime | None = None) -> str:
        """An absolute URL, good for more than half of the link time and at most all of it.

        It stays the same for half the link time, counted from `since` (when the file was made): so the callback's body is the
        query's, and caches have something to hold on to.
        """
        if not is_key(key):
            raise ValueError("not a key of the storage")
        first = int(since.timestamp())
        steps = (int((datetime.now(UTC) if now is None else now).timestamp()) - first) // self._step
        expires = str(first + (steps + 2) * self._step)
        query = urlencode({"expires": expires, "signature": _sign(self._keys[0], key, expires)})
        return f"{self._base}{key}?{query}"

    def check(self, key: str, expires: str, signature: str, now: datetime | None = None) -> int:
        """For how many seconds the link is still good. Raises GatewayError 403 `link_invalid`, `link_expired`."""
        given = signature.encode("utf-8", "surrogatepass")
        signed = [hmac.compare_digest(given, _sign(own, key, expires).encode()) for own in self._keys]
        if not any(signed) or _UNIX_TIME.fullmatch(expires) is None:
            raise GatewayError(
                Kind.PERMISSION, "link_invalid", "This link wasn't made by this gateway, or was altered."
            )
        left = int(expires) - int((datetime.now(UTC) if now is None else now).timestamp())
        if left <= 0:
            message = "This link has expired. Query the task again for a new one."
            raise GatewayError(Kind.PERMISSION, "link_expired", message)
        return left


def _sign(own: bytes, key: str, expires: str) -> str:
    # No key holds a line break, so no two pairs make the same text.
    digest = hmac.digest(own, f"{key}\n{expires}".encode("utf-8", "surrogatepass"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _derive(secret_key: str) -> bytes:
    """A key for this purpose alone (RFC 5869), so that no signature tells of what else the secret protects."""
    return HKDF(SHA256(), length=32, salt=None, info=b"relaygate media links").derive(secret_key.encode())
