"""What every chat format offers the relay: a look at a request and a patched copy of it, and the way to the canonical model.

Same format on both sides: `read_request`, `write_request`, `open_tap`, `read_reply`: the client's bytes go on, but for named
fields. Different formats: `read_ask` of the client's, `write_ask` of the upstream's; `read_answer` or `open_reader` of the
upstream's, `write_answer` or `open_writer` of the client's. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import msgspec

from app.core.conversation import Answer, Ask, Event
from app.core.tokens import count_long_text
from app.core.usage import Usage
from app.errors import GatewayError, UpstreamError
from app.formats.fields import Fate, Field

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Request:
    """What routing and money need to know of a client's request; the rest stays as the bytes that came.

    `output_cap` is the number of output tokens that the request allows itself, per choice; `fields` are the top-level
    fields as raw JSON; `conversation` is the part in which media is looked for. `wants_usage`: a stream's client asked for
    its usage (always true of formats that always tell it). `framing` is how a stream is cut: "sse", or "array" for Gemini's
    JSON array. `builds_on`: ids of answers, of their parts or of conversations that one upstream keeps: only the channel that
    made them can go on with them. `kept`: the upstream will keep the answer under its id. `background`: it answers at once,
    and works later.
    """

    model: str
    stream: bool
    wants_usage: bool
    output_cap: int | None
    choices: int
    fields: dict[str, msgspec.Raw]
    body: bytes
    conversation: msgspec.Raw
    framing: str = "sse"
    builds_on: tuple[str, ...] = ()
    kept: bool = False
    background: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What was read off a complete answer. `usage` None: the upstream reported none, or none that can be believed.

    `id`: under which the upstream keeps it, where it does, and `parts` the ids of what it is made of. `done`: False for one
    that the upstream still works on.
    """

    usage: Usage | None
    error: UpstreamError | None
    id: str | None = None
    parts: tuple[str, ...] = ()
    done: bool = True


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a request feeds a model, for an estimate: its text, and the tokens of its images by the contract's formula."""

    text: str
    image_tokens: int

    def count(self) -> int:
        """Tokens of all of it, by our own tokenizer; takes its time."""
        return count_long_text(self.text) + self.image_tokens


@dataclass(frozen=True, slots=True)
class Target:
    """The upstream that a converted request is written for.

    `output_cap`: what the hold pays for, None where the request's own cap fits. `default_cap`: for a format that demands a
    cap, where the client named none. `cap_field`, `quirks`: the provider's.
    """

    model: str
    output_cap: int | None
    default_cap: int
    cap_field: str = "max_tokens"
    quirks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Written:
    """A converted request: its body, the client's fields that were left out (advisory ones alone), further headers."""

    body: bytes
    dropped: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a converted answer is called: `id` is the gateway's own (32 hex digits), `created` in Unix seconds."""

    id: str
    created: int


class Tap(Protocol):
    """Follows a stream as it passes: says what to forward, and what was seen.

    `started`: a frame with data went to the client. `error`: the upstream reported one in the stream. `complete`: the
    answer came to its proper end; `ended`: with the format's own end mark, so that nothing can follow. `id`: under which
    the upstream keeps the answer, and `parts` the ids of what it is made of. `usage`: of the whole answer; `opening`: what
    was told of the input when it began, for an answer that breaks off. A tap never raises on what an upstream sends.
    """

    usage: Usage | None
    opening: Usage | None
    started: bool
    complete: bool
    ended: bool
    error: UpstreamError | None
    id: str | None
    parts: tuple[str, ...]

    def feed(self, chunk: bytes) -> bytes:
        """Takes bytes as they arrived; returns the whole frames that the client gets now."""

    def end(self) -> bytes:
        """The upstream closed its side: returns what completes the stream for the client, if it was complete."""

    def produced_text(self) -> str:
        """The text of the answer so far, for an estimate."""


class EventReader(Protocol):
    """Reads an upstream's stream into events, frame by frame. Never raises on what an upstream sends.

    The first event is `Started`, or `Failed`. `complete`: the answer came to its proper end. `ended`: by the format's own
    end mark. A frame that can't be read (broken JSON, wrong types where the answer's text is) is `Failed`, never skipped in
    silence; unknown event types and fields are.
    """

    complete: bool
    ended: bool

    def read(self, data: bytes, event: bytes | None) -> Sequence[Event]:
        """What one frame tells: its joined `data`, and its `event` field."""

    def end(self) -> Sequence[Event]:
        """What is left to tell when the upstream has closed its side."""


