"""What a test asks and what it then sees, in no vendor's words: clients write the one in theirs and read the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeAlias

Finish: TypeAlias = Literal["stop", "length", "calls", "filtered"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function, as a client sees it. `id` is None only where a format has none."""

    id: str | None
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens: `input` with what a cache had, `output` with the reasoning."""

    input: int
    output: int
    cached: int
    reasoning: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One answer. `signed`: a proof of its reasoning came along. `pieces`: how many pieces its text came in, 1 for a whole.
    `refused`: the model didn't want to.

    `raw` is what users of that SDK put back into the conversation.
    """

    text: str
    reasoning: str
    signed: bool
    calls: tuple[Call, ...]
    finish: Finish
    usage: Counts | None
    raw: Any
    pieces: int = 1
    refused: bool = False

    @property
    def told(self) -> Seen:
        """What has to be the same of a whole and of a streamed answer."""
        calls = tuple(replace(call, id=None) for call in self.calls)
        return replace(self, calls=calls, raw=None, pieces=1)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture by its address, or a PNG in base64."""

    url: str | None = None
    png: str | None = None

    @property
    def place(self) -> str:
        """Where it is, as a URL."""
        return self.url or f"data:image/png;base64,{self.png}"


@dataclass(frozen=True, slots=True)
class User:
    """What the user says, then shows. `pdf`: a document in base64."""

    text: str
    pictures: tuple[Picture, ...] = ()
    pdf: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """An earlier answer of which the client only has the text."""

    text: str


@dataclass(frozen=True, slots=True)
class Replay:
    """An earlier answer, put back as the SDK gave it."""

    seen: Seen


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a call."""

    call: Call
    text: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Results:
    """What came of all calls of the answer before."""

    results: tuple[Result, ...]


Turn: TypeAlias = User | Said | Replay | Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """One request. `choice`: "auto", "none", "any" or a tool's name. `json`: any JSON object will do for an answer.

    `thinks`: the reasoning shall be shown, as far as the client has words for that; `effort`: it only shall be some.
    """

    turns: tuple[Turn, ...]
    system: str | None = None
    tools: tuple[Tool, ...] = ()
    choice: str | None = None
    one_call: bool = False
    schema: Mapping[str, Any] | None = None
    json: bool = False
    stop: tuple[str, ...] = ()
    cap: int | None = None
    temperature: float | None = None
    thinks: bool = False
    effort: bool = False

    def then(self, *turns: Turn) -> Talk:
        """The same with more turns."""
        return replace(self, turns=(*self.turns, *turns))


def talk(text: str = "hi", **fields: Any) -> Talk:
    """A request of one turn."""
    return Talk(turns=(User(text),), **fields)


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception of an SDK. `field`: what the error names as its cause; all of its message where there is no such place."""

    status: int | None
    message: str
    code: str | None
    field: str = field(default="")


class Client(Protocol):
    """An official SDK, used as its users do.

    `lacks` are the features that its format has no words for. `error` is the class of all errors that the API tells;
    `errors` the class for each status. `says_failure`: whether a tool's result can be told to be an error.
    """

    name: str
    format: str
    lacks: frozenset[str]
    says_failure: bool
    error: type[Exception]
    errors: Mapping[int, type[Exception]]

    def ask(self, model: str, talk: Talk) -> Seen:
        """A whole answer."""

    def stream(self, model: str, talk: Talk) -> Seen:
        """The same, streamed and put together."""

    def deltas(self, model: str, talk: Talk) -> AbstractContextManager[Iterator[str]]:
        """Pieces of the text as they come; leaving the block hangs up."""

    def count(self, model: str, text: str) -> int:
        """The input tokens of one turn of text."""

    def read_failure(self, error: Exception) -> Failure:
        """What an exception of the SDK tells."""


def canonical(arguments: object) -> str:
    """JSON that is equal where its values are."""
    return json.dumps(arguments, sort_keys=True)
