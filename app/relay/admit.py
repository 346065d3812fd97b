"""Money before bytes: holds the worst that a request may cost, or says why it can't be had."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

from app.accounts.principals import Principal
from app.core.ids import new_id
from app.core.tokens import bound_of_request
from app.core.usage import Usage
from app.errors import GatewayError, Kind, unauthenticated
from app.formats.base import Request
from app.ledger.records import Ask, Hold, Refusal
from app.ledger.writer import LedgerWriter
from app.relay.plan import Plan

LEAST_OUTPUT = 64
"""Output tokens, per choice, below which an answer is of no use: a balance that can't cover them is exhausted."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A hold, and the output cap that it pays for; `output_cap` None: the request's own cap fits."""

    hold: Hold
    output_cap: int | None
    ratio_ppm: int


async def admit(
    ledger: LedgerWriter,
    principal: Principal,
    plan: Plan,
    request: Request,
    *,
    request_id: UUID,
    format: str,
    default_cap: int,
) -> Admission:
    """Holds the price of the input estimate plus the output cap.

    Near exhaustion it holds what is left, and the cap sent upstream is lowered to what that pays for. Raises GatewayError:
    429 `insufficient_quota`, 503 while the ledger is away.
    """
    price, ratio = plan.price, principal.ratio_ppm
    input_tokens = bound_of_request(request.body)
    cap = _output_cap(request, plan, default_cap)
    ask = Ask(
        account_id=principal.account_id,
        key_id=principal.key_id,
        id=new_id(),
        request_id=request_id,
        want=price.worst_cost(input_tokens, cap * request.choices, ratio),
        minimum=price.worst_cost(input_tokens, min(cap, LEAST_OUTPUT) * request.choices, ratio),
        # Fair, where the bound is cautious: text has four bytes a token rather than three.
        orphan_charge=price.cost(Usage(input_tokens=input_tokens * 3 // 4), ratio),
        input_tokens=input_tokens * 3 // 4,
        model=plan.model.name,
        format=format,
        stream=request.stream,
        price_id=plan.model.price_id,
        ratio_ppm=ratio,
        group_ppm=1_000_000,
        tokens=None,
        reply=asyncio.get_running_loop().create_future(),
    )
    hold = await ledger.hold(ask)
    if isinstance(hold, Refusal):
        raise _refused(hold)
    if hold.amount >= ask.want:
        return Admission(hold, None, ratio)
    affordable = price.affordable_output(hold.amount, input_tokens, ratio) // request.choices
    return Admission(hold, max(1, min(cap, affordable)), ratio)


def _output_cap(request: Request, plan: Plan, default_cap: int) -> int:
    most = plan.model.max_output_tokens
    if request.output_cap is None:
        return most or default_cap
    return request.output_cap if most is None else min(request.output_cap, most)


def _refused(refusal: Refusal) -> GatewayError:
    if refusal is Refusal.UNKNOWN:  # revoked between the check and the hold
        return unauthenticated("Incorrect API key provided.")
    whose = "This API key" if refusal is Refusal.KEY_SHORT else "Your account"
    return GatewayError(
        Kind.QUOTA, "insufficient_quota", f"{whose} has too little quota left for this request. Top up to go on."
    )
