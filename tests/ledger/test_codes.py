"""A code is money for one account, once, whoever races for it and whatever breaks in between."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from app.accounts.secrets import digest_of
from app.core.money import MAX_NANO
from app.errors import GatewayError
from app.ledger.codes import (
    ALPHABET,
    Batch,
    Redemption,
    create_batch,
    get_batch,
    hint_of,
    list_batches,
    list_codes,
    new_code,
    read_code,
    redeem,
    revoke_batch,
)
from app.ledger.records import Hold
from app.ledger.writer import LedgerWriter
from tests.ledger.bank import Bank, Customer, counters, eventually, make_ask, settled
from tests.ledger.test_concurrency import assert_no_deadlock


async def issue(bank: Bank, count: int = 1, *, amount: int = 100, **fields: Any) -> tuple[Batch, list[str]]:
    async with bank.engine.begin() as connection:
        return await create_batch(
            connection, **{"name": "b", "amount": amount, "count": count, "expires_at": None, **fields}
        )


async def use(bank: Bank, code: str, customer: Customer) -> Redemption:
    async with bank.engine.begin() as connection:
        return await redeem(connection, code, account_id=customer.account_id, key_id=customer.key_id)


async def outcome(bank: Bank, code: str, customer: Customer) -> Redemption | str:
    """The redemption, or the code of the error."""
    try:
        return await use(bank, code, customer)
    except GatewayError as error:
        return error.code


async def revoke(bank: Bank, batch: Batch) -> Batch:
    async with bank.engine.begin() as connection:
        return await revoke_batch(connection, batch.id)


async def state(bank: Bank, batch: Batch) -> Batch:
    async with bank.engine.connect() as connection:
        return await get_batch(connection, batch.id)


async def grants_of(bank: Bank, customer: Customer) -> list[asyncpg.Record]:
    return await bank.fetch("SELECT * FROM grants WHERE account_id = $1 ORDER BY id", customer.account_id)


class TestShape:
    """What a code looks like, and what is taken for one."""

    def test_a_code_is_150_random_bits_that_people_can_type(self) -> None:
        drawn = [new_code() for _ in range(2000)]
        assert all(re.fullmatch(r"RG(-[0-9A-HJKMNP-TV-Z]{5}){6}", code) for code in drawn)
        assert len(set(drawn)) == 2000
        # 60,000 characters, 1,875 of each on average: 300 more or less is 7 standard deviations.
        counts = Counter("".join(code[3:].replace("-", "") for code in drawn))
        assert set(counts) == set(ALPHABET)
        assert min(counts.values()) > 1575
        assert max(counts.values()) < 2175

    @pytest.mark.parametrize(
        "typed",
        [
            "RG-8KQ2M-0W15T-H3XRC-9VDJ7-PBN4E-6FYGS",
            "rg-8kq2m-0w15t-h3xrc-9vdj7-pbn4e-6fygs",
            "RG8KQ2M0W15TH3XRC9VDJ7PBN4E6FYGS",
            "8kq2m0w15th3xrc9vdj7pbn4e6fygs",
            "  RG 8KQ2M 0W15T H3XRC 9VDJ7 PBN4E 6FYGS\n",
            "RG–8KQ2M–0W15T—H3XRC‑9VDJ7−PBN4E_6FYGS",
            "rg-8kq2m-ow15t-h3xrc-9vdj7-pbn4e-6fygs",
            "rg-8kq2m-OwI5t-h3xrc-9vdj7-pbn4e-6fygs",
            "rg-8kq2m-0wl5t-h3xrc-9vdj7-pbn4e-6fygs",
        ],
    )
    def test_is_read_as_people_type_it(self, typed: str) -> None:
        assert read_code(typed) == "RG-8KQ2M-0W15T-H3XRC-9VDJ7-PBN4E-6FYGS"

    @pytest.mark.parametrize(
        "typed",
        [
            "",
            "RG",
            "RG-8KQ2M-0W15T-H3XRC-9VDJ7-PBN4E-6FYG",
            "RG-8KQ2M-0W15T-H3XRC-9VDJ7-PBN4E-6FYGSS",
            "XX-8KQ2M-0W15T-H3XRC-9VDJ7-PBN4E-6FYGS",
            "RG-RG-8KQ2M-0W15T-H3XRC-9VDJ7-PBN4E-6FYGS",
            "RG-8KQ2M-0W15T-H3XRC-9VDJ7-PBN4E-6FYGU",
            "RG-8KQ2M-0W15T-H3XRC-9VDJ7-PBN4E-6FYG\0",
            "RG-8KQ2M-0W15T-H3XRC-9VDJ7-PBN4E-6FYG'",
            "RG-8KQ2M-0W15T-H3XRC-9VDJ7-PBN4E-6FYG٣",
            "RG-8KQ2M-0W15T-H3XRC-9VDJ7-PBN4E-6FYG\ud83d",
        ],
    )
    def test_what_cant_be_a_code(self, typed: str) -> None:
        assert read_code(typed) is None

    @given(st.text(max_size=60))
    def test_whatever_is_typed_is_a_code_or_none(self, typed: str) -> None:
        code = read_code(typed)
        assert code is None or read_code(code) == code

    def test_a_code_that_begins_with_the_prefix_is_read_either_way(self) -> None:
        body = "RG" + "0" * 28
        assert read_code(body) == read_code(f"RG{body}") == "RG-RG000-00000-00000-00000-00000-00000"


async def test_only_digests_and_hints_are_kept(bank: Bank) -> None:
    batch, codes = await issue(bank, 3, amount=5, name="Frühling")
    assert (batch.name, batch.amount, batch.count, batch.redeemed, batch.open) == ("Frühling", 5, 3, 0, 3)
    rows = await bank.fetch("SELECT * FROM codes WHERE batch_id = $1 ORDER BY id", batch.id)
    assert [row["digest"] for row in rows] == [digest_of(code) for code in codes]
    assert [row["hint"] for row in rows] == [hint_of(code) for code in codes] == [f"RG-…{c[-4:]}" for c in codes]
    text = repr(rows)
    assert not any(group in text for code in codes for group in code[3:].split("-"))


async def test_the_largest_batch(bank: Bank) -> None:
    batch, codes = await issue(bank, 10_000)
    assert len(set(codes)) == 10_000
    ((count,),) = await bank.fetch("SELECT count(DISTINCT digest) FROM codes WHERE batch_id = $1", batch.id)
    assert count == 10_000
    assert isinstance(await outcome(bank, codes[-1], await bank.customer()), Redemption)
    assert (await state(bank, batch)).open == 9_999


async def test_a_redeemed_code_is_a_grant(bank: Bank) -> None:
    customer = await bank.customer(5)
    batch, (code, other) = await issue(bank, 2, amount=100)
    done = await use(bank, code.lower().replace("-", " "), customer)
    assert (done.amount, done.is_repeat) == (100, False)
    assert counters(await bank.account(customer)) == (105, 105, 0, 0)
    _, grant = await grants_of(bank, customer)
    assert (grant["id"], grant["amount"], grant["created_at"]) == (done.grant_id, 100, done.redeemed_at)
    assert (grant["note"], grant["idempotency_key"]) == (f"Code {hint_of(code)}", None)
    async with bank.engine.connect() as connection:
        first, second = await list_codes(connection, batch.id, after=0, limit=10)
        assert await list_codes(connection, batch.id, after=first.id, limit=10) == [second]
        newest = (await list_batches(connection, before=None, limit=2))[0]
        assert (newest.id, newest.redeemed, newest.open) == (batch.id, 1, 1)
        assert batch.id not in {found.id for found in await list_batches(connection, before=batch.id, limit=9)}
    assert (first.hint, first.account_id, first.key_id) == (hint_of(code), customer.account_id, customer.key_id)
    assert (first.grant_id, first.redeemed_at) == (done.grant_id, done.redeemed_at)
    assert (second.hint, second.account_id, second.redeemed_at) == (hint_of(other), None, None)


async def test_the_account_that_redeemed_it_gets_its_first_grant_again(bank: Bank) -> None:
    customer, stranger = await bank.customer(), await bank.customer()
    batch, (code,) = await issue(bank, expires_at=datetime.now(UTC) + timedelta(days=1))
    first = await use(bank, code, customer)
    again = Redemption(100, first.grant_id, first.redeemed_at, is_repeat=True)
    assert await use(bank, code, customer) == again
    assert await use(bank, code, await bank.key(customer.account_id)) == again, "with any of its keys"
    assert await outcome(bank, code, stranger) == "invalid_code"
    await revoke(bank, batch)
    await bank.fetch("UPDATE code_batches SET expires_at = now() WHERE id = $1", batch.id)
    assert await use(bank, code, customer) == again, "what was redeemed stays"
    assert counters(await bank.account(customer)) == (100, 100, 0, 0)
    assert counters(await bank.account(stranger)) == (0, 0, 0, 0)


async def test_who_doesnt_own_a_code_isnt_told_what_became_of_it(bank: Bank) -> None:
    customer, stranger = await bank.customer(), await bank.customer()
    _, (used,) = await issue(bank)
    await use(bank, used, customer)
    withdrawn, (revoked,) = await issue(bank)
    await revoke(bank, withdrawn)
    gone, (used_and_expired,) = await issue(bank, expires_at=datetime.now(UTC) + timedelta(days=1))
    await use(bank, used_and_expired, customer)
    await bank.fetch("UPDATE code_batches SET expires_at = now() WHERE id = $1", gone.id)
    told = set()
    for typed in (new_code(), "hello", used, revoked, used_and_expired):
        with pytest.raises(GatewayError) as raised:
            await use(bank, typed, stranger)
        told.add((raised.value.status, raised.value.code, raised.value.message, raised.value.param))
    assert [code for _, code, _, _ in told] == ["invalid_code"]
    assert counters(await bank.account(stranger)) == (0, 0, 0, 0)


async def test_an_expired_code(bank: Bank) -> None:
    customer = await bank.customer()
    batch, (code, late) = await issue(bank, 2, expires_at=datetime.now(UTC) + timedelta(days=1))
    await use(bank, code, customer)
    await bank.fetch("UPDATE code_batches SET expires_at = now() WHERE id = $1", batch.id)
    assert await outcome(bank, late, customer) == "code_expired"
    found = await state(bank, batch)
    assert (found.redeemed, found.open, found.revoked_at) == (1, 0, None)
    assert counters(await bank.account(customer)) == (100, 100, 0, 0)


async def test_a_code_that_expires_while_its_redemption_waits_is_expired(bank: Bank) -> None:
    customer = await bank.customer()
    batch, (code,) = await issue(bank, expires_at=datetime.now(UTC) + timedelta(days=1))
    async with locked(bank, code) as connection:
        trying = asyncio.create_task(outcome(bank, code, customer))
        await waiting_for_codes(bank, 1)
        # Later than the moment at which the waiting transaction began.
        await connection.execute("UPDATE code_batches SET expires_at = clock_timestamp() WHERE id = $1", batch.id)
    assert await trying == "code_expired"


async def test_revoking_twice_is_revoking_once(bank: Bank) -> None:
    batch, _ = await issue(bank, 3)
    first = await revoke(bank, batch)
    assert first.revoked_at is not None
    assert first.open == 0
    assert await revoke(bank, batch) == first
    async with bank.engine.connect() as connection:
        with pytest.raises(GatewayError, match="code_batch_not_found"):
            await revoke_batch(connection, 2**40)


async def test_an_amount_that_the_account_cant_take_leaves_the_code_as_it_was(bank: Bank) -> None:
    full, other = await bank.customer(MAX_NANO), await bank.customer()
    batch, (code,) = await issue(bank)
    with pytest.raises(GatewayError, match="amount_out_of_range"):
        await use(bank, code, full)
    assert (await state(bank, batch)).open == 1
    assert not (await use(bank, code, other)).is_repeat


async def test_a_deleted_accounts_redemption_leaves_the_code_as_it_was(bank: Bank) -> None:
    customer = await bank.customer()
    batch, (code,) = await issue(bank)
    await bank.fetch("UPDATE accounts SET deleted_at = now() WHERE id = $1", customer.account_id)
    with pytest.raises(GatewayError, match="account_not_found"):
        await use(bank, code, customer)
    assert (await state(bank, batch)).open == 1


# -- races -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accounts", [1, 50])
async def test_fifty_concurrent_tries_are_one_redemption(bank: Bank, accounts: int) -> None:
    """Over two processes' worth of connections: one account that tries fifty times, and fifty accounts that race."""
    second = Bank(bank.url)
    customers = [await bank.customer() for _ in range(accounts)]
    batch, (code,) = await issue(bank)
    tries = [outcome(bank if number % 2 else second, code, customers[number % accounts]) for number in range(50)]
    results = await asyncio.gather(*tries)
    await second.close()
    done = [result for result in results if isinstance(result, Redemption)]
    assert len({result.grant_id for result in done}) == 1
    assert [result.is_repeat for result in done].count(False) == 1
    assert len(done) == (50 if accounts == 1 else 1)
    assert {result for result in results if isinstance(result, str)} == (set() if accounts == 1 else {"invalid_code"})
    wallets = [counters(await bank.account(customer)) for customer in customers]
    assert sorted(wallets, reverse=True) == [(100, 100, 0, 0), *[(0, 0, 0, 0)] * (accounts - 1)]
    assert (await state(bank, batch)).redeemed == 1


