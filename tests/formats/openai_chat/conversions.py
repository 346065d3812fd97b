"""What the tests of conversion share: requests and answers through the format, and what they come back as."""

from __future__ import annotations

import json
from typing import Any

from app.core.assembly import assemble
from app.core.conversation import Answer, Ask, Event, Message, Text
from app.errors import GatewayError
from app.formats.base import Stamp, Target, Written
from app.formats.openai_chat import FORMAT

STAMP = Stamp("0123456789abcdef0123456789abcdef", 1_700_000_000)
USER = {"role": "user", "content": "Hi"}


def target(*quirks: str, output_cap: int | None = None, cap_field: str = "max_tokens") -> Target:
    return Target("up", output_cap, 4096, cap_field, frozenset(quirks))


def read(messages: list[Any] | None = None, **fields: Any) -> Ask:
    body = {"model": "m", "messages": [USER] if messages is None else messages, **fields}
    return FORMAT.read_ask(FORMAT.read_request(json.dumps(body).encode()))


def foreign(*messages: Message, **fields: Any) -> Ask:
    """A request of another format's client."""
    said = messages or (Message("user", (Text("Hi"),)),)
    return Ask(format="anthropic_messages", model="m", messages=said, **fields)


def write(ask: Ask, *quirks: str) -> dict[str, Any]:
    return body_of(FORMAT.write_ask(ask, target(*quirks)))


def body_of(written: Written) -> dict[str, Any]:
    body = json.loads(written.body)
    assert isinstance(body, dict)
    return body


def chunk(index: int = 0, finish: str | None = None, **delta: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return json.dumps({"id": "c1", "model": "up", "created": 7, "choices": [choice]}).encode()


def events_of_stream(*frames: bytes, quirks: frozenset[str] = frozenset()) -> list[Event]:
    reader = FORMAT.open_reader(quirks)
    events = [event for frame in frames for event in reader.read(frame, None)]
    return [*events, *reader.end()]


def read_stream(*frames: bytes, quirks: frozenset[str] = frozenset()) -> Answer:
    return assemble(events_of_stream(*frames, quirks=quirks))


def frames_of(stream: bytes) -> list[bytes]:
    """The data of each frame that was written."""
    frames = stream.split(b"\n\n")
    assert frames.pop() == b""
    assert all(frame.startswith(b"data: ") for frame in frames)
    return [frame[6:] for frame in frames]


def write_stream(events: list[Event], ask: Ask | None = None, *, wants_usage: bool = True) -> bytes:
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    request = FORMAT.read_request(json.dumps({"model": "m", "messages": [USER], "stream": True, **options}).encode())
    writer = FORMAT.open_writer(request, ask or read(), STAMP)
    return b"".join([*map(writer.write, events), writer.end()])


def write_whole(answer: Answer, ask: Ask | None = None) -> dict[str, Any]:
    request = FORMAT.read_request(json.dumps({"model": "m", "messages": [USER]}).encode())
    value = json.loads(FORMAT.write_answer(answer, request, ask or read(), STAMP))
    assert isinstance(value, dict)
    return value


def refused(error: GatewayError) -> tuple[str, str | None]:
    return error.code, error.param
