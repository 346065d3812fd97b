"""The money of one session: a slice is held ahead, settled at what was used, and the next one held.

So no byte goes to an upstream for which nothing is held, and a session of an hour is paid for turn by turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

from app.accounts.principals import Principals
from app.catalog.prices import Price
from app.catalog.snapshot import Candidate
from app.core.ids import new_id
from app.core.usage import Usage
from app.errors import unauthenticated, unavailable
from app.ledger.records import Ask, Hold, Refusal, Settlement, Status
from app.ledger.waiting import WAITABLE, WaitingRoom
from app.ledger.writer import LedgerWriter
from app.realtime.identity import Identity
from app.realtime.way import FORMAT, Way
from app.relay.exchange import LEDGER_PATIENCE
from app.relay.limits import refusal_error
from app.relay.plan import model_not_allowed

LEAST_INPUT = 400
LEAST_OUTPUT = 100
"""Tokens below whose price a session isn't worth going on: about a short sentence and its answer, in audio."""

METER = 60.0
"""Seconds after which a session that is paid by time is settled, whether anything was said or not."""


@dataclass(frozen=True, slots=True)
class Bank:
    """What every session's purse deals with. `slice_tokens`: in and out, whose worst price is held ahead."""

    ledger: LedgerWriter
    waiting_room: WaitingRoom
    principals: Principals
    slice_tokens: int
    on_charge: Callable[[str, Usage, int], None]


