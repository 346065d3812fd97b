"""`/admin/v1/outages`: which channels are out and why, how the others do, and the operator's word that one is well again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Query
from pydantic import ConfigDict, Field
from sqlalchemy import delete, select

from app.api.admin.guard import NOT_FOUND, ActorDep, admin_router
from app.api.admin.record import record
from app.api.admin.shapes import PathId, QueryId, Shape
from app.api.context import ConnectionDep, ServicesDep
from app.catalog import store
from app.db.tables.catalog import channels
from app.db.tables.routing import outages
from app.routing.outages import ALL_KEYS, OutageKind

router = admin_router("", "channels", "catalog")


class OutageBody(Shape):
    """Something that requests keep away from. `model` and `key` null: all of them."""

    channel_id: int
    channel: str
    model: str | None = Field(description="The upstream's name of it")
    key: int | None = Field(description="Which of the channel's keys, counted from 0")
    kind: OutageKind
    reason: str
    failures: int = Field(description="How many times in a row it was found to be out")
    since: datetime
    until: datetime = Field(description="Until then nobody tries; after that, one request at a time does")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "channel_id": 1,
                    "channel": "openai-main",
                    "model": None,
                    "key": 0,
                    "kind": "refused",
                    "reason": "upstream_refused_credentials",
                    "failures": 1,
                    "since": "2030-01-31T12:00:00Z",
                    "until": "2030-01-31T12:00:30Z",
                }
            ]
        }
    )


class Outages(Shape):
    """All of them."""

    data: list[OutageBody]


class HealthBody(Shape):
    """One model of a channel, as the process that answers has seen it in the last seconds."""

    model: str = Field(description="The upstream's name of it")
    error_rate: float = Field(description="Between 0 and 1")
    answer_ms: int | None = Field(description="Until whole answers; null: none lately")
    first_frame_ms: int | None = Field(description="Until streams begin; null: none lately")
    under_way: int

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "gpt-small", "error_rate": 0.02, "answer_ms": 900, "first_frame_ms": 320, "under_way": 4}
            ]
        }
    )


class ChannelHealth(Shape):
    """How a channel does: what is out, which all processes know, and what this one has seen of the rest."""

    outages: list[OutageBody]
    models: list[HealthBody]

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "outages": [],
                    "models": [
                        {
                            "model": "gpt-small",
                            "error_rate": 0.0,
                            "answer_ms": 900,
                            "first_frame_ms": None,
                            "under_way": 1,
                        }
                    ],
                }
            ]
        }
    )


@router.get("/outages", summary="List what is out")
async def list_outages(connection: ConnectionDep, channel_id: Annotated[QueryId | None, Query()] = None) -> Outages:
    """Across all processes, newest first."""
    query = select(outages, channels.c.name.label("channel")).join(channels, channels.c.id == outages.c.channel_id)
    if channel_id is not None:
        query = query.where(outages.c.channel_id == channel_id)
    rows = (await connection.execute(query.order_by(outages.c.since.desc()))).mappings()
    return Outages(
        data=[
            OutageBody(
                channel_id=row["channel_id"],
                channel=row["channel"],
                model=row["model"] or None,
                key=None if row["key"] == ALL_KEYS else row["key"],
                kind=OutageKind(row["kind"]),
                reason=row["reason"],
                failures=row["failures"],
                since=row["since"],
                until=row["until"],
            )
            for row in rows
        ]
    )


@router.get("/channels/{channel_id}/health", summary="How a channel does", responses=NOT_FOUND)
async def get_health(channel_id: PathId, services: ServicesDep, connection: ConnectionDep) -> ChannelHealth:
    """Outages are shared by all processes; the moving averages are those of the process that answers."""
    await store.get_channel(connection, channel_id)
    found = await list_outages(connection, channel_id)
    return ChannelHealth(
        outages=found.data,
        models=[
            HealthBody(
                model=seen.model,
                error_rate=round(seen.error_rate, 4),
                answer_ms=None if seen.answer is None else int(seen.answer * 1000),
                first_frame_ms=None if seen.first_frame is None else int(seen.first_frame * 1000),
                under_way=seen.under_way,
            )
            for seen in services.board.seen_of(channel_id)
        ],
    )


@router.delete(
    "/channels/{channel_id}/outages", status_code=204, summary="Say that a channel is well", responses=NOT_FOUND
)
async def end_outages(channel_id: PathId, connection: ConnectionDep, actor: ActorDep) -> None:
    """Requests go to it again from the next moment on, in every process."""
    await store.get_channel(connection, channel_id)
    before = await list_outages(connection, channel_id)
    await connection.execute(delete(outages).where(outages.c.channel_id == channel_id))
    await record(
        connection, actor, "channels.end_outages", channel_id, {"outages": before.model_dump(mode="json")["data"]}
    )
