"""How an admin endpoint or command puts what it did into the log of actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accounts.actions import HIDDEN, write_action
from app.accounts.admin_tokens import Actor, is_live
from app.errors import unauthenticated


async def record(
    connection: AsyncConnection,
    actor: Actor,
    action: str,
    target_id: int | str | None,
    before: BaseModel | Mapping[str, Any] | None = None,
    after: BaseModel | Mapping[str, Any] | None = None,
) -> None:
    """In the transaction of the change: neither is there without the other. `before` None: the target was made; `after`
    None: it is gone.

    Raises GatewayError 401 for a token that was revoked, or has expired, since the guard looked: a body may take a minute to
    arrive, and a token that is known to be lost must not make another meanwhile.
    """
    if actor.token_id is not None and not await is_live(connection, actor.token_id):
        raise unauthenticated("This admin token has been revoked, or has expired.")
    await write_action(connection, actor, action, target_id, _dump(before), _dump(after))


def replaced(*names: str) -> dict[str, str]:
    """Stands on both sides for secrets that were given anew: what is shown of them doesn't change."""
    return dict.fromkeys(names, HIDDEN)


def with_secrets(shown: BaseModel, names: Mapping[str, str]) -> dict[str, Any]:
    """What is shown, and that these secrets were replaced."""
    return {**shown.model_dump(mode="json"), **names}


def _dump(value: BaseModel | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value
