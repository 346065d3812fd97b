"""The database goes away at bad moments: callers are told, money is neither lost nor stuck, and all goes on by itself."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from app.db.embedded import EmbeddedPostgres
from app.db.migrate import migrate
from app.errors import GatewayError
from app.ledger.records import Hold, Refusal
from app.ledger.sweep import _resolve, release_strays, resolve_orphans
from app.ledger.writer import RETRY_PAUSE, LedgerWriter
from tests.ledger.bank import Bank, Customer, counters, eventually, hold, make_ask, settled
from tests.ledger.proxy import Proxy


@pytest.fixture
async def proxy(bank: Bank, work_dir: Path) -> AsyncIterator[Proxy]:
    async with Proxy(bank.url, work_dir / uuid4().hex[:8]) as running:
        yield running


async def assert_only_held(bank: Bank, writer: LedgerWriter, customer: Customer, holds: list[Hold]) -> None:
    """These holds are open and no others, for the writer as for the database."""
    assert await writer.flush(10)
    assert await bank.holds(customer) == {held.id: held.amount for held in holds}
    assert writer.open == {held.id for held in holds}


@pytest.mark.parametrize("lanes", [1, 2])
async def test_a_backend_is_terminated_in_the_middle_of_a_batch(bank: Bank, lanes: int) -> None:
    customer = await bank.customer(1000)
    writer = bank.writer(lanes=lanes)
    kept, ending = await hold(writer, customer, 100), await hold(writer, customer, 100)
    async with bank.lock(customer):
        writer.settle(settled(ending, 30))
        tasks = [asyncio.create_task(writer.hold(make_ask(customer, 100))) for _ in range(3)]
        await bank.terminate(await bank.waiting(1))
        for task in tasks:
            with pytest.raises(GatewayError, match="service_unavailable") as raised:
                await task
            assert raised.value.status == 503
        assert not await writer.flush(0.2), "the settlement waits for the lock"
        assert writer.pending > 0
    await assert_only_held(bank, writer, customer, [kept])
    assert [(e["id"], e["charged"]) for e in await bank.entries(customer)] == [(ending.id, 30)]
    assert counters(await bank.account(customer)) == (1000, 870, 100, 30)


async def test_a_batch_that_was_committed_but_never_answered(bank: Bank, proxy: Proxy) -> None:
    """The worst moment: the settlement is sent again and the hold, which exists, is found and given back."""
    customer = await bank.customer(1000)
    writer = bank.writer(lanes=1, url=proxy.url)
    ending = await hold(writer, customer, 100)
    proxy.mute()
    writer.settle(settled(ending, 30))
    ask = make_ask(customer, 200)
    task = asyncio.create_task(writer.hold(ask))

    async def committed() -> bool:
        return await bank.holds(customer) == {ask.id: 200}

    await eventually(committed)
    proxy.cut()
    proxy.resume()
    with pytest.raises(GatewayError, match="service_unavailable"):
        await task
    await assert_only_held(bank, writer, customer, [])
    assert [(e["status"], e["charged"]) for e in await bank.entries(customer)] == [("settled", 30), ("released", 0)]
    assert counters(await bank.account(customer)) == (1000, 970, 0, 30)


async def test_a_batch_that_arrives_after_its_release(
    bank: Bank, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hold is a stray: the writer has done with it, so the stray sweep gives it back and leaves the others alone."""
    monkeypatch.setattr("app.ledger.writer.STATEMENT_TIMEOUT", 0.2)
    customer = await bank.customer(1000)
    writer = bank.writer(lanes=1, url=proxy.url)
    known = await hold(writer, customer, 50)
    proxy.freeze(newcomers=False)
    ask = make_ask(customer, 200)
    with pytest.raises(GatewayError, match="service_unavailable"):
        await writer.hold(ask)
    await assert_only_held(bank, writer, customer, [known])
    proxy.resume()

    async def arrived() -> bool:
        return await bank.holds(customer) == {known.id: 50, ask.id: 200}

    await eventually(arrived)
    assert await release_strays(bank.engine, writer.owner, writer.open) == 0, "it is too young to be sure of"
    strays = await _resolve(bank.engine, writer.owner, age=0, known=writer.open, status="released", error="stray")
    assert strays == 1
    await assert_only_held(bank, writer, customer, [known])
    assert counters(await bank.account(customer)) == (1000, 950, 50, 0)


