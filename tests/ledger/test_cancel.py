"""A caller that goes away while it waits for its hold loses no money, whenever it goes, and disturbs nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from app.errors import GatewayError
from app.ledger.records import Ask, Hold, Refusal
from app.ledger.writer import LedgerWriter
from tests.ledger.bank import Bank, Customer, amounts, counters, make_ask


def ask_for(writer: LedgerWriter, asks: Sequence[Ask]) -> list[asyncio.Task[Hold | Refusal]]:
    """One waiting caller for each ask; they have asked once the loop has turned."""
    return [asyncio.create_task(writer.hold(ask)) for ask in asks]


def cancel_when_answered(task: asyncio.Task[Hold | Refusal], ask: Ask) -> None:
    """Cancels the caller in the very turn of the loop in which its answer is there.

    Call before the task runs: callbacks of a future run in the order they were added, so this one comes before the
    wake-up of the task that is about to wait for it.
    """
    ask.reply.add_done_callback(lambda _: task.cancel())


async def assert_untouched(bank: Bank, writer: LedgerWriter, customer: Customer, granted: int) -> None:
    """Nothing is held, nothing was charged, and the writer remembers nothing."""
    assert await writer.flush(10)
    assert await bank.holds(customer) == {}
    assert counters(await bank.account(customer)) == (granted, granted, 0, 0)
    assert writer.open == set()


async def test_before_it_was_sent(bank: Bank) -> None:
    customer = await bank.customer(1000)
    writer = bank.writer()
    ask = make_ask(customer, 100)
    (task,) = ask_for(writer, [ask])
    await asyncio.sleep(0)
    assert writer.open == {ask.id}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await assert_untouched(bank, writer, customer, 1000)
    assert await bank.entries(customer) == []


async def test_while_it_waits_for_a_lane(bank: Bank) -> None:
    customer = await bank.customer(1000)
    writer = bank.writer(lanes=1)
    async with bank.lock(customer):
        (first,) = ask_for(writer, [make_ask(customer, 100)])
        await bank.waiting(1)
        second, third = ask_for(writer, [make_ask(customer, 100), make_ask(customer, 100)])
        await asyncio.sleep(0)
        second.cancel()
    replies = await asyncio.gather(first, second, third, return_exceptions=True)
    assert isinstance(replies[1], asyncio.CancelledError)
    assert await writer.flush(10)
    assert counters(await bank.account(customer)) == (1000, 800, 200, 0)
    assert len(writer.open) == 2


async def test_while_it_is_in_flight_the_others_of_its_batch_go_on(bank: Bank) -> None:
    customer = await bank.customer(300)
    writer = bank.writer(lanes=1)
    asks = [make_ask(customer, 100) for _ in range(4)]
    async with bank.lock(customer):
        tasks = ask_for(writer, asks)
        await bank.waiting(1)
        tasks[1].cancel()
        tasks[3].cancel()  # it would have been refused
        await asyncio.wait({tasks[1], tasks[3]})
        assert tasks[1].cancelled()
        assert tasks[3].cancelled()
    assert amounts([await tasks[0], await tasks[2]]) == [100, 100]
    assert await writer.flush(10)
    assert await bank.holds(customer) == {asks[0].id: 100, asks[2].id: 100}
    assert counters(await bank.account(customer)) == (300, 100, 200, 0)
    (entry,) = await bank.entries(customer)
    assert (entry["id"], entry["status"], entry["charged"]) == (asks[1].id, "released", 0)
    assert entry["error"] == "client_closed_request"
    assert writer.open == {asks[0].id, asks[2].id}


async def test_in_the_very_turn_in_which_it_was_granted(bank: Bank) -> None:
    customer = await bank.customer(1000)
    writer = bank.writer()
    ask = make_ask(customer, 100)
    (task,) = ask_for(writer, [ask])
    cancel_when_answered(task, ask)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ask.reply.result() == 100, "the hold was granted, and yet the caller didn't get it"
    await assert_untouched(bank, writer, customer, 1000)
    assert [entry["status"] for entry in await bank.entries(customer)] == ["released"]


async def test_in_the_very_turn_in_which_it_was_refused(bank: Bank) -> None:
    customer = await bank.customer(10)
    writer = bank.writer()
    ask = make_ask(customer, 100)
    (task,) = ask_for(writer, [ask])
    cancel_when_answered(task, ask)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ask.reply.result() == Refusal.ACCOUNT_SHORT
    await assert_untouched(bank, writer, customer, 10)
    assert await bank.entries(customer) == []


async def test_in_the_very_turn_in_which_the_database_was_lost(bank: Bank) -> None:
    customer = await bank.customer(1000)
    writer = bank.writer(lanes=1)
    ask = make_ask(customer, 100)
    async with bank.lock(customer):
        (task,) = ask_for(writer, [ask])
        cancel_when_answered(task, ask)
        await bank.terminate(await bank.waiting(1))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert isinstance(ask.reply.exception(), GatewayError)
    await assert_untouched(bank, writer, customer, 1000)


async def test_everyone_at_once(bank: Bank) -> None:
    """Callers that go at every turn of the loop's: no hold outlives its caller."""
    customer = await bank.customer(20_000, quota=20_000)
    writer = bank.writer()
    kept: list[Hold] = []
    for turns in range(40):
        tasks = ask_for(writer, [make_ask(customer, 100) for _ in range(4)])
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks[:3]:
            task.cancel()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        kept += [reply for reply in replies if isinstance(reply, Hold)]
        assert isinstance(replies[3], Hold)
    assert await writer.flush(10)
    assert await bank.holds(customer) == {held.id: 100 for held in kept}
    assert writer.open == {held.id for held in kept}
