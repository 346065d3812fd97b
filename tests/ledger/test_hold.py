"""What is granted: whole, in part, or not at all, in arrival order, and never more than there is."""

from __future__ import annotations

import pytest

from app.ledger.records import Hold, Refusal
from tests.ledger.bank import Bank, amounts, counters, hold, hold_together, make_ask, released, settle

ACCOUNT_SHORT, KEY_SHORT, UNKNOWN, HELD = Refusal.ACCOUNT_SHORT, Refusal.KEY_SHORT, Refusal.UNKNOWN, Refusal.HELD


@pytest.mark.parametrize(
    ("granted", "quota", "want", "minimum", "given"),
    [
        (1000, None, 1000, 1000, 1000),
        (999, None, 1000, 1000, ACCOUNT_SHORT),
        (999, None, 1000, 999, 999),  # room == minimum
        (999, None, 1000, 0, 999),
        (1000, 999, 1000, 1000, KEY_SHORT),
        (1000, 400, 1000, 300, 400),
        (400, 1000, 1000, 300, 400),
        (200, 250, 1000, 300, ACCOUNT_SHORT),
        (0, None, 1, 0, 0),  # nothing is the least useful amount
        (2**62, None, 2**62, 2**62, 2**62),
        (2**62, None, 2**63 - 1, 0, 2**62),
    ],
)
async def test_a_lone_ask(
    bank: Bank, granted: int, quota: int | None, want: int, minimum: int, given: int | Refusal
) -> None:
    customer = await bank.customer(granted, quota)
    writer = bank.writer()
    ask = make_ask(customer, want, minimum)
    (reply,) = await hold_together(writer, [ask])
    assert amounts([reply]) == [given]
    if isinstance(reply, Hold):
        assert await bank.holds(customer) == {ask.id: given}
        assert counters(await bank.account(customer)) == (granted, granted - given, given, 0)
        assert writer.open == {ask.id}
    else:
        assert await bank.holds(customer) == {}
        assert counters(await bank.account(customer)) == (granted, granted, 0, 0)
        assert writer.open == set()


async def test_a_refused_large_ask_leaves_room_for_later_small_ones(bank: Bank) -> None:
    """Granting while the running total fits would refuse the third one too."""
    customer = await bank.customer(100)
    asks = [make_ask(customer, want) for want in (40, 500, 30, 31, 30)]
    assert amounts(await hold_together(bank.writer(lanes=1), asks)) == [40, ACCOUNT_SHORT, 30, HELD, 30]
    assert counters(await bank.account(customer)) == (100, 0, 100, 0)


async def test_arrival_order_decides_who_gets_the_last_money(bank: Bank) -> None:
    customer = await bank.customer(100)
    asks = [make_ask(customer, 60, 60), make_ask(customer, 60, 60), make_ask(customer, 40, 40), make_ask(customer, 0)]
    assert amounts(await hold_together(bank.writer(lanes=1), asks)) == [60, HELD, 40, 0]


async def test_the_last_money_is_shared_by_those_who_ask_together(bank: Bank) -> None:
    """A fourth of what is left for each, while four or more are left of the batch; a lone one gets it all."""
    customer = await bank.customer(100)
    asks = [make_ask(customer, 1000, 10) for _ in range(6)]
    assert amounts(await hold_together(bank.writer(lanes=1), asks)) == [25, 18, 14, 14, 14, 15]


@pytest.mark.parametrize(
    ("balance", "taken", "want", "patient", "given"),
    [
        (100, 60, 40, True, 40),
        (100, 60, 50, True, HELD),  # 50 will be there when the others are done
        (100, 60, 50, False, 40),
        (100, 60, 101, True, 40),  # there will never be so much: what is left, now
        (100, 95, 101, True, HELD),  # below the minimum of 10
        (100, 95, 101, False, HELD),
    ],
)
async def test_patience_for_what_others_hold(
    bank: Bank, balance: int, taken: int, want: int, patient: bool, given: int | Refusal
) -> None:
    customer = await bank.customer(balance)
    writer = bank.writer()
    await hold(writer, customer, taken)
    assert amounts(await hold_together(writer, [make_ask(customer, want, 10, patient=patient)])) == [given]


