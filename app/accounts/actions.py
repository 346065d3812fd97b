"""The log of what administrators did: written in the transaction of the change itself, listed, and forgotten in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accounts.admin_tokens import Actor
from app.db.tables.admin import admin_actions

HIDDEN = "[hidden]"
"""Stands in the log for a secret; on both sides, that it was replaced."""

_SECRET_FIELDS = frozenset(
    {"api_key", "api_keys", "code", "codes", "digest", "key", "secret", "secrets", "token", "webhook_secret"}
)
"""Never written, whoever hands them in. The answers that issue one are the only ones that hold it."""

_MOVING_FIELDS = frozenset(
    {"balance", "charged", "granted", "held", "last_used_at", "open", "period_start", "redeemed", "spent"}
)
"""What changes by itself while requests run: no administrator did that."""

_PRUNE = text("DELETE FROM admin_actions WHERE at < now() - make_interval(days => :days)")


@dataclass(frozen=True, slots=True)
class Action:
    """Who did what to what, and what it changed."""

    id: int
    at: datetime
    token_id: int | None
    actor: str
    address: str | None
    action: str
    target: str
    target_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str | None


async def write_action(
    connection: AsyncConnection,
    actor: Actor,
    action: str,
    target_id: int | str | None,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    """One row, in the caller's transaction. `action`: kind of target and verb, such as channels.update.

    `before` and `after` are JSON as the admin API shows the target. Where there are both, only what differs is kept, and
    what is HIDDEN on both sides.
    """
    then, now = _shown(before), _shown(after)
    if then is not None and now is not None:
        then, now = _differing(then, now), _differing(now, then)
    values = {
        "token_id": actor.token_id,
        "actor": actor.name,
        "address": actor.address,
        "action": action,
        "target": action.partition(".")[0],
        "target_id": None if target_id is None else str(target_id),
        "before": then,
        "after": now,
        "request_id": actor.request_id,
    }
    await connection.execute(insert(admin_actions).values(**values))


def _differing(values: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in values.items() if value == HIDDEN or name not in other or value != other[name]
    }


def _shown(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if values is None else {name: _cleaned(name, value) for name, value in values.items() if _stays(name)}


def _cleaned(name: str, value: Any) -> Any:
    if name in _SECRET_FIELDS and isinstance(value, str | list):
        return HIDDEN
    if isinstance(value, Mapping):
        return {inner: _cleaned(inner, item) for inner, item in value.items() if _stays(inner)}
    if isinstance(value, list):
        return [_cleaned(name, item) for item in value]
    return value


def _stays(name: str) -> bool:
    return name not in _MOVING_FIELDS


async def list_actions(
    connection: AsyncConnection,
    filters: Mapping[str, Any],
    *,
    since: datetime | None,
    before: int | None,
    limit: int,
) -> list[Action]:
    """The newest first, with ids below `before`. `filters`: columns and the value each must have; None: any."""
    query = select(admin_actions).order_by(admin_actions.c.id.desc()).limit(limit)
    for name, value in filters.items():
        if value is not None:
            query = query.where(admin_actions.c[name] == value)
    if since is not None:
        query = query.where(admin_actions.c.at >= since)
    if before is not None:
        query = query.where(admin_actions.c.id < before)
    return [Action(**row) for row in (await connection.execute(query)).mappings()]


async def prune_actions(connection: AsyncConnection, days: int) -> None:
    """Forgets what is older."""
    await connection.execute(_PRUNE, {"days": days})