class Purse:
    """`attempts`: upstream calls until one was open. `charged`: nano-dollars so far; `turns`: slices that were used."""

    def __init__(self, bank: Bank, identity: Identity, way: Way, request_id: UUID) -> None:
        self.principal = identity.principal
        self._key_digest = identity.key_digest
        self.attempts = 0
        self.charged = 0
        self.turns = 0
        self._bank = bank
        self._way = way
        self._request_id = request_id
        self._candidate: Candidate | None = None
        self._hold: Hold | None = None
        self._since = time.monotonic()
        self._metered_until: float | None = None
        self.is_metered = False

    @property
    def has_slice(self) -> bool:
        return self._hold is not None

    def start(self, candidate: Candidate) -> None:
        """A channel is open: from now on its price counts, and time does where the price is by time."""
        self._candidate = candidate
        price = candidate.price
        self.is_metered = price.cost(Usage(milliseconds=60_000)) > price.cost(Usage())
        self._metered_until = time.monotonic()

    async def check(self) -> None:
        """Raises GatewayError: 401 once the key is no good any more, 403 once it may not call the model."""
        principal = await self._bank.principals.find_digest(self._key_digest)
        if principal is None or not principal.is_live(time.time()):
            raise unauthenticated("This API key has been revoked or has expired.")
        if not (principal.allows_model(self._way.name) or principal.allows_model(self._way.model.name)):
            raise model_not_allowed(self._way.name)
        self.principal = principal

    async def take(self, expected: Usage | None = None) -> None:
        """Holds the next slice, or what is left of the money. `expected`: what is charged should this process die.

        Raises GatewayError: 401, 403, 429 `insufficient_quota`, `balance_held`, `rate_limit_exceeded`, `budget_exceeded`;
        503 while the ledger is away.
        """
        bank = self._bank
        try:
            async with asyncio.timeout(LEDGER_PATIENCE):
                await self.check()
                ask = self._ask(expected or Usage())
                # What other sessions hold may be theirs for an hour: what is left is better than to wait for it.
                ask.patient = False
                outcome = await bank.ledger.hold(ask)
        except TimeoutError as error:
            raise unavailable("The gateway can't reach its database.") from error
        if outcome in WAITABLE:
            ask = replace(ask, id=new_id(), reply=asyncio.get_running_loop().create_future())
            outcome = await bank.waiting_room.hold(ask, lambda _: None)
        if isinstance(outcome, Refusal):
            raise refusal_error(outcome, ask.standing, "this session")
        self._hold, self._since = outcome, time.monotonic()

    def settle(self, usage: Usage, *, estimated: bool = False, is_call: bool = False, error: str | None = None) -> None:
        """Ends the slice at what was used, the time since the last settlement included. `is_call`: a response, for which
        a price by the call is charged.
        """
        hold, candidate = self._hold, self._candidate
        assert hold is not None
        assert candidate is not None
        self._hold = None
        usage = self._with_time(usage)
        price = candidate.price if is_call else without_call(candidate.price)
        charge = price.cost(usage, self.principal.ratio_ppm, self._way.model.group_ppm)
        cost = None
        if candidate.cost is not None:
            cost = (candidate.cost if is_call else without_call(candidate.cost)).cost(usage)
        self._bank.ledger.settle(
            Settlement(
                hold,
                Status.SETTLED,
                charge=charge,
                cost=cost,
                price_id=candidate.price_id,
                channel_id=candidate.channel.id,
                usage=usage,
                estimated=estimated,
                latency_ms=int((time.monotonic() - self._since) * 1000),
                attempts=self.attempts,
                error=error,
            )
        )
        self.charged += charge
        self.turns += 1
        self._bank.on_charge(self._way.model.pattern or self._way.model.name, usage, charge)

    def release(self, error: str | None = None) -> None:
        """Gives the slice back, if there is one: nothing was used of it, but time."""
        hold, self._hold = self._hold, None
        if hold is None:
            return
        if self.is_metered:
            self._hold = hold
            self.settle(Usage(), error=error)
            return
        candidate = self._candidate
        channel_id = None if candidate is None else candidate.channel.id
        elapsed = int((time.monotonic() - self._since) * 1000)
        self._bank.ledger.settle(
            Settlement(
                hold,
                Status.RELEASED,
                channel_id=channel_id,
                latency_ms=elapsed,
                attempts=self.attempts,
                error=error,
            )
        )

    def is_due(self) -> bool:
        """Whether time alone is reason enough to settle."""
        since = self._metered_until
        return self.is_metered and since is not None and time.monotonic() - since >= METER

    def _with_time(self, usage: Usage) -> Usage:
        """A session that is paid by time isn't also paid by the length of what was transcribed meanwhile, unless the price
        says what that costs.
        """
        candidate, now = self._candidate, time.monotonic()
        assert candidate is not None
        if not self.is_metered or self._metered_until is None:
            return usage
        spent = round((now - self._metered_until) * 1000)
        if candidate.price.applied_to(usage) is not candidate.price:
            return usage
        self._metered_until = now
        return replace(usage, milliseconds=spent)

    def _ask(self, expected: Usage) -> Ask:
        model, principal, most = self._way.model, self.principal, self._bank.slice_tokens
        price, likely = model.dearest, self._way.likely if self._candidate is None else self._candidate
        assert price is not None, "a way has a price"
        ratios = principal.ratio_ppm, model.group_ppm
        outputs = most if model.max_output_tokens is None else min(most, model.max_output_tokens)
        minute = price.cost(Usage(milliseconds=int(METER * 1000)), *ratios) - price.cost(Usage(), *ratios)
        return Ask(
            account_id=principal.account_id,
            key_id=principal.key_id,
            id=new_id(),
            request_id=self._request_id,
            want=price.worst_cost(most, outputs, *ratios) + minute,
            minimum=price.worst_cost(min(most, LEAST_INPUT), min(outputs, LEAST_OUTPUT), *ratios) + minute // 20,
            orphan_charge=without_call(likely.price).cost(expected, *ratios) if expected.input_tokens else 0,
            input_tokens=expected.input_tokens,
            model=model.name,
            format=FORMAT,
            stream=True,
            price_id=likely.price_id,
            ratio_ppm=principal.ratio_ppm,
            group_ppm=model.group_ppm,
            tokens=1 if principal.limited else None,  # how many they were is told by the settlement
            reply=asyncio.get_running_loop().create_future(),
        )


def without_call(price: Price) -> Price:
    """The same price without what a call costs."""
    variants = tuple(
        replace(item, amounts=tuple(pair for pair in item.amounts if pair[0] != "per_call")) for item in price.variants
    )
    if price.per_call is None and variants == price.variants:
        return price
    return replace(price, per_call=None, variants=variants)
