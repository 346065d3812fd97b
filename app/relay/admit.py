"""Money before bytes: holds the worst that a request may cost, or says why it can't be had."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from app.accounts.principals import Principal
from app.core.ids import new_id
from app.core.inline_media import spelling_of
from app.core.tokens import bound_of_request
from app.core.usage import Usage
from app.formats.base import Request
from app.ledger.records import Ask, Hold, Refusal
from app.ledger.waiting import WaitingRoom
from app.relay.exchange import Exchange
from app.relay.limits import limit_headers, read_standing, refusal_error
from app.relay.plan import Plan

LARGE_BODY = 1024 * 1024
"""Bytes above which the bound is worked out in a thread: media in it takes milliseconds, letters in disguise more."""

LEAST_OUTPUT = 16
"""Output tokens, per choice, below which an answer is of no use: a balance that can't cover them is exhausted."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A hold, and the output cap that it pays for; `output_cap` None: the request's own cap fits.

    `input_tokens` is an estimate. `ratios`: the account's and the model group's, in parts per million.
    """

    hold: Hold
    output_cap: int | None
    input_tokens: int
    ratios: tuple[int, int]


async def admit(
    waiting_room: WaitingRoom,
    principal: Principal,
    plan: Plan,
    request: Request,
    exchange: Exchange,
    *,
    format: str,
    default_cap: int,
) -> Admission:
    """Holds the price of the input estimate plus the output cap, and counts the request against its limits.

    Waits for money that only other requests hold. Near exhaustion it holds what is left, and the cap sent upstream is
    lowered to what that pays for; `x-relaygate-output-cap` says so. Raises GatewayError: 429 `insufficient_quota`,
    `balance_held`, `rate_limit_exceeded`, `budget_exceeded`; 503 while the ledger is away.
    """
    bound = partial(bound_of_request, request.body, request.conversation, spelling_of(format))
    large = len(request.body) > LARGE_BODY
    input_tokens = (await asyncio.to_thread(bound) if large else bound()) + plan.kept_tokens
    cap = _output_cap(request, plan, default_cap)
    ask = _make_ask(principal, plan, request, exchange, format, input_tokens, cap)
    hold = await waiting_room.hold(ask, exchange.wait_in_line)
    if ask.tokens is not None:
        exchange.extra_headers += limit_headers(read_standing(ask.standing))
    if isinstance(hold, Refusal):
        raise refusal_error(hold, ask.standing)
    ratios = ask.ratio_ppm, ask.group_ppm
    if hold.amount >= ask.want:
        return Admission(hold, None, ask.input_tokens, ratios)
    affordable = plan.price.affordable_output(hold.amount, input_tokens, *ratios) // request.choices
    output_cap = max(1, min(cap, affordable))
    exchange.extra_headers.append((b"x-relaygate-output-cap", b"%d" % output_cap))
    return Admission(hold, output_cap, ask.input_tokens, ratios)


def _make_ask(
    principal: Principal,
    plan: Plan,
    request: Request,
    exchange: Exchange,
    format: str,
    input_tokens: int,
    cap: int,
) -> Ask:
    price, ratios = plan.price, (principal.ratio_ppm, plan.model.group_ppm)
    # What an orphan is charged at: the first channel to be tried is the one that most likely answers.
    likely = plan.candidates[0]
    fair_input = input_tokens * 3 // 5  # where the bound is cautious: for English it is 1.6 times the count
    return Ask(
        account_id=principal.account_id,
        key_id=principal.key_id,
        id=new_id(),
        request_id=exchange.id,
        want=price.worst_cost(input_tokens, cap * request.choices, *ratios),
        minimum=price.worst_cost(input_tokens, min(cap, LEAST_OUTPUT) * request.choices, *ratios),
        orphan_charge=likely.price.cost(Usage(input_tokens=fair_input), *ratios),
        input_tokens=fair_input,
        model=plan.model.name,
        format=format,
        stream=request.stream,
        price_id=likely.price_id,
        ratio_ppm=ratios[0],
        group_ppm=ratios[1],
        # As OpenAI counts: the input, and the output that the request itself names.
        tokens=fair_input + (request.output_cap or 0) * request.choices if principal.limited else None,
        reply=asyncio.get_running_loop().create_future(),
    )


def _output_cap(request: Request, plan: Plan, default_cap: int) -> int:
    most = plan.model.max_output_tokens
    if request.output_cap is None:
        return most or default_cap
    return request.output_cap if most is None else min(request.output_cap, most)
