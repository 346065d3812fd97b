"""The queue's statements on a real database: nothing moves back, a lost claim writes nothing, and money moves once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalog.prices import read_price
from app.core.media import Job, Scope, Status
from app.core.usage import Usage
from app.media import queue
from app.media.queue import Claim, Progress
from app.media.runner import Runner
from app.media.settle import Ending, Prices, end_task
from app.media.store import NewTask, ask_to_cancel, open_task
from app.media.task import Source, Task
from tests.ledger.bank import Bank, Customer, eventually

PRICE = read_price({"per_second": "0.1"})
GRANTED, HELD, CHARGED = 10_000_000_000, 800_000_000, 500_000_000
MADE = Ending(Status.SUCCESS, usage=Usage(milliseconds=5000))
FAILED = Ending(Status.FAILURE, fail_reason="No.", fail_code="upstream_failed")
OPEN = [Status.SUBMITTED, Status.QUEUED, Status.IN_PROGRESS]


@dataclass
class Line:
    """One database; each task has an account of its own unless told otherwise."""

    bank: Bank

    async def open(self, customer: Customer | None = None, **columns: Any) -> Task:
        """A task whose money is held; `columns` are written over its row."""
        customer = customer or await self.bank.customer(GRANTED)
        new = NewTask(
            account_id=customer.account_id,
            key_id=customer.key_id,
            request_id=uuid4(),
            source=Source.V2,
            model="m",
            platform="demo",
            job=Job(Scope.VIDEOS, "m", "A cat"),
            units={"videos": 1, "milliseconds": 8000},
            amount=HELD,
            price_id=None,
            ratio_ppm=1_000_000,
            group_ppm=1_000_000,
            tokens=None,
            seconds=3600,
        )
        async with self.bank.engine.begin() as connection:
            task = await open_task(connection, new, uuid4().hex)
        assert isinstance(task, Task)
        if columns:
            await self.change(task, **columns)
        return task

    async def change(self, task: Task, **columns: Any) -> None:
        sets = ", ".join(f"{name} = ${place}" for place, name in enumerate(columns, start=3))
        query = f"UPDATE tasks SET {sets} WHERE account_id = $1 AND id = $2"
        await self.bank.fetch(query, task.account_id, task.id, *columns.values())

    async def time_passes(self, task: Task) -> None:
        """It is due, and whoever had it has let its claim run out."""
        query = "UPDATE tasks SET due_at = now(), claimed_until = NULL WHERE account_id = $1 AND id = $2"
        await self.bank.fetch(query, task.account_id, task.id)

    async def rest(self) -> None:
        """No task of an earlier test falls due while this one counts what it claims."""
        await self.bank.fetch("UPDATE tasks SET due_at = now() + interval '1 hour' WHERE step IS NOT NULL")

    async def row(self, task: Task) -> dict[str, Any]:
        query = "SELECT *, due_at > now() AS later FROM tasks WHERE account_id = $1 AND id = $2"
        return dict((await self.bank.fetch(query, task.account_id, task.id))[0])

    async def claim(self, task: Task) -> Claim | None:
        """A claim of a task that is due, if it isn't final."""
        async with self.bank.engine.begin() as connection:
            polls, _ = await queue.claim_polls(connection, room=10_000, places={}, usual=10_000, seconds=30)
            orders, _ = await queue.claim_orders(connection, room=10_000, seconds=30)
        return next((claim for claim in [*polls, *orders] if claim.id == task.id), None)

    async def write(self, work: Callable[[AsyncConnection], Awaitable[Any]]) -> Any:
        async with self.bank.engine.begin() as connection:
            return await work(connection)

    async def end(self, claim: Claim, ending: Ending) -> Task | None:
        prices = Prices(PRICE)
        return cast(
            "Task | None", await self.write(lambda connection: end_task(connection, claim, ending, prices, str))
        )


