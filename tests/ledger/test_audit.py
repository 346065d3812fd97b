"""The audit is silent about right books, and finds whatever somebody changed in them, to the nano-dollar."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.core.ids import new_id
from app.ledger.audit import Audit
from app.ledger.sweep import resolve_orphans
from tests.ledger.bank import Bank, Customer, eventually, hold, released, settle, settled

A_CHARGE = "SELECT id FROM entries WHERE charged > 0 LIMIT 1"
CHECKS = (
    "ALTER TABLE account_balances DROP CONSTRAINT ck_account_balances_conserved;"
    "ALTER TABLE key_balances DROP CONSTRAINT ck_key_balances_conserved;"
)


async def busy_customer(bank: Bank) -> Customer:
    """Granted 1000, quota 800: 300 charged in three entries, 200 held in two holds."""
    customer = await bank.customer(1000, quota=800)
    writer = bank.writer()
    await settle(writer, *[settled(await hold(writer, customer, 150), 100) for _ in range(3)])
    await settle(writer, released(await hold(writer, customer, 500)))
    for _ in range(2):
        await hold(writer, customer, 100)
    return customer


async def test_right_books(own_bank: Bank) -> None:
    customer = await busy_customer(own_bank)
    await busy_customer(own_bank)
    await own_bank.grant(customer, -100)
    sibling = await own_bank.key(customer.account_id)
    writer = own_bank.writer()
    await hold(writer, sibling, 50, orphan_charge=20)
    await resolve_orphans(own_bank.engine, writer.owner)
    await settle(writer, settled(await hold(writer, sibling, 10), 10**6))
    found = await own_bank.audit()
    assert found.ok
    assert (found.drift_nano, found.drifts, found.doubled) == (0, [], 0)
    assert (found.accounts, found.keys, found.open_holds, found.held_nano, found.entries) == (2, 3, 4, 400, 10)
    assert found.charged_nano + found.uncollected_nano == 600 + 20 + 10**6


async def test_an_empty_ledger(own_bank: Bank) -> None:
    found = await own_bank.audit()
    assert found.ok
    assert (found.accounts, found.entries, found.charged_nano) == (0, 0, 0)


ACCOUNT = {"granted": 1000, "balance": 500, "held": 200, "charged": 300}
ACCOUNT_ROWS = {"real_granted": 1000, "real_held": 200, "real_charged": 300}
KEY = {"granted": 800, "balance": 300, "held": 200, "charged": 300}
KEY_ROWS = {"real_held": 200, "real_charged": 300}


@pytest.mark.parametrize(
    ("tampering", "drift", "account", "key"),
    [
        pytest.param(
            "DELETE FROM holds WHERE id = (SELECT id FROM holds LIMIT 1)",
            200,
            {"real_held": 100},
            {"real_held": 100},
            id="a hold deleted",
        ),
        pytest.param(
            "UPDATE holds SET amount = amount + 7 WHERE id = (SELECT id FROM holds LIMIT 1)",
            14,
            {"real_held": 207},
            {"real_held": 207},
            id="a hold changed",
        ),
        pytest.param(
            f"UPDATE entries SET charged = charged - 1 WHERE id = ({A_CHARGE})",
            2,
            {"real_charged": 299},
            {"real_charged": 299},
            id="an entry changed",
        ),
        pytest.param(
            "DELETE FROM entries WHERE charged > 0",
            600,
            {"real_charged": 0},
            {"real_charged": 0},
            id="entries deleted",
        ),
        pytest.param(
            # one more dollar by hand: the check on the row can't see it
            "UPDATE account_balances SET granted = granted + 9, balance = balance + 9",
            9,
            {"granted": 1009, "balance": 509},
            None,
            id="money out of nothing",
        ),
        pytest.param(
            "UPDATE account_balances SET charged = charged - 50, balance = balance + 50",
            50,
            {"charged": 250, "balance": 550},
            None,
            id="an account's charge undone",
        ),
        pytest.param(
            "UPDATE key_balances SET held = held - 200, balance = balance + 200",
            200,
            None,
            {"held": 0, "balance": 500},
            id="a key's holds forgotten",
        ),
        pytest.param(
            CHECKS + "UPDATE account_balances SET balance = balance + 5; UPDATE key_balances SET balance = balance - 3",
            8,
            {"balance": 505},
            {"balance": 297},
            id="balances changed alone",
        ),
        pytest.param("DELETE FROM grants", 1000, {"real_granted": 0}, None, id="a grant removed"),
        pytest.param(
            "INSERT INTO grants (account_id, amount) SELECT account_id, 30 FROM account_balances",
            30,
            {"real_granted": 1030},
            None,
            id="a grant that was never booked",
        ),
        pytest.param(
            "DELETE FROM account_balances",
            1500,
            {"granted": 0, "balance": 0, "held": 0, "charged": 0},
            None,
            id="an account's counters deleted",
        ),
        pytest.param(
            "DELETE FROM key_balances",
            500,
            None,
            {"granted": None, "balance": None, "held": 0, "charged": 0},
            id="a key's counters deleted",
        ),
    ],
)
async def test_tampering_is_found(
    own_bank: Bank, tampering: str, drift: int, account: dict[str, int] | None, key: dict[str, Any] | None
) -> None:
    customer = await busy_customer(own_bank)
    assert (await own_bank.audit()).ok
    for statement in tampering.split(";"):
        await own_bank.fetch(statement)
    found = await own_bank.audit()
    assert not found.ok
    assert found.drift_nano == drift
    expected = []
    if account is not None:
        expected.append({"account_id": customer.account_id, **ACCOUNT, **ACCOUNT_ROWS, **account})
    if key is not None:
        expected.append({"account_id": customer.account_id, "key_id": customer.key_id, **KEY, **KEY_ROWS, **key})
    assert found.drifts == expected


async def test_an_entry_of_a_key_that_does_not_exist(own_bank: Bank) -> None:
    customer = await busy_customer(own_bank)
    await own_bank.fetch(f"UPDATE entries SET key_id = 999 WHERE id = ({A_CHARGE})")
    found = await own_bank.audit()
    assert not found.ok
    assert found.drift_nano == 200
    keys = {row["key_id"]: (row["charged"], row["real_charged"]) for row in found.drifts}
    assert keys == {customer.key_id: (300, 200), 999: (0, 100)}


async def test_an_entry_of_an_account_that_does_not_exist(own_bank: Bank) -> None:
    await busy_customer(own_bank)
    await own_bank.fetch(f"UPDATE entries SET account_id = 999 WHERE id = ({A_CHARGE})")
    found = await own_bank.audit()
    assert (found.ok, found.drift_nano, len(found.drifts)) == (False, 400, 4)


async def test_a_grant_for_an_account_without_counters(own_bank: Bank) -> None:
    await busy_customer(own_bank)
    ((account_id,),) = await own_bank.fetch("INSERT INTO accounts (name) VALUES ('forgotten') RETURNING id")
    await own_bank.fetch("INSERT INTO grants (account_id, amount) VALUES ($1, 70)", account_id)
    found = await own_bank.audit()
    assert (found.ok, found.drift_nano) == (False, 70)
    assert [row["account_id"] for row in found.drifts] == [account_id]


async def test_a_hold_that_is_open_although_it_has_an_entry(own_bank: Bank) -> None:
    """Of nothing, so that every sum is right; but it could be settled a second time."""
    customer = await busy_customer(own_bank)
    writer = own_bank.writer()
    held = await hold(writer, customer, 0)
    copy = "INSERT INTO holds SELECT * FROM copied"
    connection_wide = (
        "DO $$ BEGIN CREATE TEMP TABLE copied ON COMMIT DROP AS SELECT * FROM holds WHERE amount = 0;"
        f" PERFORM settle_holds(false, false, ARRAY[{customer.account_id}::bigint], ARRAY['{held.id}'::uuid],"
        " ARRAY[0::bigint],"
        " ARRAY['settled'], ARRAY[NULL::bigint], ARRAY[NULL::bigint], ARRAY[NULL::bigint], ARRAY['{}'],"
        " ARRAY[false], ARRAY[NULL::int], ARRAY[NULL::int],"
        f" ARRAY[1::smallint], ARRAY[NULL::text]); {copy}; END $$"
    )
    await own_bank.fetch(connection_wide)
    found = await own_bank.audit()
    assert (found.ok, found.doubled, found.drift_nano) == (False, 1, 0)


async def test_books_that_are_wrong_beyond_all_measure(own_bank: Bank) -> None:
    """Sums above a BIGINT are reported, not failed on."""
    customer = await busy_customer(own_bank)
    insert = (
        "INSERT INTO holds (account_id, id, key_id, request_id, owner, amount, orphan_charge, input_tokens, model,"
        " format, stream, ratio_ppm, group_ppm) VALUES ($1, $2, $3, $2, $2, $4, 0, 0, 'm', 'f', false, 1, 1)"
    )
    for _ in range(3):
        await own_bank.fetch(insert, customer.account_id, new_id(), customer.key_id, 2**62)
    found = await own_bank.audit()
    assert not found.ok
    assert found.drift_nano == 6 * 2**62
    assert found.held_nano == 3 * 2**62 + 200


async def test_beside_live_traffic(own_bank: Bank) -> None:
    """One snapshot: a batch that commits between two of its queries isn't taken for drift."""
    customers = [await own_bank.customer(10**6) for _ in range(5)]
    writer = own_bank.writer()
    done = asyncio.Event()

    async def spend(customer: Customer) -> None:
        while not done.is_set():
            writer.settle(settled(await hold(writer, customer, 10), 3))

    spenders = [asyncio.create_task(spend(customer)) for customer in customers]
    audits: list[Audit] = []

    async def seen_enough() -> bool:
        audits.append(await own_bank.audit())
        return len(audits) >= 40 and audits[-1].entries > audits[0].entries + 100

    await eventually(seen_enough)
    done.set()
    await asyncio.gather(*spenders)
    assert [found for found in audits if not found.ok] == []
