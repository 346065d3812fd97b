"""An answer in the format of OpenAI's Responses as a stream of numbered events."""

from collections.abc import Iterator
from typing import Any

import orjson

from app.demo.exchange import Exchange
from app.demo.openai_errors import fault_fields
from app.demo.options import Options
from app.demo.responses_answer import Item
from app.demo.responses_store import begin
from app.demo.streaming import FaultyStream, read_framing

BROKEN_JSON = b'{"type":"response.output_text.delta","delta":"brok'


class ResponseStream(FaultyStream):
    """One streamed response; with `after`, what follows the event of that number."""

    def __init__(
        self,
        exchange: Exchange,
        options: Options,
        response: dict[str, Any],
        items: list[Item],
        *,
        long: bool,
        after: int = -1,
    ) -> None:
        self._framing = read_framing(options)
        super().__init__(exchange, options, self._framing.eol)
        self._response = response
        self._items = items
        self._outlasts = long
        self._after = after
        self._number = 0
        # Events that go out with the next chunk.
        self._pending = b""

    @property
    def _long(self) -> bool:
        return self._outlasts

    def _opening(self) -> Iterator[bytes]:
        begun = begin(self._response, "in_progress")
        if self._response["background"]:
            queued = begin(self._response, "queued")
            yield self._event("response.created", response=queued)
            yield self._event("response.queued", response=queued)
        else:
            yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)

    def _chunks(self) -> Iterator[bytes]:
        for index, item in enumerate(self._items):
            whole = item.whole
            place = {"item_id": whole["id"], "output_index": index}
            self._add("response.output_item.added", output_index=index, item=_empty(whole))
            match whole["type"]:
                case "reasoning" if item.answer is not None:
                    yield from self._stream_summary(item, {**place, "summary_index": 0})
                case "message":
                    yield from self._stream_part(item, {**place, "content_index": 0})
                case "function_call":
                    yield from self._stream_deltas("response.function_call_arguments", item, place)
                    self._add("response.function_call_arguments.done", **place, arguments=whole["arguments"])
            self._add("response.output_item.done", output_index=index, item=whole)

    def _closing(self) -> Iterator[bytes]:
        status = self._response["status"]
        if not self._options.no_done:
            self._add(f"response.{status}", response=self._response)
        yield self._take()

    def _stream_summary(self, item: Item, place: dict[str, Any]) -> Iterator[bytes]:
        part = item.whole["summary"][0]
        self._add("response.reasoning_summary_part.added", **place, part={**part, "text": ""})
        yield from self._stream_deltas("response.reasoning_summary_text", item, place)
        self._add("response.reasoning_summary_text.done", **place, text=part["text"])
        self._add("response.reasoning_summary_part.done", **place, part=part)

    def _stream_part(self, item: Item, place: dict[str, Any]) -> Iterator[bytes]:
        part = item.whole["content"][0]
        if part["type"] == "refusal":
            self._add("response.content_part.added", **place, part={**part, "refusal": ""})
            yield from self._stream_deltas("response.refusal", item, place)
            self._add("response.refusal.done", **place, refusal=part["refusal"])
        else:
            self._add("response.content_part.added", **place, part={**part, "text": "", "annotations": []})
            yield from self._stream_deltas("response.output_text", item, {**place, "logprobs": []})
            for number, annotation in enumerate(part["annotations"]):
                told = {"annotation_index": number, "annotation": annotation}
                self._add("response.output_text.annotation.added", **place, **told)
            self._add("response.output_text.done", **place, text=part["text"], logprobs=[])
        self._add("response.content_part.done", **place, part=part)

    def _stream_deltas(self, name: str, item: Item, place: dict[str, Any]) -> Iterator[bytes]:
        for piece in item.answer.pieces if item.answer is not None else ():
            self._add(f"{name}.delta", **place, delta=orjson.Fragment(piece))
            yield self._take()

    def _error(self) -> bytes:
        kind, code, message = fault_fields(self._options)
        code = code or kind
        if self._options.error_finish:
            self._add("error", code=code, message=message, param=None)
        else:
            failed = {**begin(self._response, "failed"), "error": {"code": code, "message": message}}
            self._add("response.failed", response=failed)
        return self._take()

    def _broken(self) -> bytes:
        return self._take() + self._framing.event(b"response.output_text.delta", BROKEN_JSON)

    def _add(self, name: str, **fields: Any) -> None:
        self._pending += self._event(name, **fields)

    def _take(self) -> bytes:
        pending, self._pending = self._pending, b""
        return pending

    def _event(self, name: str, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        if number <= self._after:
            return b""
        data = orjson.dumps({"type": name, "sequence_number": number, **fields})
        return self._framing.event(name.encode(), data)


def _empty(item: dict[str, Any]) -> dict[str, Any]:
    """An item before anything has streamed into it."""
    match item["type"]:
        case "message":
            return {**item, "status": "in_progress", "content": []}
        case "function_call":
            return {**item, "status": "in_progress", "arguments": ""}
        case _:
            return {**item, "summary": []}
