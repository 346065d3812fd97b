"""How long a request is: a bound that the hold is made for, and whether it fits a model's context at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from app.core.inline_media import spelling_of
from app.core.tokens import bound_of_request
from app.errors import invalid_request
from app.formats.base import Format, Request
from app.relay.plan import Plan

LARGE_BODY = 1024 * 1024
"""Bytes above which the bound is worked out in a thread: media in it takes milliseconds, letters in disguise more."""

SURELY = 1.1
SURELY_FOREIGN = 2.0
"""By how much our count must be above a model's context before the request is refused: tokenizers differ, for other
scripts than Latin by half and more. The upstream has the last word on all the rest."""


async def bound_input(format: Format, request: Request, plan: Plan) -> int:
    """No fewer tokens than the input has, what it builds on included."""
    bound = partial(bound_of_request, request.body, request.conversation, spelling_of(format.name))
    large = len(request.body) > LARGE_BODY
    return (await asyncio.to_thread(bound) if large else bound()) + plan.kept_tokens


async def within_context(format: Format, request: Request, plan: Plan, bound: int) -> Plan:
    """The plan without models whose context the request surely exceeds.

    Raises GatewayError 400 `context_length_exceeded` where none is left.
    """
    if all(leg.model.context_window is None or bound <= leg.model.context_window for leg in plan.legs):
        return plan
    counted = await asyncio.to_thread(lambda: format.read_prompt(request.body).count())
    surely = SURELY if request.body.isascii() else SURELY_FOREIGN
    legs = tuple(
        leg for leg in plan.legs if leg.model.context_window is None or counted <= leg.model.context_window * surely
    )
    if not legs:
        window = max(leg.model.context_window or 0 for leg in plan.legs)
        message = (
            f"This model's maximum context length is {window} tokens, and the request has about {counted}. "
            "Please shorten it."
        )
        raise invalid_request(message, "messages", "context_length_exceeded")
    return plan if len(legs) == len(plan.legs) else replace(plan, legs=legs)
