"""How one vendor's signature travels through another vendor's format: sealed under the gateway's mark, in base64.

Every format has a field for signatures that clients send back untouched: Anthropic's `signature`, Gemini's
`thoughtSignature` (which SDKs decode as base64), OpenAI's `encrypted_content`. A signature of the format's own vendor stands
there as it is; another's is marked with where it came from, so that it is never handed to the wrong vendor.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode

from app.core.conversation import Signature

ORIGINS = frozenset({"anthropic", "google", "openai"})

_MARK = b"relaygate:"
_MARK_ENCODED = b64encode(_MARK[:9]).decode()
"""What every sealed signature begins with: nine bytes are twelve characters whatever follows."""


def seal(signature: Signature, own: str) -> str:
    """The text of a signature in a format whose vendor is `own`."""
    if signature.origin == own:
        return signature.value
    return b64encode(_MARK + f"{signature.origin}:{signature.value}".encode("utf-8", "surrogatepass")).decode()


def unseal(text: str, own: str) -> Signature:
    """The signature that a text of that format holds. What isn't sealed is the vendor's own."""
    if text.startswith(_MARK_ENCODED):
        try:
            plain = b64decode(text, validate=True).decode("utf-8", "surrogatepass")
        except (binascii.Error, ValueError):
            return Signature(own, text)
        mark, origin, value = (*plain.split(":", 2), "", "")[:3]
        if f"{mark}:".encode() == _MARK and origin in ORIGINS:
            return Signature(origin, value)
    return Signature(own, text)
