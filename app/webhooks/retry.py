"""When a delivery that failed is tried again."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

BASE_PAUSE = 5.0
MAX_PAUSE = 3600.0
JITTER = 0.2

HEEDED = frozenset({429, 503})
"""Statuses whose `Retry-After` counts: the two that RFC 6585 §4 and RFC 9110 §15.6.4 give it a meaning for."""


def pause_after(tries: int, *, base: float, chance: float, retry_after: float | None = None) -> float:
    """Seconds until the next attempt after `tries` that failed: 1, 2, 4, 8 … times `base`, at most an hour.

    `chance`, from 0 to 1, spreads it by a fifth both ways, so that what failed together doesn't come back together. A
    receiver that asks for more time gets it, within the hour.
    """
    doubled = min(base * 2.0 ** min(tries - 1, 32), MAX_PAUSE)
    spread = doubled * (1 - JITTER + 2 * JITTER * chance)
    return min(max(spread, retry_after or 0.0), MAX_PAUSE)


def read_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds of a `Retry-After` header, which may also be a date (RFC 9110 §10.2.3); None for none, or for nonsense."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # no date, or one of a zone or a year that is beyond any calendar
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((moment - now).total_seconds(), 0.0)
