"""Holds whose process died are resolved once, and those of the living are left alone."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from app.ledger.sweep import (
    BATCH,
    _resolve,
    count_instances,
    end_lease,
    find_dead_owners,
    release_strays,
    renew_lease,
    resolve_orphans,
)
from tests.ledger.bank import Bank, counters, hold, hold_together, make_ask, settle, settled


async def stray(bank: Bank, owner: UUID, known: set[UUID]) -> int:
    """The stray sweep for holds of any age."""
    return await _resolve(bank.engine, owner, age=0, known=known, status="released", error="stray")


async def test_a_dead_process_is_charged_its_input(bank: Bank) -> None:
    customer = await bank.customer(1000, quota=800)
    writer = bank.writer()
    held = await hold(writer, customer, 300, orphan_charge=40, input_tokens=17, stream=True)
    free = await hold(writer, customer, 0)
    assert await resolve_orphans(bank.engine, writer.owner) == 2
    assert await bank.holds(customer) == {}
    assert counters(await bank.account(customer)) == (1000, 960, 0, 40)
    assert counters(await bank.key_wallet(customer)) == (800, 760, 0, 40)
    first, second = await bank.entries(customer)
    assert (first["id"], first["held"], first["charged"], second["id"]) == (held.id, 300, 40, free.id)
    for entry in (first, second):
        assert (entry["status"], entry["error"], entry["estimated"]) == ("orphaned", "process_died", True)
        assert (entry["channel_id"], entry["latency_ms"], entry["first_byte_ms"]) == (None, None, None)
        assert (entry["uncollected"], entry["attempts"]) == (0, 0)
    assert first["usage"] == '{"input_tokens": 17, "output_tokens": 0}'
    assert await resolve_orphans(bank.engine, writer.owner) == 0


async def test_a_process_that_comes_back_settles_in_vain(bank: Bank) -> None:
    """It was taken for dead and its hold is an entry already: the second settlement changes nothing."""
    customer = await bank.customer(1000)
    writer = bank.writer()
    held = await hold(writer, customer, 300, orphan_charge=40)
    await resolve_orphans(bank.engine, writer.owner)
    await settle(writer, settled(held, 250))
    assert counters(await bank.account(customer)) == (1000, 960, 0, 40)
    assert [entry["charged"] for entry in await bank.entries(customer)] == [40]


async def test_processes_are_counted_while_their_lease_runs(own_bank: Bank) -> None:
    """The owner of media tasks, whose lease never ends, isn't one."""
    first, second, lapsed = (own_bank.writer().owner for _ in range(3))
    assert await count_instances(own_bank.engine) == 0
    for owner, lease in ((first, 60.0), (second, 60.0), (lapsed, -1.0), (first, 60.0)):
        await renew_lease(own_bank.engine, owner, lease)
    assert await count_instances(own_bank.engine) == 2
    await end_lease(own_bank.engine, first)
    assert await count_instances(own_bank.engine) == 1


async def test_only_owners_without_a_lease_are_dead(own_bank: Bank) -> None:
    customer = await own_bank.customer(1000)
    alive, lapsed, gone, idle = (own_bank.writer() for _ in range(4))
    for writer in (alive, lapsed, gone):
        await hold(writer, customer, 100)
    for writer in (alive, idle, gone):
        await renew_lease(own_bank.engine, writer.owner, 60)
    await renew_lease(own_bank.engine, lapsed.owner, -1)
    await renew_lease(own_bank.engine, idle.owner, -1)
    assert await find_dead_owners(own_bank.engine) == {lapsed.owner}
    await end_lease(own_bank.engine, gone.owner)
    assert await find_dead_owners(own_bank.engine) == {lapsed.owner, gone.owner}
    for owner in await find_dead_owners(own_bank.engine):
        assert await resolve_orphans(own_bank.engine, owner) == 1
    assert await find_dead_owners(own_bank.engine) == set()
    assert len(await own_bank.holds(customer)) == 1
    await renew_lease(own_bank.engine, lapsed.owner, 60)  # it was only slow: it goes on
    await hold(lapsed, customer, 100)
    assert await find_dead_owners(own_bank.engine) == set()
    assert (await own_bank.audit()).ok


