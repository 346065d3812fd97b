"""OpenAI's legacy `POST /v1/completions` (openai-python 3.54.0, `types/completion*.py`).

It says what chat would say, for each prompt `n` times. Usage counts all of `best_of`, as OpenAI's does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from app.demo.answering import Answering, answer
from app.demo.exchange import Exchange
from app.demo.openai_errors import Refusal, write_fault
from app.demo.routes import Route
from app.demo.saying import Said, Wanted, say, spoil
from app.demo.shapes import Anything, Either, Flag, ListOf, Number, Record, Text
from app.demo.surfaces.events import DONE, Event, EventStream, read_pieces
from app.demo.surfaces.inputs import Input, read_inputs
from app.demo.surfaces.intake import Asked, Intake, below_bases, refusing

DEFAULT_TOKENS = 16
MOST_CHOICES = 128
MOST_BEST = 20
SHAPE = Record(
    needs={"model": Text(), "prompt": Anything()},
    may={
        "n": Number(1, MOST_CHOICES),
        "best_of": Number(1, MOST_BEST),
        "echo": Flag(),
        "max_tokens": Number(0),
        "logprobs": Number(0, 5),
        "stop": Either(Text(), ListOf(Text(), most=4)),
        "stream": Flag(),
        "stream_options": Record(may={"include_usage": Flag()}, nulls=True, open=True),
        "temperature": Number(0, 2, fractions=True),
        "suffix": Text(),
    },
    nulls=True,
    open=True,
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One completion: the prompt before it where `echo` wants it."""

    index: int
    before: str
    said: Said

    @property
    def pieces(self) -> list[str]:
        """The text, cut as it will be streamed."""
        assert self.said.text is not None
        return [*([self.before] if self.before else []), *read_pieces(self.said.text)]

    @property
    def text(self) -> str:
        """The whole text."""
        assert self.said.text is not None
        return self.before + self.said.text.text

    @property
    def finish(self) -> str:
        """Why it ends."""
        return "length" if self.said.stop == "length" else "stop"


class Completions:
    """Answers OpenAI's text completions."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def routes(self) -> list[Route]:
        """Those of every base."""
        return below_bases([("POST", "/completions", self.create)])

    @refusing
    async def create(self, exchange: Exchange) -> None:
        """`POST /v1/completions`."""
        asked = await self._intake.read(exchange, SHAPE)
        fields = asked.fields
        prompts = read_inputs(self._intake.writer, fields["prompt"], "prompt")
        _check(fields)
        choices = self._choose(asked, prompts)
        usage = _count_usage(asked, prompts, choices)
        head = {
            "id": f"cmpl-demo-{exchange.entry.id:08d}",
            "object": "text_completion",
            "created": int(exchange.entry.started_at),
            "model": asked.model,
            "system_fingerprint": "fp_demo",
        }

        def write(extra: str) -> bytes:
            listed = [_write_choice(choice, fields.get("logprobs"), extra) for choice in choices]
            return orjson.dumps({**head, "choices": listed, **({} if usage is None else {"usage": usage})})

        stream = None
        if fields.get("stream"):
            chunks, closing = _write_stream(asked, head, choices, usage)
            stream = EventStream(exchange, asked.options, chunks, closing)
        await answer(exchange, Answering(asked.options, asked.credential, stream, write, write_fault))

    def _choose(self, asked: Asked, prompts: list[Input]) -> list[Choice]:
        fields = asked.fields
        choices: list[Choice] = []
        stop = fields.get("stop")
        for prompt in prompts:
            wanted = Wanted(
                options=asked.options,
                credential=asked.credential,
                turn=prompt.text.encode("utf-8", "surrogatepass"),
                user_text=prompt.text,
                limit=fields.get("max_tokens", DEFAULT_TOKENS),
                stops=[stop] if isinstance(stop, str) else stop or [],
                shows_thought=False,
            )
            said = say(self._intake.writer, wanted)
            before = prompt.text if fields.get("echo") else ""
            choices += [Choice(len(choices) + number, before, said) for number in range(fields.get("n", 1))]
        return choices


def _check(fields: dict[str, Any]) -> None:
    best = fields.get("best_of", fields.get("n", 1))
    if best < fields.get("n", 1):
        raise Refusal(400, "You requested that the server return more choices than it will generate.", param="best_of")
    if fields.get("stream") and best > fields.get("n", 1):
        raise Refusal(400, "You cannot stream with best_of greater than n.", param="best_of")
    if "stream_options" in fields and not fields.get("stream"):
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refusal(400, message, param="stream_options")


def _count_usage(asked: Asked, prompts: list[Input], choices: list[Choice]) -> dict[str, Any] | None:
    count = asked.fields.get("n", 1)
    best = asked.fields.get("best_of", count)
    read = sum(prompt.tokens for prompt in prompts)
    made = sum(choice.said.tokens + choice.said.thought_tokens for choice in choices) // count * best
    return spoil(asked.options, {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made})


def _write_choice(choice: Choice, logprobs: int | None, extra: str) -> dict[str, Any]:
    return {
        "text": choice.text + extra,
        "index": choice.index,
        "logprobs": None if logprobs is None else _write_logprobs(choice.pieces, logprobs),
        "finish_reason": choice.finish,
    }


def _write_logprobs(pieces: list[str], count: int) -> dict[str, Any]:
    """Every token was certain."""
    offsets = [sum(map(len, pieces[:index])) for index in range(len(pieces))]
    return {
        "tokens": pieces,
        "token_logprobs": [0.0] * len(pieces),
        "top_logprobs": [{piece: 0.0} for piece in pieces] if count else None,
        "text_offset": offsets,
    }


def _write_stream(
    asked: Asked, head: dict[str, Any], choices: list[Choice], usage: dict[str, Any] | None
) -> tuple[list[Event], list[Event]]:
    """The chunks, and what ends the stream."""
    options = asked.options
    wanted = bool(asked.fields.get("stream_options", {}).get("include_usage"))
    nulls = {"usage": None} if wanted and usage is not None else {}

    def write(choice: Choice, text: str, finish: str | None) -> dict[str, Any]:
        told = {"text": text, "index": choice.index, "logprobs": None, "finish_reason": finish}
        return {**head, "choices": [told], **nulls}

    def close() -> Iterator[Event]:
        shown = usage if wanted or options.reports("always") or options.reports("on_finish") else None
        rides = shown is not None and options.reports("on_finish")
        for choice in choices:
            last = write(choice, "", choice.finish)
            yield {**last, "usage": shown} if rides and choice is choices[-1] else last
        if shown is not None and not rides:
            yield {**head, "choices": [], "usage": shown}
        if not options.no_done:
            yield DONE

    return [write(choice, piece, None) for choice in choices for piece in choice.pieces], list(close())
