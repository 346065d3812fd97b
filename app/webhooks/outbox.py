"""The outbox: deliveries as rows, and what became of each attempt; `claims.py` has who may make one.

Rows are written in the transaction that has something to tell: triggers on the counters do it for quotas, `add_callback`
for what an account wants to be called about. All times are the database's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accounts.store import get_account
from app.core.money import write_amount
from app.db.tables.webhooks import deliveries, delivery_attempts
from app.errors import GatewayError, Kind
from app.ledger.reports import read_report
from app.ledger.wallets import account_wallets
from app.webhooks.claims import CLAIM, Claim

KEEP_DAYS = 90
"""How long a finished delivery can be looked up and sent again."""

QUOTA_TOO_LOW = "user_quota_too_low"
TASK_FINISHED = "task_finished"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to a receiver. `url` None: the account's webhook, as it is set when an attempt is made."""

    account_id: int
    id: int
    event_id: UUID
    topic: str
    url: str | None
    body: str
    test: bool
    state: str
    attempts: int
    created_at: datetime
    next_at: datetime
    give_up_at: datetime
    claimed_until: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of a receiver. `status` None: no answer came."""

    number: int
    started_at: datetime
    latency_ms: int
    status: int | None
    answer: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt went. `hopeless`: no later one can do better."""

    latency_ms: int
    status: int | None = None
    answer: str | None = None
    error: str | None = None
    retry_after: float | None = None
    hopeless: bool = False

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


_MAKE_TEST = text(
    """
    WITH made AS (
        INSERT INTO deliveries (account_id, topic, body, test, attempts, give_up_at, claimed_until)
        VALUES (:account_id, :topic, :body, true, 1, now(), now() + make_interval(secs => :claim)) RETURNING *
    )
    SELECT d.account_id, d.id, d.event_id, d.attempts AS number, now() AS started_at, d.url, d.body, d.test,
        w.url AS webhook_url, w.secret,
        CASE WHEN w.previous_until > now() THEN w.previous_secret END AS previous_secret, 1 AS tries,
        false AS deleted, NULL AS host
    FROM made d JOIN webhooks w USING (account_id)
    """
)
_DELIVERED = text(
    "UPDATE deliveries SET state = 'delivered', finished_at = now(), claimed_until = NULL "
    "WHERE account_id = :account_id AND id = :id AND state = 'pending' RETURNING state"
)
# By whoever made the latest attempt only: one whose claim has run out must not take the row from its successor.
_NOT_DELIVERED = text(
    """
    UPDATE deliveries SET claimed_until = NULL,
        state = CASE WHEN :hopeless OR give_up_at <= now() THEN 'failed' ELSE 'pending' END,
        finished_at = CASE WHEN :hopeless OR give_up_at <= now() THEN now() END,
        next_at = least(now() + make_interval(secs => :pause), greatest(give_up_at, now()))
    WHERE account_id = :account_id AND id = :id AND state = 'pending' AND attempts = :number RETURNING state
    """
)
_REDELIVER = text(
    """
    UPDATE deliveries SET state = 'pending', next_at = now(), give_up_at = now() + interval '24 hours',
        finished_at = NULL, claimed_until = CASE WHEN state = 'pending' THEN claimed_until END
    WHERE id = :id RETURNING id
    """
)
_PRUNE = text(
    """
    WITH old AS (
        DELETE FROM deliveries WHERE state <> 'pending' AND finished_at < now() - make_interval(days => :days)
        RETURNING account_id, id
    )
    DELETE FROM delivery_attempts a USING old WHERE a.account_id = old.account_id AND a.delivery_id = old.id
    """
)


async def add_callback(
    connection: AsyncConnection, account_id: int, url: str, body: str, topic: str = TASK_FINISHED
) -> None:
    """Has `body`, JSON, posted to `url` once the caller's transaction is committed, whether or not the account has a
    webhook. Where the URL leads is checked with each attempt; a trigger wakes the workers.
    """
    values = {"account_id": account_id, "url": url, "body": body, "topic": topic}
    await connection.execute(insert(deliveries).values(values))


# -- the worker's side -----------------------------------------------------------------------------------------------


