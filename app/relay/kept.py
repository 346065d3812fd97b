"""Which channel keeps an answer: known before its client hears the id, so that nobody else's id ever reaches an upstream."""

from __future__ import annotations

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
    model: str
    unfinished: bool


class KeptAnswers:
    """Remembers and finds the answers of accounts."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def remember(
        self, principal: Principal, model: Model, channel_id: int, id: str, *, unfinished: bool = False
    ) -> None:
        """Without a database the answer still goes out, and can't be built upon later: the log says so."""
        if len(id) > MAX_ID:
            return
        row = insert(kept_answers).values(
            account_id=principal.account_id,
            id=id,
            key_id=principal.key_id,
            channel_id=channel_id,
            model=model.name,
            unfinished=unfinished,
        )
        try:
            async with self._engine.begin() as connection:
                await connection.execute(row.on_conflict_do_nothing())
        except DATABASE_ERRORS as error:
            log.warning("answer_not_remembered", account_id=principal.account_id, error=type(error).__name__)

    async def find(self, principal: Principal, id: str) -> Kept | None:
        """None for what this account never made. Raises GatewayError `service_unavailable`."""
        # Whoever was to ask how it went on may have died: after that time nobody asks any more.
        unfinished = and_(kept_answers.c.unfinished, kept_answers.c.created_at > text(f"now() - interval '{FOLLOWED}'"))
        query = select(kept_answers.c.channel_id, kept_answers.c.model, unfinished.label("unfinished")).where(
            kept_answers.c.account_id == principal.account_id, kept_answers.c.id == id[:MAX_ID]
        )
        try:
            async with self._engine.connect() as connection:
                row = (await connection.execute(query)).one_or_none()
        except DATABASE_ERRORS as error:
            raise unavailable("The gateway can't reach its database.") from error
        return None if row is None else Kept(id, row.channel_id, row.model, row.unfinished)

    async def owner(self, principal: Principal, id: str) -> int:
        """The channel that keeps what a request builds on. Raises GatewayError 404 for what this account never made."""
        kept = await self.find(principal, id)
        if kept is None:
            raise no_such_answer(id)
        return kept.channel_id

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


def no_such_answer(id: str) -> GatewayError:
    """The 404 for an answer that doesn't exist as for another account's."""
    message = f"There is no '{id[:100]}' of this account's that a later request could build on or ask about."
    return GatewayError(Kind.NOT_FOUND, "previous_response_not_found", message)


async def prune_kept_answers(connection: AsyncConnection) -> None:
    """Forgets answers that are older than any upstream keeps them."""
    old = text(f"now() - interval '{KEEP_DAYS} days'")
    await connection.execute(kept_answers.delete().where(kept_answers.c.created_at < old))
