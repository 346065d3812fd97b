"""One call about objects: passed on by its path, with the client's bytes; what it makes is written down before it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from app.accounts.principals import Principal
from app.catalog.snapshot import Channel
from app.core.usage import Usage
from app.errors import GatewayError, Kind, UpstreamError, bad_upstream_response
from app.formats.base import Reply, Tap
from app.formats.openai_chat.reply import error_in_body, read_error
from app.formats.refusals import load_json
from app.relay.objects.paths import ObjectPath
from app.relay.objects.store import ObjectStore
from app.relay.sending import JSON
from app.routing.board import Pick
from app.routing.trip import Pin
from app.surfaces.base import NOTHING
from app.surfaces.form import FormBody

PASSED_HEADERS = (b"openai-beta",)
"""A client's headers that go on with a call about objects."""


@dataclass(frozen=True, slots=True)
class ObjectRequest:
    """See `app.formats.base.Asked`. `memo`: what the gateway keeps beside what is made."""

    path: ObjectPath
    body: bytes | FormBody
    headers: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    memo: Mapping[str, Any] | None = None
    stream: bool = False
    framing: str = "sse"
    output_cap: int | None = None
    kept: bool = True
    background: bool = False


@dataclass(slots=True)
class ObjectDispatch:
    """See `app.relay.bill.Dispatch`."""

    store: ObjectStore
    principal: Principal
    request: ObjectRequest
    answer: Mapping[str, Any] = field(default_factory=dict)

    async def send_to(self, pick: Pick) -> ObjectSending:
        request = self.request
        return ObjectSending(self, url_of(pick.channel, request.path, request.query), request.body, request.headers)

    async def keep(self, pick: Pick, ids: Sequence[str], usage: Usage | None, *, unfinished: bool) -> None:
        """What was made; and of an upload that is complete, the file that it has become."""
        path, answer = self.request.path, self.answer
        pin = Pin(pick.channel.id, pick.key.number)
        if path.id is None:
            await self.store.remember(self.principal, path.family, pin, answer, self.request.memo)
            return
        if answer.get("id") == path.id:  # what hangs on an object may have another object's id
            await self.store.see(self.principal.account_id, answer)
        file = answer.get("file")
        if path.family == "uploads" and isinstance(file, dict) and isinstance(file.get("id"), str):
            await self.store.remember(self.principal, "files", pin, file)


@dataclass(frozen=True, slots=True)
class ObjectSending:
    """See `app.relay.sending.Sending`."""

    dispatch: ObjectDispatch
    url: URL
    body: bytes | FormBody
    headers: Mapping[str, str] | None = None
    converted: bool = False
    dropped: tuple[str, ...] = ()

    @property
    def read_error(self) -> Callable[[int, bytes], UpstreamError]:
        return read_object_error

    def answer_type(self, said: str) -> bytes:
        return JSON

    def read_reply(self, answer: bytes) -> Reply:
        value = load_json(answer)
        if not isinstance(value, dict):
            raise bad_upstream_response("The upstream's answer isn't a JSON object.")
        if value.get("error") and "id" not in value:  # a failed batch or file tells its error within
            raise error_in_body(value["error"])
        self.dispatch.answer = value
        id = value.get("id")
        return Reply(NOTHING, None, id if isinstance(id, str) else None)

    async def write_answer(self, answer: bytes) -> bytes:
        return answer

    def stream_type(self, said: str) -> bytes | None:
        return None

    def comes_whole(self, said: str) -> bool:
        return False

    def open_tap(self) -> Tap:
        raise NotImplementedError("calls about objects aren't streamed")

    def usage_of(self, tap: Tap) -> Usage | None:
        return tap.usage

    def estimate(self, tap: Tap | None, answer: bytes) -> Usage:
        return NOTHING


def url_of(channel: Channel, path: ObjectPath, query: Sequence[tuple[str, str]]) -> URL:
    """The path below the channel's base URL, with its own query over the client's."""
    own = channel.site.options.get("query")
    fixed = {str(name): str(value) for name, value in own.items()} if isinstance(own, Mapping) else {}
    asked = [(name, value) for name, value in query if name not in fixed]
    return URL(channel.site.base_url + path.write(), encoded=True).with_query([*asked, *fixed.items()])


def read_object_error(status: int, body: bytes) -> UpstreamError:
    """A refusal; 404 is about the object, and no other channel has it."""
    if status != 404:
        return read_error(status, body)
    message = "The upstream doesn't have this object."
    return UpstreamError(
        Kind.NOT_FOUND, "object_not_found", message, upstream_status=status, retryable=False, param="id"
    )


def passed_headers(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Those of a client's that go on."""
    return {name.decode(): value.decode("latin-1") for name, value in headers if name in PASSED_HEADERS}


def gone(family: str) -> GatewayError:
    """The 503 for an object whose channel was taken away."""
    message = f"The channel that keeps this account's {family} is gone."
    return GatewayError(Kind.UNAVAILABLE, "no_channel", message, param=None)
