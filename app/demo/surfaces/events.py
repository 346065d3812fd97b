"""Streams of events that are known before the first of them leaves, for the formats that need no more."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from app.demo.answers import Answer
from app.demo.exchange import Exchange
from app.demo.openai_errors import fault_fields, write_error
from app.demo.options import Options
from app.demo.streaming import FaultyStream, read_framing

DONE = b"[DONE]"
LONG = 64

Event = Mapping[str, Any] | bytes


class EventStream(FaultyStream):
    """Counted chunks, then the events that end the answer; bytes go out as they are, after `data:`."""

    def __init__(self, exchange: Exchange, options: Options, chunks: Sequence[Event], closing: Iterable[Event]) -> None:
        self._framing = read_framing(options)
        super().__init__(exchange, options, self._framing.eol)
        self._counted = chunks
        self._ends = closing

    @property
    def _long(self) -> bool:
        return len(self._counted) > LONG

    def _opening(self) -> Iterator[bytes]:
        yield from ()

    def _chunks(self) -> Iterator[bytes]:
        return (self._frame(event) for event in self._counted)

    def _closing(self) -> Iterator[bytes]:
        return (self._frame(event) for event in self._ends)

    def _error(self) -> bytes:
        kind, code, message = fault_fields(self._options)
        return self._framing.frame(write_error(kind, message, code))

    def _broken(self) -> bytes:
        return self._framing.frame(b'{"type":"brok')

    def _frame(self, event: Event) -> bytes:
        return self._framing.frame(event if isinstance(event, bytes) else _write(event))


def read_pieces(answer: Answer) -> list[str]:
    """An answer's text as it will be streamed; halves of characters included."""
    return [json.loads(piece) for piece in answer.pieces]


def _write(event: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(event)
    except TypeError:  # half a character, which `surrogates` asks for
        return json.dumps(event, separators=(",", ":")).encode()