async def record(connection: AsyncConnection, claim: Claim, outcome: Outcome, pause: float) -> str | None:
    """Writes an attempt down, and what it means: `pause` seconds until the next one, unless it is done or too late.

    Returns the delivery's new state; None if another attempt has decided it. It may be repeated: a connection that breaks
    doesn't tell whether its transaction was committed.
    """
    values = {"account_id": claim.account_id, "delivery_id": claim.id, "number": claim.number}
    attempt = Attempt(claim.number, claim.started_at, outcome.latency_ms, outcome.status, outcome.answer, outcome.error)
    columns = {name: getattr(attempt, name) for name in Attempt.__slots__}
    await connection.execute(insert(delivery_attempts).values({**values, **columns}).on_conflict_do_nothing())
    values = {"account_id": claim.account_id, "id": claim.id}
    if outcome.delivered:
        result = await connection.execute(_DELIVERED, values)
    else:
        more = {"number": claim.number, "pause": pause, "hopeless": outcome.hopeless}
        result = await connection.execute(_NOT_DELIVERED, values | more)
    return result.scalar_one_or_none()


async def prune(connection: AsyncConnection) -> None:
    """Forgets what was finished KEEP_DAYS ago, with its attempts."""
    await connection.execute(_PRUNE, {"days": KEEP_DAYS})


# -- the operator's side ---------------------------------------------------------------------------------------------


async def make_test(connection: AsyncConnection, account_id: int) -> Claim:
    """A sample of the quota message, claimed for the caller, to be tried once.

    Raises GatewayError: 404 for an account that isn't there, 409 for one without a webhook.
    """
    await get_account(connection, account_id)
    wallet = (await account_wallets(connection, [account_id]))[account_id]
    assert wallet.balance is not None
    body = f'{{"topic": "{QUOTA_TOO_LOW}", "data": {{"quota": {write_amount(wallet.balance + wallet.held)}}}}}'
    values = {"account_id": account_id, "topic": QUOTA_TOO_LOW, "body": body, "claim": CLAIM}
    row = (await connection.execute(_MAKE_TEST, values)).mappings().one_or_none()
    if row is None:
        raise GatewayError(Kind.CONFLICT, "webhook_not_set", f"Account {account_id} has no webhook.")
    return Claim(**row)


async def redeliver(connection: AsyncConnection, delivery_id: int) -> None:
    """Makes it due now, with 24 more hours, under the event id that it has. Raises GatewayError 404."""
    if (await connection.execute(_REDELIVER, {"id": delivery_id})).first() is None:
        raise _no_delivery(delivery_id)
    await connection.execute(text("SELECT pg_notify('relaygate', 'delivery')"))


async def get_delivery(connection: AsyncConnection, delivery_id: int) -> tuple[Delivery, list[Attempt]]:
    """With its attempts in the order in which they were made, both as of one moment. Raises GatewayError 404."""
    made = delivery_attempts.c
    tried = [made[name].label(f"attempt_{name}") for name in Attempt.__slots__]
    same = (made.account_id == deliveries.c.account_id) & (made.delivery_id == deliveries.c.id)
    query = select(deliveries, *tried).outerjoin(delivery_attempts, same).where(deliveries.c.id == delivery_id)
    rows = (await connection.execute(query.order_by(made.number))).mappings().all()
    if not rows:
        raise _no_delivery(delivery_id)
    delivery = Delivery(**{name: rows[0][name] for name in Delivery.__slots__})
    attempts = [Attempt(**{name: row[f"attempt_{name}"] for name in Attempt.__slots__}) for row in rows]
    return delivery, attempts if rows[0]["attempt_number"] is not None else []


async def list_deliveries(
    connection: AsyncConnection, filters: Mapping[str, Any], *, before: int | None, limit: int
) -> list[Delivery]:
    """The newest first, with ids below `before`. `filters`: values by column; None leaves a column out.

    Without an account it may read all there are: give it a connection of `open_report`. Raises GatewayError 400
    `query_too_broad` when its time is over.
    """
    query = select(deliveries).order_by(deliveries.c.id.desc()).limit(limit)
    for column, value in filters.items():
        if value is not None:
            query = query.where(deliveries.c[column] == value)
    if before is not None:
        query = query.where(deliveries.c.id < before)
    try:
        rows = await read_report(connection, query)
    except GatewayError as error:
        message = "This takes too long to look up; name an account."
        raise GatewayError(Kind.INVALID, error.code, message, param="account_id") from error
    return [Delivery(**row._mapping) for row in rows]


def _no_delivery(delivery_id: int) -> GatewayError:
    return GatewayError(Kind.NOT_FOUND, "delivery_not_found", f"There is no delivery {delivery_id}.")
