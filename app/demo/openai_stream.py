"""An OpenAI chat reply as a stream of `chat.completion.chunk` frames, and the faults that strike inside it."""

import asyncio
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import orjson

from app.demo.answers import Answer
from app.demo.exchange import CHUNKS_PER_TURN, Exchange
from app.demo.openai_errors import fault_fields, write_error
from app.demo.openai_reply import REASONING_FIELDS, Reply, choice_extras, prompt_filter_results, write_head
from app.demo.options import Options

SSE = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))
# A stream below both sizes leaves in one turn of the loop, so there is no client to lose in its course.
SHORT_CHUNKS = CHUNKS_PER_TURN
SHORT_TEXT = 4_096
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
    """Where a piece of text stands in a delta."""

    before: bytes
    after: bytes


CONTENT = Tail(b'{"content":', b"}")
ARGUMENTS = Tail(b'{"tool_calls":[{"index":0,"function":{"arguments":', b"}}]}")


class TailCutter:
    """Encodes the part of each chunk that requests share, remembering the recent ones."""

    def __init__(self) -> None:
        self.cut: Callable[[Answer, Tail, Style], tuple[bytes, ...]] = functools.lru_cache(maxsize=256)(_cut_tails)


def _cut_tails(answer: Answer, tail: Tail, style: Style) -> tuple[bytes, ...]:
    end = (
        tail.after
        + b',"logprobs":null,"finish_reason":null'
        + style.choice_end
        + b"}]"
        + style.null_usage
        + b"}"
        + style.eol
        + style.eol
    )
    return tuple(tail.before + piece + end for piece in answer.pieces)


