"""`POST /v1/account/redemptions`: a holder turns a code into money, and whoever guesses codes is slowed down."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import ConfigDict, Field

from app.api.admin.shapes import Dollars, ErrorBody, Shape
from app.api.caller import PrincipalDep
from app.api.context import ServicesDep
from app.api.guarded import GuardedRoute
from app.api.holder.shapes import REFUSALS
from app.core.money import write_amount
from app.errors import GatewayError, Kind
from app.ledger.codes import Redemption, redeem
from app.ledger.wallets import account_wallets
from app.relay.authenticate import authenticate
from app.services import Services

MAX_FAILED = 10
"""Failed tries that an account has in WINDOW seconds. A code has 150 random bits, so this isn't what keeps guesses from
finding one: it keeps them from costing anybody anything."""

WINDOW = 60.0
MAX_ACCOUNTS = 2000
"""Remembered at a time, those that failed last: two megabytes for each process."""


class FailedTries:
    """Which accounts have lately tried codes that were no good. One process's memory: replicas count for themselves."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: OrderedDict[int, deque[float]] = OrderedDict()

    def check(self, account_id: int) -> None:
        """Raises GatewayError 429 while the account has no try left."""
        times = self._times.get(account_id)
        if times is None or len(times) < MAX_FAILED:
            return
        wait = times[0] + WINDOW - self._clock()
        if wait > 0:
            message = "Too many codes that can't be redeemed were tried. Wait before you try again."
            raise GatewayError(Kind.RATE_LIMIT, "too_many_tries", message, retry_after=math.ceil(wait))

    def add(self, account_id: int) -> None:
        """One more failed try of the account."""
        times = self._times.pop(account_id, None) or deque(maxlen=MAX_FAILED)
        times.append(self._clock())
        self._times[account_id] = times
        if len(self._times) > MAX_ACCOUNTS:
            self._times.popitem(last=False)


class RedemptionRoute(GuardedRoute):
    """Only with a key."""

    max_body = 4096

    async def check(self, request: Request, services: Services) -> None:
        await authenticate(request.scope, services.principals, services.settings.trusted_proxies)


router = APIRouter(tags=["account"], responses=REFUSALS, route_class=RedemptionRoute)


class NewRedemption(Shape):
    """The code as it was typed: case, hyphens and spaces don't matter."""

    code: str = Field(min_length=1, max_length=200)

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"code": "RG-8KQ2M-0WZ5T-H3XRC-9VDJ7-PBN4E-6FYGS"}]},
    )


class RedemptionBody(Shape):
    """What the code came to."""

    amount: Dollars
    balance: Dollars = Field(description="What the account has now: dollars, a decimal string")
    grant_id: int
    redeemed_at: datetime

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"amount": "5", "balance": "7.25", "grant_id": 7, "redeemed_at": "2030-02-01T08:30:00Z"}]
        }
    )


def install(api: FastAPI) -> None:
    """Adds the endpoint, and the memory of failed tries that it needs."""
    api.state.failed_tries = FailedTries()
    api.include_router(router)


async def _failed_tries(request: Request) -> FailedTries:
    tries: FailedTries = request.app.state.failed_tries
    return tries


@router.post(
    "/v1/account/redemptions",
    status_code=201,
    summary="Redeem a code",
    responses={
        200: {"model": RedemptionBody, "description": "The account has redeemed it before: the first grant again."},
        400: {"model": ErrorBody, "description": "The code can't be redeemed, or has expired."},
        408: {"model": ErrorBody, "description": "The body took too long to arrive."},
        413: {"model": ErrorBody, "description": "The body is larger than 4 KiB."},
        429: {"model": ErrorBody, "description": "Too many failed tries; `retry-after` says how long to wait."},
    },
)
async def redeem_code(
    principal: PrincipalDep,
    body: NewRedemption,
    services: ServicesDep,
    tries: Annotated[FailedTries, Depends(_failed_tries)],
    response: Response,
) -> RedemptionBody:
    """Adds the code's amount to the balance of the key's account, once.

    Sending it again is safe: the account that has redeemed a code gets the same answer with status 200, and no money.
    """
    tries.check(principal.account_id)
    try:
        async with services.database.engine.begin() as connection:
            # Once more: a burst of guesses passed the first look together, and has waited here for its connections.
            tries.check(principal.account_id)
            done = await redeem(connection, body.code, account_id=principal.account_id, key_id=principal.key_id)
            wallet = (await account_wallets(connection, [principal.account_id]))[principal.account_id]
    except GatewayError as error:
        if error.param == "code":
            tries.add(principal.account_id)
        raise
    assert wallet.balance is not None
    if done.is_repeat:
        response.status_code = 200
    return _write(done, wallet.balance)


def _write(done: Redemption, balance: int) -> RedemptionBody:
    return RedemptionBody(
        amount=write_amount(done.amount),
        balance=write_amount(balance),
        grant_id=done.grant_id,
        redeemed_at=done.redeemed_at,
    )
