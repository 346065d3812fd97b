"""One event of an upstream's stream, decoded as far as a reader looks."""

from __future__ import annotations

from typing import Any

import msgspec


class Frame(msgspec.Struct):
    """Any event: what is read of any kind of it."""

    type: str = ""
    delta: str | None = None
    text: str | None = None
    refusal: str | None = None
    arguments: str | None = None
    input: str | None = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    logprobs: Any = None
    item: Any = None
    part: Any = None
    annotation: Any = None
    response: Any = None
    error: Any = None
    code: Any = None
    message: Any = None
    param: Any = None


decode_frame = msgspec.json.Decoder(Frame).decode
