"""The canonical conversation: what every chat format is read into and written from, made of blocks. Pure data.

    Ask      a request: system blocks, messages of blocks, tools, and what the client asks of the answer
    Answer   a whole answer: choices of blocks, why each ended, usage
    Event    an answer as it comes: a block begins, grows, ends; a choice ends; usage

A block stands where it stood: order is kept. A signature is a block too (`Thinking`), before the block it belongs to, so
that a vendor's proof of its own reasoning survives a way through a format that has no place for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from app.core.usage import Usage
from app.errors import UpstreamError

Role: TypeAlias = Literal["user", "assistant", "system"]

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Cache(Struct, frozen=True):
    """A client's wish that everything up to here be cached. `ttl`: "5m" | "30m" | "1h" | "12h"; None: the vendor's own."""

    ttl: str | None = None


class Media(Struct, frozen=True):
    """Where an image, a document or a sound is: exactly one of `data` (base64), `url` and `file_id` is set.

    `text`: a document given as plain text stands in `data` as it is, unencoded.
    """

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    text: bool = False


class Signature(Struct, frozen=True):
    """A vendor's proof of what its model thought. `origin`: "anthropic" | "google" | "openai": only that vendor takes it."""

    origin: str
    value: str


class Citation(Struct, frozen=True):
    """Where a text comes from. `start` and `end`: characters of the text block, where the vendor tells."""

    url: str
    title: str | None = None
    start: int | None = None
    end: int | None = None


# -- blocks --------------------------------------------------------------------------------------------------------------


class Text(Struct, frozen=True):
    text: str
    citations: tuple[Citation, ...] = ()
    cache: Cache | None = None


class Image(Struct, frozen=True):
    """`detail`: OpenAI's word (`low`, `high`, `auto`, `original`), None where none was given."""

    media: Media
    detail: str | None = None
    cache: Cache | None = None


class File(Struct, frozen=True):
    """A document (PDF, text). `name`: file name or title."""

    media: Media
    name: str | None = None
    cache: Cache | None = None


class Audio(Struct, frozen=True):
    """Sound in or out; `media.media_type` is `audio/wav`, `audio/mp3`, …"""

    media: Media
    cache: Cache | None = None


class Thinking(Struct, frozen=True):
    """What a model thought, in words or sealed.

    `signature` proves this thought, or, where `text` is empty, the block that follows. `redacted`: nothing may be read,
    `signature` holds all of it (Anthropic's `redacted_thinking`, OpenAI's `encrypted_content` without a summary).
    `id` is the vendor's id of a reasoning item. A summary of several parts has a blank line between them.
    """

    text: str
    signature: Signature | None = None
    redacted: bool = False
    id: str | None = None


class ToolCall(Struct, frozen=True):
    """A model's call of a client's tool.

    `arguments` is JSON text as the model wrote it (a custom tool's: plain text); "" means no arguments.
    """

    id: str
    name: str
    arguments: str
    custom: bool = False
    cache: Cache | None = None


class ToolResult(Struct, frozen=True):
    """What a client's tool said: text, images, documents. `name` is the tool's, where the client's format tells it."""

    call_id: str
    content: tuple[Text | Image | File | Audio, ...]
    is_error: bool = False
    name: str | None = None
    custom: bool = False
    cache: Cache | None = None


class Refusal(Struct, frozen=True):
    """Words by which a model declined."""

    text: str


class Opaque(Struct, frozen=True):
    """A block that only its own format knows (`format`: that format's name). `field`: the client's name for it."""

    format: str
    field: str
    value: Any


Block: TypeAlias = Text | Image | File | Audio | Thinking | ToolCall | ToolResult | Refusal | Opaque


# -- a request -----------------------------------------------------------------------------------------------------------


class Message(Struct, frozen=True):
    """One turn. `role` "system" is an instruction in the middle of a conversation; leading ones are `Ask.system`.

    Tool results stand in user messages. `name`: OpenAI's name of a participant.
    """

    role: Role
    blocks: tuple[Block, ...]
    name: str | None = None


class Tool(Struct, frozen=True):
    """A tool that the client runs itself. `schema`: JSON Schema of its arguments; None: it takes none.

    `grammar`: an OpenAI custom tool's `format`, which takes plain text; `custom` says that it is one.
    """

    name: str
    description: str | None = None
    schema: Mapping[str, Any] | None = None
    strict: bool | None = None
    custom: bool = False
    grammar: Mapping[str, Any] | None = None
    cache: Cache | None = None


