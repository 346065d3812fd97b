"""Limits are counted with the holds: exactly, across processes, and given back where less was used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.usage import Usage
from app.ledger.limits import account_limits, key_limits, set_limits
from app.ledger.records import Hold, Refusal, Settlement, Status
from app.ledger.writer import LedgerWriter
from tests.ledger.bank import Bank, Customer, amounts, hold, hold_together, make_ask, released, settle, settled

LIMITED, HELD, BUSY = Refusal.LIMITED, Refusal.HELD, Refusal.BUSY


async def limit(bank: Bank, customer: Customer, *, own: bool = False, **changes: Any) -> None:
    """Sets limits of the key, or with `own` of its account."""
    async with bank.engine.begin() as connection:
        await set_limits(connection, customer.account_id, changes, key_id=0 if own else customer.key_id)


async def ask_limited(
    writer: LedgerWriter, customer: Customer, *, tokens: int = 0, want: int = 1, minimum: int | None = None
) -> tuple[Hold | Refusal, dict[str, Any]]:
    """What came of an ask under limits, and its standing."""
    ask = make_ask(customer, want, minimum, tokens=tokens)
    reply = await writer.hold(ask)
    return reply, orjson.loads(ask.standing or "{}")


async def refused_by(writer: LedgerWriter, customer: Customer, **values: int) -> tuple[str, str]:
    """Which limit refuses an ask, and whose it is."""
    reply, standing = await ask_limited(writer, customer, **values)
    assert reply in (LIMITED, BUSY), reply
    assert (reply is BUSY) is (standing["limit"] == "concurrency")
    assert standing["wait"] > 0
    return standing["scope"], standing["limit"]


async def used(held: Hold, writer: LedgerWriter, input_tokens: int, output_tokens: int = 0) -> None:
    await settle(writer, Settlement(held, Status.SETTLED, 1, usage=Usage(input_tokens, output_tokens)))


async def test_requests_a_minute_over_two_processes(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, rpm=60)
    asks = [make_ask(customer, 1, tokens=0) for _ in range(200)]
    first, second = bank.writer(), bank.writer()
    replies: Sequence[Hold | Refusal] = await asyncio.gather(
        *((first, second)[number % 2].hold(ask) for number, ask in enumerate(asks))
    )
    assert sum(isinstance(reply, Hold) for reply in replies) == 60
    assert {reply for reply in replies if not isinstance(reply, Hold)} == {LIMITED}
    # The minute is counted in the database: a new process knows it, and what was released counts as well.
    await settle(first, *(released(reply) for reply in replies[::2] if isinstance(reply, Hold)))
    reply, standing = await ask_limited(bank.writer(), customer)
    assert reply is LIMITED
    assert (standing["scope"], standing["limit"]) == ("key", "rpm")
    assert 0 < standing["wait"] <= 61
    assert standing["key"]["requests_left"] == 0


async def test_an_accounts_limit_counts_all_its_keys(bank: Bank) -> None:
    first = await bank.customer(10**6)
    second = await bank.key(first.account_id)
    await limit(bank, first, own=True, rpm=3)
    writer = bank.writer(lanes=1)
    asks = [make_ask(customer, 1, tokens=0) for customer in (first, second, first, second)]
    assert amounts(await hold_together(writer, asks)) == [1, 1, 1, LIMITED]
    assert await refused_by(writer, first) == ("account", "rpm")


async def test_keys_and_accounts_limits_together(bank: Bank) -> None:
    """Asks of two keys, interleaved in one batch: each is counted for its own key and for the account."""
    first = await bank.customer(10**6)
    second = await bank.key(first.account_id)
    await limit(bank, first, rpm=2)
    await limit(bank, first, own=True, concurrency=5)
    writer = bank.writer(lanes=1)
    asks = [make_ask(customer, 1, tokens=0) for customer in (first, second) * 4]
    assert amounts(await hold_together(writer, asks)) == [1, 1, 1, 1, LIMITED, 1, LIMITED, BUSY]
    scopes = [orjson.loads(ask.standing or "{}").get("limit") for ask in asks]
    assert scopes == [None, None, None, None, "rpm", None, "rpm", "concurrency"]


@pytest.mark.parametrize("own", [False, True], ids=["key", "account"])
async def test_concurrency_counts_what_is_open(bank: Bank, own: bool) -> None:
    customer = await bank.customer(10**6)
    writer = bank.writer(lanes=1)
    before = await hold(writer, customer, 1)  # made when there was no limit: it is open all the same
    await limit(bank, customer, own=own, concurrency=3)
    asks = [make_ask(customer, 1, tokens=0) for _ in range(4)]
    replies = await hold_together(writer, asks)
    assert amounts(replies) == [1, 1, BUSY, BUSY]
    await settle(writer, released(before))
    assert isinstance((await ask_limited(writer, customer))[0], Hold)
    await limit(bank, customer, own=own, concurrency=1)  # lowered while three are open: none of them is hurt
    assert await refused_by(writer, customer) == ("account" if own else "key", "concurrency")
    await settle(writer, *(settled(reply, 1) for reply in replies if isinstance(reply, Hold)))
    assert await refused_by(writer, customer) == ("account" if own else "key", "concurrency")


async def test_tokens_are_corrected_to_what_was_used(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, tpm=1000)
    writer = bank.writer()
    first, standing = await ask_limited(writer, customer, tokens=600)
    assert isinstance(first, Hold)
    assert standing["key"]["tokens_left"] == 400
    assert await refused_by(writer, customer, tokens=401) == ("key", "tpm")
    await used(first, writer, 50, 50)
    second, standing = await ask_limited(writer, customer, tokens=900)
    assert standing["key"]["tokens_left"] == 0
    assert isinstance(second, Hold)
    await used(second, writer, 900, 600)  # more than was counted: it counts now, and the minute is overdrawn
    assert await refused_by(writer, customer, tokens=0) == ("key", "tpm")


async def test_a_released_request_gives_its_tokens_back(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, own=True, tpm=100)
    writer = bank.writer()
    held, _ = await ask_limited(writer, customer, tokens=100)
    assert isinstance(held, Hold)
    await settle(writer, released(held))
    assert isinstance((await ask_limited(writer, customer, tokens=100))[0], Hold)


async def test_a_request_larger_than_its_limit_passes_alone(bank: Bank) -> None:
    """Or it could never be made at all."""
    customer = await bank.customer(10**6)
    await limit(bank, customer, tpm=100)
    writer = bank.writer()
    assert isinstance((await ask_limited(writer, customer, tokens=5000))[0], Hold)
    assert await refused_by(writer, customer, tokens=1) == ("key", "tpm")


async def test_requests_a_day(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, rpd=2)
    writer = bank.writer()
    for _ in range(2):
        await hold(writer, customer, 1, tokens=0)
    assert await refused_by(writer, customer) == ("key", "rpd")
    await bank.fetch("UPDATE limits SET day = day - 1 WHERE key_id = $1", customer.key_id)
    assert isinstance((await ask_limited(writer, customer))[0], Hold)


@pytest.mark.parametrize("own", [False, True], ids=["key", "account"])
@pytest.mark.parametrize("period", ["day", "week", "month"])
async def test_a_budget_is_spent_to_its_end_and_not_beyond(bank: Bank, own: bool, period: str) -> None:
    customer = await bank.customer(10**6)
    scope = "account" if own else "key"
    writer = bank.writer()
    await settle(writer, settled(await hold(writer, customer, 400), 400))
    await limit(bank, customer, own=own, budget=1000, budget_period=period)  # what was spent in the period counts
    held, _ = await ask_limited(writer, customer, want=500)
    assert isinstance(held, Hold)
    reply, _ = await ask_limited(writer, customer, want=200)
    assert reply is HELD  # 100 are free, and more will be when the other is done
    reply, _ = await ask_limited(writer, customer, want=700, minimum=50)
    assert isinstance(reply, Hold)
    assert reply.amount == 100
    assert await refused_by(writer, customer, want=601) == (scope, "budget")  # more than will ever be there
    await settle(writer, settled(held, 500), settled(reply, 100))
    assert await refused_by(writer, customer, want=1) == (scope, "budget")
    assert amounts([(await ask_limited(writer, customer, want=0))[0]]) == [0]
    assert (await bank.account(customer)).charged == 1000
    async with bank.engine.connect() as connection:
        found = await account_limits(connection, [customer.account_id])
        if not own:
            found = await key_limits(connection, [(customer.account_id, customer.key_id)])
    (limits,) = found.values()
    assert (limits.budget, limits.budget_period, limits.spent) == (1000, period, 1000)


async def test_a_new_period_begins_with_the_whole_budget(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, budget=100, budget_period="day")
    writer = bank.writer()
    held = await hold(writer, customer, 60, tokens=0)
    await settle(writer, settled(await hold(writer, customer, 40, tokens=0), 40))
    await bank.fetch(
        "UPDATE limits SET period_start = period_start - interval '1 day' WHERE key_id = $1", customer.key_id
    )
    # What is charged from now on is the new day's, though it was held on the day before.
    await settle(writer, settled(held, 60))
    assert amounts([(await ask_limited(writer, customer, want=41))[0]]) == [LIMITED]
    assert amounts([(await ask_limited(writer, customer, want=40))[0]]) == [40]


async def test_concurrent_first_requests_share_one_budget(bank: Bank) -> None:
    """The first requests of a period, all at once over two processes: one spent 99 of 30 elsewhere."""
    customer = await bank.customer(10**6)
    await limit(bank, customer, budget=300, budget_period="month")
    writers = bank.writer(), bank.writer()
    replies = await asyncio.gather(
        *(writers[number % 2].hold(make_ask(customer, 10, tokens=0)) for number in range(100))
    )
    granted = [reply for reply in replies if isinstance(reply, Hold)]
    assert len(granted) == 30
    for writer in writers:
        await settle(writer, *(settled(reply, 10) for reply in granted[writers.index(writer) :: 2]))
    assert (await bank.account(customer)).charged == 300


async def test_a_budget_that_is_lowered_below_what_is_held(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, budget=1000, budget_period="week")
    writer = bank.writer()
    held = await hold(writer, customer, 800, tokens=0)
    await limit(bank, customer, budget=500, budget_period="week")
    assert amounts([(await ask_limited(writer, customer, want=1))[0]]) == [HELD]
    await settle(writer, settled(held, 800))  # let in under the old budget: it is paid
    assert await refused_by(writer, customer, want=1) == ("key", "budget")
    await limit(bank, customer, budget=None, budget_period=None)
    assert isinstance((await ask_limited(writer, customer))[0], Hold)


async def test_limits_hold_through_crashes(bank: Bank) -> None:
    """Holds of a process that died count while they are open, and not any more when they are resolved."""
    customer = await bank.customer(10**6)
    await limit(bank, customer, concurrency=2, tpm=100)
    lost, writer = bank.writer(), bank.writer()
    for _ in range(2):
        await hold(lost, customer, 10, tokens=50)
    assert await refused_by(writer, customer) == ("key", "concurrency")
    query = "SELECT resolve_holds($1, now(), '{}', 'orphaned', 'process_died', 100) AS count"
    ((count,),) = await bank.fetch(query, lost.owner)
    assert count == 2
    assert isinstance((await ask_limited(writer, customer, tokens=80))[0], Hold)  # ten input tokens each were charged
    assert await refused_by(writer, customer, tokens=1) == ("key", "tpm")


async def test_limits_are_removed_by_null_and_their_counts_kept(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, rpm=1, rpd=5)
    writer = bank.writer()
    await hold(writer, customer, 1, tokens=0)
    await limit(bank, customer, rpm=None)
    await hold(writer, customer, 1, tokens=0)
    await limit(bank, customer, rpm=2)
    assert await refused_by(writer, customer) == ("key", "rpm")


STEP = """
WITH rolled AS (SELECT roll_limits(l, $3, 0) AS l FROM limits l WHERE account_id = $1 AND key_id = $2),
    judged AS (SELECT l, find_limit(l, $3, $4, 0) AS why FROM rolled)
