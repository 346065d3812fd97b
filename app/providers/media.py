"""What a provider of images, videos or audio is: calls described as data, and replies read into outcomes. No I/O here.

A task goes through `check` and `units` (before money moves), `submit`, then `poll` until the outcome is `Done` or
`Failed`. The gateway makes the calls, keeps the state, moves the money and stores the results (`app/media/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from app.core.media import Job, Measured, Scope, Status
from app.core.usage import Usage
from app.errors import UpstreamError

_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Part:
    """One field or file of a `multipart/form-data` body."""

    name: str
    value: str | bytes = field(repr=False)
    filename: str | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call of the channel's upstream. `path` follows the channel's base URL; an absolute URL must be of the same
    origin, else it isn't called. `json`, `form` (multipart) or `urlencoded` is the body; none: no body. The channel's
    credentials are added.
    """

    method: str
    path: str
    json: Any = field(default=None, repr=False)
    form: tuple[Part, ...] | None = field(default=None, repr=False)
    urlencoded: Mapping[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    timeout: float | None = None
    """Seconds; None: the gateway's for calls of this kind. Upstreams that answer with the result itself take longer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Output:
    """One result. Exactly one of `data` (the bytes themselves), `url` (anybody may fetch it), `call` (needs the channel's
    credentials; its reply is the file). `keep`: it has to be copied, since the link expires or isn't for clients.
    """

    content_type: str
    data: bytes | None = field(default=None, repr=False)
    url: str | None = None
    call: Call | None = None
    keep: bool = True


@dataclass(frozen=True, slots=True)
class Running:
    """Accepted and not done. `id` is the upstream's name for it, or its part of one; `memo` what `poll` needs beside it.

    `progress`: percent, None if the upstream doesn't say. `poll_after`: seconds, where the upstream asks for a pause.
    """

    status: Status
    id: str
    progress: int | None = None
    memo: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    poll_after: float | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """Made. At least one output."""

    outputs: tuple[Output, ...]
    measured: Measured = field(default_factory=Measured)


@dataclass(frozen=True, slots=True)
class Failed:
    """The upstream's own verdict: it won't be made. `reason` in words, for the client."""

    reason: str
    code: str = "upstream_failed"


Outcome = Running | Done | Failed


@dataclass(frozen=True, slots=True)
class Site:
    """Where a channel's upstream is, as far as calls depend on it: its base URL and the channel's options."""

    base_url: str
    options: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)


@dataclass(frozen=True, slots=True)
class Handle:
    """A task at an upstream: what `Running` said last. `model` is the upstream's name of the model."""

    id: str
    memo: Mapping[str, Any]
    scope: Scope
    model: str


@dataclass(frozen=True, slots=True)
class Character:
    """A character that an upstream made."""

    id: str
    username: str
    permalink: str
    profile_picture_url: str


@dataclass(frozen=True, slots=True)
class CharacterJob:
    """`timestamps`: `start,end` in seconds. Exactly one of `url` (a video) and `from_task` (the upstream's id of a task)."""

    timestamps: str
    url: str | None = None
    from_task: str | None = None


class Characters(Protocol):
    """How an upstream makes characters."""

    def create(self, job: CharacterJob, site: Site) -> Call: ...

    def read_created(self, reply: Reply) -> Character:
        """Raises UpstreamError."""
        ...


class Media(Protocol):
    """A provider's media side. Every method is pure. `model` is the upstream's name of the model."""

    platform: str
    """Stands in queries: `google`, `openai`, …"""

    scopes: frozenset[Scope]
    takes_urls: bool
    """Whether it fetches images and videos itself. If not, what a client named by URL is fetched before `submit`, so that
    every attachment has `data`; what a client sent as bytes has `data` in any case."""

    idempotent: bool
    """Whether submitting twice under one idempotency key makes one task. Only where the vendor documents it."""

    cancels: bool
    """Whether a task that was accepted can be stopped."""

    characters: Characters | None

    remixes: bool
    """Whether it makes a video anew from one that it has made (`Job.remix_of`)."""

    def check(self, job: Job, model: str) -> None:
        """Raises GatewayError 400 naming the client's field, for what this upstream can't do."""
        ...

    def units(self, job: Job, model: str) -> Usage:
        """What the job comes to if it succeeds, as far as the request tells: held for, and charged where the upstream
        doesn't measure. Lengths in milliseconds; traits as a price's variants name them (`app/catalog/variants.py`).
        """
        ...

    def submit(self, job: Job, model: str, key: str, site: Site) -> Call:
        """`key` is the same for every try of one task: for upstreams that take an idempotency key."""
        ...

    def read_submitted(self, job: Job, reply: Reply) -> Outcome:
        """Raises UpstreamError where the upstream didn't accept it but another try or channel may do."""
        ...

    def poll(self, handle: Handle, site: Site) -> Call: ...

    def read_polled(self, handle: Handle, reply: Reply) -> Outcome:
        """Raises UpstreamError for whatever isn't the upstream's verdict: it is asked again."""
        ...

    def cancel(self, handle: Handle, site: Site) -> Call | None:
        """None: this task can't be stopped. A reply below 300 means that it was, or will be: polling tells."""
        ...

    def find(self, job: Job, model: str, key: str, site: Site) -> Call | None:
        """A call whose reply tells whether a submission arrived whose answer was lost; None: this upstream can't tell."""
        ...

    def read_found(self, job: Job, key: str, reply: Reply) -> Running | None:
        """The task that the submission made; None: it surely didn't arrive."""
        ...


class TokenSource(Protocol):
    """For upstreams whose secret isn't sent itself but traded for a short-lived token."""

    def exchange(self, secret: str, now: float) -> Call:
        """`now` in Unix seconds. The path is an absolute URL. Raises ValueError for a secret that is none."""
        ...

    def read(self, reply: Reply) -> tuple[str, float]:
        """The token, and for how many seconds it is good. Raises UpstreamError."""
        ...


def refused(error: UpstreamError) -> Failed | None:
    """The verdict where an upstream's error says that the request itself is at fault; None: another try may do."""
    return None if error.retryable else Failed(error.message, error.upstream_code or error.code)
