"""How a service account's key is traded for a token: a signed assertion, as RFC 7523 and Google describe it."""

from __future__ import annotations

import math
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlsplit

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from app.errors import Kind, UpstreamError, bad_upstream_response
from app.providers.media import Call, Reply
from app.providers.replies import error_of, read_json

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFETIME = 3600
"""Seconds: the most that Google takes for an assertion, and what its tokens are good for."""


class ServiceAccount:
    """See `app.providers.media.TokenSource`. The secret is the JSON file of the key, whole.

    https://developers.google.com/identity/protocols/oauth2/service-account#httprest
    """

    def exchange(self, secret: str, now: float) -> Call:
        """Raises ValueError, without a word of the secret."""
        fields = _read_fields(secret)
        header = {"alg": "RS256", "typ": "JWT"}
        if key_id := fields.get("private_key_id"):
            header["kid"] = key_id
        issued = int(now)
        claims = {
            "iss": fields["client_email"],
            "scope": SCOPE,
            "aud": fields["token_uri"],
            "iat": issued,
            "exp": issued + LIFETIME,
        }
        signed = b".".join((_encode(orjson.dumps(header)), _encode(orjson.dumps(claims))))
        signature = _read_key(fields["private_key"]).sign(signed, padding.PKCS1v15(), hashes.SHA256())
        assertion = b".".join((signed, _encode(signature))).decode("ascii")
        return Call("POST", fields["token_uri"], urlencoded={"grant_type": GRANT, "assertion": assertion})

    def read(self, reply: Reply) -> tuple[str, float]:
        """Raises UpstreamError, always one that another channel may not meet: a client has no part in this."""
        if reply.status >= 300:
            raise UpstreamError(
                Kind.UPSTREAM,
                "upstream_refused_credentials" if reply.status < 500 and reply.status != 429 else "upstream_error",
                "The upstream gave no token.",
                upstream_status=reply.status,
                upstream_code=error_of(reply).upstream_code,
            )
        body = read_json(reply)
        token, seconds = body.get("access_token"), body.get("expires_in")
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise bad_upstream_response("The upstream gave no token.")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
            raise bad_upstream_response("The upstream's token has no lifetime.")
        return token, float(min(seconds, LIFETIME))


def _read_fields(secret: str) -> dict[str, str]:
    try:
        body: Any = orjson.loads(secret)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict) or body.get("type") != "service_account":
        raise ValueError("The key must be the JSON file of a service account's key.")
    fields = {name: value for name, value in body.items() if isinstance(value, str) and value}
    for name in ("client_email", "private_key", "token_uri"):
        if name not in fields:
            raise ValueError(f"The service account's key has no {name}.")
    if urlsplit(fields["token_uri"]).scheme not in ("http", "https"):
        raise ValueError("The service account's token_uri isn't a URL.")
    return fields


def _read_key(pem: str) -> rsa.RSAPrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("The service account's private_key isn't an RSA key.")
    return key


def _encode(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
