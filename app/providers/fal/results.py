"""Reads what a fal model answered, success or failure, from the reply that the queue kept of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import orjson

from app.core.media import Measured, Scope
from app.core.usage import read_milliseconds, read_name
from app.errors import UpstreamError
from app.providers.jobs import USUAL_TYPE, duration_trait, read_link, traits
from app.providers.media import Done, Failed, Handle, Outcome, Output, Reply
from app.providers.replies import MAX_MESSAGE, REFUSED, error_of, read_json

FIELDS: Mapping[Scope, tuple[str, ...]] = MappingProxyType(
    {
        Scope.VIDEOS: ("video", "videos"),
        Scope.IMAGES: ("images", "image"),
        Scope.AUDIO: ("audio", "audio_file"),
    }
)
"""Where models put their results: a file, `{"url", "content_type", …}`, or a list of them. `audio_file` is fal's Stable
Audio's."""


def read_result(handle: Handle, reply: Reply) -> Outcome:
    """The model's own answer, which won't change: also one without results, and an error of the model or its runner.

    Raises UpstreamError for errors of the queue itself: credentials, too many requests, a gateway's page.
    """
    if reply.status >= 300:
        if reply.status in REFUSED or _is_verdict(reply):
            return read_failure(reply)
        raise error_of(reply)
    body = read_json(reply)
    files = list(_files(body, handle.scope))
    outputs = tuple(output for file in files if (output := _read_file(file, handle.scope)) is not None)
    if not outputs:
        return Failed("The model's answer holds no result of the kind that was asked for.", "no_result")
    return Done(outputs, _measure(handle, files, body, len(outputs)))


def read_failure(reply: Reply) -> Failed:
    """A model's error, `{"detail": [{"loc", "msg", "type", …}]}`, or a request's, `{"detail": "…", "error_type"}`."""
    body = _parse(reply)
    detail = body.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        first: Mapping[str, Any] = detail[0]
        reason, code = _text(first.get("msg")), _text(first.get("type"))
        where = ".".join(str(part) for part in _list(first.get("loc")) if part != "body")
        reason = f"{where}: {reason}" if where and reason else reason
    else:
        reason, code = _text(detail), _text(body.get("error_type"))
    error = error_of(reply)
    return Failed((reason or error.message)[:MAX_MESSAGE], code or error.upstream_code or error.code)


def _is_verdict(reply: Reply) -> bool:
    """Whether an error of the 500s is what became of the request, after the queue's own retries."""
    if reply.status < 500:
        return False
    body = _parse(reply)
    detail = body.get("detail")
    typed = isinstance(detail, list) and bool(detail) and isinstance(detail[0], dict) and "type" in detail[0]
    return typed or isinstance(body.get("error_type"), str) or "x-fal-error-type" in reply.headers


def _files(body: Mapping[str, Any], scope: Scope) -> Iterator[Any]:
    for name in FIELDS[scope]:
        value = body.get(name)
        if value:
            yield from value if isinstance(value, list) else [value]
            return


def _read_file(file: object, scope: Scope) -> Output | None:
    """Kept in any case: how long fal's links last is a setting of the account."""
    said: Mapping[str, Any] = file if isinstance(file, dict) else {"url": file}
    try:
        output = read_link(said.get("url"), USUAL_TYPE[scope])
    except UpstreamError:
        return None
    if output is None:
        return None
    kind = read_name(said.get("content_type"))
    known = kind is not None and kind.startswith(f"{scope.value.removesuffix('s')}/")
    return replace(output, keep=True, content_type=kind if known and kind is not None else output.content_type)


def _measure(handle: Handle, files: list[Any], body: Mapping[str, Any], made: int) -> Measured:
    """Never more pictures than were asked for. Lengths where the model says them, in seconds with the file, or
    `duration_ms` beside it (speech).
    """
    asked = handle.memo.get("count")
    if handle.scope is Scope.IMAGES:
        return Measured(images=min(made, asked) if isinstance(asked, int) else made)
    lengths = [read_milliseconds(file, "duration") for file in files if isinstance(file, dict)]
    known = [length for length in lengths if length is not None]
    length = sum(known) if known and len(known) == len(files) else _read_length(body)
    said = {} if length is None else traits({"duration": duration_trait(length / 1000 / max(made, 1))})
    return Measured(videos=1 if handle.scope is Scope.VIDEOS else None, milliseconds=length, traits=said)


def _read_length(body: Mapping[str, Any]) -> int | None:
    length = body.get("duration_ms")
    if isinstance(length, bool) or not isinstance(length, int | float):
        return None
    return read_milliseconds({"seconds": length / 1000}, "seconds") if abs(length) < 1e12 else None


def _parse(reply: Reply) -> Mapping[str, Any]:
    try:
        body = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
