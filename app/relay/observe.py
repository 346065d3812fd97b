"""One log record and a few metrics a request, gathered and written off the request's path."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.core.background import end_task
from app.core.money import NANO_PER_DOLLAR, write_amount
from app.errors import GatewayError
from app.ledger.writer import LedgerWriter
from app.relay.bill import Bill
from app.relay.exchange import Exchange
from app.relay.watch import Watch
from app.routing.board import Board

FLUSH_INTERVAL = 0.25
FLUSHES_A_COUNT = 4
"""Flushes between counts of the loop's tasks, which take a while where there are thousands."""

MAX_CODES = 200
Counts = dict[tuple[str, ...], float]
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    """What /metrics shows of the relay. Labels are bounded: formats, models of the catalogue, channels, error codes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "relaygate_requests", "Requests answered, by HTTP status and error code.",
            ("format", "status", "code"), registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "relaygate_request_seconds", "From the request's head to the end of its answer.",
            ("format", "stream"), buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.first_byte = Histogram(
            "relaygate_first_byte_seconds", "From the request's head to the first byte of its answer.",
            ("format", "stream"), buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.tokens = Counter(
            "relaygate_tokens", "Tokens charged, estimates not included.", ("model", "direction"), registry=registry
        )
        self.charged = Counter("relaygate_charged_dollars", "Cost of usage.", ("model",), registry=registry)
        self._codes: set[str] = set()
        self.open_requests = Gauge(
            "relaygate_open_requests", "Requests being served.", registry=registry, multiprocess_mode="livesum"
        )
        self.ledger_pending = Gauge(
            "relaygate_ledger_pending", "Settlements not yet durable.", registry=registry, multiprocess_mode="livesum"
        )
        self.outages_found = Counter(
            "relaygate_channel_outages", "Times that a channel, or a model or key of it, was found to be out.",
            ("channel", "kind"), registry=registry,
        )  # fmt: skip
        self.outages = Gauge(
            "relaygate_outages", "Channels, models and keys of channels that are out now.",
            registry=registry, multiprocess_mode="livemax",
        )  # fmt: skip
        self.tasks = Gauge(
            "relaygate_tasks", "Tasks of the event loop.", registry=registry, multiprocess_mode="livesum"
        )
        self._timers: dict[tuple[int, tuple[str, ...]], Histogram] = {}
        self.attempts = Counter(
            "relaygate_attempts", "Upstream calls, by channel and result.", ("channel", "result"), registry=registry
        )

    def count(self, records: Sequence[Record]) -> None:
        """Counts a block of requests: sums first, so that each series is looked up and locked once a block."""
        requests: Counts = defaultdict(float)
        attempts: Counts = defaultdict(float)
        tokens: Counts = defaultdict(float)
        charged: Counts = defaultdict(float)
        for record in records:
            exchange, bill = record.exchange, record.bill
            requests[record.format, str(exchange.status), self._bounded(record.error)] += 1
            timing = (record.format, "true" if bill is not None and bill.request.stream else "false")
            self._timer(self.seconds, timing).observe(record.seconds)
            if bill is None:
                continue
            if exchange.first_byte is not None:
                self._timer(self.first_byte, timing).observe(exchange.first_byte - exchange.started)
            for channel, code in bill.failed:
                attempts[channel, self._bounded(code)] += 1
            if bill.channel is not None and bill.attempts > len(bill.failed):
                attempts[bill.channel.name, self._bounded(record.error) or "ok"] += 1
            if bill.usage is not None:
                tokens[_model_of(bill), "input"] += bill.usage.input_tokens
                tokens[_model_of(bill), "output"] += bill.usage.output_tokens
            charged[(_model_of(bill),)] += bill.charge
        for counter, counts in (
            (self.requests, requests),
            (self.attempts, attempts),
            (self.tokens, tokens),
            (self.charged, charged),
        ):
            unit = NANO_PER_DOLLAR if counter is self.charged else 1
            for labels, amount in counts.items():
                counter.labels(*labels).inc(amount / unit)

    def note_board(self, board: Board) -> None:
        """What was found to be out since the last time, and what is now."""
        self.outages.set(sum(map(len, board.outages.values())))
        found, board.opened = board.opened, []
        for channel, kind in found:
            self.outages_found.labels(channel, kind.value).inc()

    def _bounded(self, code: str | None) -> str:
        """Some codes are an upstream's own words: only so many become series."""
        if code is None:
            return ""
        if code not in self._codes and len(self._codes) >= MAX_CODES:
            return "other"
        self._codes.add(code)
        return code

    def _timer(self, histogram: Histogram, labels: tuple[str, ...]) -> Histogram:
        timer = self._timers.get((id(histogram), labels))
        if timer is None:
            timer = self._timers[id(histogram), labels] = histogram.labels(*labels)
        return timer


