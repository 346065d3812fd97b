"""What a request comes to: filled in while it runs, priced and settled when it ends, whichever way it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.catalog.snapshot import Channel
from app.core.usage import Usage
from app.errors import UpstreamError
from app.formats.base import Asked, Dialect, Tap
from app.ledger.records import Settlement, Status
from app.ledger.writer import LedgerWriter
from app.logs import get_log
from app.relay.admit import Admission
from app.relay.exchange import Exchange
from app.relay.plan import Plan
from app.relay.sending import Sending
from app.routing.board import Pick

log = get_log("relaygate.bill")


class Dispatch(Protocol):
    """A client's request on its way to any of its candidates."""

    async def send_to(self, pick: Pick) -> Sending:
        """The request for one attempt. Raises GatewayError 400 naming a field that its upstream can't be told."""

    async def keep(self, pick: Pick, ids: Sequence[str], usage: Usage | None, *, unfinished: bool) -> None:
        """Before the client hears the id of an answer that the upstream keeps: from now on it is known whose it is."""


@dataclass(slots=True)
class Bill:
    """One admitted request's account. `answered`: output may have been produced, so the request is charged.

    `empty_is_free`, `tells`: the operator's wishes for answers without content and headers about answers. `pick` is the
    last attempt's choice, `sending` what it sent; `answer` is what came back, in the upstream's format. `failed` are the
    attempts that came to nothing: the channel's name, and what happened. `unfinished_id`: of an answer that the upstream
    still works on. `broken`: what cut an answer off that had begun. `upstream_seconds`: waited for in vain.
    """

    format: Dialect
    request: Asked
    plan: Plan
    admission: Admission
    dispatch: Dispatch
    empty_is_free: bool = False
    tells: bool = True
    pick: Pick | None = None
    sending: Sending | None = None
    failed: list[tuple[str, str]] = field(default_factory=list)
    attempts: int = 0
    answered: bool = False
    usage: Usage | None = None
    tap: Tap | None = None
    unfinished_id: str | None = None
    answer: bytes = field(default=b"", repr=False)
    error: str | None = None
    broken: UpstreamError | None = None
    upstream_seconds: float = 0.0
    charge: int = 0

    @property
    def channel(self) -> Channel | None:
        """The one that was tried last."""
        return None if self.pick is None else self.pick.channel

    def charge_of(self, usage: Usage) -> int:
        """Nano-dollars that the answer costs its account; none, if the operator wants it so, for one with nothing in it."""
        pick = self.pick
        assert pick is not None, "an answer has come from somewhere"
        if self.empty_is_free and usage.output_tokens == 0 and self.request.output_cap != 0 and self.error is None:
            return 0
        return pick.candidate.price.cost(usage, self.admission.ratio_ppm, pick.model.group_ppm)


class Cashier:
    """Settles bills. Closing one is a plain call that can't fail or be cancelled: estimates are made behind it."""

    def __init__(self, ledger: LedgerWriter) -> None:
        self._ledger = ledger
        self._estimating: set[asyncio.Task[None]] = set()

    def close(self, bill: Bill, exchange: Exchange) -> None:
        """Ends the hold: released if no upstream may have produced anything, else settled at what was used."""
        settlement = Settlement(
            bill.admission.hold,
            Status.SETTLED if bill.answered else Status.RELEASED,
            channel_id=None if bill.channel is None else bill.channel.id,
            latency_ms=exchange.elapsed_ms(),
            first_byte_ms=exchange.first_byte_ms(),
            attempts=bill.attempts,
            error=bill.error,
        )
        if not bill.answered:
            self._ledger.settle(settlement)
        elif bill.usage is not None:
            self._settle(settlement, bill, bill.usage)
        else:
            task = asyncio.get_running_loop().create_task(self._estimate(settlement, bill))
            self._estimating.add(task)
            task.add_done_callback(self._estimating.discard)

    async def drain(self, timeout: float) -> None:
        """Waits for the estimates under way; their settlements are with the ledger then."""
        if self._estimating:
            await asyncio.wait(set(self._estimating), timeout=timeout)

    def _settle(self, settlement: Settlement, bill: Bill, usage: Usage) -> None:
        pick = bill.pick
        assert pick is not None, "an answer has come from somewhere"
        candidate, model = pick.candidate, pick.model
        if model.name != bill.plan.legs[0].model.name:  # a stand-in has answered
            settlement.model, settlement.group_ppm = model.name, model.group_ppm
        bill.charge = settlement.charge = bill.charge_of(usage)
        settlement.price_id = candidate.price_id
        settlement.cost = None if candidate.cost is None else candidate.cost.cost(usage)
        settlement.usage = usage
        self._ledger.settle(settlement)

    async def _estimate(self, settlement: Settlement, bill: Bill) -> None:
        # In a thread: the first count loads the tokenizer, and a long answer takes milliseconds.
        try:
            usage = await asyncio.to_thread(_estimate_usage, bill)
        except Exception:
            # Whatever it is, the hold must end: at the input that it was made for.
            log.exception("estimate_failed")
            usage = Usage(input_tokens=bill.admission.input_tokens)
        settlement.estimated = True
        self._settle(settlement, bill, usage)


def _estimate_usage(bill: Bill) -> Usage:
    assert bill.sending is not None, "an answer was asked for"
    return bill.sending.estimate(bill.tap, bill.answer)