async def test_leases_of_the_long_dead_are_forgotten(own_bank: Bank) -> None:
    customer = await own_bank.customer(1000)
    forgotten, recent, holding, dead = (own_bank.writer() for _ in range(4))
    await hold(holding, customer, 100)
    for writer, lease in ((forgotten, -3700), (recent, -3500), (holding, -3700)):
        await renew_lease(own_bank.engine, writer.owner, lease)
    await resolve_orphans(own_bank.engine, dead.owner)
    rows = await own_bank.fetch("SELECT id FROM instances")
    # And the owner of media tasks' holds, whose lease never ends.
    assert {row["id"] for row in rows} == {recent.owner, holding.owner, UUID(int=0)}


async def test_strays_are_given_back_and_known_holds_kept(bank: Bank) -> None:
    customer = await bank.customer(1000)
    writer, other = bank.writer(), bank.writer()
    known, lost = (
        await hold(writer, customer, 100, orphan_charge=50),
        await hold(writer, customer, 200, orphan_charge=50),
    )
    foreign = await hold(other, customer, 300)
    assert await release_strays(bank.engine, writer.owner, {known.id}) == 0, "too young to be sure of"
    assert await stray(bank, writer.owner, {known.id}) == 1
    assert await bank.holds(customer) == {known.id: 100, foreign.id: 300}
    (entry,) = await bank.entries(customer)
    assert (entry["id"], entry["status"], entry["charged"], entry["error"]) == (lost.id, "released", 0, "stray")
    assert (entry["usage"], entry["estimated"]) == ("{}", False)
    assert counters(await bank.account(customer)) == (1000, 600, 400, 0)
    assert await stray(bank, writer.owner, {known.id}) == 0
    assert await stray(bank, writer.owner, set()) == 1


async def test_age_is_counted_from_when_the_hold_was_made(bank: Bank) -> None:
    customer = await bank.customer(1000)
    writer = bank.writer()
    old, young = await hold(writer, customer, 100), await hold(writer, customer, 100)
    await bank.fetch("UPDATE holds SET created_at = now() - interval '61 seconds' WHERE id = $1", old.id)
    assert await release_strays(bank.engine, writer.owner, set()) == 1
    assert await bank.holds(customer) == {young.id: 100}


@pytest.mark.parametrize("sweepers", [1, 2])
async def test_more_holds_than_one_statement_resolves(bank: Bank, sweepers: int) -> None:
    """Two sweepers at once: each hold ends once, whoever gets it."""
    customers = [await bank.customer(10**6, quota=10**6) for _ in range(3)]
    writer = bank.writer()
    count = 2 * BATCH + 150
    asks = [make_ask(customers[number % 3], 100, orphan_charge=10) for number in range(count)]
    await hold_together(writer, asks)
    totals = await asyncio.gather(*(resolve_orphans(bank.engine, writer.owner) for _ in range(sweepers)))
    assert sum(totals) == count
    for customer in customers:
        entries = await bank.entries(customer)
        assert {(entry["status"], entry["charged"]) for entry in entries} == {("orphaned", 10)}
        assert counters(await bank.account(customer)) == (10**6, 10**6 - 10 * len(entries), 0, 10 * len(entries))
        assert await bank.holds(customer) == {}


async def test_a_sweep_beside_live_settlements(bank: Bank) -> None:
    """A process that was taken for dead settles while it is swept: each hold ends one way or the other, never both."""
    customers = [await bank.customer(10**6) for _ in range(10)]
    writer = bank.writer()
    for _ in range(5):
        granted = await asyncio.gather(
            *(hold(writer, customer, 100, orphan_charge=10) for customer in customers for _ in range(20))
        )
        await asyncio.gather(
            settle(writer, *(settled(held, 60) for held in granted)),
            resolve_orphans(bank.engine, writer.owner),
            stray(bank, writer.owner, set()),
        )
        for customer in customers:
            assert await bank.holds(customer) == {}
    for customer in customers:
        entries = await bank.entries(customer)
        assert len(entries) == 100
        charges = {"settled": 60, "orphaned": 10, "released": 0}
        assert all(entry["charged"] == charges[entry["status"]] for entry in entries)
