"""Limits in shadow count as they would, refuse nothing, and say what they would have refused."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from app.ledger.limits import Limits, account_limits, key_limits
from app.ledger.records import Hold, Refusal
from app.ledger.shadow import ShadowRefusals
from app.ledger.waiting import WaitingRoom
from app.ledger.writer import LedgerWriter
from app.relay.limits import limit_headers
from tests.ledger.bank import Bank, Customer, amounts, hold, hold_together, make_ask, released, settle, settled
from tests.ledger.test_limits import BUSY, LIMITED, ask_limited, limit, refused_by, used
from tests.ledger.test_waiting import queued

BOTH = pytest.mark.parametrize("own", [False, True], ids=["key", "account"])


async def let_in(writer: LedgerWriter, customer: Customer, **values: Any) -> tuple[Hold, list[tuple[str, str]]]:
    """A hold that has to be granted, and which limits in shadow would have refused it."""
    held, standing = await ask_limited(writer, customer, **values)
    assert isinstance(held, Hold), held
    assert "limit" not in standing
    assert all(why["wait"] > 0 for why in standing.get("shadow", []))
    return held, [(why["scope"], why["limit"]) for why in standing.get("shadow", [])]


async def limits_of(bank: Bank, customer: Customer, own: bool) -> Limits:
    async with bank.engine.connect() as connection:
        if own:
            return (await account_limits(connection, [customer.account_id]))[customer.account_id]
        return (await key_limits(connection, [(customer.account_id, customer.key_id)]))[customer.key_id]


@BOTH
@pytest.mark.parametrize(
    ("limits", "tokens"),
    [
        pytest.param({"rpm": 1}, 0, id="rpm"),
        pytest.param({"tpm": 10}, 10, id="tpm"),
        pytest.param({"rpd": 1}, 0, id="rpd"),
        pytest.param({"concurrency": 1}, 0, id="concurrency"),
        pytest.param({"budget": 100, "budget_period": "day"}, 0, id="budget"),
    ],
)
async def test_what_would_be_refused_is_let_in_and_said(
    bank: Bank, own: bool, limits: dict[str, Any], tokens: int
) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, own=own, shadow=True, **limits)
    writer = bank.writer()
    first, would = await let_in(writer, customer, tokens=tokens, want=100)
    assert would == []
    if "budget" in limits:
        await settle(writer, settled(first, 100))
    for _ in range(2):
        held, would = await let_in(writer, customer, tokens=tokens, want=100)
        assert held.amount == 100
        assert would == [("account" if own else "key", next(iter(limits)))]
    await limit(bank, customer, own=own, shadow=False)
    assert await refused_by(writer, customer, tokens=tokens, want=100) == would[0]


@pytest.mark.parametrize("enforced_own", [False, True], ids=["key-enforced", "account-enforced"])
async def test_one_row_refuses_while_the_other_is_tried_out(bank: Bank, enforced_own: bool) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, own=enforced_own, rpm=3)
    await limit(bank, customer, own=not enforced_own, rpm=1, shadow=True)
    enforced, tried = ("account", "key") if enforced_own else ("key", "account")
    writer = bank.writer(lanes=1)
    asks = [make_ask(customer, 1, tokens=0) for _ in range(5)]
    assert amounts(await hold_together(writer, asks)) == [1, 1, 1, LIMITED, LIMITED]
    standings = [orjson.loads(ask.standing or "{}") for ask in asks]
    assert [[why["scope"] for why in s.get("shadow", [])] for s in standings] == [[], [tried], [tried], [], []]
    assert [s.get("scope") for s in standings] == [None, None, None, enforced, enforced]


async def test_both_rows_say_what_they_would_have_refused(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, own=True, rpd=1, shadow=True)
    await limit(bank, customer, rpm=1, shadow=True)
    writer = bank.writer()
    assert (await let_in(writer, customer))[1] == []
    assert (await let_in(writer, customer))[1] == [("key", "rpm"), ("account", "rpd")]


async def test_a_client_is_told_nothing_of_what_is_tried_out(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, rpm=1, tpm=5, shadow=True)
    await limit(bank, customer, own=True, rpm=60)
    writer = bank.writer()
    await let_in(writer, customer, tokens=5)
    _, standing = await ask_limited(writer, customer, tokens=5)
    headers = dict(limit_headers(standing))
    assert headers[b"x-ratelimit-remaining-requests"] == b"58", "the account's, which holds"
    assert b"x-ratelimit-limit-tokens" not in headers
    await limit(bank, customer, own=True, shadow=True)
    _, standing = await ask_limited(writer, customer, tokens=5)
    assert limit_headers(standing) == []


@BOTH
async def test_what_would_have_been_refused_is_not_counted(bank: Bank, own: bool) -> None:
    """Or a client at twice its limit would be told, once it holds, that not one of its requests had passed."""
    customer = await bank.customer(10**6)
    await limit(bank, customer, own=own, rpm=3, tpm=100, rpd=10, shadow=True)
    writer = bank.writer(lanes=1)
    asks = [make_ask(customer, 1, tokens=tokens) for tokens in (40, 70, 40, 70, 10, 10)]
    replies = [reply for reply in await hold_together(writer, asks) if isinstance(reply, Hold)]
    assert len(replies) == 6
    would = [[why["limit"] for why in orjson.loads(ask.standing or "{}").get("shadow", [])] for ask in asks]
    assert would == [[], ["tpm"], [], ["tpm"], [], ["rpm"]]
    # What a request used takes the place of what was counted for it, where anything was.
    await used(replies[1], writer, 0)
    await used(replies[3], writer, 500, 500)
    await used(replies[0], writer, 20, 5)
    found = await limits_of(bank, customer, own)
    assert found.shadow
    assert (found.rpm_left, found.tpm_left, found.rpd_left) == (0, 100 - 40 - 10 - 25, 7)


@BOTH
async def test_places_are_counted_by_those_who_would_have_one(bank: Bank, own: bool) -> None:
    customer = await bank.customer(10**6)
    await limit(bank, customer, own=own, concurrency=2, shadow=True)
    writer = bank.writer(lanes=1)
    asks = [make_ask(customer, 1, tokens=0) for _ in range(4)]
    replies = [reply for reply in await hold_together(writer, asks) if isinstance(reply, Hold)]
    scope = "account" if own else "key"
    assert (await let_in(writer, customer))[1] == [(scope, "concurrency")]
    await settle(writer, released(replies[0]))
    assert (await let_in(writer, customer))[1] == [], "three are open that it wouldn't have let in"
    await limit(bank, customer, own=own, shadow=False)
    await settle(writer, released(replies[1]))
    assert (await ask_limited(writer, customer))[0] is BUSY, "they are open all the same once it holds"


async def test_marks_go_to_those_whose_they_are(bank: Bank) -> None:
    """In a batch with others, whose array of marks would come out shifted if it began at the first that is set."""
    free, tried = await bank.customer(10**6), await bank.customer(10**6)
    sibling = await bank.key(tried.account_id)
    await limit(bank, tried, rpm=1, shadow=True)
    await limit(bank, tried, own=True, rpm=3, shadow=True)
    asks = [
        make_ask(customer, 1, tokens=tokens)
        for customer, tokens in (
            (free, None), (tried, 0), (sibling, 0), (tried, 0), (free, None), (sibling, 0), (tried, 0), (tried, None),
        )
    ]  # fmt: skip
    await hold_together(bank.writer(lanes=1), asks)
    rows = await bank.fetch("SELECT id, uncounted FROM holds WHERE id = ANY ($1)", [ask.id for ask in asks])
    marks = {row["id"]: row["uncounted"] for row in rows}
    assert [marks[ask.id] or 0 for ask in asks] == [0, 0, 0, 2, 0, 1, 3, 0]


@BOTH
async def test_a_budget_in_shadow_bounds_nothing(bank: Bank, own: bool) -> None:
    """Neither what is held, nor what is charged above its hold; what is spent is told as it is."""
    customer = await bank.customer(10**4)
    await limit(bank, customer, own=own, budget=1000, budget_period="month", shadow=True)
    writer = bank.writer()
    first, would = await let_in(writer, customer, want=1500, minimum=10)
    assert (first.amount, would) == (1500, [])
    await settle(writer, settled(first, 5000))
    (entry,) = await bank.entries(customer)
    assert (entry["charged"], entry["uncollected"]) == (5000, 0)
    found = await limits_of(bank, customer, own)
    assert (found.shadow, found.spent, found.budget_left) == (True, 5000, 0)
    second, would = await let_in(writer, customer, want=1)
    assert would == [("account" if own else "key", "budget")]
    await limit(bank, customer, own=own, shadow=False)
    await settle(writer, settled(second, 9))  # above its hold, and from now on within the budget
    assert [entry["charged"] for entry in await bank.entries(customer)] == [5000, 1]


async def test_a_balance_is_never_in_shadow(bank: Bank) -> None:
    rich, poor = await bank.customer(10**6, quota=50), await bank.customer(50)
    writer = bank.writer()
    for customer, refusal in ((rich, Refusal.KEY_SHORT), (poor, Refusal.ACCOUNT_SHORT)):
        for own in (False, True):
            await limit(bank, customer, own=own, rpm=1, budget=10**6, budget_period="day", shadow=True)
        reply, standing = await ask_limited(writer, customer, want=51)
        assert (reply, standing) == (refusal, {})
        assert (await let_in(writer, customer, want=50))[1] == []
        assert (await ask_limited(writer, customer, want=1))[0] is Refusal.HELD


async def test_refusals_that_were_not_made_are_logged_and_counted(bank: Bank, caplog: pytest.LogCaptureFixture) -> None:
    """Those alone: not what passed, nor what was refused for another reason."""
    caplog.set_level(logging.INFO, "relaygate.limits")
    registry = CollectorRegistry()
    customer = await bank.customer(100)
    await limit(bank, customer, rpm=1, shadow=True)
    ledger = bank.writer()
    room = WaitingRoom(ledger, 5.0, ShadowRefusals(registry))
    for want in (60, 200, 30):
        outcome = await room.hold(make_ask(customer, want, tokens=0), lambda _: None)
        assert isinstance(outcome, Hold) is (want != 200)
    waiting = asyncio.create_task(room.hold(make_ask(customer, 20, tokens=0), lambda _: None))
    await queued(room, 1)
    for held, amount in (await bank.holds(customer)).items():
        if amount == 60:
            await settle(ledger, released(Hold(held, customer.account_id, amount, True)))
    assert isinstance(await waiting, Hold)
    fields = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "limit_would_refuse"]
    assert len({entry.pop("request_id") for entry in fields}) == 2
    told = {"account_id": customer.account_id, "key_id": customer.key_id, "scope": "key", "limit": "rpm"}
    assert fields == [told, told]
    assert registry.get_sample_value("relaygate_shadow_refusals_total", {"limit": "rpm"}) == 2
    await room.close()


STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "ask", "settle"]), st.integers(0, 40), st.integers(0, 9)), max_size=30
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=STEPS,
    rpm=st.none() | st.integers(1, 9),
    tpm=st.none() | st.integers(1, 90),
    concurrency=st.none() | st.integers(1, 4),
    own=st.booleans(),
)
async def test_a_trial_tells_what_the_limit_would_do(
    bank: Bank, steps: list[tuple[str, int, int]], rpm: int | None, tpm: int | None, concurrency: int | None, own: bool
) -> None:
    """Two customers who do the same, one under limits and one under the same in shadow: one is refused what the other
    is told it would have been."""
    limits = {"rpm": rpm, "tpm": tpm, "concurrency": concurrency}
    held_to, tried = await bank.customer(10**6), await bank.customer(10**6)
    await limit(bank, held_to, own=own, **limits)
    await limit(bank, tried, own=own, shadow=True, **limits)
    writer = bank.writer(lanes=1)
    open_holds: list[tuple[Hold | Refusal, Hold]] = []
    for kind, tokens, which in steps:
        if kind == "ask":
            reply, standing = await ask_limited(writer, held_to, tokens=tokens)
            held, would = await let_in(writer, tried, tokens=tokens)
            assert would == ([] if isinstance(reply, Hold) else [(standing["scope"], standing["limit"])])
            open_holds.append((reply, held))
        elif open_holds:
            real, held = open_holds.pop(which % len(open_holds))
            await used(held, writer, tokens)
            if isinstance(real, Hold):
                await used(real, writer, tokens)
    await settle(writer, *(released(held) for _, held in open_holds))
    await settle(writer, *(released(real) for real, _ in open_holds if isinstance(real, Hold)))


async def test_holds_from_before_the_limit_are_its_own_to_count(bank: Bank) -> None:
    customer = await bank.customer(10**6)
    writer = bank.writer(lanes=1)
    await hold(writer, customer, 1)
    await limit(bank, customer, concurrency=2, shadow=True)
    asks = [make_ask(customer, 1, tokens=tokens) for tokens in (None, 0)]
    await hold_together(writer, asks)
    assert [why["limit"] for why in orjson.loads(asks[1].standing or "{}")["shadow"]] == ["concurrency"]
