"""The end of a task, in one transaction: its status, its money, and the row of its callback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from app.catalog.prices import Price
from app.core.media import Status
from app.core.usage import Usage
from app.ledger.lasting import LastingSettlement, settle, terms_of
from app.ledger.wallets import lock_account
from app.media.queue import MINE, Claim, mine
from app.media.store import VISIBLE, read_task
from app.media.task import StoredOutput, Task
from app.webhooks.outbox import add_callback


@dataclass(frozen=True, slots=True)
class Ending:
    """How a task ends. `usage`, only with success: what is charged for. `assumed`: the same with a length that is a guess."""

    status: Status
    outputs: tuple[StoredOutput, ...] = ()
    usage: Usage | None = None
    estimated: bool = False
    assumed: Usage | None = None
    fail_reason: str = ""
    fail_code: str | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """What a task is charged at, and what the vendor takes; None: unknown."""

    price: Price
    cost: Price | None = None


_END = text(
    f"""
    UPDATE tasks t SET step = NULL, status = :status, progress = 100, outputs = :outputs, fail_reason = :fail_reason,
        fail_code = :fail_code, finished_at = clock_timestamp(), claimed_until = NULL,
        started_at = CASE WHEN :status = 'SUCCESS' THEN COALESCE(t.started_at, clock_timestamp()) ELSE t.started_at END
    {MINE} RETURNING t.hold_id, t.price_id, t.notify_hook, {", ".join(f"t.{column.name}" for column in VISIBLE)}
    """  # noqa: S608
).bindparams(bindparam("outputs", type_=JSONB))


async def end_task(
    connection: AsyncConnection,
    claim: Claim,
    ending: Ending,
    prices: Prices,
    write: Callable[[Task], str],
) -> Task | None:
    """Status, money and callback, in the caller's transaction; None, and nothing done, if the claim was lost.

    What a success is charged is its usage at `prices`, times the ratios that the hold was made with. `write` makes the
    callback's body.
    """
    await lock_account(connection, claim.account_id)
    values = {
        "status": ending.status.value,
        "outputs": [asdict(output) for output in ending.outputs],
        "fail_reason": ending.fail_reason,
        "fail_code": ending.fail_code,
    }
    row = (await connection.execute(_END, mine(claim) | values)).mappings().one_or_none()
    if row is None:
        return None
    task = read_task(row)
    await _settle(connection, task, row["hold_id"], row["price_id"], ending, prices)
    if row["notify_hook"] is not None:
        await add_callback(connection, task.account_id, row["notify_hook"], write(task))
    return task


async def _settle(
    connection: AsyncConnection,
    task: Task,
    hold_id: UUID,
    price_id: int | None,
    ending: Ending,
    prices: Prices,
) -> None:
    terms = await terms_of(connection, task.account_id, hold_id)
    usage = ending.usage
    assert task.finished_at is not None
    settlement = LastingSettlement(
        task.channel_id,
        price_id,
        charge=0 if usage is None else prices.price.cost(usage, terms.ratio_ppm, terms.group_ppm),
        cost=None if usage is None or prices.cost is None else prices.cost.cost(usage),
        usage=usage,
        estimated=ending.estimated,
        latency_ms=int((task.finished_at - task.created_at).total_seconds() * 1000),
        error=ending.fail_code,
    )
    await settle(connection, task.account_id, hold_id, terms, settlement)
