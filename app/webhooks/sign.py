"""How a receiver can tell that a delivery is ours: the headers of Standard Webhooks, and the secret as a bearer."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from uuid import UUID

PREFIX = "whsec_"


def message_id(event_id: UUID) -> str:
    """The `webhook-id`: the same for every delivery of one event."""
    return f"msg_{event_id.hex}"


def sign(secrets: Sequence[str], event_id: UUID, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks (github.com/standard-webhooks, spec §"Webhook headers").

    One signature for each secret, so that either verifies while a secret is being replaced; none, no signature.
    `timestamp` is that of the attempt, in Unix seconds: receivers refuse old ones.
    """
    label = message_id(event_id)
    content = f"{label}.{timestamp}.".encode() + body
    headers = {"webhook-id": label, "webhook-timestamp": str(timestamp)}
    if secrets:
        headers["webhook-signature"] = " ".join(f"v1,{_signature(secret, content)}" for secret in secrets)
    return headers


def key_of(secret: str) -> bytes:
    """What is signed with: `whsec_` and base64 stands for the bytes in it, any other secret for its own.

    Raises ValueError for `whsec_` before something else, which receivers' libraries don't take either.
    """
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError(f"{PREFIX} must be followed by base64") from error
    if not key:
        raise ValueError(f"{PREFIX} must be followed by base64")
    return key


def _signature(secret: str, content: bytes) -> str:
    return base64.b64encode(hmac.digest(key_of(secret), content, hashlib.sha256)).decode()