SELECT why, CASE WHEN why IS NULL THEN save_limits(count_request(l, $4)) END FROM judged
"""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gaps=st.lists(st.one_of(st.floats(0, 2), st.floats(10, 70)), min_size=10, max_size=60),
    rpm=st.integers(1, 6),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
)
async def test_no_minute_ever_exceeds_its_limit(bank: Bank, gaps: list[float], rpm: int, sizes: list[int]) -> None:
    """Whatever 60 seconds one looks at; and whoever waits as long as he is told gets in."""
    tpm = 60
    customer = await bank.customer(1)
    await limit(bank, customer, rpm=rpm, tpm=tpm)
    now = datetime(2026, 11, 22, 23, 58, tzinfo=UTC)
    passed: list[tuple[datetime, int]] = []
    for number, gap in enumerate(gaps):
        now += timedelta(seconds=gap)
        tokens = sizes[number % len(sizes)]
        while True:
            ((why, _),) = await bank.fetch(STEP, customer.account_id, customer.key_id, now, tokens)
            if why is None:
                break
            recent = [size for moment, size in passed if now - moment < timedelta(seconds=62)]
            assert len(recent) >= rpm or sum(recent) + tokens > tpm, "refused without need"
            if number % 2:
                break
            now += timedelta(seconds=orjson.loads(why)["wait"])
        if why is None:
            passed.append((now, tokens))
    for start, _ in passed:
        window = [size for moment, size in passed if timedelta(0) <= moment - start <= timedelta(seconds=60)]
        assert len(window) <= rpm
        assert sum(window) <= tpm
