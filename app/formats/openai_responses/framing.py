"""JSON and server-sent events as this format writes them: an `event:` line for each, and no line ends inside data.

U+2028, U+2029 and U+0085 are line ends to some readers of events, and a lone surrogate (half a character, as upstreams send
them) is JSON only as an escape: a text with any of them is written in ASCII.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from app.formats.refusals import load_json

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

_LINE_ENDS = re.compile(rb"\xe2\x80[\xa8\xa9]|\xc2\x85")


def write_json(value: object) -> bytes:
    """Any JSON value, ready for an event's data as for a body."""
    try:
        raw = _encode(value)
    except UnicodeEncodeError:
        return _write_ascii(value)
    if not raw.isascii() and _LINE_ENDS.search(raw):
        return _write_ascii(value)
    return raw


def write_frame(value: Mapping[str, Any]) -> bytes:
    """One event, named by its `type`."""
    return b"event: %b\ndata: %b\n\n" % (value["type"].encode(), write_json(value))


def read_json(body: bytes) -> Any:
    """The value of what an upstream sent, lone surrogates and all; None for what is no JSON."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return load_json(body)


def _write_ascii(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
