"""What clients are told of their limits: OpenAI's `x-ratelimit-*` headers, and the 429 that names the limit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from app.errors import GatewayError, Kind, unauthenticated
from app.ledger.records import Refusal

WINDOW = 61
"""Seconds: the sliding minute in whole buckets. After so long without a request all of a limit is there again."""

_NAMES = {
    "rpm": "requests per minute",
    "tpm": "tokens per minute",
    "rpd": "requests per day",
    "concurrency": "concurrent requests",
}
_WHOSE = {"key": "this API key", "account": "your account"}

Headers = list[tuple[bytes, bytes]]


def read_standing(standing: str | None) -> Mapping[str, Any]:
    """What the ledger says with its reply; empty where no limit applies."""
    return {} if standing is None else orjson.loads(standing)


def limit_headers(standing: Mapping[str, Any]) -> Headers:
    """Of the key's and the account's limits, whichever has less left. Source: OpenAI's guide "Rate limits"."""
    scopes = [scope for name in ("key", "account") if (scope := standing.get(name))]
    headers: Headers = []
    for limit, left, kind in (("rpm", "requests_left", b"requests"), ("tpm", "tokens_left", b"tokens")):
        tightest = min((s for s in scopes if s[limit] is not None), key=lambda s: int(s[left]), default=None)
        if tightest is None:
            continue
        headers += [
            (b"x-ratelimit-limit-" + kind, b"%d" % tightest[limit]),
            (b"x-ratelimit-remaining-" + kind, b"%d" % tightest[left]),
            (b"x-ratelimit-reset-" + kind, b"%ds" % (0 if tightest[left] == tightest[limit] else WINDOW)),
        ]
    return headers


def limit_error(standing: Mapping[str, Any]) -> GatewayError:
    """The 429 of a request that a limit or a budget refused."""
    limit, whose = standing["limit"], _WHOSE[standing["scope"]]
    wait = float(standing["wait"])
    if limit == "budget":
        message = f"The budget of {whose} has too little left for this request. It begins anew in {_in_words(wait)}."
        return GatewayError(Kind.RATE_LIMIT, "budget_exceeded", message, retry_after=wait)
    message = f"The limit of {whose} on {_NAMES[limit]} is reached. Try again in {_in_words(wait)}."
    return GatewayError(Kind.RATE_LIMIT, "rate_limit_exceeded", message, retry_after=wait)


def refusal_error(refusal: Refusal, standing: str | None, what: str = "this request") -> GatewayError:
    """What a client is told that got no hold, and why; `standing` as the ledger left it on the ask."""
    match refusal:
        case Refusal.UNKNOWN:  # revoked between the check and the hold
            return unauthenticated("Incorrect API key provided.")
        case Refusal.LIMITED | Refusal.BUSY:
            return limit_error(read_standing(standing))
        case Refusal.HELD:
            message = "Requests under way hold what is left of your quota. Try again when some of them are done."
            return GatewayError(Kind.RATE_LIMIT, "balance_held", message, retry_after=1.0)
        case Refusal.KEY_SHORT | Refusal.ACCOUNT_SHORT:
            whose = "This API key" if refusal is Refusal.KEY_SHORT else "Your account"
            message = f"{whose} has too little quota left for {what}. Top up to go on."
            return GatewayError(Kind.QUOTA, "insufficient_quota", message)


def _in_words(seconds: float) -> str:
    whole = max(1, math.ceil(seconds))
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"