@pytest.mark.long
async def test_redeeming_beside_holds_settlements_and_grants_loses_nothing(own_bank: Bank) -> None:
    """Every order of locks at once: codes of a few batches, their accounts' counters, revocations, the ledger's batches."""
    customers = [await own_bank.customer(50) for _ in range(4)]
    batches = [await issue(own_bank, 30, amount=10) for _ in range(4)]
    writers = own_bank.writer(), own_bank.writer()
    second = Bank(own_bank.url)

    async def spend(writer: LedgerWriter, customer: Customer) -> int:
        spent = 0
        for _ in range(30):
            reply = await writer.hold(make_ask(customer, 5, 1))
            if isinstance(reply, Hold):
                writer.settle(settled(reply, 1))
                spent += 1
        return spent

    async def collect(number: int) -> int:
        gained = 0
        for turn in range(30):
            code = batches[(number + turn) % 4][1][turn]
            bank = own_bank if number % 2 else second
            result = await outcome(bank, code, customers[(number + turn) % 4])
            gained += isinstance(result, Redemption) and not result.is_repeat
            if number == 0 and turn == 20:
                await revoke(own_bank, batches[3][0])
        return gained

    async def edit(customer: Customer) -> None:
        for turn in range(20):
            await own_bank.grant(customer, 3)
            await own_bank.set_quota(customer, None if turn % 2 else 1000)

    spending = asyncio.gather(*(spend(writer, customer) for writer in writers for customer in customers))
    editing = asyncio.gather(*(edit(customer) for customer in customers))
    gained = sum(await asyncio.gather(*(collect(number) for number in range(8))))
    spent = sum(await spending)
    await editing
    for writer in writers:
        assert await writer.flush(10)
    await second.close()

    found = [await state(own_bank, batch) for batch, _ in batches]
    assert sum(batch.redeemed for batch in found) == gained > 0
    wallets = [await own_bank.account(customer) for customer in customers]
    assert sum(wallet.granted or 0 for wallet in wallets) == 4 * (50 + 20 * 3) + 10 * gained
    assert sum(wallet.charged for wallet in wallets) == spent > 0
    ((strays,),) = await own_bank.fetch(
        "SELECT count(*) FROM codes c FULL JOIN (SELECT * FROM grants WHERE note LIKE 'Code %') g "
        "ON g.id = c.grant_id AND g.account_id = c.account_id WHERE c.id IS NULL OR (g.id IS NULL AND c.grant_id IS NOT NULL)"
    )
    assert strays == 0
    audit = await own_bank.audit()
    assert audit.ok, audit
    await own_bank.database.close()
    await assert_no_deadlock(own_bank)


