"""The one statement of the hot path: turns a batch of settlements and asks into arguments of `ledger_batch`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from app.ledger.records import Ask, Settlement

_PLACES = ", ".join(f"${place}" for place in range(1, 37))
LEDGER_BATCH = f"SELECT settled, granted, standings FROM ledger_batch({_PLACES})"  # noqa: S608 - nothing but our own numbers
"""`migrations/sql/0001_ledger.sql` documents the arguments."""

_NO_SETTLEMENTS: list[Any] = [False, False, *([[]] * 13), None, None]
_NO_ASKS: list[Any] = [[]] * 16


def arguments(owner: UUID, settlements: Sequence[Settlement], asks: Sequence[Ask]) -> list[Any]:
    """The arguments in the order of the function; accounts to lock are sorted and unique."""
    locks = {item.hold.account_id for item in settlements}
    locks.update(ask.account_id for ask in asks)
    return [
        sorted(locks),
        *(_settlement_columns(settlements) if settlements else _NO_SETTLEMENTS),
        any(ask.tokens is not None for ask in asks),
        owner,
        *(_ask_columns(asks) if asks else _NO_ASKS),
    ]


def _settlement_columns(items: Sequence[Settlement]) -> list[Any]:
    elsewhere = any(item.model is not None or item.group_ppm is not None for item in items)
    return [
        any(item.charge > item.hold.amount for item in items),
        any(item.hold.limited for item in items),
        [item.hold.account_id for item in items],
        [item.hold.id for item in items],
        [item.charge for item in items],
        [item.status.value for item in items],
        [item.channel_id for item in items],
        [item.price_id for item in items],
        [item.cost for item in items],
        ["{}" if item.usage is None else orjson.dumps(item.usage.counts()).decode() for item in items],
        [item.estimated for item in items],
        [item.latency_ms for item in items],
        [item.first_byte_ms for item in items],
        [item.attempts for item in items],
        [_storable(item.error) for item in items],
        [item.model for item in items] if elsewhere else None,
        [item.group_ppm for item in items] if elsewhere else None,
    ]


def _ask_columns(asks: Sequence[Ask]) -> list[Any]:
    return [
        [ask.account_id for ask in asks],
        [ask.key_id for ask in asks],
        [ask.id for ask in asks],
        [ask.request_id for ask in asks],
        [ask.want for ask in asks],
        [ask.minimum for ask in asks],
        [ask.orphan_charge for ask in asks],
        [ask.input_tokens for ask in asks],
        [ask.model for ask in asks],
        [ask.format for ask in asks],
        [ask.stream for ask in asks],
        [ask.price_id for ask in asks],
        [ask.ratio_ppm for ask in asks],
        [ask.group_ppm for ask in asks],
        [ask.tokens for ask in asks],
        [ask.patient for ask in asks],
    ]


def _storable(text: str | None) -> str | None:
    """An upstream's error code may hold what PostgreSQL's text can't: NUL, and halves of surrogate pairs."""
    return None if text is None else text.encode("utf-8", "replace").decode().replace("\0", "?")
