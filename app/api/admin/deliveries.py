"""`/admin/v1/deliveries`: webhooks and callbacks of accounts, every attempt at them, another try, and a sample on request."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from app.api.admin.guard import NOT_FOUND, ActorDep, admin_router
from app.api.admin.paging import Page, PageQuery, page_of, read_id_cursor
from app.api.admin.record import record
from app.api.admin.shapes import ErrorBody, Name, PathId, QueryId, Shape
from app.api.admin.usage_filter import REFUSALS
from app.api.context import ConnectionDep, ServicesDep
from app.ledger.reports import open_report
from app.webhooks import outbox
from app.webhooks.outbox import Attempt, Delivery
from app.webhooks.sign import message_id

deliveries = admin_router("/deliveries", "deliveries", "usage")
samples = admin_router("/accounts", "deliveries", "accounts")

State = Literal["pending", "delivered", "failed"]

NO_WEBHOOK: dict[int | str, dict[str, Any]] = {409: {"model": ErrorBody, "description": "The account has no webhook."}}

DELIVERY_EXAMPLE: dict[str, Any] = {
    "id": 1,
    "account_id": 1,
    "webhook_id": "msg_0f8b6a1c2d3e4f5061728394a5b6c7d8",
    "topic": "user_quota_too_low",
    "url": None,
    "body": '{"topic": "user_quota_too_low", "data": {"quota": 0.5}}',
    "test": False,
    "state": "delivered",
    "attempts": 1,
    "created_at": "2030-01-31T12:00:00Z",
    "next_at": None,
    "give_up_at": "2030-02-01T12:00:00Z",
    "finished_at": "2030-01-31T12:00:00Z",
}
ATTEMPT_EXAMPLE: dict[str, Any] = {
    "number": 1,
    "started_at": "2030-01-31T12:00:00Z",
    "latency_ms": 41,
    "status": 200,
    "answer": "ok",
    "error": None,
}


class DeliveryQuery(PageQuery):
    """Which deliveries."""

    account_id: QueryId | None = None
    state: State | None = None
    topic: Name | None = Field(None, examples=["user_quota_too_low", "task_finished"])


class DeliveryBody(Shape):
    """One event on its way to a receiver."""

    id: int
    account_id: int
    webhook_id: str = Field(description="What the receiver gets as `webhook-id`, the same in every attempt")
    topic: str
    url: str | None = Field(description="Where a callback goes; null: to the account's webhook as it is set then")
    body: str = Field(description="What is posted, byte for byte")
    test: bool = Field(description="A sample that an operator asked for")
    state: State
    attempts: int = Field(description="Those that were begun")
    created_at: datetime
    next_at: datetime | None = Field(description="The next attempt; null once it is delivered or failed")
    give_up_at: datetime
    finished_at: datetime | None

    model_config = ConfigDict(json_schema_extra={"examples": [DELIVERY_EXAMPLE]})


class AttemptBody(Shape):
    """One call of the receiver."""

    number: int
    started_at: datetime
    latency_ms: int
    status: int | None = Field(description="Null: no answer came")
    answer: str | None = Field(description="The first 2 KB")
    error: str | None

    model_config = ConfigDict(json_schema_extra={"examples": [ATTEMPT_EXAMPLE]})


class DeliveryDetail(DeliveryBody):
    """A delivery with all that was tried, oldest first. An attempt of a worker that died isn't among it."""

    tried: list[AttemptBody]

    model_config = ConfigDict(json_schema_extra={"examples": [DELIVERY_EXAMPLE | {"tried": [ATTEMPT_EXAMPLE]}]})


@deliveries.get("", summary="List deliveries", responses=REFUSALS)
async def list_deliveries(query: Annotated[DeliveryQuery, Query()], services: ServicesDep) -> Page[DeliveryBody]:
    """The newest first."""
    before = read_id_cursor(query.cursor)
    filters = {"account_id": query.account_id, "state": query.state, "topic": query.topic}
    async with open_report(services.database.reports) as connection:
        found = await outbox.list_deliveries(connection, filters, before=before, limit=query.limit + 1)
    return page_of(found, query.limit, lambda delivery: DeliveryBody(**_write(delivery)), lambda delivery: delivery.id)


@deliveries.get("/{delivery_id}", summary="Get a delivery", responses=NOT_FOUND)
async def get_delivery(delivery_id: PathId, connection: ConnectionDep) -> DeliveryDetail:
    """With every attempt: when, how long it took, the status, the beginning of the answer."""
    return await _show(connection, delivery_id)


@deliveries.post("/{delivery_id}/redeliver", status_code=202, summary="Deliver again", responses=NOT_FOUND)
async def redeliver(delivery_id: PathId, connection: ConnectionDep, actor: ActorDep) -> DeliveryDetail:
    """Due at once and for 24 more hours, whatever became of it before, under the same id: a callback to its `url`, anything
    else to the webhook as it is set now.
    """
    before = await _show(connection, delivery_id)
    await outbox.redeliver(connection, delivery_id)
    after = await _show(connection, delivery_id)
    await record(connection, actor, "deliveries.redeliver", delivery_id, _progress(before), _progress(after))
    return after


@samples.post(
    "/{account_id}/notify/test", summary="Send a sample to the webhook", responses={**NOT_FOUND, **NO_WEBHOOK}
)
async def send_sample(account_id: PathId, services: ServicesDep, actor: ActorDep) -> DeliveryDetail:
    """One attempt, now, at most 10 s, with what the account has left; it carries the header `relaygate-test: true`.
    A fault of the receiver is an answer, not an error.
    """
    # Without a connection of the pool while the receiver takes its time.
    delivery_id = await services.deliverer.send_test(account_id)
    async with services.database.engine.begin() as connection:
        shown = await _show(connection, delivery_id)
        outcome = {"delivery_id": delivery_id, **_progress(shown)}
        await record(connection, actor, "accounts.test_webhook", account_id, None, outcome)
        return shown


async def _show(connection: AsyncConnection, delivery_id: int) -> DeliveryDetail:
    delivery, tried = await outbox.get_delivery(connection, delivery_id)
    return DeliveryDetail(**_write(delivery), tried=[_write_attempt(attempt) for attempt in tried])


def _progress(shown: DeliveryBody) -> dict[str, Any]:
    """What the log of actions has of a delivery: not what it says, nor what the receiver answered."""
    return shown.model_dump(mode="json", include={"state", "next_at", "give_up_at", "finished_at"})


def _write(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "account_id": delivery.account_id,
        "webhook_id": message_id(delivery.event_id),
        "topic": delivery.topic,
        "url": delivery.url,
        "body": delivery.body,
        "test": delivery.test,
        "state": cast(State, delivery.state),
        "attempts": delivery.attempts,
        "created_at": delivery.created_at,
        "next_at": delivery.next_at if delivery.state == "pending" else None,
        "give_up_at": delivery.give_up_at,
        "finished_at": delivery.finished_at,
    }


def _write_attempt(attempt: Attempt) -> AttemptBody:
    return AttemptBody(
        number=attempt.number,
        started_at=attempt.started_at,
        latency_ms=attempt.latency_ms,
        status=attempt.status,
        answer=attempt.answer,
        error=attempt.error,
    )


router = APIRouter()
router.include_router(deliveries)
router.include_router(samples)
