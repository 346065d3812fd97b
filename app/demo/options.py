"""The options that shape one answer or spoil it, and how they are read from a model name, a header or a script."""

from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import parse_qsl

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0)]
# Bounds that keep a typo from eating the machine's memory.
Tokens = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Chunks = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Calls = Annotated[int, msgspec.Meta(ge=0, le=16)]
Bytes = Annotated[int, msgspec.Meta(ge=0, le=100_000_000)]
USAGE_WORD = "(missing|zero|huge|negative|string|always|on_finish)"
# The options that change what is said, not how it arrives.
CONTENT_OPTIONS = (
    "reply",
    "tokens",
    "echo",
    "tool",
    "refuse",
    "citations",
    "blocked",
    "finish",
    "chunks",
    "reasoning",
    "redacted",
    "call_ids",
    "strict_signatures",
    "polls",
    "cached",
    "cache_written",
    "usage",
    "dialect",
    "surrogates",
    "audio_seconds",
)
# Sources are query-shaped text: `status=500&delay_ms=50`. Model names beyond this are noise, not options.
MAX_OPTIONS_TEXT = 8_192


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to answer and what to break; every field is optional, and an unknown one is refused.

    Three sources, each overriding the one before: the model name after `?` (`demo?chunks=60&chunk_ms=10`), the
    request header `x-demo: status=500`, and the fault that `POST /_demo/faults` queued for the model.

    | option | effect |
    |---|---|
    | `reply=TEXT` | answer with this text |
    | `tokens=N` | answer with exactly N tokens of plain words |
    | `echo=1` | answer with the text of the last user message |
    | `big=N` | non-stream: a body of exactly N bytes (ignores the caps) |
    | `tool=N` | call N function tools at once, from the first of the request on and round again, unless the last message \
already is a tool's result; a `reply` stands before the calls |
    | `refuse=1` | a refusal in the format's way |
    | `blocked=1` | Gemini: the prompt is blocked, and there is no candidate |
    | `finish=NAME` | whatever the answer is, it ends for this reason of the format's |
    | `citations=1` | the text cites the first document (Anthropic), or a page (Responses) |
    | `chunks=N` | stream: N content chunks (alone: one token each), else one token a chunk |
    | `delay_ms=N` | wait before the first byte |
    | `chunk_ms=N` | stream: pace of the content chunks, kept by the clock |
    | `reasoning=N` | N reasoning tokens, reported where the format does; their text is shown as a dialect of OpenAI's \
chat has it, always as Anthropic's `thinking` unless that is disabled, with `includeThoughts` by Gemini, with \
`reasoning.summary` by Responses. Without it a request that turns reasoning on gets 8 |
    | `redacted=1` | Anthropic: the reasoning comes as `redacted_thinking` |
    | `call_ids=0` | Gemini: calls have no `id` |
    | `strict_signatures=1` | Gemini: a `thoughtSignature` is demanded and checked, as by Gemini 3 |
    | `polls=N` | Responses: `background` is done as of the Nth poll |
    | `cached=N` | prompt tokens that were read from a cache (not clipped to the prompt) |
    | `cache_written=N` | prompt tokens that were written to one (Anthropic, Responses, OpenAI) |
    | `usage=WORDS` | comma-separated: `missing`, `zero`, `huge` (1e15), `negative`, `string` (wrong type), `always` \
(streamed though not asked for), `on_finish` (rides on the finish chunk) |
    | `dialect=NAME` | `deepseek` (`reasoning_content`, demanded back with tool calls; cache hit and miss tokens), `xai` \
(reasoning is outside `completion_tokens`; `stop` and penalties are refused with it), `azure` (filter results, a first chunk \
without choices), `ollama` (`reasoning`; plain text errors, no image URLs), `vllm` (`reasoning`, `stop_reason`), \
`openrouter` (`reasoning`, `reasoning_details`, comments, errors with a number for a code), `qwen` (`reasoning_content` \
where `enable_thinking` asks for it, and then in streams only) |
    | `audio_seconds=S` | transcriptions: how long the file is, whatever it holds |
    | `status=N` | 400 to 599: an error in the format's shape; 200 to 299: the answer's status |
    | `code=NAME` | the error's `code`, say `insufficient_quota` |
    | `retry_after=S` | that header on an error; a 429 has `1` unless told |
    | `body=KIND` | `html`: a page with the given status, else 200; `string_error` (`{"error": "text"}`) and \
