"""Money before bytes: holds the worst that a request may cost, or says why it can't be had."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from app.accounts.principals import Principal
from app.catalog.snapshot import Model
from app.core.ids import new_id
from app.core.usage import Usage
from app.formats.base import Request
from app.ledger.records import Ask, Hold, Refusal
from app.ledger.waiting import WaitingRoom
from app.relay.exchange import Exchange
from app.relay.limits import limit_headers, read_standing, refusal_error
from app.relay.plan import Plan
from app.surfaces.base import SurfaceRequest

LEAST_OUTPUT = 16
"""Output tokens, per choice, below which an answer is of no use: a balance that can't cover them is exhausted."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A hold, and the output cap that it pays for; `output_cap` None: the request's own cap fits.

    `input_tokens` is an estimate. `ratio_ppm`: the account's, in parts per million.
    """

    hold: Hold
    output_cap: int | None
    input_tokens: int
    ratio_ppm: int


async def admit(
    waiting_room: WaitingRoom,
    principal: Principal,
    plan: Plan,
    request: Request,
    exchange: Exchange,
    *,
    format: str,
    bound: int,
    default_cap: int,
) -> Admission:
    """Holds the price of the input plus the output cap, at the dearest of the models that may answer, and counts the request
    against its limits. `bound`: no fewer tokens than the input has.

    Waits for money that only other requests hold. Near exhaustion it holds what is left, and the cap sent upstream is
    lowered to what that pays for; `x-relaygate-output-cap` says so. Raises GatewayError: 429 `insufficient_quota`,
    `balance_held`, `rate_limit_exceeded`, `budget_exceeded`; 503 while the ledger is away.
    """
    caps = {leg.model.name: _output_cap(request, leg.model, default_cap) for leg in plan.legs}
    ask = _make_ask(principal, plan, request, exchange, format, bound, caps)
    hold = await _hold(waiting_room, ask, exchange)
    if hold.amount >= ask.want:
        return Admission(hold, None, ask.input_tokens, ask.ratio_ppm)
    output_cap = min(
        max(1, min(caps[leg.model.name], _affordable(leg.model, hold.amount, bound, ask.ratio_ppm) // request.choices))
        for leg in plan.legs
    )
    exchange.extra_headers.append((b"x-relaygate-output-cap", b"%d" % output_cap))
    return Admission(hold, output_cap, ask.input_tokens, ask.ratio_ppm)


async def admit_surface(
    waiting_room: WaitingRoom,
    principal: Principal,
    plan: Plan,
    request: SurfaceRequest,
    exchange: Exchange,
    *,
    format: str,
) -> Admission:
    """The same for what isn't chat: holds the price of the most that it may use, all of it or nothing."""
    likely, first = plan.likely, plan.legs[0].model
    fair = request.fair

    def worst(model: Model) -> int:
        assert model.dearest is not None, "planned models have a price"
        return model.dearest.worst_of(request.most, principal.ratio_ppm, model.group_ppm)

    want = plan.dearest(worst)
    ask = Ask(
        account_id=principal.account_id,
        key_id=principal.key_id,
        id=new_id(),
        request_id=exchange.id,
        want=want,
        minimum=want,
        orphan_charge=min(want, likely.price.cost(fair, principal.ratio_ppm, first.group_ppm)),
        input_tokens=fair.input_tokens,
        model=first.name,
        format=format,
        stream=request.stream,
        price_id=likely.price_id,
        ratio_ppm=principal.ratio_ppm,
        group_ppm=first.group_ppm,
        tokens=fair.input_tokens if principal.limited else None,
        reply=asyncio.get_running_loop().create_future(),
    )
    hold = await _hold(waiting_room, ask, exchange)
    return Admission(hold, None, ask.input_tokens, ask.ratio_ppm)


async def _hold(waiting_room: WaitingRoom, ask: Ask, exchange: Exchange) -> Hold:
    hold = await waiting_room.hold(ask, exchange.wait_in_line)
    if ask.tokens is not None:
        exchange.extra_headers += limit_headers(read_standing(ask.standing))
    if isinstance(hold, Refusal):
        raise refusal_error(hold, ask.standing)
    return hold


def _affordable(model: Model, amount: int, bound: int, ratio_ppm: int) -> int:
    assert model.dearest is not None, "planned models have a price"
    return model.dearest.affordable_output(amount, bound, ratio_ppm, model.group_ppm)


def _make_ask(
    principal: Principal,
    plan: Plan,
    request: Request,
    exchange: Exchange,
    format: str,
    bound: int,
    caps: Mapping[str, int],
) -> Ask:
    def worst(model: Model, most: int) -> int:
        assert model.dearest is not None, "planned models have a price"
        outputs = min(caps[model.name], most) * request.choices
        return model.dearest.worst_cost(bound, outputs, principal.ratio_ppm, model.group_ppm)

    # What an orphan is charged at.
    likely, first = plan.likely, plan.legs[0].model
    fair_input = bound * 3 // 5  # where the bound is cautious: for English it is 1.6 times the count
    return Ask(
        account_id=principal.account_id,
        key_id=principal.key_id,
        id=new_id(),
        request_id=exchange.id,
        want=plan.dearest(lambda model: worst(model, caps[model.name])),
        minimum=plan.dearest(lambda model: worst(model, LEAST_OUTPUT)),
        orphan_charge=likely.price.cost(Usage(input_tokens=fair_input), principal.ratio_ppm, first.group_ppm),
        input_tokens=fair_input,
        model=first.name,
        format=format,
        stream=request.stream,
        price_id=likely.price_id,
        ratio_ppm=principal.ratio_ppm,
        group_ppm=first.group_ppm,
        # As OpenAI counts: the input, and the output that the request itself names.
        tokens=fair_input + (request.output_cap or 0) * request.choices if principal.limited else None,
        reply=asyncio.get_running_loop().create_future(),
    )


def _output_cap(request: Request, model: Model, default_cap: int) -> int:
    most = model.max_output_tokens
    if request.output_cap is None:
        return most or default_cap
    return request.output_cap if most is None else min(request.output_cap, most)
