"""What every format offers the relay: a look at a request, a patched copy of it, usage, and errors in its own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec

from app.core.usage import Usage
from app.errors import GatewayError, UpstreamError


@dataclass(frozen=True, slots=True)
class Request:
    """What routing and money need to know of a client's request; the rest stays as the bytes that came.

    `output_cap` is the number of output tokens that the request allows itself, per choice; `fields` are the top-level
    fields as raw JSON.
    """

    model: str
    stream: bool
    wants_usage: bool
    output_cap: int | None
    choices: int
    fields: dict[str, msgspec.Raw]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What was read off a complete answer. `usage` None: the upstream reported none, or none that can be believed."""

    usage: Usage | None
    error: UpstreamError | None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a request feeds a model, for an estimate: its text, and the tokens of its images by the contract's formula."""

    text: str
    image_tokens: int


class Tap(Protocol):
    """Follows a stream as it passes: says what to forward, and what was seen.

    `started`: a frame with data went to the client. `error`: the upstream reported one in the stream. `complete`: the
    answer came to its proper end; `ended`: with the format's own end mark, so that nothing can follow. A tap never raises
    on what an upstream sends.
    """

    usage: Usage | None
    started: bool
    complete: bool
    ended: bool
    error: UpstreamError | None

    def feed(self, chunk: bytes) -> bytes:
        """Takes bytes as they arrived; returns the whole frames that the client gets now."""

    def end(self) -> bytes:
        """The upstream closed its side: returns what completes the stream for the client, if it was complete."""

    def produced_text(self) -> str:
        """The text of the answer so far, for an estimate."""


class Format(Protocol):
    """One wire format. Stateless."""

    name: str
    client_paths: tuple[str, ...]

    def read_request(self, body: bytes) -> Request:
        """Raises GatewayError 400 naming the field at fault."""

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

    def write_error(self, error: GatewayError) -> bytes:
        """An error as a response body."""

    def write_stream_error(self, error: GatewayError) -> bytes:
        """An error as the last frame of a stream that has begun."""
