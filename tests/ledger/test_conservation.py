"""Random orders of everything that moves money, on two writers: a model of a few lines must come to the same books."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from app.errors import GatewayError
from app.ledger.limits import set_limits
from app.ledger.records import Hold, Refusal, Settlement, Status
from app.ledger.sweep import _resolve, resolve_orphans
from app.ledger.wallets import Wallet, account_wallets, key_wallets
from app.ledger.writer import LedgerWriter
from tests.ledger.bank import Bank, Customer, make_ask

T = TypeVar("T")
# Nothing is drawn in the middle of a rule: what a race leaves behind may differ when Hypothesis tries it again.
WHO, BY, WHICH = st.integers(0, 3), st.integers(0, 1), st.integers(0, 9)
STEPS = st.sampled_from(["hold", "hold", "settle", "settle", "cancel", "sweep", "grant", "quota"])
AMOUNTS = st.sampled_from([0, 1, 7, 50, 99, 100, 101, 250, 1000])
ANSWERED_BY = st.sampled_from([(None, None), (None, None), ("other", 2_000_000), ("other", None), (None, 0)])
"""Another model than the hold's, and its group's ratio."""


THRESHOLDS = (40, 100, 700)


class Stage:
    """A database, two writers and a loop that all examples share; each brings accounts of its own."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.bank = Bank(url)
        self.writers = self.run(self._open())

    async def _open(self) -> tuple[LedgerWriter, LedgerWriter]:
        return self.bank.writer(), self.bank.writer()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def close(self) -> None:
        self.run(self.bank.close())
        self.runner.close()


@dataclass
class Pocket:
    """What an account or a key should have; `balance` None is unbounded."""

    balance: int | None
    held: int = 0
    charged: int = 0

    def room(self) -> int:
        return 2**63 if self.balance is None else self.balance

    def funds(self) -> int:
        """What there will be when everything that is held has come back."""
        return max(0, self.room() + self.held)

    def move(self, balance: int, held: int, charged: int) -> None:
        self.held += held
        self.charged += charged
        if self.balance is not None:
            self.balance += balance

    def matches(self, wallet: Wallet) -> bool:
        return (self.balance, self.held, self.charged) == (wallet.balance, wallet.held, wallet.charged)


@dataclass
class Open:
    """A hold as the model knows it."""

    customer: Customer
    owner: LedgerWriter
    hold: Hold
    orphan_charge: int


