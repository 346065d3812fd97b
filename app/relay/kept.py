"""Which channel keeps an answer: known before its client hears the id, so that nobody else's id ever reaches an upstream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.accounts.principals import Principal
from app.catalog.snapshot import Model
from app.db.engine import DATABASE_ERRORS
from app.db.tables.relay import kept_answers
from app.errors import GatewayError, Kind, unavailable
from app.logs import get_log

log = get_log("relaygate.relay")

KEEP_DAYS = 60
"""OpenAI keeps a response for 30 days; what builds on it may come as late."""

FOLLOWED = "70 minutes"
"""Longer than a background answer is asked after (`app.relay.background.PATIENCE`)."""

MAX_ID = 500


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer of an account that the upstream behind a channel keeps. `unfinished`: what it used isn't known yet."""

    id: str
    channel_id: int
    channel_key: int
    model: str
    tokens: int | None
    unfinished: bool


@dataclass(frozen=True, slots=True)
class Ground:
    """What a request builds on: the channel that keeps it, under which of its keys, and the tokens that it feeds the model;
    None: not known.
    """

    channel_id: int
    channel_key: int
    tokens: int | None


class KeptAnswers:
    """Remembers and finds the answers of accounts."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def remember(
        self,
        principal: Principal,
        model: Model,
        channel_id: int,
        channel_key: int,
        ids: Sequence[str],
        *,
        tokens: int | None,
        unfinished: bool = False,
    ) -> None:
        """An answer's id and those of its parts. `tokens`: what building on them feeds a model; None: not known yet.

        Without a database the answer still goes out, and can't be built upon later: the log says so.
        """
        rows = [
            {
                "account_id": principal.account_id,
                "id": id,
                "key_id": principal.key_id,
                "channel_id": channel_id,
                "channel_key": channel_key,
                "model": model.name,
                "tokens": tokens,
                "unfinished": unfinished,
            }
            for id in dict.fromkeys(ids)
            if _is_id(id)
        ]
        if not rows:
            return
        query = insert(kept_answers).values(rows)
        # Only the same account's row can stand in the way: an answer whose stream has now told what it used.
        known = query.on_conflict_do_update(index_elements=["account_id", "id"], set_={"tokens": query.excluded.tokens})
        try:
            async with self._engine.begin() as connection:
                await connection.execute(known)
        except DATABASE_ERRORS as error:
            log.warning("answer_not_remembered", account_id=principal.account_id, error=type(error).__name__)

    async def find(self, principal: Principal, *ids: str) -> list[Kept]:
        """Those of the ids that this account has got. Raises GatewayError `service_unavailable`."""
        asked = [id for id in ids if _is_id(id)]
        if not asked:
            return []
        # Whoever was to ask how it went on may have died: after that time nobody asks any more.
        unfinished = and_(kept_answers.c.unfinished, kept_answers.c.created_at > text(f"now() - interval '{FOLLOWED}'"))
        names = ("id", "channel_id", "channel_key", "model", "tokens")
        columns = [kept_answers.c[name] for name in names]
        query = select(*columns, unfinished.label("unfinished")).where(
            kept_answers.c.account_id == principal.account_id, kept_answers.c.id.in_(asked)
        )
        try:
            async with self._engine.connect() as connection:
                return [Kept(**row) for row in (await connection.execute(query)).mappings()]
        except DATABASE_ERRORS as error:
            raise unavailable("The gateway can't reach its database.") from error

    async def finish(self, account_id: int, id: str) -> None:
        """What a background answer used is known, or never will be."""
        try:
            async with self._engine.begin() as connection:
                await connection.execute(
                    kept_answers.update()
                    .where(kept_answers.c.account_id == account_id, kept_answers.c.id == id)
                    .values(unfinished=False)
                )
        except DATABASE_ERRORS as error:
            log.warning("answer_not_finished", account_id=account_id, error=type(error).__name__)

    async def forget(self, principal: Principal, id: str) -> None:
        """The upstream has deleted it."""
        async with self._engine.begin() as connection:
            await connection.execute(
                kept_answers.delete().where(kept_answers.c.account_id == principal.account_id, kept_answers.c.id == id)
            )


def _is_id(text: str) -> bool:
    """Whether this could be an upstream's id; PostgreSQL takes no NUL."""
    return 0 < len(text) <= MAX_ID and text.isprintable()


def no_such_answer(id: str) -> GatewayError:
    """The 404 for an answer that doesn't exist as for another account's."""
    message = f"There is no '{id[:100]}' of this account's that a later request could build on or ask about."
    return GatewayError(Kind.NOT_FOUND, "previous_response_not_found", message)


async def prune_kept_answers(connection: AsyncConnection) -> None:
    """Forgets answers that are older than any upstream keeps them."""
    old = text(f"now() - interval '{KEEP_DAYS} days'")
    await connection.execute(kept_answers.delete().where(kept_answers.c.created_at < old))