async def test_a_revocation_waits_for_the_redemption_under_way_and_stops_the_next(bank: Bank) -> None:
    customer = await bank.customer()
    batch, (early, late) = await issue(bank, 2)
    async with bank.engine.connect() as connection:
        first = await redeem(connection, early, account_id=customer.account_id, key_id=customer.key_id)
        revoking = asyncio.create_task(revoke(bank, batch))
        await waiting_for_codes(bank, 1)
        await connection.commit()
    revoked = await revoking
    assert (revoked.redeemed, revoked.open) == (1, 0)
    assert first.grant_id == (await grants_of(bank, customer))[0]["id"]
    assert await outcome(bank, late, customer) == "invalid_code"
    assert counters(await bank.account(customer)) == (100, 100, 0, 0)


# -- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["grants", "account_balances", "codes"])
async def test_a_redemption_that_fails_leaves_neither_grant_nor_mark(own_bank: Bank, table: str) -> None:
    """Whatever is written last, and be it at the commit: all of it or nothing."""
    customer = await own_bank.customer(7)
    batch, (code,) = await issue(own_bank)
    await own_bank.fetch(
        "CREATE FUNCTION fail_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'too late'; END $$"
    )
    await own_bank.fetch(
        f"CREATE CONSTRAINT TRIGGER fail_late AFTER INSERT OR UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION fail_late()"
    )
    with pytest.raises(DBAPIError, match="too late"):
        await use(own_bank, code, customer)
    assert (await state(own_bank, batch)).open == 1
    assert len(await grants_of(own_bank, customer)) == 1
    assert counters(await own_bank.account(customer)) == (7, 7, 0, 0)
    await own_bank.fetch(f"DROP TRIGGER fail_late ON {table}")
    assert not (await use(own_bank, code, customer)).is_repeat
    assert (await own_bank.audit()).ok


