"""What the demo says to a chat request of whatever format, before that format writes it whole or as a stream."""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import orjson

from app.demo.answers import DEFAULT_TEXT, Answer, Writer
from app.demo.options import Options
from app.demo.samples import sample

SHOWN_REASONING_TOKENS = 8
REFUSAL_TEXT = "I'm sorry, but the demo upstream can't help with that."
HUGE = 10**15
FILLER = " demo"

Stop = Literal["end", "stop", "length", "tools", "refusal"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that may be called, and the JSON schema of its arguments."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a request asks of its answer.

    `turn` is the conversation as received, from which ids are made: another turn, other ids. `most_calls` is 0 where tools
    are forbidden, 1 where only one at a time is allowed; `forced` is set where one must be called, and `answered` where the
    conversation ends with the results of tools. `thinks` are the reasoning tokens unless `reasoning=` says otherwise;
    `shows_thought` tells whether their text is wanted. `schema` is that of a JSON answer, None for a plain one.
    """

    options: Options
    credential: str
    turn: bytes
    user_text: str = ""
    tools: Sequence[Tool] = ()
    most_calls: int | None = None
    forced: bool = False
    answered: bool = False
    limit: int | None = None
    stops: Sequence[str] = ()
    thinks: int = 0
    shows_thought: bool = True
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function; `id` is to be prefixed as the format does, `arguments` spells a JSON object."""

    id: str
    name: str
    arguments: Answer


@dataclass(frozen=True, slots=True)
class Said:
    """One answer: the thought, then the text, then the calls.

    `thought` is None where its text isn't shown, `text` where there are only calls. `tokens` counts text and calls,
    `thought_tokens` the reasoning, shown or not. `matched` is the stop sequence that ended the text.
    """

    thought: Answer | None
    text: Answer | None
    calls: tuple[Call, ...]
    stop: Stop
    matched: str | None
    tokens: int
    thought_tokens: int

    @property
    def long(self) -> bool:
        """Whether a stream of it could outlast its client: more than a turn of the loop sends at once."""
        parts = [
            part for part in (self.thought, self.text, *(call.arguments for call in self.calls)) if part is not None
        ]
        return sum(len(part.pieces) for part in parts) > 64 or sum(len(part.text) for part in parts) > 4_096


def say(writer: Writer, wanted: Wanted) -> Said:
    """The answer to a request; the cap holds for reasoning, text and calls together."""
    options, limit = wanted.options, wanted.limit
    thought_tokens = options.reasoning or wanted.thinks
    if limit is not None:
        thought_tokens = min(thought_tokens, limit)
        limit -= thought_tokens
    shown = wanted.shows_thought and thought_tokens > 0
    thought = writer.write(writer.words(thought_tokens)) if shown else None
    count = _count_calls(wanted)
    if options.refuse:
        text = writer.write(REFUSAL_TEXT, chunks=options.chunks, limit=limit)
        return Said(thought, text, (), "refusal" if text.complete else "length", None, text.tokens, thought_tokens)
    if not count:
        words, matched = _cut_at_stop(_choose_text(writer, wanted), wanted.stops)
        text = writer.write(words, chunks=options.chunks, limit=limit)
        if options.surrogates:
            text = writer.with_surrogates(text)
        stop: Stop = "length" if not text.complete else "end" if matched is None else "stop"
        return Said(thought, text, (), stop, matched if stop == "stop" else None, text.tokens, thought_tokens)
    before = writer.write(options.reply, limit=limit) if options.reply else None
    if before is not None and limit is not None:
        limit -= before.tokens
    calls = _make_calls(writer, wanted, count, limit)
    complete = len(calls) == count and all(call.arguments.complete for call in calls)
    tokens = sum(call.arguments.tokens for call in calls) + (before.tokens if before is not None else 0)
    return Said(thought, before, calls, "tools" if complete else "length", None, tokens, thought_tokens)


class Reporting(Protocol):
    """Options that have a say in what usage is reported."""

    def reports(self, word: str) -> bool:
        """Whether `usage` names this word."""


def spoil(options: Reporting, usage: dict[str, Any]) -> dict[str, Any] | None:
    """The usage object as `usage=` asks: each number in it wrong in that way, or None where none is reported."""
    if options.reports("missing"):
        return None
    for word, change in SPOILERS.items():
        if options.reports(word):
            spoilt: dict[str, Any] = _change(usage, change)
            return spoilt
    return usage


SPOILERS: Mapping[str, Callable[[float], object]] = {
    "zero": lambda count: 0,
    "huge": lambda count: HUGE,
    "negative": lambda count: -count,
    "string": str,
}


def _change(value: Any, change: Callable[[float], object]) -> Any:
    if isinstance(value, dict):
        return {name: _change(each, change) for name, each in value.items()}
    if isinstance(value, list):
        return [_change(each, change) for each in value]
    return change(value) if isinstance(value, int | float) else value


def _count_calls(wanted: Wanted) -> int:
    if not wanted.tools or wanted.most_calls == 0:
        return 0
    asked = 0 if wanted.answered else wanted.options.tool
    count = max(asked, 1) if wanted.forced else asked
    return count if wanted.most_calls is None else min(count, wanted.most_calls)


def _make_calls(writer: Writer, wanted: Wanted, count: int, limit: int | None) -> tuple[Call, ...]:
    made: list[Call] = []
    stem = f"{zlib.crc32(wanted.turn):08x}"
    for number in range(count):
        if limit is not None and limit <= 0:
            break
        tool = wanted.tools[number % len(wanted.tools)]
        filled = sample({"type": "object", **tool.schema}, number)
        filled = filled if isinstance(filled, dict) else {}  # arguments are an object, whatever the schema says
        arguments = writer.write(_to_json(filled), chunks=wanted.options.chunks, limit=limit)
        made.append(Call(f"{stem}_{number}" if number else stem, tool.name, arguments))
        if limit is not None:
            limit -= arguments.tokens
        if not arguments.complete:
            break
    return tuple(made)


def _to_json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer of more than 64 bits, which a schema may list
        return json.dumps(value)


def _choose_text(writer: Writer, wanted: Wanted) -> str:
    options = wanted.options
    if options.reply is not None:
        text = options.reply
    elif wanted.schema is not None:
        return _to_json(sample(wanted.schema))
    elif options.echo:
        text = wanted.user_text
    elif options.tokens is not None or options.chunks is not None:
        text = writer.words(options.tokens if options.tokens is not None else options.chunks or 0)
    else:
        text = DEFAULT_TEXT
    return f"{text} (key: {wanted.credential})" if options.echo_key else text


def _cut_at_stop(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    found = [(at, stop) for stop in stops if stop and (at := text.find(stop)) >= 0]
    if not found:
        return text, None
    at, stop = min(found)
    return text[:at], stop