@dataclass(frozen=True, slots=True)
class Record:
    """One finished request."""

    exchange: Exchange
    format: str
    bill: Bill | None
    error: str | None
    seconds: float


class Observer:
    """Takes a record a request; writes them in blocks. Up to a quarter of a second of log is lost at a kill -9."""

    def __init__(
        self,
        registry: CollectorRegistry,
        watch: Watch,
        ledger: LedgerWriter,
        board: Board,
        output: BinaryIO | None = None,
    ) -> None:
        self._watch = watch
        self._board = board
        self._ledger = ledger
        self.metrics = Metrics(registry)
        self._output = sys.stdout.buffer if output is None else output
        self._records: list[Record] = []
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        await end_task(self._task)
        self.flush()

    def record(self, exchange: Exchange, format: str, bill: Bill | None, error: GatewayError | None) -> None:
        """Notes a finished request; nothing is rendered here."""
        code = error.code if error is not None else None if bill is None else bill.error
        clock = asyncio.get_running_loop().time
        self._records.append(Record(exchange, format, bill, code, clock() - exchange.started))

    def flush(self) -> None:
        self.metrics.open_requests.set(len(self._watch.open))
        self.metrics.ledger_pending.set(self._ledger.pending)
        self.metrics.note_board(self._board)
        records, self._records = self._records, []
        if not records:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.metrics.count(records)
        self._output.write(b"".join(self._line(record, now) for record in records))
        self._output.flush()

    async def _run(self) -> None:
        while True:
            for _ in range(FLUSHES_A_COUNT):
                await asyncio.sleep(FLUSH_INTERVAL)
                self.flush()
            self.metrics.tasks.set(len(asyncio.all_tasks()))

    def _line(self, record: Record, now: str) -> bytes:
        exchange, bill = record.exchange, record.bill
        fields: dict[str, object] = {
            "timestamp": now,
            "level": "info" if exchange.status < 500 else "warning",
            "event": "request",
            "request_id": exchange.label,
            "format": record.format,
            "status": exchange.status,
            "ms": int(record.seconds * 1000),
        }
        if record.error is not None:
            fields["error"] = record.error
        if bill is not None:
            fields |= _bill_fields(bill, exchange)
        return orjson.dumps(fields) + b"\n"


def _model_of(bill: Bill) -> str:
    """For a label: names that match a wildcard are without number."""
    model = bill.plan.model if bill.pick is None else bill.pick.model
    return model.pattern or model.name


def _bill_fields(bill: Bill, exchange: Exchange) -> dict[str, object]:
    fields: dict[str, object] = {
        "account_id": bill.admission.hold.account_id,
        "model": bill.plan.model.name if bill.pick is None else bill.pick.model.name,
        "channel": None if bill.channel is None else bill.channel.name,
        "attempts": bill.attempts,
        "stream": bill.request.stream,
        "first_byte_ms": exchange.first_byte_ms(),
        "charged": write_amount(bill.charge),
    }
    if bill.usage is not None:
        fields["input_tokens"] = bill.usage.input_tokens
        fields["output_tokens"] = bill.usage.output_tokens
    return fields