class EventWriter(Protocol):
    """Writes events as the stream that a client of the format expects; each call gives whole frames, or nothing."""

    def write(self, event: Event) -> bytes:
        """Frames for one event. `Failed` isn't given to it: see `Format.write_stream_error`."""

    def end(self) -> bytes:
        """The frames that end a complete stream: what stands there by the format's rules (finish, usage, end mark)."""


class Asked(Protocol):
    """What the relay needs of any request, chat or not; `Request` says what each of them means."""

    @property
    def stream(self) -> bool: ...

    @property
    def framing(self) -> str: ...

    @property
    def output_cap(self) -> int | None: ...

    @property
    def kept(self) -> bool: ...

    @property
    def background(self) -> bool: ...


class Dialect(Protocol):
    """How a client is told of errors. `name` stands on entries, in logs and metrics."""

    @property
    def name(self) -> str: ...

    @property
    def request_id_header(self) -> bytes | None: ...

    def status_of(self, error: GatewayError) -> int:
        """The HTTP status of an error in this dialect."""

    def write_error(self, error: GatewayError) -> bytes:
        """An error as a response body."""

    def write_stream_error(self, error: GatewayError, framing: str) -> bytes:
        """An error as the last frame of a stream that has begun."""


class Format(Dialect, Protocol):
    """One wire format. Stateless.

    `title`: what docs and errors call it. `client_paths` are the exact paths of its POST requests; `model_paths` beginnings
    of paths that go on with a model's name and a method (`/v1beta/models/`); `count_paths` the exact paths where clients have
    input tokens counted. `passed_headers`: a client's headers that go on to an upstream of the same format, in small letters.
    `stream_types`: the content type of streams by `Request.framing`. `comments`: whether a stream's readers bear SSE
    comments. `request_id_header`: what the format's SDK reads, beside `x-request-id`. `fields`: what becomes of each field of
    a client's request, and `carries` of each attribute of an `Ask` that is written in this format: see `app.formats.fields`.
    """

    title: str
    client_paths: tuple[str, ...]
    model_paths: tuple[str, ...]
    count_paths: tuple[str, ...]
    passed_headers: tuple[bytes, ...]
    stream_types: Mapping[str, bytes]
    comments: bool
    fields: tuple[Field, ...]
    carries: Mapping[str, Fate]

    # -- same format on both sides -------------------------------------------------------------------------------------

    def read_request(self, body: bytes, path: str, query: bytes) -> Request:
        """Checks exactly the fields that the gateway acts on. Raises GatewayError 400 naming the field at fault."""

    def write_request(self, request: Request, *, model: str, output_cap: int | None, cap_field: str) -> bytes:
        """The same request with the named patches: model, forced usage, and `output_cap` if it isn't None."""

    def read_reply(self, body: bytes, quirks: frozenset[str]) -> Reply:
        """Raises UpstreamError when the body isn't an answer in this format."""

    def reply_text(self, body: bytes) -> str:
        """The text of a complete answer, for an estimate."""

    def read_prompt(self, body: bytes) -> Prompt:
        """What a request feeds a model. Nothing is fetched: an image by address counts as the dearest of its detail."""

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        """An upstream's refusal in its own words."""

    def open_tap(self, request: Request, quirks: frozenset[str]) -> Tap:
        """A tap for one stream."""

    # -- counting input tokens -------------------------------------------------------------------------------------

    def counts(self, path: str) -> bool:
        """Whether a POST to this path, one of `count_paths` or below `model_paths`, asks for a count."""

    def read_count(self, body: bytes, path: str, query: bytes) -> Request:
        """A request for a count; `write_request` writes it too. Raises GatewayError 400 naming the field at fault."""

    def write_count(self, tokens: int) -> bytes:
        """The answer to one."""

    # -- different formats ---------------------------------------------------------------------------------------------

    def read_ask(self, request: Request) -> Ask:
        """The whole request. Raises GatewayError 400 naming a field that is wrong, unknown, or that no other format has."""

    def write_ask(self, ask: Ask, target: Target) -> Written:
        """A request to an upstream. Raises GatewayError 400 naming the client's field that can't be carried."""

    def read_answer(self, body: bytes, quirks: frozenset[str]) -> Answer:
        """A whole answer. Raises UpstreamError for an error in it, and for what isn't one."""

    def write_answer(self, answer: Answer, request: Request, ask: Ask, stamp: Stamp) -> bytes:
        """The answer to a client; `request` and `ask` are what it asked."""

    def open_reader(self, quirks: frozenset[str]) -> EventReader:
        """A reader for one stream."""

    def open_writer(self, request: Request, ask: Ask, stamp: Stamp) -> EventWriter:
        """A writer for one stream."""
