"""Requests, answers and streams of the Responses format for tests, and helpers that read them."""

from __future__ import annotations

import json
from typing import Any

from app.core.assembly import assemble
from app.core.conversation import Answer, Ask, Event
from app.core.sse import read_frame, split_frames
from app.formats.base import Request, Stamp, Target
from app.formats.openai_responses import FORMAT

STAMP = Stamp("0123456789abcdef" * 2, 1_800_000_000)
TARGET = Target("up", None, 4096)
NO_QUIRKS: frozenset[str] = frozenset()


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "input": "hi", **fields}).encode()


def request(**fields: Any) -> Request:
    return FORMAT.read_request(body(**fields))


def ask(**fields: Any) -> Ask:
    return FORMAT.read_ask(request(**fields))


def written(asked: Ask, target: Target = TARGET) -> dict[str, Any]:
    value = json.loads(FORMAT.write_ask(asked, target).body)
    assert isinstance(value, dict)
    return value


def frame(type: str, **fields: Any) -> bytes:
    data = json.dumps({"type": type, "sequence_number": 0, **fields})
    return f"event: {type}\ndata: {data}\n\n".encode()


def events_in(stream: bytes) -> list[dict[str, Any]]:
    """The data of each frame, which is named as its `event:` line says."""
    found = []
    for raw in split_frames(stream):
        event, data = read_frame(raw)
        assert data is not None
        value = json.loads(data)
        assert event == value["type"].encode()
        found.append(value)
    return found


def read_stream(stream: bytes) -> list[Event]:
    reader = FORMAT.open_reader(NO_QUIRKS)
    events: list[Event] = []
    for raw in split_frames(stream):
        event, data = read_frame(raw)
        if data is not None:
            events += reader.read(data, event)
    return [*events, *reader.end()]


def answer_of(stream: bytes) -> Answer:
    return assemble(read_stream(stream))


def response(*output: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A response as OpenAI gives it."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_750_000_000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "gpt-6-astra",
        "output": list(output),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": "default",
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 12,
        },
        **fields,
    }


def message(*parts: dict[str, Any], id: str = "msg_1") -> dict[str, Any]:
    return {"id": id, "type": "message", "status": "completed", "role": "assistant", "content": list(parts)}


def text(words: str, **fields: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": words, "annotations": [], "logprobs": [], **fields}


def call(words: str = "{}", id: str = "c1", name: str = "look") -> dict[str, Any]:
    fields = {"id": f"fc_{id}", "call_id": id, "name": name, "arguments": words}
    return {"type": "function_call", "status": "completed", **fields}


def thought(*summary: str, encrypted: str | None = "gAAA", id: str = "rs_1") -> dict[str, Any]:
    parts = [{"type": "summary_text", "text": words} for words in summary]
    return {"id": id, "type": "reasoning", "summary": parts, "encrypted_content": encrypted}