class Books(RuleBasedStateMachine):
    """Rules act alone, so that the model can tell the outcome; `together` lets many race and then only checks the sums."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        self.customers: list[Customer] = []
        self.accounts: dict[int, Pocket] = {}
        self.keys: dict[int, Pocket] = {}
        self.open: list[Open] = []
        self.ended: list[Open] = []
        self.answered: dict[UUID, tuple[str, int]] = {}
        self.told = 0
        self.within = False

    @initialize(grants=st.tuples(AMOUNTS, AMOUNTS), quotas=st.tuples(AMOUNTS, st.none()))
    def open_accounts(self, grants: tuple[int, int], quotas: tuple[int, None]) -> None:
        async def make() -> None:
            for granted in grants:
                for quota in quotas:
                    if quota is None:
                        customer = await self.stage.bank.key(self.customers[-1].account_id)
                    else:
                        customer = await self.stage.bank.customer(granted, quota)
                        self.accounts[customer.account_id] = Pocket(granted)
                    self.customers.append(customer)
                    self.keys[customer.key_id] = Pocket(quota)

        self.stage.run(make())
        self.stage.run(self._set_rules())

    async def _set_rules(self) -> None:
        """Limits that never refuse, being wide or in shadow, so that granting in turn is tried too, with thresholds."""
        tried = {"rpm": 1, "tpm": 1, "concurrency": 1, "budget": 1, "budget_period": "day", "shadow": True}
        wide = {"rpm": 10**6, "tpm": 10**9, "rpd": 10**6, "concurrency": 10**6, "budget": 2**60, "budget_period": "day"}
        async with self.stage.bank.engine.begin() as connection:
            await set_limits(connection, self.customers[0].account_id, wide)
            await set_limits(connection, self.customers[0].account_id, wide, key_id=self.customers[0].key_id)
            for key_id in (0, self.customers[-1].key_id):
                await set_limits(connection, self.customers[-1].account_id, tried, key_id=key_id)
        query = "INSERT INTO webhooks (account_id, url, secret, thresholds) SELECT unnest($1::bigint[]), '', '', $2"
        await self.stage.bank.fetch(query, list(self.accounts), list(THRESHOLDS))
        arm = "UPDATE account_balances SET alert_below = next_alert(account_id, balance) WHERE account_id = ANY ($1)"
        await self.stage.bank.fetch(arm, list(self.accounts))

    # -- one thing at a time -------------------------------------------------------------------------------------

    @rule(who=WHO, by=BY, want=AMOUNTS, minimum=AMOUNTS, orphan=AMOUNTS)
    def hold(self, who: int, by: int, want: int, minimum: int, orphan: int) -> None:
        customer, writer = self.customers[who], self.stage.writers[by]
        minimum = min(want, minimum)
        orphan = min(minimum, orphan)
        room = max(0, min(self.accounts[customer.account_id].room(), self.keys[customer.key_id].room()))
        reply = self.stage.run(self._hold(writer, customer, want, minimum, orphan))
        if room < minimum:
            if self.accounts[customer.account_id].funds() < minimum:
                assert reply is Refusal.ACCOUNT_SHORT
            elif self.keys[customer.key_id].funds() < minimum:
                assert reply is Refusal.KEY_SHORT
            else:
                assert reply is Refusal.HELD
        else:
            assert isinstance(reply, Hold)
            assert reply.amount == min(want, room)
            self._move(customer, -reply.amount, reply.amount, 0)
            self.open.append(Open(customer, writer, reply, orphan))

    @rule(which=WHICH, by=BY, cost=AMOUNTS, times=st.integers(1, 3), answered_by=ANSWERED_BY)
    def settle(self, which: int, by: int, cost: int, times: int, answered_by: tuple[str | None, int | None]) -> None:
        """Within the hold or above it, once or several times, by any process, for whatever model answered."""
        if self.open:
            ending = self.open.pop(which % len(self.open))
            model, group_ppm = answered_by
            settlement = Settlement(ending.hold, Status.SETTLED, cost, model=model, group_ppm=group_ppm)
            self.stage.run(self._settle(self.stage.writers[by], settlement, times))
            self.answered[ending.hold.id] = model or "m", 1_000_000 if group_ppm is None else group_ppm
            self._end(ending, cost)

    @rule(which=WHICH, by=BY)
    def release(self, which: int, by: int) -> None:
        if self.open:
            ending = self.open.pop(which % len(self.open))
            self.stage.run(self._settle(self.stage.writers[by], Settlement(ending.hold, Status.RELEASED), 1))
            self._end(ending, 0)

    @rule(which=WHICH, by=BY, cost=AMOUNTS)
    def settle_again(self, which: int, by: int, cost: int) -> None:
        if self.ended:
            settlement = Settlement(self.ended[which % len(self.ended)].hold, Status.SETTLED, cost, model="later")
            self.stage.run(self._settle(self.stage.writers[by], settlement, 1))

    @rule(who=WHO, by=BY, want=AMOUNTS, turns=st.integers(0, 6))
    def cancel(self, who: int, by: int, want: int, turns: int) -> None:
        """The caller goes after so many turns of the loop: it may have its hold by then, else nothing is held."""
        customer, writer = self.customers[who], self.stage.writers[by]
        reply = self.stage.run(self._cancel(writer, customer, want, turns))
        if isinstance(reply, Hold):
            self._move(customer, -reply.amount, reply.amount, 0)
            self.open.append(Open(customer, writer, reply, 0))

    @rule(by=BY)
    def resolve_orphans(self, by: int) -> None:
        """A process is taken for dead."""
        writer = self.stage.writers[by]
        self.stage.run(resolve_orphans(self.stage.bank.engine, writer.owner))
        with self._telling():
            for ending in [item for item in self.open if item.owner is writer]:
                self.open.remove(ending)
                self._end(ending, ending.orphan_charge)

    @rule(by=BY, which=WHICH)
    def release_strays(self, by: int, which: int) -> None:
        """A process knows all its holds but perhaps one."""
        writer = self.stage.writers[by]
        mine = [item for item in self.open if item.owner is writer]
        strays = mine[which : which + 1]
        known = [item.hold.id for item in mine if item not in strays]
        work = _resolve(self.stage.bank.engine, writer.owner, age=0, known=known, status="released", error="stray")
        assert self.stage.run(work) == len(strays)
        for ending in strays:
            self.open.remove(ending)
            self._end(ending, 0)

    @rule(who=WHO, amount=st.one_of(AMOUNTS, AMOUNTS.map(lambda amount: -amount)))
    def grant(self, who: int, amount: int) -> None:
        customer = self.customers[who]
        account = self.accounts[customer.account_id]
        assert account.balance is not None
        if account.balance + amount < 0:
            with pytest.raises(GatewayError, match="balance_too_low"):
                self.stage.run(self.stage.bank.grant(customer, amount))
        else:
            self.stage.run(self.stage.bank.grant(customer, amount))
            with self._telling():
                account.balance += amount

    @rule(who=WHO, quota=st.one_of(st.none(), AMOUNTS))
    def set_quota(self, who: int, quota: int | None) -> None:
        customer = self.customers[who]
        key = self.keys[customer.key_id]
        self.stage.run(self.stage.bank.set_quota(customer, quota))
        key.balance = None if quota is None else quota - key.held - key.charged

    # -- all at once ---------------------------------------------------------------------------------------------

    @rule(steps=st.lists(st.tuples(STEPS, WHO, BY, AMOUNTS, WHICH), min_size=2, max_size=12))
    def together(self, steps: list[tuple[str, int, int, int, int]]) -> None:
        """Asks, settlements, a sweep, a grant and a quota race; whatever the order, the invariants hold after it."""
        self.stage.run(self._race([self._step(*step) for step in steps]))
        self.stage.run(self._learn())

    def _step(self, kind: str, who: int, by: int, amount: int, which: int) -> Coroutine[Any, Any, Any]:
        customer, writer, bank = self.customers[who], self.stage.writers[by], self.stage.bank
        match kind:
            case "settle" if self.open:
                ending = self.open[which % len(self.open)].hold
                model = "other" if which % 2 else None
                return self._settle(writer, Settlement(ending, Status.SETTLED, amount, model=model), 2)
            case "cancel":
                return self._cancel(writer, customer, amount, which)
            case "sweep":
                return resolve_orphans(bank.engine, writer.owner)
            case "grant":
                return bank.grant(customer, amount)
            case "quota":
                return bank.set_quota(customer, amount)
            case _:
                return self._hold(writer, customer, amount, amount // 4, 0)

    async def _race(self, works: list[Coroutine[Any, Any, Any]]) -> None:
        await asyncio.gather(*works)
        for writer in self.stage.writers:
            assert await writer.flush(10)

    async def _learn(self) -> None:
        """After a race the model takes over what the rows say; whether that adds up is the invariant's business."""
        accounts, keys = await self._wallets()
        self.accounts = {number: Pocket(w.balance, w.held, w.charged) for number, w in accounts.items()}
        self.keys = {number: Pocket(w.balance, w.held, w.charged) for number, w in keys.items()}
        self.told = await self._deliveries()
        query = "SELECT id, account_id, key_id, owner, amount, orphan_charge FROM holds WHERE account_id = ANY ($1)"
        rows = await self.stage.bank.fetch(query, list(self.accounts))
        owners = {writer.owner: writer for writer in self.stage.writers}
        open_before = {item.hold.id: item for item in self.open}
        self.open = [
            Open(
                Customer(row["account_id"], row["key_id"]),
                owners[row["owner"]],
                Hold(row["id"], row["account_id"], row["amount"]),
                row["orphan_charge"],
            )
            for row in rows
        ]
        self.ended += [open_before[gone] for gone in open_before.keys() - {item.hold.id for item in self.open}]

    # -- what must be so -----------------------------------------------------------------------------------------

    @invariant()
    def books_are_right(self) -> None:
        self.stage.run(self._check())

    async def _check(self) -> None:
        audit = await self.stage.bank.audit()
        assert audit.ok, audit
        accounts, keys = await self._wallets()
        for account_id, account in accounts.items():
            assert account.granted is not None
            assert account.balance is not None
            assert account.granted == account.balance + account.held + account.charged
            assert min(account.balance, account.held) >= 0
            assert account.charged <= account.granted
            assert self.accounts[account_id].matches(account)
        for key_id, key in keys.items():
            assert self.keys[key_id].matches(key)
        query = "SELECT alert_below, next_alert(account_id, balance + held) FROM account_balances WHERE account_id = ANY ($1)"
        assert all(armed == due for armed, due in await self.stage.bank.fetch(query, list(self.accounts)))
        assert await self._deliveries() == self.told
        mine = {item.hold.id for item in self.open}
        assert {row["id"] for row in await self._rows("holds")} == mine
        entries = {row["id"]: (row["model"], row["group_ppm"]) for row in await self._rows("entries")}
        assert entries.keys().isdisjoint(mine)
        assert entries.keys() >= {item.hold.id for item in self.ended}
        assert self.answered.items() <= entries.items()

    async def _wallets(self) -> tuple[Mapping[int, Wallet], Mapping[int, Wallet]]:
        async with self.stage.bank.engine.connect() as connection:
            accounts = await account_wallets(connection, self.accounts.keys())
            return accounts, await key_wallets(connection, self.keys.keys())

    async def _rows(self, table: str) -> list[Any]:
        query = f"SELECT id, model, group_ppm FROM {table} WHERE account_id = ANY ($1)"
        return await self.stage.bank.fetch(query, list(self.accounts))

    def teardown(self) -> None:
        """The next example finds writers without holds."""
        for ending in self.open:
            settlement = Settlement(ending.hold, Status.RELEASED)
            self.stage.run(self._settle(ending.owner, settlement, 1))

    # -- how it is done ------------------------------------------------------------------------------------------

    def _move(self, customer: Customer, balance: int, held: int, charged: int) -> None:
        self.accounts[customer.account_id].move(balance, held, charged)
        self.keys[customer.key_id].move(balance, held, charged)

    def _end(self, ending: Open, cost: int) -> None:
        """The hold goes back, then the cost is taken from what is there, at least what the hold covered."""
        amount, customer = ending.hold.amount, ending.customer
        self._move(customer, amount, -amount, 0)
        covered = min(cost, amount)
        with self._telling():
            self._move(customer, -covered, 0, covered)
        room = min(self.accounts[customer.account_id].room(), self.keys[customer.key_id].room())
        extra = max(0, min(cost - covered, room))
        with self._telling():
            self._move(customer, -extra, 0, extra)
        self.ended.append(ending)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """What changes in here is one statement: it tells once of an account that it takes below thresholds."""
        before = None if self.within else {number: pocket.funds() for number, pocket in self.accounts.items()}
        within, self.within = self.within, True
        yield
        self.within = within
        for number, funds in (before or {}).items():
            self.told += any(self.accounts[number].funds() < threshold <= funds for threshold in THRESHOLDS)

    async def _deliveries(self) -> int:
        query = "SELECT count(*) FROM deliveries WHERE account_id = ANY ($1)"
        return int((await self.stage.bank.fetch(query, list(self.accounts)))[0][0])

    async def _hold(
        self, writer: LedgerWriter, customer: Customer, want: int, minimum: int, orphan: int
    ) -> Hold | Refusal:
        tokens = None if customer == self.customers[2] else want
        return await writer.hold(make_ask(customer, want, minimum, orphan_charge=orphan, tokens=tokens))

    async def _settle(self, writer: LedgerWriter, settlement: Settlement, times: int) -> None:
        for _ in range(times):
            writer.settle(settlement)
        assert await writer.flush(10)

    async def _cancel(self, writer: LedgerWriter, customer: Customer, want: int, turns: int) -> Hold | Refusal | None:
        task = asyncio.create_task(writer.hold(make_ask(customer, want)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        (reply,) = await asyncio.gather(task, return_exceptions=True)
        assert await writer.flush(10)
        return reply if isinstance(reply, Hold | Refusal) else None


@pytest.fixture(scope="module")
def stage(copy_url: str) -> Iterator[Stage]:
    made = Stage(copy_url)
    yield made
    made.close()


def test_money_is_conserved(stage: Stage) -> None:
    run_state_machine_as_test(
        lambda: Books(stage),  # type: ignore[arg-type]  # any callable that makes a machine will do
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.reuse, Phase.generate, Phase.shrink],
        ),
    )
