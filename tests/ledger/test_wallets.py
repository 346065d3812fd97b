"""Grants count once, corrections stop at the balance, and editing a quota never loses what was deducted."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from app.core.money import MAX_NANO
from app.errors import GatewayError
from app.ledger.records import Hold
from app.ledger.wallets import Grant, account_wallets, add_grant, key_wallets, list_grants, set_quota
from tests.ledger.bank import Bank, counters, hold, make_ask, settle, settled


async def test_twenty_calls_with_one_idempotency_key_are_one_grant(bank: Bank) -> None:
    customer, other = await bank.customer(5), await bank.customer(5)
    ids = await asyncio.gather(*(bank.grant(customer, 100, "top-up-1") for _ in range(20)))
    assert len(set(ids)) == 1
    assert counters(await bank.account(customer)) == (105, 105, 0, 0)
    assert await bank.grant(customer, 100, "top-up-2") not in ids
    assert await bank.grant(other, 100, "top-up-1") not in ids, "another account's key is another key"
    assert counters(await bank.account(customer)) == (205, 205, 0, 0)
    async with bank.engine.connect() as connection:
        grants = await list_grants(connection, customer.account_id, before=None, limit=10)
        assert [(grant.amount, grant.idempotency_key) for grant in grants] == [
            (100, "top-up-2"),
            (100, "top-up-1"),
            (5, None),
        ]
        older = await list_grants(connection, customer.account_id, before=grants[0].id, limit=1)
        assert older == [grants[1]]


async def test_an_idempotency_key_used_for_another_amount_is_a_conflict(bank: Bank) -> None:
    customer = await bank.customer()
    await bank.grant(customer, 100, "top-up")
    with pytest.raises(GatewayError, match="idempotency_conflict") as raised:
        await bank.grant(customer, 101, "top-up")
    assert raised.value.status == 409
    assert counters(await bank.account(customer)) == (100, 100, 0, 0)


async def test_grants_without_a_key_each_count(bank: Bank) -> None:
    customer = await bank.customer()
    await asyncio.gather(*(bank.grant(customer, 3) for _ in range(20)))
    assert counters(await bank.account(customer)) == (60, 60, 0, 0)


async def test_a_correction_reaches_into_the_balance_alone(bank: Bank) -> None:
    customer = await bank.customer(1000)
    writer = bank.writer()
    await settle(writer, settled(await hold(writer, customer, 300), 300))
    await hold(writer, customer, 200)
    with pytest.raises(GatewayError, match="balance_too_low") as raised:
        await bank.grant(customer, -501)
    assert raised.value.status == 400
    assert "0.0000005." in raised.value.message
    await bank.grant(customer, -500)
    assert counters(await bank.account(customer)) == (500, 0, 200, 300)


async def test_a_total_beyond_the_range_is_refused(bank: Bank) -> None:
    customer = await bank.customer(MAX_NANO)
    with pytest.raises(GatewayError, match="amount_out_of_range"):
        await bank.grant(customer, 1)
    assert counters(await bank.account(customer)) == (MAX_NANO, MAX_NANO, 0, 0)


async def test_an_account_that_does_not_exist(bank: Bank) -> None:
    async with bank.engine.begin() as connection:
        with pytest.raises(GatewayError, match="account_not_found"):
            await add_grant(connection, 2**40, 1)
        with pytest.raises(GatewayError, match="account_not_found"):
            await set_quota(connection, 2**40, 1, 1)
        assert await account_wallets(connection, [2**40]) == await key_wallets(connection, [2**40]) == {}


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        (900, (900, 500, 300, 100)),
        (400, (400, 0, 300, 100)),
        (50, (50, -350, 300, 100)),
        (None, (None, None, 300, 100)),
    ],
)
async def test_a_quota_moves_what_is_left_and_nothing_else(
    bank: Bank, quota: int | None, expected: tuple[int | None, int | None, int, int]
) -> None:
    customer = await bank.customer(1000, quota=600)
    writer = bank.writer()
    await settle(writer, settled(await hold(writer, customer, 100), 100))
    held = await hold(writer, customer, 300)
    await bank.set_quota(customer, quota)
    assert counters(await bank.key_wallet(customer)) == expected
    assert counters(await bank.account(customer)) == (1000, 600, 300, 100)
    await settle(writer, settled(held, 200))
    await bank.set_quota(customer, 600)
    assert counters(await bank.key_wallet(customer)) == (600, 300, 0, 300)


async def test_editing_quotas_and_granting_under_load_loses_no_deduction(bank: Bank) -> None:
    """Settings that were saved whole, counters included, erased what was deducted meanwhile (GHSA-j6gc-4893-qwmp)."""
    customer = await bank.customer(100, quota=100)
    writers = bank.writer(), bank.writer()
    quotas: list[int | None] = [1000, None, 50, 3000]
    refused = 0

    async def spend(number: int) -> int:
        nonlocal refused
        spent = 0
        for _ in range(40):
            reply = await writers[number % 2].hold(make_ask(customer, 9))
            if isinstance(reply, Hold):
                writers[number % 2].settle(settled(reply, 7))
                spent += 7
            else:
                refused += 1
        return spent

    async def edit() -> None:
        for number in range(30):
            await bank.set_quota(customer, quotas[number % 4])
            await bank.grant(customer, 100)

    editing = asyncio.create_task(edit())
    spent = await asyncio.gather(*(spend(number) for number in range(8)))
    await editing
    for writer in writers:
        assert await writer.flush(10)
    await bank.set_quota(customer, 10_000)
    assert counters(await bank.account(customer)) == (3100, 3100 - sum(spent), 0, sum(spent))
    assert counters(await bank.key_wallet(customer)) == (10_000, 10_000 - sum(spent), 0, sum(spent))
    assert sum(spent) > 0
    assert refused > 0


async def test_amounts_as_people_see_them(bank: Bank) -> None:
    wallet = await bank.account(await bank.customer(1_500_000_001))
    assert wallet.amounts() == {"granted": "1.500000001", "balance": "1.500000001", "held": "0", "charged": "0"}
    unbounded = await bank.key_wallet(await bank.customer())
    assert unbounded.amounts() == {"granted": None, "balance": None, "held": "0", "charged": "0"}


async def test_fifty_calls_over_two_processes_with_one_idempotency_key_are_one_grant(bank: Bank) -> None:
    """Half of them for another amount: whichever came first is the grant, and the other half is told of the conflict."""
    customer, second = await bank.customer(5), Bank(bank.url)

    async def top_up(number: int) -> int | str:
        try:
            return await (bank, second)[number % 2].grant(customer, 100 + number % 4 // 2, "invoice")
        except GatewayError as error:
            return error.code

    results = await asyncio.gather(*(top_up(number) for number in range(50)))
    await second.close()
    ((id, amount),) = await bank.fetch(
        "SELECT id, amount FROM grants WHERE account_id = $1 AND idempotency_key = 'invoice'", customer.account_id
    )
    same_amount = sum(100 + number % 4 // 2 == amount for number in range(50))
    assert results.count(id) == same_amount
    assert results.count("idempotency_conflict") == 50 - same_amount
    assert counters(await bank.account(customer)) == (5 + amount, 5 + amount, 0, 0)


async def test_a_grant_that_is_sent_again_with_another_note_is_the_first(bank: Bank) -> None:
    customer = await bank.customer()

    async def top_up(amount: int, note: str | None) -> Grant:
        async with bank.engine.begin() as connection:
            return await add_grant(connection, customer.account_id, amount, note=note, idempotency_key="invoice")

    first = await top_up(100, "paid")
    assert await top_up(100, "paid twice?") == await top_up(100, None) == first
    assert first.note == "paid"
    assert counters(await bank.account(customer)) == (100, 100, 0, 0)


async def test_a_correction_that_is_sent_again_is_the_first_even_if_it_couldnt_be_made_now(bank: Bank) -> None:
    customer = await bank.customer(500)
    first = await bank.grant(customer, -500, "refund")
    assert await bank.grant(customer, -500, "refund") == first
    with pytest.raises(GatewayError, match="balance_too_low"):
        await bank.grant(customer, -500, "refund-2")
    assert await bank.grant(customer, 700) != first
    assert await bank.grant(customer, -500, "refund") == first
    assert counters(await bank.account(customer)) == (700, 700, 0, 0)


async def test_corrections_among_holds_never_reach_what_is_held(bank: Bank) -> None:
    """Whatever was held can be charged in full, however much is taken away meanwhile: more than there is, in all."""
    customer = await bank.customer(2000)
    writers = bank.writer(), bank.writer()
    outcomes: Counter[str] = Counter()

    async def spend(number: int) -> int:
        spent = 0
        for _ in range(6):
            reply = await writers[number % 2].hold(make_ask(customer, 13))
            if isinstance(reply, Hold):
                await bank.entries(customer)  # some time for the others, with the money held
                writers[number % 2].settle(settled(reply, 13))
                spent += 13
        return spent

    async def correct(number: int) -> int:
        taken = 0
        for _ in range(10):
            try:
                await bank.grant(customer, -49 - number)
                taken += 49 + number
                outcomes["taken"] += 1
            except GatewayError as error:
                outcomes[error.code] += 1
        return taken

    correcting = asyncio.gather(*(correct(number) for number in range(6)))
    spent = sum(await asyncio.gather(*(spend(number) for number in range(12))))
    taken = sum(await correcting)
    for writer in writers:
        assert await writer.flush(10)
    assert set(outcomes) == {"taken", "balance_too_low"}
    assert counters(await bank.account(customer)) == (2000 - taken, 2000 - taken - spent, 0, spent)
    entries = await bank.entries(customer)
    assert (sum(entry["charged"] for entry in entries), sum(entry["uncollected"] for entry in entries)) == (spent, 0)