async def test_a_connection_that_dies_before_the_commit_leaves_the_code_open(bank: Bank) -> None:
    customer = await bank.customer()
    batch, (code,) = await issue(bank)
    async with bank.engine.connect() as connection:
        done = await redeem(connection, code, account_id=customer.account_id, key_id=customer.key_id)
        assert not done.is_repeat
        ((pid,),) = (await connection.exec_driver_sql("SELECT pg_backend_pid()")).all()
        await bank.terminate([pid])
        with pytest.raises(DBAPIError):
            await connection.exec_driver_sql("COMMIT")
    assert (await state(bank, batch)).open == 1
    assert counters(await bank.account(customer)) == (0, 0, 0, 0)
    assert not (await use(bank, code, customer)).is_repeat


@asynccontextmanager
async def locked(bank: Bank, code: str) -> AsyncIterator[asyncpg.Connection]:
    """While the block runs, nobody redeems this code."""
    connection = await asyncpg.connect(bank.url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM codes WHERE digest = $1 FOR UPDATE", digest_of(code))
            yield connection
    finally:
        await connection.close()


async def waiting_for_codes(bank: Bank, count: int) -> None:
    """Returns once so many transactions wait for a code or its batch."""
    query = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
        "AND query ~ '(FROM codes|code_batches)'"
    )

    async def enough() -> bool:
        return len(await bank.fetch(query)) >= count

    await eventually(enough)
