"""An OpenAI chat reply as a stream of `chat.completion.chunk` frames."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from app.demo.answers import Answer
from app.demo.exchange import Exchange
from app.demo.openai_dialects import choice_extras, prompt_filter_results
from app.demo.openai_errors import fault_fields, write_error
from app.demo.openai_reply import Reply, detail_of, name_call, write_head
from app.demo.options import Options
from app.demo.streaming import FaultyStream, read_framing

BROKEN_JSON = b'{"id":"chatcmpl-demo","choices":[{"delta":{"content":"brok'


@dataclass(frozen=True, slots=True)
class Style:
    """How frames look: what stands before their JSON, what ends a line, and the fields that end each chunk."""

    lead: bytes
    eol: bytes
    choice_end: bytes
    null_usage: bytes

    def frame(self, data: bytes) -> bytes:
        """One event."""
        return self.lead + data + self.eol + self.eol


@dataclass(frozen=True, slots=True)
class Tail:
    """Where a piece of text stands in a delta; a second time where there is a `between`."""

    before: bytes
    after: bytes
    between: bytes | None = None

    def fill(self, piece: bytes) -> bytes:
        """The delta."""
        again = b"" if self.between is None else self.between + piece
        return self.before + piece + again + self.after


CONTENT = Tail(b'{"content":', b"}")
REFUSAL = Tail(b'{"refusal":', b"}")


class TailCutter:
    """Encodes the part of each chunk that requests share, remembering the recent ones; and their styles."""

    def __init__(self) -> None:
        self.cut: Callable[[Answer, Tail, Style], tuple[bytes, ...]] = functools.lru_cache(maxsize=256)(_cut_tails)
        self._styles: dict[tuple[object, ...], Style] = {}

    def choose_style(self, options: Options, *, null_usage: bool) -> Style:
        """The style that the options ask for."""
        key = (options.crlf, options.cr, options.nospace, options.comments, options.dialect, null_usage)
        style = self._styles.get(key)
        if style is None:
            style = self._styles[key] = _choose_style(options, null_usage=null_usage)
        return style


def _cut_tails(answer: Answer, tail: Tail, style: Style) -> tuple[bytes, ...]:
    end = (
        b',"logprobs":null,"finish_reason":null'
        + style.choice_end
        + b"}]"
        + style.null_usage
        + b"}"
        + style.eol
        + style.eol
    )
    return tuple(tail.fill(piece) + end for piece in answer.pieces)


class ChatStream(FaultyStream):
    """One streamed reply."""

    def __init__(self, exchange: Exchange, reply: Reply, cutter: TailCutter) -> None:
        asked = reply.asked
        options, wants = asked.options, asked.request.wants_usage
        self._style = cutter.choose_style(options, null_usage=wants and reply.usage is not None)
        super().__init__(exchange, options, self._style.eol)
        self._reply = reply
        self._cutter = cutter
        self._usage = reply.usage if wants or _volunteers(options) else None
        self._base = (
            write_head(exchange.entry, "chat.completion.chunk")
            + b',"model":'
            + orjson.dumps(asked.model)
            + b',"service_tier":"default","system_fingerprint":"fp_demo","choices":['
        )

    @property
    def _long(self) -> bool:
        return self._reply.long

    @property
    def _starts_with_calls(self) -> bool:
        said = self._reply.said
        return bool(said.calls) and said.thought is None and said.text is None

    def _opening(self) -> Iterator[bytes]:
        reply, options = self._reply, self._options
        if options.dialect == "azure":
            results = orjson.dumps(prompt_filter_results())
            yield self._style.frame(
                self._base + b'],"prompt_filter_results":' + results + self._style.null_usage + b"}"
            )
        delta: dict[str, object] = {"role": "assistant", "content": "", "refusal": None}
        if reply.said.thought is not None and reply.reasoning_field is not None:
            delta = {"role": "assistant", "content": None, reply.reasoning_field: ""}
        elif self._starts_with_calls:
            delta = {"role": "assistant", "content": None, **self._announce(0), "refusal": None}
        for index in range(reply.choices):
            yield self._frame(index, orjson.dumps(delta), b"null", self._style.null_usage)

    def _chunks(self) -> Iterator[bytes]:
        reply, style, cut = self._reply, self._style, self._cutter.cut
        said = reply.said
        heads = [style.lead + self._base + b'{"index":%d,"delta":' % index for index in range(reply.choices)]
        if said.thought is not None and reply.reasoning_field is not None:
            for tail in cut(said.thought, self._choose_reasoning_tail(reply.reasoning_field), style):
                yield from [head + tail for head in heads]
        if said.text is not None:
            for tail in cut(said.text, REFUSAL if said.stop == "refusal" else CONTENT, style):
                for head in heads:
                    yield head + tail
        for number, call in enumerate(said.calls):
            first = Tail(b'{"tool_calls":[{"index":%d,"function":{"arguments":' % number, b"}}]}")
            announced = number == 0 and self._starts_with_calls
            for place, tail in enumerate(cut(call.arguments, first, style)):
                for index, head in enumerate(heads):
                    news = not announced and place == 0
                    before = self._plain_frame(index, orjson.dumps(self._announce(number))) if news else b""
                    yield before + head + tail

    def _closing(self) -> Iterator[bytes]:
        reply, style, options = self._reply, self._style, self._options
        reason, usage = orjson.dumps(reply.finish_reason), self._usage
        if options.dialect == "openrouter" and reply.said.thought is not None:
            signed = detail_of("", signed=reply.said.thought)
            for index in range(reply.choices):
                yield self._plain_frame(index, orjson.dumps({"content": "", "reasoning_details": [signed]}))
        on_finish = usage is not None and options.reports("on_finish")
        for index in range(reply.choices):
            ends = on_finish and index == reply.choices - 1
            yield self._frame(
                index, b"{}", reason, b',"usage":' + orjson.dumps(usage) if ends else style.null_usage, done=True
            )
        if usage is not None and not on_finish:
            yield style.frame(self._base + b'],"usage":' + orjson.dumps(usage) + b"}")
        if not options.no_done:
            yield style.frame(b"[DONE]")

    def _announce(self, number: int) -> dict[str, Any]:
        """The delta that starts a call."""
        call = self._reply.said.calls[number]
        function = {"name": call.name, "arguments": ""}
        return {"tool_calls": [{"index": number, **name_call(call), "function": function}]}

    def _choose_reasoning_tail(self, field: str) -> Tail:
        before = b"{" + orjson.dumps(field) + b":"
        if self._options.dialect != "openrouter":
            return Tail(before, b"}")
        left, right = orjson.dumps({"reasoning_details": [detail_of("")]}).split(b'"text":""')
        return Tail(b'{"content":"",' + before[1:], right, b"," + left[1:] + b'"text":')

    def _plain_frame(self, index: int, delta: bytes) -> bytes:
        return self._frame(index, delta, b"null", self._style.null_usage)

    def _frame(self, index: int, delta: bytes, reason: bytes, usage: bytes, *, done: bool = False) -> bytes:
        end = self._style.choice_end
        if done and end:
            end = _write_end(choice_extras(self._options, self._reply.said.matched, self._reply.finish_reason))
        choice = b'{"index":%d,"delta":%b,"logprobs":null,"finish_reason":%b' % (index, delta, reason)
        return self._style.frame(self._base + choice + end + b"}]" + usage + b"}")

    def _error(self) -> bytes:
        kind, code, message = fault_fields(self._options)
        if not self._options.error_finish and self._options.dialect != "openrouter":
            return self._style.frame(write_error(kind, message, code))
        status = self._options.status or 502
        error = orjson.dumps({"code": status, "message": message, "metadata": {"error_type": kind}})
        choice = b'{"index":0,"delta":{"content":""},"finish_reason":"error"}],"error":'
        return self._style.frame(self._base + choice + error + b"}")

    def _broken(self) -> bytes:
        return self._style.frame(BROKEN_JSON)


def _volunteers(options: Options) -> bool:
    return options.dialect == "openrouter" or options.reports("always") or options.reports("on_finish")


def _choose_style(options: Options, *, null_usage: bool) -> Style:
    framing = read_framing(options)
    return Style(
        lead=framing.before + b"data:" + framing.space,
        eol=framing.eol,
        choice_end=_write_end(choice_extras(options)),
        null_usage=b',"usage":null' if null_usage else b"",
    )


def _write_end(extras: dict[str, Any]) -> bytes:
    return b"," + orjson.dumps(extras)[1:-1] if extras else b""
