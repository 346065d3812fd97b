"""What clients are told of their limits: OpenAI's `x-ratelimit-*` headers, and the 429 that names the limit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from app.errors import GatewayError, Kind

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


def _in_words(seconds: float) -> str:
    whole = max(1, math.ceil(seconds))
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"
