"""Signatures that the demo puts on its reasoning, and knows again: bound to what they sign, or holding it.

They are keyed hashes under a constant, so that any instance of the demo knows what another issued.
"""

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode

SECRET = b"the demo upstream's own constant"


def sign(kind: str, text: str) -> str:
    """The signature of a text, in base64; `kind` keeps those of one format from passing in another."""
    return b64encode(_digest(kind, text.encode("utf-8", "surrogatepass"))).decode("ascii")


def is_signed(kind: str, text: str, signature: str) -> bool:
    """Whether `sign` made this signature for this text."""
    return hmac.compare_digest(sign(kind, text).encode(), signature.encode("utf-8", "surrogatepass"))


def seal(kind: str, text: str) -> str:
    """An opaque text that holds `text` and its signature, in base64."""
    plain = text.encode("utf-8", "surrogatepass")
    return b64encode(_digest(kind, plain) + plain).decode("ascii")


def is_sealed(kind: str, sealed: str) -> bool:
    """Whether `seal` made this."""
    try:
        data = b64decode(sealed, validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(_digest(kind, data[32:]), data[:32])


def _digest(kind: str, plain: bytes) -> bytes:
    return hmac.digest(SECRET, kind.encode() + b"\0" + plain, hashlib.sha256)
