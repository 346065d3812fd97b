"""What converting costs, pair by pair: an ordinary request, and a chunk of ordinary text, in microseconds of one core."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from app.core.conversation import BlockEnded, BlockStarted, Event, Finish, Finished, Grown, Reported, Started, Text
from app.core.usage import Usage
from app.formats import discover
from app.formats.base import Format, Request, Stamp, Target
from app.relay.converter import Converter

REQUEST_MUST = 60.0
CHUNK_MUST = 15.0

ROUNDS = 7
LEAST = 0.05
"""Seconds that a round takes at least; the fastest of the rounds counts: whatever slows one is the machine."""

CHUNKS = 200
WORD = " tokens"
STAMP = Stamp("0" * 32, 1_800_000_000)
NO_QUIRKS: frozenset[str] = frozenset()

TURNS = (
    "You answer in plain words, and briefly.",
    "What is a gateway, and why would a team put one before the models that it uses?",
    "A gateway is one door: it checks who comes in, keeps count of what is used, and finds the way to a model that answers.",
    "And what does it cost in time? Please tell me in two or three sentences, without figures if they aren't known.",
)


@dataclass(frozen=True, slots=True)
class Cost:
    """One pair's costs, in microseconds."""

    client: str
    upstream: str
    request: float
    chunk: float


def bench_conversion() -> list[Cost]:
    """The costs of all crossed pairs."""
    formats = discover()
    return [_measure(client, upstream) for client in formats for upstream in formats if client is not upstream]


def format_conversion(costs: list[Cost]) -> str:
    """A table, with the budget's verdict in the last column."""
    lines = [
        f"Conversion, µs: a request of {len(TURNS)} turns (must {REQUEST_MUST:.0f}), a chunk of text (must {CHUNK_MUST:.0f})",
        "",
    ]
    for cost in costs:
        verdict = "must" if cost.request <= REQUEST_MUST and cost.chunk <= CHUNK_MUST else "below"
        lines.append(
            f"{cost.client:20} -> {cost.upstream:20} request {cost.request:6.1f}  chunk {cost.chunk:5.1f}  {verdict}"
        )
    return "\n".join(lines)


def _measure(client: Format, upstream: Format) -> Cost:
    request = _read(client, stream=True)
    ask = client.read_ask(request)
    target = Target("model", None, 4096)
    frames = list(_frames(upstream))

    def convert_request() -> None:
        upstream.write_ask(client.read_ask(request), target)

    def convert_stream() -> None:
        converter = Converter(
            upstream.open_reader(NO_QUIRKS), client.open_writer(request, ask, STAMP), comments=client.comments
        )
        for frame in frames:
            converter.feed(frame)
        converter.end()
        assert converter.complete, converter.error

    return Cost(client.name, upstream.name, _time(convert_request) * 1e6, _time(convert_stream) * 1e6 / CHUNKS)


def _time(work: Callable[[], None]) -> float:
    """Seconds of one call, in the fastest of some rounds."""
    work()
    best = float("inf")
    for _ in range(ROUNDS):
        calls, began = 0, time.perf_counter()
        while (taken := time.perf_counter() - began) < LEAST:
            work()
            calls += 1
        best = min(best, taken / calls)
    return best


def _frames(upstream: Format) -> Iterator[bytes]:
    """A stream as this upstream sends it: its own writer's, piece by piece."""
    request = _read(upstream, stream=True)
    writer = upstream.open_writer(request, upstream.read_ask(request), STAMP)
    usage = Usage(input_tokens=90, output_tokens=CHUNKS)
    events: list[Event] = [Started("x", "model", STAMP.created), BlockStarted(Text(""))]
    events += [Grown(WORD)] * CHUNKS
    events += [BlockEnded(), Finished(Finish.STOP), Reported(usage)]
    for event in events:
        if frame := writer.write(event):
            yield frame
    yield writer.end()


def _read(format: Format, *, stream: bool) -> Request:
    """The same conversation as a client of this format puts it."""
    system, first, answer, second = TURNS
    path, query = "", b""
    body: dict[str, Any]
    match format.name:
        case "gemini_generate":
            path, query = "/v1beta/models/model:streamGenerateContent", b"alt=sse"
            turns = [("user", first), ("model", answer), ("user", second)]
            body = {
                "systemInstruction": {"parts": [{"text": system}]},
                "contents": [{"role": role, "parts": [{"text": text}]} for role, text in turns],
                "generationConfig": {"maxOutputTokens": 500},
            }
        case "openai_responses":
            turns = [("user", first), ("assistant", answer), ("user", second)]
            body = {
                "model": "model",
                "instructions": system,
                "input": [{"role": role, "content": text} for role, text in turns],
                "max_output_tokens": 500,
                "stream": stream,
            }
        case "anthropic_messages":
            turns = [("user", first), ("assistant", answer), ("user", second)]
            body = {
                "model": "model",
                "system": system,
                "messages": [{"role": role, "content": text} for role, text in turns],
                "max_tokens": 500,
                "stream": stream,
            }
        case _:
            turns = [("system", system), ("user", first), ("assistant", answer), ("user", second)]
            body = {
                "model": "model",
                "messages": [{"role": role, "content": text} for role, text in turns],
                "max_tokens": 500,
                "stream": stream,
            }
    return format.read_request(json.dumps(body).encode(), path, query)
