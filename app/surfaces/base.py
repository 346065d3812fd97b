"""What every surface beside chat offers the relay: how a request is read, what it may use, and how each vendor is told it.

A surface is one thing that OpenAI's clients may call under a model's name: embeddings, speech, transcriptions. Its `wires`
are the shapes in which vendors serve it; the client's own is passed through, others are converted. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from app.core.usage import Usage
from app.errors import GatewayError, UpstreamError
from app.formats.base import Dialect, Reply, Tap
from app.formats.openai_errors import write_error
from app.surfaces.form import Form, FormBody

BYTES = "bytes"
"""The framing of a stream that is a file as it comes: sound, above all."""

NOTHING = Usage()


@dataclass(frozen=True, slots=True)
class SurfaceRequest:
    """What routing and money need of a client's request; see `app.formats.base.Asked` for the first of its fields.

    `body` and `fields` are the JSON and its top-level fields, raw; empty where the request is a `form`. `most` is what it may
    use at the most: what is held for. `fair` is the likely part that goes in: what is charged if the process dies. `told` is
    the part of the usage that the request itself tells exactly: a speech's characters. `wire`: the shape that the client
    speaks.
    """

    model: str
    most: Usage
    fair: Usage
    told: Usage = NOTHING
    stream: bool = False
    framing: str = "sse"
    output_cap: int | None = None
    kept: bool = False
    background: bool = False
    wire: str = "openai"
    body: bytes = b""
    fields: Mapping[str, msgspec.Raw] = field(default_factory=dict)
    form: Form | None = None
    facts: Any = None
    """What the surface has read of it, for its own wires."""


class Wire(Protocol):
    """One shape in which vendors serve a surface. Stateless."""

    def write(self, request: SurfaceRequest, model: str) -> bytes | FormBody:
        """The upstream's request. Raises GatewayError 400 naming a field that can't be carried."""

    def dropped(self, request: SurfaceRequest) -> tuple[str, ...]:
        """The client's advisory fields that the upstream isn't told."""

    def read_error(self, status: int, body: bytes) -> UpstreamError:
        """A refusal in the upstream's own words."""

    def read_reply(self, request: SurfaceRequest, answer: bytes) -> Reply:
        """Usage and error of a whole answer. Raises UpstreamError for what is no answer."""

    def write_answer(self, request: SurfaceRequest, answer: bytes) -> bytes:
        """The client's answer. Raises UpstreamError for what is no answer."""

    def answer_type(self, request: SurfaceRequest, said: str) -> bytes:
        """The content type of the client's answer; `said`: what the upstream says of its own."""

    def stream_type(self, request: SurfaceRequest, said: str) -> bytes | None:
        """The same of a stream; None: what the upstream sends isn't one."""

    def comes_whole(self, request: SurfaceRequest, said: str) -> bool:
        """Whether an answer of that type is a whole one where a stream was asked for, as models that know no streams give."""

    def open_tap(self, request: SurfaceRequest) -> Tap:
        """What follows the upstream's stream, and makes the client's out of it."""


class Surface(Dialect, Protocol):
    """One surface; `name` is what `Provider.surfaces` calls it. Stateless.

    `paths` are the exact paths of its POST requests, `kinds` the kinds of models that it serves. `takes_json`, `takes_form`:
    how requests may come.
    """

    title: str
    paths: tuple[str, ...]
    kinds: frozenset[str]
    takes_json: bool
    takes_form: bool
    wires: Mapping[str, Wire]

    def read(self, body: bytes, path: str) -> SurfaceRequest:
        """A JSON request. Raises GatewayError 400 naming the field at fault."""

    def read_form(self, form: Form, path: str) -> SurfaceRequest:
        """The same of a form."""

    def estimate(self, request: SurfaceRequest, tap: Tap | None, answer: bytes) -> Usage:
        """What was used, where the upstream hasn't told: by what went in, and what came out."""


class OpenAISurface:
    """What OpenAI's surfaces have in common: their errors, and JSON alone as a way to ask."""

    name: str
    title: str
    paths: tuple[str, ...]
    kinds: frozenset[str]
    wires: Mapping[str, Wire]
    takes_json = True
    takes_form = False
    request_id_header: bytes | None = None

    def read_form(self, form: Form, path: str) -> SurfaceRequest:
        raise NotImplementedError("this surface takes no forms")

    def status_of(self, error: GatewayError) -> int:
        return error.status

    def write_error(self, error: GatewayError) -> bytes:
        return write_error(error)

    def write_stream_error(self, error: GatewayError, framing: str) -> bytes:
        """No bytes for a file: there, nothing but a cut connection says that it isn't whole."""
        return b"" if framing == BYTES else b"data: " + write_error(error) + b"\n\n"


def both(path: str) -> tuple[str, ...]:
    """Clients use base URLs with `/v1` and without."""
    return f"/v1{path}", path
