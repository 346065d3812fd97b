"""Media inside Google's JSON: base64, and the content types that are believed."""

from __future__ import annotations

import base64
import re

from app.core.media import Attachment

_TYPE = re.compile(r"(image|video|audio)/[A-Za-z0-9][A-Za-z0-9.+-]{0,60}")


def encode(attachment: Attachment) -> str | None:
    """The bytes as base64; None where there are none, only a URL."""
    return None if attachment.data is None else base64.b64encode(attachment.data).decode("ascii")


def content_type(value: object, usual: str) -> str:
    """A media type of a client or an upstream, if it is one of the usual one's kind; else the usual one."""
    if isinstance(value, str) and _TYPE.fullmatch(value) and value.split("/")[0] == usual.split("/")[0]:
        return value
    return usual
