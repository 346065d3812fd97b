"""OpenAI's `/v1/batches` (openai-python 3.54.0, `types/batch*.py`): every line is really answered, by the demo itself.

A batch is `validating` once it is made, `in_progress` at the first look, and final at the second: that is when its lines are
answered. `polls=N` in the model's name in the first line makes it the Nth look. Lines that fail go to the error file; a
line that can't be read fails the batch.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.demo.exchange import Exchange
from app.demo.openai_errors import Refusal
from app.demo.options import OptionsError, read_pairs, split_model
from app.demo.routes import Route, Router
from app.demo.shapes import Record, Text
from app.demo.surfaces.batch_lines import BadLine, Line, Tally, read_lines, write_line
from app.demo.surfaces.clerk import METADATA, Clerk, Shelf, new_id, now, write_page
from app.demo.surfaces.files import EXPIRES, Files, read_expiry
from app.demo.surfaces.inside import post_inside
from app.demo.surfaces.intake import Asked, Intake, below_bases
from app.demo.surfaces.spool import Spool

DAY = 86_400
LOOKS = 2
ENDPOINTS = (
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
)
MOMENTS = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
CREATE = Record(
    needs={"input_file_id": Text(), "endpoint": Text(ENDPOINTS), "completion_window": Text(("24h",))},
    may={"metadata": METADATA, "output_expires_after": EXPIRES},
    nulls=True,
    open=True,
)


@dataclass(slots=True, eq=False)
class Batch:
    """One batch; `looks` are those that it takes until it is final."""

    id: str
    credential: str
    fields: dict[str, Any]
    created_at: int
    status: str = "validating"
    looks: int = LOOKS
    lines: list[Line] = field(default_factory=list)
    moments: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: {"total": 0, "completed": 0, "failed": 0})
    errors: list[dict[str, Any]] = field(default_factory=list)
    output_file_id: str | None = None
    error_file_id: str | None = None
    tally: Tally = field(default_factory=Tally)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def final(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in ("completed", "failed", "cancelled")

    @property
    def model(self) -> str | None:
        """The one that its lines name, if they name one."""
        named = {split_model(str(line.body.get("model", "")))[0] for line in self.lines}
        return named.pop() if len(named) == 1 else None

    def enter(self, status: str) -> None:
        """Goes on to another status."""
        self.status = status
        self.moments[status] = now()

    def render(self) -> dict[str, Any]:
        """As OpenAI shows it."""
        usage = self.tally.render() if self.final else None
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.fields["endpoint"],
            "model": self.model,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.fields["input_file_id"],
            "completion_window": self.fields["completion_window"],
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created_at,
            "expires_at": self.created_at + DAY,
            **{f"{name}_at": self.moments.get(name) for name in MOMENTS},
            "request_counts": dict(self.counts),
            "metadata": self.fields.get("metadata"),
            **({} if usage is None else {"usage": usage}),
        }


class Batches:
    """Takes files of requests, and answers them with files."""

    def __init__(self, intake: Intake, files: Files, router: Router) -> None:
        self._clerk = Clerk(intake, "batches")
        self._shelf: Shelf[Batch] = Shelf("Batch")
        self._files = files
        self._router = router

    def routes(self) -> list[Route]:
        """Those of every base."""
        return below_bases(
            [
                ("POST", "/batches", self.create),
                ("GET", "/batches", self.list),
                ("GET", "/batches/{batch_id}", self.retrieve),
                ("POST", "/batches/{batch_id}/cancel", self.cancel),
            ]
        )

    async def create(self, exchange: Exchange) -> None:
        """`POST /v1/batches`."""

        def make(asked: Asked) -> Any:
            file = self._files.shelf.find(asked.fields["input_file_id"], asked.credential)
            if file is None or file.purpose != "batch":
                message = f"Invalid 'input_file_id': no file {asked.fields['input_file_id']} of purpose 'batch'."
                raise Refusal(400, message, code="invalid_value", param="input_file_id")
            batch = Batch(new_id("batch_"), asked.credential, asked.fields, now())
            self._shelf.put(batch.id, asked.credential, batch)
            return batch.render()

        await self._clerk.serve(exchange, make, CREATE)

    async def list(self, exchange: Exchange) -> None:
        """`GET /v1/batches`: as they are, which isn't a look."""
        await self._clerk.serve(
            exchange,
            lambda asked: write_page(exchange, [batch.render() for batch in self._shelf.all(asked.credential)]),
        )

    async def retrieve(self, exchange: Exchange, batch_id: str) -> None:
        """`GET /v1/batches/{id}`: a look at it."""

        async def make(asked: Asked) -> Any:
            batch = self._shelf.get(batch_id, asked.credential)
            async with batch.lock:
                await self._look(batch)
            return batch.render()

        await self._clerk.serve(exchange, make)

    async def cancel(self, exchange: Exchange, batch_id: str) -> None:
        """`POST /v1/batches/{id}/cancel`: it is `cancelled` as of the next look."""

        def make(asked: Asked) -> Any:
            batch = self._shelf.get(batch_id, asked.credential)
            if batch.final or batch.status == "cancelling":
                raise Refusal(400, f"Cannot cancel a batch with status '{batch.status}'.")
            batch.enter("cancelling")
            return batch.render()

        await self._clerk.serve(exchange, make)

    async def _look(self, batch: Batch) -> None:
        batch.looks -= 1
        if batch.status == "cancelling":
            batch.enter("cancelled")
        elif batch.status == "validating":
            self._validate(batch)
        if batch.status == "in_progress" and batch.looks <= 0:
            await self._run(batch)

    def _validate(self, batch: Batch) -> None:
        file = self._files.shelf.find(batch.fields["input_file_id"], batch.credential)
        try:
            if file is None:
                raise BadLine(1, "file_not_found", "The input file is gone.", "input_file_id")
            batch.lines = list(read_lines(file.spool.read(), batch.fields["endpoint"]))
        except BadLine as bad:
            batch.errors.append(bad.error)
            batch.enter("failed")
            return
        batch.counts["total"] = len(batch.lines)
        batch.looks += _count_looks(batch.lines[0]) - LOOKS
        batch.enter("in_progress")

    async def _run(self, batch: Batch) -> None:
        good, bad = Spool(), Spool()
        for line in batch.lines:
            body = orjson.dumps(line.body)
            answered = await post_inside(self._router, batch.fields["endpoint"], body, batch.credential)
            told, well, reply = write_line(line, answered)
            (good if well else bad).write(orjson.dumps(told) + b"\n")
            batch.counts["completed" if well else "failed"] += 1
            if well and isinstance(reply, dict):
                batch.tally.add(reply.get("usage"))
            if batch.status == "cancelling":  # it was cancelled meanwhile
                break
        batch.output_file_id = self._keep(batch, good, "output")
        batch.error_file_id = self._keep(batch, bad, "error")
        if batch.status == "cancelling":
            batch.enter("cancelled")
            return
        batch.enter("finalizing")
        batch.enter("completed")

    def _keep(self, batch: Batch, spool: Spool, kind: str) -> str | None:
        if not spool.size:
            return None
        seconds = read_expiry(batch.fields.get("output_expires_after"))
        return self._files.add(batch.credential, f"{batch.id}_{kind}.jsonl", "batch_output", spool, seconds).id


def _count_looks(line: Line) -> int:
    try:
        pairs = read_pairs(split_model(str(line.body.get("model", "")))[1])
    except OptionsError:
        return LOOKS
    polls = pairs.get("polls", "")
    return max(LOOKS, int(polls)) if polls.isdecimal() else LOOKS
