"""What each provider of media must send and how it must read what comes back: one module per media adapter.

A new provider adds `tests/providers/media_fixtures/<name>.py`, which holds

    PROVIDERS = ("fal",)                 the names in the registry that share this adapter, all with the same `Media`
    SITE = Site("https://fal.run")       optional: where its calls go; without it the provider's own base URL
    CASES = (                            each is one test, named by its first field
        Sent("text to video", job(seconds=8), Call("POST", "/videos", json={...}), Usage(videos=1, milliseconds=8000)),
        Refused("no second image", job(images=(PNG, PNG)), "images"),
        Submitted("accepted", job(), reply({"id": "a"}), Running(Status.QUEUED, "a")),
        Submitted("overloaded", job(), reply({...}, 503), Fault("upstream_error")),
        Polls("by id", handle("a"), Call("GET", "/videos/a")),
        Polled("made", handle("a"), reply({...}), Done((Output("video/mp4", url="https://…"),))),
        Polled("refused", handle("a"), reply({...}), Failed("The prompt was blocked.", "moderation")),
        Cancels("by id", handle("a"), Call("DELETE", "/videos/a")),
        Finds("by key", job(), Call("GET", "/videos?key=task-key")),
        Found("not there", job(), reply({"data": []}), None),
        Creates("from a video", CharacterJob("1,3", url="https://…"), Call(...)),
        Created("a character", reply({...}), Character(...)),
    )

`tests/providers/test_media_conformance.py` runs the cases and, on the jobs, handles and replies in them, what holds for
every adapter: any bytes as a reply raise nothing but UpstreamError, nothing that was sent is shown by `repr`, calls stay
at the channel's upstream, and so on. A provider with media and without a module here fails. `model` is always
`upstream-model`, the key always `task-key`: neither stands in a job, so that an adapter can't take them from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.core.media import Attachment, Job, Scope
from app.core.usage import Usage
from app.providers.media import Call, Character, CharacterJob, Handle, Outcome, Reply, Running

MODEL = "upstream-model"
KEY = "task-key"

PNG_BYTES = b"\x89PNG\r\n\x1a\n-demo-"
PNG = Attachment(key="inputs/2026-01-01/abc/1.png", content_type="image/png", data=PNG_BYTES)
"""What a client sent as bytes; `data:image/png;base64,iVBORw0KGgotZGVtby0=`."""

PNG_URI = "data:image/png;base64,iVBORw0KGgotZGVtby0="

PNG_LINK = Attachment(url="https://client.example/cat.png")
"""What a client named by URL, as an adapter that takes URLs gets it."""

VIDEO_LINK = Attachment(url="https://client.example/cat.mp4")

FETCHED = Attachment(url="https://client.example/cat.png", content_type="image/png", data=PNG_BYTES)
"""The same, as an adapter that doesn't take URLs gets it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """That UpstreamError is raised, with this code. `retryable`: another try or channel may do."""

    code: str
    retryable: bool = True


@dataclass(frozen=True, slots=True)
class Sent:
    """`check` lets the job pass, `submit` describes this call, `units` come to this (None: not looked at)."""

    name: str
    job: Job
    call: Call
    units: Usage | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """`check` raises a 400 that names this field of the client's."""

    name: str
    job: Job
    param: str


@dataclass(frozen=True, slots=True)
class Submitted:
    """How a reply to the submission is read."""

    name: str
    job: Job
    reply: Reply
    outcome: Outcome | Fault


@dataclass(frozen=True, slots=True)
class Polls:
    """The call that asks how far a task has come."""

    name: str
    handle: Handle
    call: Call


@dataclass(frozen=True, slots=True)
class Polled:
    """How a reply to that is read."""

    name: str
    handle: Handle
    reply: Reply
    outcome: Outcome | Fault


@dataclass(frozen=True, slots=True)
class Cancels:
    """The call that stops a task; None: it can't be stopped."""

    name: str
    handle: Handle
    call: Call | None


@dataclass(frozen=True, slots=True)
class Finds:
    """The call that looks for a submission whose answer was lost; None: that can't be found out."""

    name: str
    job: Job
    call: Call | None


@dataclass(frozen=True, slots=True)
class Found:
    """How a reply to that is read."""

    name: str
    job: Job
    reply: Reply
    outcome: Running | Fault | None


@dataclass(frozen=True, slots=True)
class Creates:
    """The call that makes a character."""

    name: str
    job: CharacterJob
    call: Call


@dataclass(frozen=True, slots=True)
class Created:
    """How a reply to that is read."""

    name: str
    reply: Reply
    outcome: Character | Fault


Case = Sent | Refused | Submitted | Polls | Polled | Cancels | Finds | Found | Creates | Created


def job(prompt: str = "a cat", scope: Scope = Scope.VIDEOS, **fields: Any) -> Job:
    """A job for a model that clients call `client-model`."""
    return Job(scope=scope, model="client-model", prompt=prompt, **fields)


def handle(id: str, memo: Mapping[str, Any] | None = None, scope: Scope = Scope.VIDEOS) -> Handle:
    """A task at the upstream."""
    return Handle(id, memo or {}, scope, MODEL)


def reply(body: object, status: int = 200, **headers: str) -> Reply:
    """An answer: JSON unless `body` is bytes. `poll_after_ms="5"` is the header `poll-after-ms`."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    kind = {} if isinstance(body, bytes) else {"content-type": "application/json"}
    return Reply(status, kind | {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def parse(body: bytes) -> Any:
    """A body's JSON; None for what isn't any, such as sound."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def reply_like(good: Reply, body: object) -> Reply:
    """The same answer with another body."""
    return Reply(good.status, good.headers, orjson.dumps(body))
