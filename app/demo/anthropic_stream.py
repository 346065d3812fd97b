"""An answer in Anthropic's format as a stream of named events."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from app.demo.anthropic_answer import Block
from app.demo.anthropic_errors import fault_fields, write_error
from app.demo.exchange import Exchange
from app.demo.options import Options
from app.demo.streaming import FaultyStream, read_framing

BROKEN_JSON = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"brok'
EARLY_OUTPUT_TOKENS = 1


class MessageStream(FaultyStream):
    """One streamed message: `message` as it stands at the start, then its blocks, then why it ends and what it used."""

    def __init__(
        self,
        exchange: Exchange,
        options: Options,
        message: dict[str, Any],
        blocks: Sequence[Block],
        ending: dict[str, Any],
        *,
        long: bool,
    ) -> None:
        self._framing = read_framing(options)
        super().__init__(exchange, options, self._framing.eol)
        self._message = message
        self._blocks = blocks
        self._ending = ending
        self._outlasts = long
        # Events that go out with the next chunk.
        self._pending = b""

    @property
    def _long(self) -> bool:
        return self._outlasts

    def _opening(self) -> Iterator[bytes]:
        message = dict(self._message)
        if isinstance(message.get("usage"), dict):
            message["usage"] = {**message["usage"], "output_tokens": EARLY_OUTPUT_TOKENS}
            message["usage"].pop("output_tokens_details", None)
        yield self._event("message_start", message=message)
        yield self._event("ping")

    def _chunks(self) -> Iterator[bytes]:
        for index, block in enumerate(self._blocks):
            self._pending += self._event("content_block_start", index=index, content_block=block.start)
            kind, field = block.kind
            head = b'{"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":' % (
                index,
                kind.encode(),
                field.encode(),
            )
            for piece in block.pieces:
                yield self._take() + self._framing.event(b"content_block_delta", head + piece + b"}}")
            for delta in block.ends:
                self._pending += self._event("content_block_delta", index=index, delta=delta)
            self._pending += self._event("content_block_stop", index=index)

    def _closing(self) -> Iterator[bytes]:
        usage = self._message.get("usage")
        told = {} if usage is None else {"usage": {name: usage[name] for name in usage if name not in UNTOLD}}
        last = self._take() + self._event("message_delta", delta=self._ending, **told)
        yield last
        if not self._options.no_done:
            yield self._event("message_stop")

    def _error(self) -> bytes:
        kind, message, code = fault_fields(self._options, 529)
        request_id = f"req_demo_{self._exchange.entry.id}"
        return self._take() + self._framing.event(b"error", write_error(kind, message, request_id, code))

    def _broken(self) -> bytes:
        return self._take() + self._framing.event(b"content_block_delta", BROKEN_JSON)

    def _take(self) -> bytes:
        pending, self._pending = self._pending, b""
        return pending

    def _event(self, name: str, **fields: Any) -> bytes:
        return self._framing.event(name.encode(), orjson.dumps({"type": name, **fields}))


# What `message_delta` doesn't repeat of the usage.
UNTOLD = ("cache_creation", "service_tier")
