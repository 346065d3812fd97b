"""A file of requests for a batch: every line read, its model replaced by the upstream's, and what all of them may use.

Source: OpenAI's batch guide: each line is `{"custom_id", "method": "POST", "url", "body"}`, all of one model and one URL.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from app.core.inline_media import spelling_of
from app.core.tokens import bound_of_request
from app.core.usage import Usage, sum_usage
from app.errors import GatewayError, invalid_request
from app.formats.base import Format, Request
from app.formats.body import read_field, read_fields, read_model
from app.relay.objects.references import MAX_IDS, references_in_chat
from app.relay.upload import open_spool, write_all
from app.surfaces import SURFACES
from app.surfaces.base import Surface
from app.surfaces.form import Part, Spool

MAX_LINES = 50_000
MAX_LINE = 16 * 1024 * 1024
PIECE = 1024 * 1024
MAX_CUSTOM_ID = 512

_string = msgspec.json.Decoder(str)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Lines:
    """`model` is the client's name; `url` where each request goes, and `wire` what a channel must offer for that: a format's
    name, or a surface's. `most` is what all of them may use, `fair` about what goes in. `named`: the objects that they name.
    """

    model: str
    url: str
    wire: str
    requests: int
    most: Usage
    fair: Usage
    named: frozenset[str] = frozenset()

    def write(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "model": self.model,
            "url": self.url,
            "requests": self.requests,
            "most": self.most.counts(),
            "fair": self.fair.counts(),
        }


@dataclass(frozen=True, slots=True)
class Target:
    """Where the requests of a batch may go, by their URL: a format's endpoint, or a surface."""

    wire: str
    read: Callable[[bytes, str], tuple[Usage, Usage]]


class Targets:
    """The URLs that lines may name."""

    def __init__(self, formats: Mapping[str, Format], default_cap: int) -> None:
        self._default_cap = default_cap
        found: dict[str, Target] = {}
        for name, path in (("openai_chat", "/v1/chat/completions"), ("openai_responses", "/v1/responses")):
            found[path] = Target(name, self._reader(formats[name]))
        for surface in SURFACES:
            if surface.takes_json and "openai" in surface.wires:
                found[surface.paths[0]] = Target(surface.name, _surface_reader(surface))
        self.by_url: Mapping[str, Target] = MappingProxyType(found)

    def _reader(self, format: Format) -> Callable[[bytes, str], tuple[Usage, Usage]]:
        def read(body: bytes, path: str) -> tuple[Usage, Usage]:
            request = format.read_request(body, path, b"")
            _check(request)
            bound = bound_of_request(request.body, request.conversation, spelling_of(format.name))
            made = (request.output_cap or self._default_cap) * request.choices
            return Usage(input_tokens=bound, output_tokens=made), Usage(input_tokens=bound * 3 // 5)

        return read


def _check(request: Request) -> None:
    if request.stream or request.background:
        raise invalid_request("A request of a batch can't be streamed, nor run in the background.", "stream")
    if request.builds_on:
        raise invalid_request("A request of a batch can't go on with an earlier answer.", "previous_response_id")


def _surface_reader(surface: Surface) -> Callable[[bytes, str], tuple[Usage, Usage]]:
    def read(body: bytes, path: str) -> tuple[Usage, Usage]:
        request = surface.read(body, path)
        if request.stream:
            raise invalid_request("A request of a batch can't be streamed.", "stream")
        return replace(request.most, traits={}), request.fair

    return read


def read_lines(part: Part, targets: Targets) -> Lines:
    """What a file asks for. Raises GatewayError 400 naming the line. Takes its time: call it in a thread."""
    first: tuple[str, str] | None = None
    most = fair = Usage()
    named: set[str] = set()
    count = 0
    for number, line in enumerate(_split(part), start=1):
        if not line.strip():
            continue
        count += 1
        if count > MAX_LINES:
            raise _at(number, f"a batch has {MAX_LINES} requests at most")
        try:
            fields = read_fields(line)
            url, body = _read_head(fields, targets)
            model = read_model(read_fields(body))
            named.update(references_in_chat(body))
            line_most, line_fair = targets.by_url[url].read(body, url)
        except GatewayError as error:
            raise _at(number, error.message) from error
        if first not in (None, (model, url)):
            raise _at(number, "all requests of a batch must name the same model and url")
        first = model, url
        most, fair = sum_usage(most, line_most), sum_usage(fair, line_fair)
    if first is None:
        raise invalid_request("'file' holds no request.", "file", "invalid_value")
    if len(named) > MAX_IDS:
        raise invalid_request(f"'file' names more than {MAX_IDS} objects.", "file", "invalid_value")
    return Lines(*first, targets.by_url[first[1]].wire, count, most, fair, frozenset(named))


def write_lines(part: Part, model: str, folder: Path) -> Part:
    """The same file with the upstream's name of the model. Takes its time."""
    descriptor, size = open_spool(folder), 0
    try:
        for line in _split(part):
            if not line.strip():
                continue
            fields = read_fields(line)
            body = read_fields(bytes(fields["body"]))
            body["model"] = msgspec.Raw(_encode(model))
            fields["body"] = msgspec.Raw(_encode(body))
            raw = _encode(fields) + b"\n"
            write_all(descriptor, memoryview(raw))
            size += len(raw)
    except BaseException:
        os.close(descriptor)
        raise
    return replace(part, value=Spool(descriptor, size))


def _read_head(fields: dict[str, msgspec.Raw], targets: Targets) -> tuple[str, bytes]:
    id = read_field(fields, "custom_id", _string, "a string")
    if not id or len(id) > MAX_CUSTOM_ID:
        raise invalid_request("'custom_id' must be a text of its own", "custom_id")
    if read_field(fields, "method", _string, "a string") != "POST":
        raise invalid_request("'method' must be POST", "method")
    url = read_field(fields, "url", _string, "a string")
    if url not in targets.by_url:
        raise invalid_request(f"'url' must be one of {', '.join(targets.by_url)}", "url")
    if "body" not in fields:
        raise invalid_request("'body' is required", "body")
    return url, bytes(fields["body"])


def _split(part: Part) -> Iterator[bytes]:
    """The lines of a file, without holding more than one of them."""
    rest = b""
    for start in range(0, part.size, PIECE):
        value = part.value
        piece = value[start : start + PIECE] if isinstance(value, bytes) else value.read(start, PIECE)
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        if len(rest) > MAX_LINE:
            raise invalid_request(
                f"'file' has a line of more than {MAX_LINE // 1024 // 1024} MB.", "file", "invalid_value"
            )
    yield rest


def _at(number: int, reason: str) -> GatewayError:
    return invalid_request(f"'file', line {number}: {reason.rstrip('.')}.", "file", "invalid_value")
