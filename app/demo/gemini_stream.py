"""An answer in Gemini's format as a stream: server-sent events, or one JSON array that grows."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from app.demo.asgi import Headers
from app.demo.exchange import Exchange
from app.demo.faults import JSON
from app.demo.gemini_answer import Part, write_calls, write_finish
from app.demo.gemini_errors import make_trouble
from app.demo.gemini_turns import sign_text
from app.demo.media.google import write_error
from app.demo.options import Options
from app.demo.saying import Said
from app.demo.streaming import SSE, FaultyStream, read_framing

BROKEN_JSON = b'{"candidates":[{"content":{"parts":[{"text":"brok'


@dataclass(frozen=True, slots=True)
class Telling:
    """What an answer tells, streamed or whole: that of each candidate, the fields that end every chunk, the usage so far.

    `blocked` is the whole of an answer to a prompt that was blocked.
    """

    said: Said
    candidates: int
    ends: dict[str, Any]
    usage: Callable[[int], dict[str, Any] | None]
    blocked: bytes | None = None


class ContentStream(FaultyStream):
    """One streamed answer. Every chunk repeats the usage; a call comes whole, in a chunk of its own."""

    def __init__(self, exchange: Exchange, options: Options, telling: Telling, *, array: bool) -> None:
        # The official SDK chokes on comments, and Google sends none.
        self._framing = None if array else read_framing(options, comments=False)
        super().__init__(exchange, options, b"\n" if self._framing is None else self._framing.eol)
        self._telling = telling
        self._begun = False

    @property
    def headers(self) -> Headers:
        """An array is JSON, and no event stream."""
        return (JSON,) if self._framing is None else SSE

    @property
    def _long(self) -> bool:
        return self._telling.said.long

    def _opening(self) -> Iterator[bytes]:
        return iter(())

    def _chunks(self) -> Iterator[bytes]:
        said = self._telling.said
        if self._telling.blocked is not None:
            return
        visible = 0
        for piece in said.thought.pieces if said.thought is not None else ():
            yield self._write({"text": json.loads(piece), "thought": True}, 0)
        for piece in said.text.pieces if said.text is not None and said.stop != "refusal" else ():
            visible = min(visible + 1, said.tokens)
            yield self._write({"text": json.loads(piece)}, visible)
        for part in write_calls(said.calls, self._options):
            yield self._write(part, said.tokens)

    def _closing(self) -> Iterator[bytes]:
        telling = self._telling
        said, finish = telling.said, write_finish(telling.said, self._options)
        last: Part = {"text": ""}
        if said.thought_tokens and said.text is not None and not said.calls:
            last["thoughtSignature"] = sign_text(said.text.text)
        content = {} if said.stop == "refusal" else {"content": {"role": "model", "parts": [last]}}
        candidates = [{**content, **finish, "index": index} for index in range(telling.candidates)]
        frame = self._frame(telling.blocked or self._dump({"candidates": candidates}, said.tokens))
        yield frame + b"\n]" if self._framing is None else frame

    def _write(self, part: Part, visible: int) -> bytes:
        content = {"role": "model", "parts": [part]}
        candidates = [{"content": content, "index": index} for index in range(self._telling.candidates)]
        return self._frame(self._dump({"candidates": candidates}, visible))

    def _dump(self, body: dict[str, Any], visible: int) -> bytes:
        usage = self._telling.usage(visible)
        told = {**body, **({} if usage is None else {"usageMetadata": usage}), **self._telling.ends}
        try:
            return orjson.dumps(told)
        except TypeError:  # half a character, which JSON knows as an escape alone
            return json.dumps(told).encode()

    def _frame(self, data: bytes) -> bytes:
        if self._framing is not None:
            return self._framing.frame(data)
        lead, self._begun = (b"\n,\r\n" if self._begun else b"["), True
        return lead + data

    def _error(self) -> bytes:
        frame = self._frame(write_error(make_trouble(self._options, 503)).body)
        return frame + b"\n]" if self._framing is None else frame

    def _broken(self) -> bytes:
        return self._frame(BROKEN_JSON)