@pytest.fixture(scope="module")
async def line(migrated_database: Callable[[], str]) -> AsyncIterator[Line]:
    bank = Bank(migrated_database())
    yield Line(bank)
    audit = await bank.audit()
    assert audit.ok, audit
    await bank.close()


async def claimed(line: Line, step: str = "poll", **columns: Any) -> tuple[Task, Claim]:
    task = await line.open(step=step, channel_id=1, upstream_id="u", status="SUBMITTED", **columns)
    claim = await line.claim(task)
    assert claim is not None
    return task, claim


# -- random orders ---------------------------------------------------------------------------------------------------

KINDS = ["claim", "poll", "submitted", "sending", "refuse", "fault", "renew", "give_back", "end", "fail"]
KINDS += ["claim", "poll", "cancel", "late", "retake"]
STEPS = st.tuples(
    st.sampled_from(KINDS),
    st.integers(0, 3),
    st.sampled_from(OPEN),
    st.integers(0, 99),
)


async def step(line: Line, task: Task, kind: str, claim: Claim, status: Status, progress: int) -> Claim | None:
    """One statement of a worker that has this claim, or had it."""
    write = line.write
    match kind:
        case "poll":
            polled = Progress(claim, 0.0, status=status, progress=progress)
            await write(lambda connection: queue.record_polls(connection, [polled]))
        case "submitted":
            told: dict[str, Any] = {
                "status": status,
                "progress": progress,
                "upstream_id": "u",
                "memo": {},
                "pause": 0.0,
            }
            await write(lambda connection: queue.record_submitted(connection, claim, **told))
        case "sending":
            to: dict[str, Any] = {
                "channel_id": 1,
                "upstream_model": "u",
                "platform": "demo",
                "price_id": None,
                "cost_id": None,
            }
            await write(lambda connection: queue.mark_sending(connection, claim, **to))
        case "refuse":
            why: dict[str, Any] = {
                "step": "sending",
                "tried": (1,),
                "rounds": 0,
                "fault": "upstream_lost",
                "pause": 0.0,
            }
            await write(lambda connection: queue.record_refusal(connection, claim, **why))
        case "fault":
            await write(lambda connection: queue.record_fault(connection, claim, "internal_error", 0.0))
        case "renew":
            await write(lambda connection: queue.renew(connection, [claim], 30))
        case "give_back":
            await write(lambda connection: queue.give_back(connection, [claim]))
        case "retake":
            return cast(
                "Claim | None",
                await write(lambda connection: queue.retake(connection, replace(claim, channel_id=1), 30)),
            )
        case "end" | "fail":
            await line.end(claim, MADE if kind == "end" else FAILED)
    return None


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first_step=st.sampled_from(["submit", "poll"]), steps=st.lists(STEPS, min_size=4, max_size=25))
async def test_nothing_moves_back_and_money_moves_once(
    line: Line, first_step: str, steps: list[tuple[str, int, Status, int]]
) -> None:
    task = await line.open(step=first_step, channel_id=1)
    customer = Customer(task.account_id, task.key_id)
    first = await line.claim(task)
    assert first is not None
    claims = [first]
    was = await line.row(task)
    for kind, which, status, progress in steps:
        claim = claims[-1 - which % len(claims)]
        match kind:
            case "claim":
                await line.time_passes(task)
                made = await line.claim(task)
            case "late":
                await line.bank.fetch(
                    "UPDATE tasks SET deadline_at = now() WHERE id = $1 AND step IS NOT NULL", task.id
                )
                made = None
            case "cancel":
                await line.write(lambda connection: ask_to_cancel(connection, task.account_id, task.id))
                made = None
            case _:
                made = await step(line, task, kind, claim, status, progress)
        claims += [] if made is None else [made]
        now = await line.row(task)
        stale = claim.claim != was["claim"] and kind not in ("claim", "late", "cancel", "retake")
        if stale or was["step"] is None:
            assert {**now, "later": 0, "due_at": 0} == {**was, "later": 0, "due_at": 0} or kind == "claim"
        assert Status(now["status"]).rank >= Status(was["status"]).rank
        assert now["progress"] >= was["progress"]
        assert now["claim"] >= was["claim"]
        was = now
    done = was["step"] is None
    wallet = await line.bank.account(customer)
    charged = CHARGED if was["status"] == "SUCCESS" else 0
    assert (wallet.held, wallet.charged) == ((0, charged) if done else (HELD, 0))
    if not done:
        await line.time_passes(task)
        last = await line.claim(task)
        assert last is not None
        assert await line.end(last, FAILED) is not None
    entries = await line.bank.entries(customer)
    assert [(entry["status"], entry["charged"]) for entry in entries] == [
        ("settled", CHARGED) if charged else ("released", 0)
    ]
    wallet = await line.bank.account(customer)
    assert (wallet.balance, wallet.held) == (GRANTED - charged, 0)


