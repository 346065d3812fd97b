"""OpenAI's own shape of every surface, in which the client's bytes go on: `model` is replaced, and usage is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from app.core.sse import frame_data, frame_event
from app.core.usage import Usage, sum_usage
from app.errors import UpstreamError, bad_upstream_response
from app.formats.base import Reply, Tap
from app.formats.openai_chat.reply import error_in_body, read_error
from app.formats.openai_chat.stream import error_of_frame
from app.formats.refusals import load_json
from app.formats.tap import ERROR_EVENT, FrameTap
from app.surfaces.base import SurfaceRequest
from app.surfaces.form import FormBody

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"

ReadUsage = Callable[[Mapping[str, Any]], Usage | None]
"""The usage that a reply or a stream's event tells; None: it tells none that can be believed."""

_encode = msgspec.json.Encoder().encode


class OpenAIWire:
    """See `app.surfaces.base.Wire`. `read_usage` reads an answer and a stream's events; `done` begins the types of events
    that end a stream; `field` is what an answer must have.
    """

    def __init__(self, read_usage: ReadUsage, *, field: str | None = None, done: tuple[str, ...] = ()) -> None:
        self._read_usage = read_usage
        self._field = field
        self._done = done

    def write(self, request: SurfaceRequest, model: str) -> bytes | FormBody:
        if request.form is not None:
            return FormBody(request.form.with_texts({"model": model}))
        return write_fields(request, model=model)

    def dropped(self, request: SurfaceRequest) -> tuple[str, ...]:
        return ()

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        return read_error(status, body)

    def read_reply(self, request: SurfaceRequest, answer: bytes) -> Reply:
        value = read_object(answer)
        if self._field is not None and self._field not in value:
            raise bad_upstream_response(f"The upstream's answer has no {self._field}.")
        return Reply(self._read_usage(value), None)

    def write_answer(self, request: SurfaceRequest, answer: bytes) -> bytes:
        return answer

    def answer_type(self, request: SurfaceRequest, said: str) -> bytes:
        return JSON

    def stream_type(self, request: SurfaceRequest, said: str) -> bytes | None:
        return EVENT_STREAM if "text/event-stream" in said else None

    def comes_whole(self, request: SurfaceRequest, said: str) -> bool:
        return "json" in said

    def open_tap(self, request: SurfaceRequest) -> Tap:
        return EventTap(self._read_usage, self._done)


def write_fields(request: SurfaceRequest, **values: object) -> bytes:
    """The client's JSON with these top-level fields instead of its own."""
    return _encode({**request.fields, **{name: msgspec.Raw(_encode(value)) for name, value in values.items()}})


def read_object(answer: bytes) -> dict[str, Any]:
    """An answer that is a JSON object. Raises UpstreamError for anything else, and for an error that came with status 200."""
    value = load_json(answer)
    if not isinstance(value, dict):
        raise bad_upstream_response("The upstream's answer isn't a JSON object.")
    if value.get("error"):
        raise error_in_body(value["error"])
    return value


class EventTap(FrameTap):
    """The tap on a stream of events with a `type`: usage and the end stand in the last of them."""

    __slots__ = ("_done", "_marks", "_read_usage")

    max_frame = 64 * 1024 * 1024  # a picture of 4K, as PNG in base64, and more

    def __init__(self, read_usage: ReadUsage, done: tuple[str, ...]) -> None:
        super().__init__()
        self._read_usage = read_usage
        self._done = done
        self._marks = (b"[DONE]", b'"error"', *(name.encode() for name in done))

    def _has_marker(self, chunk: bytes) -> bool:
        return any(mark in chunk for mark in self._marks) or (
            b"event:" in chunk and ERROR_EVENT.search(chunk) is not None
        )

    def _inspect_frame(self, frame: bytes) -> bool:
        data = frame_data(frame)
        if data is not None and data.strip() == b"[DONE]":
            self.ended = self.complete = True
            return True
        value = None if data is None else load_json(data)
        error = error_of_frame(frame_event(frame), value)
        if error is not None:
            self.error = error_in_body(error)
            return False
        if isinstance(value, dict) and str(value.get("type")).endswith(self._done):
            self.complete = True
            used = self._read_usage(value)
            if used is not None:  # of several pictures, each tells its own
                self.usage = used if self.usage is None else sum_usage(self.usage, used)
        return True

    def _digest_frame(self, value: Any) -> None:
        if isinstance(value, dict) and isinstance(value.get("delta"), str):
            self._text.append(value["delta"])


class FileTap:
    """The tap on a file as it comes: nothing is looked at, and only a whole one is complete. See `app.formats.base.Tap`."""

    __slots__ = ("complete", "ended", "error", "id", "opening", "parts", "size", "started", "usage")

    def __init__(self, usage: Usage | None = None) -> None:
        self.usage: Usage | None = usage
        self.opening: Usage | None = None
        self.started = self.complete = self.ended = False
        self.error: UpstreamError | None = None
        self.id: str | None = None
        self.parts: tuple[str, ...] = ()
        self.size = 0

    def feed(self, chunk: bytes) -> bytes:
        self.started = True
        self.size += len(chunk)
        return chunk

    def end(self) -> bytes:
        self.complete = self.ended = self.started
        return b""

    def produced_text(self) -> str:
        return ""
