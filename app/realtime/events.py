"""The few events of a Realtime session that the gateway reads or writes; all others pass as they came."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import msgspec
import orjson

from app.errors import GatewayError
from app.formats.openai_errors import error_fields

WHOLE = frozenset(
    {
        "response.created",
        "response.done",
        "conversation.item.input_audio_transcription.completed",
        "session.created",
        "session.updated",
        "transcription_session.created",
        "transcription_session.updated",
    }
)
"""Of an upstream's events those that are read as a whole."""

SESSION = frozenset(name for name in WHOLE if "session." in name)


class Head(msgspec.Struct):
    """What is read of every event. An escaped name is seen as any reader sees it, and no other field can hide it."""

    type: str = ""
    delta: msgspec.Raw = msgspec.Raw(b"")
    response_id: msgspec.Raw = msgspec.Raw(b"")
    audio: msgspec.Raw = msgspec.Raw(b"")


_heads = msgspec.json.Decoder(Head, strict=False)


def read_head(frame: str | bytes) -> Head | None:
    """None: no event at all, which is for the other side to say."""
    try:
        return _heads.decode(frame)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        event = read_event(frame)  # more patient: upstreams may be so too
        if event is None or not isinstance(event.get("type"), str):
            return None
        return Head(event["type"], *(_raw(event.get(name)) for name in ("delta", "response_id", "audio")))


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def read_event(frame: str | bytes) -> dict[str, Any] | None:
    """A whole event; None where it isn't an object."""
    try:
        event = orjson.loads(frame)
    except (orjson.JSONDecodeError, UnicodeError):
        try:  # which takes half a character, as a stream may be cut in two: its usage counts all the same
            event = json.loads(frame)
        except (ValueError, RecursionError):
            return None
    return event if isinstance(event, dict) else None


def write_event(event: dict[str, Any]) -> str:
    try:
        return orjson.dumps(event).decode()
    except orjson.JSONEncodeError:  # half a character
        return json.dumps(event)


def error_event(error: GatewayError, caused_by: object = None) -> str:
    """An error of the gateway's as the session's `error` event. `caused_by`: the `event_id` of the client's event."""
    fields: dict[str, Any] = {**error_fields(error), "event_id": caused_by if isinstance(caused_by, str) else None}
    return write_event({"type": "error", "event_id": f"event_{uuid4().hex[:20]}", "error": fields})


def length_of(text: msgspec.Raw) -> int:
    """Characters of a JSON string, near enough: what a piece of base64 audio is long."""
    return max(0, len(bytes(text)) - 2)


def text_of(raw: msgspec.Raw) -> str:
    """A JSON string's text; empty for anything else."""
    try:
        value = orjson.loads(bytes(raw))
    except orjson.JSONDecodeError:
        return ""
    return value if isinstance(value, str) else ""


def rename(event: dict[str, Any], name: str) -> bool:
    """Puts the name that the client knows in the place of the upstream's; whether there was anything to do."""
    session = event.get("session")
    if not isinstance(session, dict) or session.get("model") in (None, name):
        return False
    session["model"] = name
    return True
