"""What one attempt sends to an upstream, and how what comes back is read: of a chat, or of any other surface."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from yarl import URL

from app.core.usage import Usage
from app.errors import UpstreamError
from app.formats.base import Reply, Tap

JSON = b"application/json"


class Upload(Protocol):
    """A body that is too large for memory. `size` in bytes; `chunks` gives all of it, as often as it is asked for."""

    @property
    def content_type(self) -> str: ...

    @property
    def size(self) -> int: ...

    def chunks(self) -> AsyncIterator[bytes]: ...


class Outgoing(Protocol):
    """A request to an upstream, a POST. `headers` go over the channel's own; `read_error` reads a refusal in the upstream's
    words.
    """

    @property
    def url(self) -> URL: ...

    @property
    def body(self) -> bytes | Upload: ...

    @property
    def headers(self) -> Mapping[str, str] | None: ...

    @property
    def read_error(self) -> Callable[[int, bytes], UpstreamError]: ...


@dataclass(frozen=True, slots=True)
class Question:
    """A request whose answer its sender reads itself."""

    url: URL
    body: bytes
    headers: Mapping[str, str] | None
    read_error: Callable[[int, bytes], UpstreamError]


class Sending(Outgoing, Protocol):
    """One attempt of a client's request. `converted`: the upstream speaks something else than the client. `dropped`: the
    client's fields that were left out.
    """

    @property
    def converted(self) -> bool: ...

    @property
    def dropped(self) -> tuple[str, ...]: ...

    def answer_type(self, said: str) -> bytes:
        """The content type of the client's answer, where the upstream says that its own is of type `said`."""

    def read_reply(self, answer: bytes) -> Reply:
        """What a whole answer tells. Raises UpstreamError for what is no answer."""

    async def write_answer(self, answer: bytes) -> bytes:
        """The client's answer. Raises UpstreamError for what is no answer."""

    def stream_type(self, said: str) -> bytes | None:
        """As `answer_type`, of a stream; None: what the upstream sends isn't one."""

    def comes_whole(self, said: str) -> bool:
        """Whether an answer of that type is a whole one where a stream was asked for: some models know no streams."""

    def open_tap(self) -> Tap:
        """What follows the upstream's stream, and makes the client's out of it."""

    def usage_of(self, tap: Tap) -> Usage | None:
        """What a stream has told so far, if it is all that its price asks for."""

    def estimate(self, tap: Tap | None, answer: bytes) -> Usage:
        """What was used, where the upstream hasn't told; takes its time, so it belongs into a thread."""