@pytest.mark.parametrize("count", [2, 256, 300])
async def test_funds_for_k_grant_exactly_k(bank: Bank, count: int) -> None:
    """A variable that shadowed a column once granted 171 of 300, and nobody was told."""
    for funded in (0, 1, count // 2, count - 1, count):
        customer = await bank.customer(funded * 7 + 6)
        replies = await hold_together(bank.writer(lanes=1), [make_ask(customer, 7) for _ in range(count)])
        assert amounts(replies) == [7] * funded + [HELD if funded else ACCOUNT_SHORT] * (count - funded)
        assert len(await bank.holds(customer)) == funded
        await bank.close_writers()


async def test_one_empty_key_takes_nothing_from_the_others_of_its_batch(bank: Bank) -> None:
    empty, rich, capped = await bank.customer(0), await bank.customer(1000), await bank.customer(1000, quota=10)
    sibling = await bank.key(capped.account_id)
    asks = [
        make_ask(empty, 10),
        make_ask(rich, 600),
        make_ask(capped, 8),
        make_ask(capped, 8),
        make_ask(sibling, 900),
        make_ask(rich, 400),
        make_ask(empty, 0),
        make_ask(capped, 8, 2),
    ]
    replies = await hold_together(bank.writer(lanes=1), asks)
    assert amounts(replies) == [ACCOUNT_SHORT, 600, 8, HELD, 900, 400, 0, 2]
    assert counters(await bank.account(rich)) == (1000, 0, 1000, 0)
    assert counters(await bank.key_wallet(capped)) == (10, 0, 10, 0)
    assert counters(await bank.key_wallet(sibling)) == (None, None, 900, 0)


async def test_keys_share_their_account(bank: Bank) -> None:
    first = await bank.customer(100, quota=80)
    second = await bank.key(first.account_id, quota=80)
    replies = await hold_together(bank.writer(lanes=1), [make_ask(first, 80), make_ask(second, 80, 20)])
    assert amounts(replies) == [80, 20]


async def test_an_unknown_account_or_key_is_told_apart(bank: Bank) -> None:
    customer, other = await bank.customer(100), await bank.customer(100)
    nobody = make_ask(customer, 1, account_id=2**40)
    lost = make_ask(customer, 1, key_id=2**40)
    foreign = make_ask(customer, 1, key_id=other.key_id)
    replies = await hold_together(bank.writer(lanes=1), [nobody, lost, make_ask(customer, 100), foreign])
    assert amounts(replies) == [UNKNOWN, UNKNOWN, 100, UNKNOWN]


async def test_a_key_below_zero_holds_nothing_until_its_quota_is_raised(bank: Bank) -> None:
    customer = await bank.customer(1000, quota=300)
    writer = bank.writer()
    held = await hold(writer, customer, 300)
    await bank.set_quota(customer, 100)
    assert amounts(await hold_together(writer, [make_ask(customer, 1), make_ask(customer, 50, 0)])) == [HELD, 0]
    await settle(writer, released(held))
    assert counters(await bank.key_wallet(customer)) == (100, 100, 0, 0)
    assert (await hold(writer, customer, 100)).amount == 100


async def test_a_key_below_zero_may_still_use_what_is_free(bank: Bank) -> None:
    """As a key may whose balance is exactly zero."""
    customer = await bank.customer(1000, quota=300)
    writer = bank.writer()
    await hold(writer, customer, 300)
    await bank.set_quota(customer, 100)
    assert (await hold(writer, customer, 0)).amount == 0


async def test_a_hold_for_more_than_its_orphan_charge_is_kept_to_the_minimum(bank: Bank) -> None:
    customer = await bank.customer(25)
    ask = make_ask(customer, 100, 20, orphan_charge=20)
    assert amounts(await hold_together(bank.writer(), [ask])) == [25]