# -- money -----------------------------------------------------------------------------------------------------------


async def test_two_that_end_it_at_once_settle_once(line: Line) -> None:
    task, claim = await claimed(line)
    ended = await asyncio.gather(*(line.end(claim, ending) for ending in (MADE, FAILED, MADE, FAILED)))
    assert sum(found is not None for found in ended) == 1
    customer = Customer(task.account_id, task.key_id)
    (entry,) = await line.bank.entries(customer)
    wallet = await line.bank.account(customer)
    assert wallet.balance == GRANTED - entry["charged"]
    assert await line.bank.holds(customer) == {}


# -- claims ----------------------------------------------------------------------------------------------------------


async def test_what_was_let_go_meanwhile_is_not_renewed(line: Line) -> None:
    """A renewal that was under way would have it rest for a whole lease."""
    task, claim = await claimed(line)
    await step(line, task, "poll", claim, Status.QUEUED, 1)
    await step(line, task, "renew", claim, Status.QUEUED, 1)
    assert (await line.row(task))["claimed_until"] is None


async def test_a_cancelled_task_is_not_sent(line: Line) -> None:
    task = await line.open()
    claim = await line.claim(task)
    assert claim is not None
    await line.write(lambda connection: ask_to_cancel(connection, task.account_id, task.id))
    await step(line, task, "sending", claim, Status.QUEUED, 0)
    assert (await line.row(task))["step"] == "submit"


@pytest.mark.parametrize(
    ("step_now", "found"), [("sending", True), ("stuck", True), ("poll", False), ("submit", False)]
)
async def test_a_late_answer_gets_its_claim_back_where_nobody_knows_better(
    line: Line, step_now: str, found: bool
) -> None:
    task, lost = await claimed(line, step="sending")
    await line.time_passes(task)
    assert await line.claim(task) is not None
    await line.change(task, step=step_now)
    own = await step(line, task, "retake", lost, Status.QUEUED, 0)
    assert (own is not None) is found
    if own is not None:
        await step(line, task, "submitted", own, Status.QUEUED, 7)
        row = await line.row(task)
        assert (row["step"], row["status"], row["progress"]) == ("poll", "QUEUED", 7)
    other = await step(line, task, "retake", lost, Status.QUEUED, 0)
    assert other is None


async def test_a_channel_without_places_does_not_starve_the_one_behind_it(line: Line) -> None:
    busy, free = 71, 72
    await line.rest()
    customer = await line.bank.customer(10 * GRANTED)
    for _ in range(12):
        await line.open(customer, step="poll", channel_id=busy)
    behind = {(await line.open(customer, step="poll", channel_id=free)).id for _ in range(2)}

    async def claim(places: dict[int, int]) -> list[Claim]:
        found, _ = await line.write(
            lambda connection: queue.claim_polls(connection, room=8, places=places, usual=8, seconds=30)
        )
        return cast("list[Claim]", found)

    assert [claim.channel_id for claim in await claim({busy: 1})] == [busy]
    assert {claim.id for claim in await claim({busy: 0})} == behind
    assert len(await claim({busy: 3})) == 3
    assert len(await claim({})) == 8
    assert await claim({}) == []