async def test_a_database_that_falls_silent_is_given_up(
    bank: Bank, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ledger.writer.STATEMENT_TIMEOUT", 0.2)
    monkeypatch.setattr("app.db.engine.CONNECT_TIMEOUT", 0.2)
    customer = await bank.customer(1000)
    writer = bank.writer(lanes=1, url=proxy.url)
    ending = await hold(writer, customer, 100)
    proxy.freeze()
    writer.settle(settled(ending, 30))
    for _ in range(2):  # while it is sent, and while a new connection is tried
        with pytest.raises(GatewayError, match="service_unavailable"):
            await writer.hold(make_ask(customer, 100))
    assert not await writer.flush(0.3)
    proxy.cut()
    proxy.resume()
    await assert_only_held(bank, writer, customer, [])
    assert counters(await bank.account(customer)) == (1000, 970, 0, 30)


async def test_closing_while_a_batch_is_in_flight(bank: Bank) -> None:
    """As at the end of a process whose database doesn't answer: nobody waits for ever, and nothing goes on behind."""
    customer = await bank.customer(1000)
    writer = LedgerWriter(bank.database, uuid4(), lanes=1)
    ending = await hold(writer, customer, 100)
    async with bank.lock(customer):
        task = asyncio.create_task(writer.hold(make_ask(customer, 100)))
        writer.settle(settled(ending, 30))
        pids = await bank.waiting(1)
        assert not await writer.flush(0.05)
        await asyncio.wait_for(writer.close(), 2)
        with pytest.raises(GatewayError, match="service_unavailable"):
            await task
        writer.settle(settled(ending, 30))
        await asyncio.sleep(RETRY_PAUSE * 1.5)  # by then it would have tried again
        query = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%ledger_batch%' AND wait_event_type = 'Lock'"
        assert {row["pid"] for row in await bank.fetch(query)} <= set(pids)
    await bank.gone(pids)
    await resolve_orphans(bank.engine, writer.owner)
    assert await bank.holds(customer) == {}


# -- a server of the test's own --------------------------------------------------------------------------------------


@pytest.fixture
def own_server() -> Iterator[tuple[EmbeddedPostgres, Path, str]]:
    folder = Path(tempfile.mkdtemp(prefix="relaygate-test-"))
    folder.chmod(0o711)
    server = EmbeddedPostgres(folder)
    try:
        yield server, folder, server.start()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def kill_postmaster(folder: Path) -> None:
    """kill -9 of a server of ours, as the OOM killer or a power cut would end it."""
    pid = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    assert os.fsencode(folder / "postgres") in command
    watch = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        assert select.select([watch], [], [], 10)[0]
    finally:
        os.close(watch)


@pytest.mark.long
async def test_a_killed_server_that_comes_back(own_server: tuple[EmbeddedPostgres, Path, str]) -> None:
    """Every hold that a caller was given is durable, every settlement arrives once, and no operator has to do anything."""
    server, folder, url = own_server
    bank = Bank(url)
    await migrate(bank.engine)
    customer = await bank.customer(10**9)
    writer = bank.writer()
    given: list[Hold] = []
    refused: list[GatewayError] = []
    stop = asyncio.Event()

    async def call() -> None:
        while not stop.is_set():
            try:
                reply = await writer.hold(make_ask(customer, 100))
            except GatewayError as error:
                refused.append(error)
                await asyncio.sleep(0.01)
            else:
                assert not isinstance(reply, Refusal)
                given.append(reply)
                if len(given) % 2:
                    writer.settle(settled(reply, 30))

    async def has_given(count: int) -> bool:
        return len(given) >= count

    async def has_refused(count: int) -> bool:
        return len(refused) >= count

    callers = [asyncio.create_task(call()) for _ in range(8)]
    await eventually(partial(has_given, 200))
    await asyncio.to_thread(kill_postmaster, folder)
    await eventually(partial(has_refused, 16))
    assert {error.code for error in refused} == {"service_unavailable"}
    last = given[-2:]
    for held in last:
        writer.settle(settled(held, 30))
    assert not await writer.flush(0.3)
    await asyncio.to_thread(server.stop)
    assert await asyncio.to_thread(server.start) == url
    await eventually(partial(has_given, len(given) + 50))
    stop.set()
    await asyncio.gather(*callers)
    assert await writer.flush(10)

    rest = [held for index, held in enumerate(given, 1) if not index % 2 and held not in last]
    assert await bank.holds(customer) == {held.id: 100 for held in rest}
    entries = await bank.entries(customer)
    charged = {entry["id"] for entry in entries if entry["status"] == "settled"}
    assert charged == {held.id for held in given} - {held.id for held in rest}
    assert {entry["charged"] for entry in entries if entry["status"] == "settled"} == {30}
    audit = await bank.audit()
    assert audit.ok, audit
    await bank.close()
