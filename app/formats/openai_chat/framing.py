"""JSON and server-sent events as this format writes them: data alone, and no line ends inside it.

U+2028, U+2029 and U+0085 are line ends to some readers of events, and a lone surrogate (half a character, as upstreams send
them) is JSON only as an escape: a text with any of them is written in ASCII.
"""

from __future__ import annotations

import json
import re

import msgspec

_encode = msgspec.json.Encoder().encode

_LINE_ENDS = re.compile(rb"\xe2\x80[\xa8\xa9]|\xc2\x85")


def write_json(value: object) -> bytes:
    """Any JSON value, ready for an event's data as for a body."""
    try:
        raw = _encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()
    if not raw.isascii() and _LINE_ENDS.search(raw):
        return json.dumps(value, separators=(",", ":")).encode()
    return raw


def write_text(value: object) -> str:
    """JSON as text, where it stands inside a string: the arguments of a tool's call."""
    return write_json(value).decode()