`array_error` (a one-element array), with the given status, else 500 |
    | `error_200=1` | HTTP 200 with an `error` object whose code is an int (`status`, else 502) |
    | `redirect=URL` | 302 to there |
    | `drop=1` | close the connection before any byte of an answer |
    | `stall=headers` | accept the request and never answer |
    | `stall=first` | send the headers and never a byte of the body |
    | `stall=chunk:N` | stop after N chunks, socket open (non-stream: after half of the body) |
    | `cut=N` | after N chunks close the connection inside the body (non-stream: after half of it) |
    | `cut_clean=N` | after N chunks end the body properly, without finish and mark of the end (non-stream: half a JSON) |
    | `no_done=1` | stream: everything but the mark of the end: `[DONE]`, `message_stop`, `response.completed` |
    | `error_chunk=N` | stream: after N chunks the format's error frame, then a clean end |
    | `error_finish=1` | with `error_chunk`: OpenRouter's shape, choices with `finish_reason: "error"` beside `error` |
    | `malformed=N` | stream: after N chunks a frame of broken JSON, then on as usual |
    | `crlf=1`, `cr=1` | stream: lines end with CRLF, or with a lone CR |
    | `comments=1` | stream: `: keep-alive` comments before and between the frames (not Gemini) |
    | `nospace=1` | stream: `data:` without the space |
    | `no_final_blank=1` | stream: the last frame lacks its blank line |
    | `blank_lead=N`, `lead_ms=N` | non-stream: N blank lines before the JSON, 100 ms apart unless told |
    | `split=N` | the body in pieces of N bytes, across frames and characters, each a send and a turn of the loop |
    | `surrogates=1` | stream: one more character, split over two chunks as escaped lone surrogates |
    | `gzip=1` | a gzip body though nobody asked for one |
    | `echo_key=1` | the received key in the header `x-echo-key` and in the text of the answer or error |

    Chunk numbers count content, reasoning and tool-argument chunks; 0 comes before the role chunk or the like, and a number
    beyond the answer's chunks never comes. What a format has no words for does nothing there. `%` escapes work as in any
    query string.
    """

    reply: str | None = None
    tokens: Tokens | None = None
    echo: bool = False
    big: Bytes | None = None
    tool: Calls = 0
    refuse: bool = False
    citations: bool = False
    blocked: bool = False
    finish: str | None = None
    chunks: Chunks | None = None
    delay_ms: Count = 0
    chunk_ms: Count = 0
    reasoning: Tokens = 0
    redacted: bool = False
    call_ids: bool = True
    strict_signatures: bool = False
    polls: Annotated[int, msgspec.Meta(ge=1)] = 1
    cached: Count = 0
    cache_written: Count = 0
    usage: Annotated[str, msgspec.Meta(pattern=f"^({USAGE_WORD}(,{USAGE_WORD})*)?$")] = ""
    dialect: Literal["openai", "deepseek", "xai", "azure", "ollama", "vllm", "openrouter", "qwen"] = "openai"
    audio_seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)] | None = None
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    code: str | None = None
    retry_after: str | None = None
    body: Literal["html", "string_error", "array_error"] | None = None
    error_200: bool = False
    redirect: str | None = None
    drop: bool = False
    stall: Annotated[str, msgspec.Meta(pattern=r"^(headers|first|chunk:\d+)$")] | None = None
    cut: Count | None = None
    cut_clean: Count | None = None
    no_done: bool = False
    error_chunk: Count | None = None
    error_finish: bool = False
    malformed: Count | None = None
    crlf: bool = False
    cr: bool = False
    comments: bool = False
    nospace: bool = False
    no_final_blank: bool = False
    blank_lead: Count = 0
    lead_ms: Count = 100
    split: Count = 0
    surrogates: bool = False
    gzip: bool = False
    echo_key: bool = False

    @property
    def stall_chunk(self) -> int | None:
        """The N of `stall=chunk:N`."""
        if self.stall is None or not self.stall.startswith("chunk:"):
            return None
        return int(self.stall.removeprefix("chunk:"))

    @property
    def fails(self) -> bool:
        """Whether an error body takes the answer's place."""
        return (self.status or 0) >= 400 or self.body is not None or self.error_200

    @property
    def faultless(self) -> bool:
        """Whether nothing but the answer's content departs from the default."""
        shaped = {name: getattr(self, name) for name in CONTENT_OPTIONS}
        return self == Options(**shaped)

    def reports(self, word: str) -> bool:
        """Whether `usage` names this word."""
        return word in self.usage.split(",")


class OptionsError(ValueError):
    """An option that does not exist, or a value that it cannot take; the text names it."""


def read_pairs(text: str) -> dict[str, str]:
    """Reads `a=1&b=2`; raises OptionsError when it is not of that form."""
    if len(text) > MAX_OPTIONS_TEXT:
        raise OptionsError("the demo options are too long")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)))
    except ValueError as error:
        raise OptionsError(str(error)) from error


def read_options(pairs: Mapping[str, object]) -> Options:
    """Checks merged options, texts or JSON values alike; raises OptionsError."""
    try:
        return msgspec.convert(dict(pairs), Options, strict=False)
    except msgspec.ValidationError as error:
        raise OptionsError(str(error)) from error


def split_model(model: str) -> tuple[str, str]:
    """Splits `demo?status=500` into the model's own name and its options."""
    name, _, text = model.partition("?")
    return name, text


def read_request_options(model_texts: str, header: str, fault: Mapping[str, object] | None) -> Options:
    """The options from the three sources, the later ones winning; raises OptionsError."""
    return read_options({**read_pairs(model_texts), **read_pairs(header), **(fault or {})})
