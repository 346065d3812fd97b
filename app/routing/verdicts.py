"""What a failed attempt says, and of whom: the channel as a whole, its model there, or the key that was used."""

from __future__ import annotations

from dataclasses import dataclass

from app.errors import Blame, Kind, UpstreamError
from app.routing.outages import ALL_KEYS, WHOLE, OutageKind, Scope

QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "enforced_spend_limit_reached"})
"""Codes of a 429 that says "no money", not "slower": OpenAI's (the second is unverified) and Anthropic's."""

UNREACHABLE = "upstream_unreachable"
"""The code of a connection that couldn't be made: no model of the channel can be reached then."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`at_once`: one such failure is proof; else it counts towards the breaker. `pause`: what the upstream asked for."""

    scope: Scope
    kind: OutageKind
    reason: str
    at_once: bool
    pause: float | None = None


def judge(error: UpstreamError, channel_id: int, model: str, key: int) -> Verdict | None:
    """None: the upstream did its part, the request was at fault."""
    if error.blame is Blame.CLIENT or not error.retryable:
        return None
    status, code = error.upstream_status, error.code
    if status in (401, 402) or error.upstream_code in QUOTA_CODES:
        return Verdict(Scope(channel_id, WHOLE, key), OutageKind.REFUSED, code, at_once=True)
    if status == 403:  # a key may lack a model, a region or a permission: elsewhere it is still good
        return Verdict(Scope(channel_id, model, key), OutageKind.REFUSED, code, at_once=True)
    if status == 404:
        return Verdict(Scope(channel_id, model), OutageKind.REFUSED, code, at_once=True)
    if status == 429:  # vendors limit by organisation and model
        return Verdict(Scope(channel_id, model, key), OutageKind.RATE_LIMITED, code, True, error.pause)
    if error.pause is not None and error.kind is Kind.UNAVAILABLE:
        return Verdict(Scope(channel_id, model), OutageKind.RATE_LIMITED, code, True, error.pause)
    if code == UNREACHABLE:
        return Verdict(Scope(channel_id), OutageKind.FAILING, code, at_once=False)
    return Verdict(Scope(channel_id, model, ALL_KEYS), OutageKind.FAILING, code, at_once=False)