class ChatStream:
    """One streamed reply."""

    def __init__(self, exchange: Exchange, reply: Reply, cutter: TailCutter) -> None:
        asked = reply.asked
        options, wants = asked.options, asked.request.wants_usage
        self._exchange = exchange
        self._reply = reply
        self._options = options
        self._cutter = cutter
        self._usage = reply.usage if wants or (options.usage and _volunteers(options)) else None
        self._style = _choose_style(options, null_usage=wants and reply.usage is not None)
        self._base = (
            write_head(exchange.entry, "chat.completion.chunk")
            + b',"model":'
            + orjson.dumps(asked.model)
            + b',"service_tier":"default","system_fingerprint":"fp_demo","choices":['
        )
        points = (options.cut, options.cut_clean, options.stall_chunk, options.error_chunk, options.malformed)
        self._points = frozenset(point for point in points if point is not None)

    async def run(self) -> None:
        """Writes the stream to its end, or to the fault that ends it."""
        await self._exchange.start(self._options.status or 200, SSE)
        if 0 in self._points and await self._struck(0):
            return
        for frame in self._opening():
            await self._exchange.write(frame)
        if not await self._send_chunks():
            await self._send_closing()

    async def _send_chunks(self) -> bool:
        """Writes the counted chunks; true when a fault has ended the stream."""
        exchange, points = self._exchange, self._points
        entry = exchange.entry
        answer = self._reply.answer
        if len(answer.pieces) > SHORT_CHUNKS or len(answer.text) > SHORT_TEXT:
            exchange.watch()
        pace = self._options.chunk_ms / 1000
        if not pace and not points:
            await exchange.write_chunks(self._chunks())
            return False
        now = asyncio.get_running_loop().time
        due = now()
        for sent, frame in enumerate(self._chunks(), start=1):
            if pace and sent > 1:
                due += pace
                await exchange.pause(due - now())
            await exchange.write(frame)
            entry.chunks_sent = sent
            if sent in points and await self._struck(sent):
                return True
        return False

    async def _send_closing(self) -> None:
        *frames, last = self._closing()
        for frame in frames:
            await self._exchange.write(frame)
        # One line end still closes the line; what is missing is the blank line after it.
        await self._exchange.finish(last.removesuffix(self._style.eol) if self._options.no_final_blank else last)

    async def _struck(self, sent: int) -> bool:
        """Does what the options plan after so many chunks; true when the stream is over."""
        options, exchange = self._options, self._exchange
        if sent == options.malformed:
            await exchange.write(self._style.frame(BROKEN_JSON))
        if sent == options.error_chunk:
            await exchange.finish(self._style.frame(self._error()))
            return True
        if sent == options.stall_chunk:
            await exchange.stall()
        if sent == options.cut_clean:
            await exchange.finish()
            return True
        return sent == options.cut

    def _opening(self) -> Iterator[bytes]:
        reply, options = self._reply, self._options
        if options.dialect == "azure":
            results = orjson.dumps(prompt_filter_results())
            yield self._style.frame(
                self._base + b'],"prompt_filter_results":' + results + self._style.null_usage + b"}"
            )
        delta: dict[str, object] = {"role": "assistant", "content": "", "refusal": None}
        if reply.reasoning is not None:
            delta = {"role": "assistant", "content": None, REASONING_FIELDS[options.dialect]: ""}
        elif reply.tool is not None:
            function = {"name": reply.tool.name, "arguments": ""}
            call = {"index": 0, "id": reply.tool.id, "type": "function", "function": function}
            delta = {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None}
        for index in range(reply.choices):
            yield self._frame(index, orjson.dumps(delta), b"null", self._style.null_usage)

    def _chunks(self) -> Iterator[bytes]:
        reply, style, cut = self._reply, self._style, self._cutter.cut
        heads = [style.lead + self._base + b'{"index":%d,"delta":' % index for index in range(reply.choices)]
        if reply.reasoning is not None:
            field = orjson.dumps(REASONING_FIELDS[self._options.dialect])
            for tail in cut(reply.reasoning, Tail(b"{" + field + b":", b"}"), style):
                yield from [head + tail for head in heads]
        for tail in cut(reply.answer, CONTENT if reply.tool is None else ARGUMENTS, style):
            for head in heads:
                yield head + tail

    def _closing(self) -> Iterator[bytes]:
        reply, style, options = self._reply, self._style, self._options
        reason, usage = orjson.dumps(reply.finish_reason), self._usage
        on_finish = usage is not None and options.reports("on_finish")
        for index in range(reply.choices):
            ends = on_finish and index == reply.choices - 1
            yield self._frame(index, b"{}", reason, b',"usage":' + orjson.dumps(usage) if ends else style.null_usage)
        if usage is not None and not on_finish:
            yield style.frame(self._base + b'],"usage":' + orjson.dumps(usage) + b"}")
        if not options.no_done:
            yield style.frame(b"[DONE]")

    def _frame(self, index: int, delta: bytes, reason: bytes, usage: bytes) -> bytes:
        choice = b'{"index":%d,"delta":%b,"logprobs":null,"finish_reason":%b' % (index, delta, reason)
        return self._style.frame(self._base + choice + self._style.choice_end + b"}]" + usage + b"}")

    def _error(self) -> bytes:
        kind, code, message = fault_fields(self._options)
        if not self._options.error_finish:
            return write_error(kind, message, code)
        error = orjson.dumps({"code": 502, "message": message, "metadata": {"error_type": kind}})
        return self._base + b'{"index":0,"delta":{"content":""},"finish_reason":"error"}],"error":' + error + b"}"


def _volunteers(options: Options) -> bool:
    return options.reports("always") or options.reports("on_finish")


def _choose_style(options: Options, *, null_usage: bool) -> Style:
    eol = b"\r\n" if options.crlf else b"\r" if options.cr else b"\n"
    lead = b"data:" if options.nospace else b"data: "
    if options.comments:
        lead = b": keep-alive" + eol + eol + lead
    extras = choice_extras(options)
    return Style(
        lead=lead,
        eol=eol,
        choice_end=b"," + orjson.dumps(extras)[1:-1] if extras else b"",
        null_usage=b',"usage":null' if null_usage else b"",
    )