# -- when it is looked at next ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pause", [0.5, 60.0])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kind", ["poll", "fault"])
async def test_it_is_looked_at_by_its_deadline_and_never_without_a_pause_after_it(
    line: Line, pause: float, late: bool, kind: str
) -> None:
    task, claim = await claimed(line)
    shift = "- interval '1 hour'" if late else "+ interval '30 seconds'"
    await line.bank.fetch(f"UPDATE tasks SET deadline_at = now() {shift} WHERE id = $1", task.id)
    if kind == "poll":
        polled = Progress(claim, pause, fault="upstream_error")
        await line.write(lambda connection: queue.record_polls(connection, [polled]))
    else:
        await line.write(lambda connection: queue.record_fault(connection, claim, "internal_error", pause))
    row = await line.row(task)
    assert row["later"]
    assert late or row["due_at"] <= row["deadline_at"]
    assert (row["faults"], row["claimed_until"]) == (1, None)


@pytest.mark.parametrize("knew", [False, True])
async def test_a_cancellation_during_a_poll_is_seen_to_at_once(line: Line, knew: bool) -> None:
    task, claim = await claimed(line)
    if knew:
        claim = replace(claim, cancelled=True)
    await line.write(lambda connection: ask_to_cancel(connection, task.account_id, task.id))
    polled = Progress(claim, 60.0, status=Status.IN_PROGRESS, uncancelled=knew)
    await line.write(lambda connection: queue.record_polls(connection, [polled]))
    row = await line.row(task)
    assert (row["later"], row["cancelled"]) == ((True, False) if knew else (False, True))


# -- what can't be written -------------------------------------------------------------------------------------------

UNWRITABLE: dict[str, dict[str, Any]] = {
    "a zero byte": {"fault": "a\0b"},
    "half a character": {"fault": "\ud800"},
    "a zero byte in the memo": {"memo": {"a": "\0"}},
    "half a character in the memo": {"memo": {"a": "\ud800"}},
    "no progress": {"progress": 1_000_000},
    "a status that ends it": {"status": Status.SUCCESS},
    "no number": {"pause": float("nan")},
}


async def test_what_cannot_be_written_takes_no_other_poll_along(line: Line) -> None:
    """Two hundred polls in one batch, some of which no database takes; a memo of a megabyte it does take."""
    customer = await line.bank.customer(100 * GRANTED)
    tasks = [await line.open(customer, step="poll", channel_id=1, upstream_id="u") for _ in range(60)]
    found, _ = await line.write(
        lambda connection: queue.claim_polls(connection, room=1000, places={}, usual=1000, seconds=30)
    )
    claims = {claim.id: claim for claim in found}
    runner = Runner(line.bank.engine, *(cast("Any", None),) * 3, CollectorRegistry(), 30.0)
    bad = dict(zip((task.id for task in tasks[::7]), UNWRITABLE.items(), strict=False))
    assert len(bad) == len(UNWRITABLE)
    for task in tasks:
        fields: dict[str, Any] = {"pause": 5.0, "status": Status.QUEUED, "memo": {"of": task.id}}
        if task is tasks[1]:
            fields["memo"] = {"of": task.id, "long": "x" * 1_000_000}
        if task.id in bad:
            fields |= bad[task.id][1]
        runner._write(Progress(claims[task.id], **fields))

    async def written() -> bool:
        rows = [await line.row(task) for task in tasks]
        return all(row["claimed_until"] is None for row in rows)

    await eventually(written)
    for task in tasks:
        row = await line.row(task)
        assert row["later"]
        if task.id in bad:
            name = bad[task.id][0]
            assert (row["faults"], row["last_fault"]) == (1, "internal_error"), name
            assert (row["status"], row["step"]) == ("NOT_START", "poll"), name
        else:
            assert (row["polls"], row["status"]) == (1, "QUEUED")