class ToolChoice(Struct, frozen=True):
    """`mode` "auto" | "none" | "required"; `names`: the only tools that may be called, () for all.

    One named tool is `ToolChoice("required", (name,))`.
    """

    mode: Literal["auto", "none", "required"]
    names: tuple[str, ...] = ()


class Schema(Struct, frozen=True):
    """A JSON Schema that the answer must fit. `schema` None: any JSON object."""

    schema: Mapping[str, Any] | None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class Reasoning(Struct, frozen=True):
    """How much a model shall think, and whether it shall show it; None: not said.

    `effort`: "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max". `budget`: tokens; 0 is off, -1 the model's own
    choice. `adaptive`: the model decides by itself. `show`: the thoughts, or a summary, are wanted in the answer.
    """

    effort: str | None = None
    budget: int | None = None
    adaptive: bool = False
    show: bool | None = None


class Ask(Struct, frozen=True, kw_only=True):
    """A request as no particular vendor puts it. What is None or empty wasn't asked, or is the default of its format.

    `fields`: the client's own names of what is set, by the attribute's name here (`{"stop": "stop_sequences"}`), for errors
    and for `x-relaygate-dropped`; an attribute that isn't in it goes by its own name. `dropped`: advisory fields that no
    other format has.
    """

    format: str
    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    system: tuple[Text, ...] = ()
    tools: tuple[Tool | Opaque, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output_cap: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    choices: int = 1
    logprobs: bool = False
    top_logprobs: int | None = None
    response_format: Schema | None = None
    reasoning: Reasoning | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    user: str | None = None
    metadata: Mapping[str, str] = NOTHING
    cache: Cache | None = None
    cache_key: str | None = None
    modalities: tuple[str, ...] = ()
    fields: Mapping[str, str] = NOTHING
    dropped: tuple[str, ...] = ()

    def field(self, attribute: str) -> str:
        """The client's name of an attribute."""
        return self.fields.get(attribute, attribute)


# -- an answer -----------------------------------------------------------------------------------------------------------


class Finish(StrEnum):
    """Why a choice ended."""

    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    FILTERED = "filtered"
    """The model refused, or the vendor's filter cut in."""
    PAUSED = "paused"
    """A server-side loop wants to be called again with what came so far (Anthropic's `pause_turn`)."""


class Token(Struct, frozen=True):
    """One token's log probability, with the likeliest others. `top`: pairs of token and log probability."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class Choice(Struct, frozen=True):
    """One answer of those that were asked for. `stop_sequence`: the one that ended it, where the vendor tells."""

    blocks: tuple[Block, ...]
    finish: Finish | None
    index: int = 0
    stop_sequence: str | None = None
    logprobs: tuple[Token, ...] = ()


class Answer(Struct, frozen=True, kw_only=True):
    """A whole answer. `model`: the upstream's name; clients are told the one they asked for. `created`: Unix seconds."""

    id: str
    model: str
    choices: tuple[Choice, ...]
    created: int | None = None
    usage: Usage | None = None


# -- an answer as it comes -----------------------------------------------------------------------------------------------


class Started(Struct, frozen=True):
    """The first event. `usage`: what is known of the input already."""

    id: str
    model: str
    created: int | None = None
    usage: Usage | None = None


class BlockStarted(Struct, frozen=True):
    """A block begins; text in it counts as its first piece. Within a choice a block ends before the next one begins.

    A block that can't grow (an image, an opaque one, a sealed thought) comes whole here and ends at once.
    """

    block: Block
    choice: int = 0


class Grown(Struct, frozen=True):
    """More text of the open block: of a text, a thought, a refusal, or a call's arguments (pieces of JSON text)."""

    text: str
    choice: int = 0


class Signed(Struct, frozen=True):
    """The open thought's signature."""

    signature: Signature
    choice: int = 0


class Cited(Struct, frozen=True):
    """A source of the open text."""

    citation: Citation
    choice: int = 0


class Weighed(Struct, frozen=True):
    """Log probabilities of the tokens that came last."""

    tokens: tuple[Token, ...]
    choice: int = 0


class BlockEnded(Struct, frozen=True):
    choice: int = 0


class Finished(Struct, frozen=True):
    """A choice is complete; its last block has ended."""

    finish: Finish
    choice: int = 0
    stop_sequence: str | None = None


class Reported(Struct, frozen=True):
    """Usage of the whole answer; a later report replaces an earlier one."""

    usage: Usage


class Failed(Struct, frozen=True):
    """The upstream reported an error in the stream: nothing follows."""

    error: UpstreamError


Event: TypeAlias = Started | BlockStarted | Grown | Signed | Cited | Weighed | BlockEnded | Finished | Reported | Failed
