"""JSON and server-sent events as formats write them: no line ends inside data, whatever a reader takes for one.

U+2028, U+2029 and U+0085 are line ends to some readers of events, and a lone surrogate (half a character, as upstreams send
them) is JSON only as an escape: text with any of them is written in ASCII.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode

_LINE_ENDS = re.compile(rb"\xe2\x80[\xa8\xa9]|\xc2\x85")


def write_json(value: object) -> bytes:
    """Any JSON value, ready for an event's data as for a body. A `msgspec.Raw` may stand in it."""
    try:
        raw = _encode(value)
    except UnicodeEncodeError:
        return _write_ascii(value)
    if not raw.isascii() and _LINE_ENDS.search(raw):
        return _write_ascii(value)
    return raw


def write_data(value: object) -> bytes:
    """One event without a name, as OpenAI's Chat Completions and Google write them."""
    return b"data: %b\n\n" % write_json(value)


def write_event(value: Mapping[str, Any]) -> bytes:
    """One event, named by its `type`. Anthropic's SDKs drop a frame without `event:` in silence."""
    return b"event: %b\ndata: %b\n\n" % (value["type"].encode(), write_json(value))


def write_text(value: object) -> str:
    """JSON as text, where it stands inside a string: the arguments of a tool's call."""
    return write_json(value).decode()


def _write_ascii(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), default=_read_raw).encode()


def _read_raw(value: object) -> Any:
    if isinstance(value, msgspec.Raw):
        return json.loads(bytes(value))
    raise TypeError(f"{type(value).__name__} is no JSON")
