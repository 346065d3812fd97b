"""Who waits for money that others hold: a crowd on a well-funded account is served, not refused."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from app.errors import GatewayError
from app.ledger.records import Hold, Refusal
from app.ledger.waiting import WaitingRoom
from app.ledger.writer import LedgerWriter
from tests.ledger.bank import Bank, Customer, amounts, counters, eventually, hold, make_ask, released, settle, settled

PATIENCE = 20.0


def enter(room: WaitingRoom, customer: Customer, want: int, minimum: int | None = None) -> asyncio.Task[Hold | Refusal]:
    """Somebody who asks, and waits if told to."""
    ask = make_ask(customer, want, minimum, patient=True)
    return asyncio.create_task(room.hold(ask, lambda _: None))


async def queued(room: WaitingRoom, count: int) -> None:
    async def enough() -> bool:
        return room.waiting == count

    await eventually(enough)


async def test_a_crowd_whose_holds_fill_a_budget_is_served_in_full(bank: Bank) -> None:
    """Holds of 100 on 2,500 let 25 in at once; each spends 2. Elsewhere the other 475 were refused at next to no cost."""
    customer = await bank.customer(2500)
    rooms = [WaitingRoom(bank.writer(), PATIENCE) for _ in range(2)]

    async def call(room: WaitingRoom, ledger: LedgerWriter) -> None:
        held = await room.hold(make_ask(customer, 100, 10, patient=True), lambda _: None)
        assert isinstance(held, Hold)
        assert held.amount == 100
        await asyncio.sleep(0.002)
        ledger.settle(settled(held, 2))

    await asyncio.gather(*(call(room, room._ledger) for room in rooms for _ in range(250)))
    await bank.close_writers()
    assert counters(await bank.account(customer)) == (2500, 1500, 0, 1000)


def _note(order: list[int], number: int, _task: object) -> None:
    order.append(number)


async def test_the_first_come_are_the_first_served(bank: Bank) -> None:
    customer = await bank.customer(100)
    ledger = bank.writer()
    room = WaitingRoom(ledger, PATIENCE)
    first = await hold(ledger, customer, 100)
    order: list[int] = []
    waiting = []
    for number in range(40):
        task = enter(room, customer, 100)
        task.add_done_callback(partial(_note, order, number))
        waiting.append(task)
        await queued(room, number + 1)
    held = first
    for task in waiting:
        await settle(ledger, released(held))
        granted = await task
        assert isinstance(granted, Hold)
        held = granted
    await asyncio.sleep(0)  # the last one's note is made in the next turn of the loop
    assert order == list(range(40))


async def test_what_another_process_settles_is_noticed(bank: Bank) -> None:
    customer = await bank.customer(100)
    other = bank.writer()
    held = await hold(other, customer, 100)
    room = WaitingRoom(bank.writer(), PATIENCE)
    task = enter(room, customer, 80)
    await queued(room, 1)
    await settle(other, settled(held, 15))
    assert amounts([await task]) == [80]


async def test_those_who_are_short_in_the_end_are_told_at_once(bank: Bank) -> None:
    """The one before spends what they were waiting for."""
    customer = await bank.customer(100)
    ledger = bank.writer()
    held = await hold(ledger, customer, 100)
    room = WaitingRoom(ledger, PATIENCE)
    tasks = [enter(room, customer, 50) for _ in range(5)]
    await queued(room, 5)
    await settle(ledger, settled(held, 60))
    assert amounts(await asyncio.gather(*tasks)) == [Refusal.ACCOUNT_SHORT] * 5


@pytest.mark.parametrize(("taken", "given"), [(60, 40), (95, Refusal.HELD)])
async def test_patience_that_has_run_out_takes_what_there_is(bank: Bank, taken: int, given: int | Refusal) -> None:
    customer = await bank.customer(100)
    ledger = bank.writer()
    await hold(ledger, customer, taken)
    room = WaitingRoom(ledger, 0.3)
    assert amounts([await enter(room, customer, 90, 10)]) == [given]


async def test_one_who_leaves_the_line_holds_nothing(bank: Bank) -> None:
    customer = await bank.customer(100)
    ledger = bank.writer()
    held = await hold(ledger, customer, 100)
    room = WaitingRoom(ledger, PATIENCE)
    tasks = [enter(room, customer, 100) for _ in range(20)]
    await queued(room, 20)
    for task in tasks[:19]:
        task.cancel()
    await settle(ledger, released(held))
    assert amounts([await tasks[19]]) == [100]
    assert {type(outcome) for outcome in await asyncio.gather(*tasks[:19], return_exceptions=True)} == {
        asyncio.CancelledError
    }
    last = tasks[19].result()
    assert isinstance(last, Hold)
    await settle(ledger, released(last))
    assert counters(await bank.account(customer)) == (100, 100, 0, 0)


async def test_another_key_of_the_account_does_not_queue_behind_an_exhausted_one(bank: Bank) -> None:
    tight = await bank.customer(1000, quota=10)
    free = await bank.key(tight.account_id)
    ledger = bank.writer()
    await hold(ledger, tight, 10)
    room = WaitingRoom(ledger, PATIENCE)
    waiter = enter(room, tight, 10)
    await queued(room, 1)
    assert amounts([await enter(room, free, 500)]) == [500]
    waiter.cancel()
    await room.close()


async def test_a_stop_tells_those_who_wait(bank: Bank) -> None:
    customer = await bank.customer(100)
    ledger = bank.writer()
    await hold(ledger, customer, 100)
    room = WaitingRoom(ledger, PATIENCE)
    task = enter(room, customer, 100)
    await queued(room, 1)
    await room.close()
    with pytest.raises(GatewayError) as refused:
        await task
    assert refused.value.code == "service_unavailable"
