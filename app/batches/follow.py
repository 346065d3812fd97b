"""Asks after open batches until each is over, and charges what it has used: by the worker, on any number of replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import aiohttp
from sqlalchemy import RowMapping, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from app.batches.desk import TIER, end_row
from app.catalog.catalog import Catalog
from app.catalog.prices import FREE, Price, read_price
from app.core.usage import Usage, read_count, read_details, sum_usage
from app.db.tables.catalog import prices
from app.db.tables.relay import batches
from app.errors import GatewayError
from app.formats.openai_chat.usage import read_usage
from app.formats.openai_responses.usage import read_usage as read_responses_usage
from app.formats.refusals import load_json
from app.ledger.lasting import LastingSettlement, terms_of
from app.ledger.wallets import lock_account
from app.logs import get_log
from app.relay.attempt import Upstreams
from app.relay.objects.look import keeper_of
from app.relay.objects.paths import ObjectPath
from app.relay.objects.sending import url_of
from app.relay.objects.store import ObjectStore
from app.routing.trip import Pin
from app.surfaces.embeddings import read_usage as read_embedded

log = get_log("relaygate.batches")

FINAL = frozenset({"completed", "failed", "expired", "cancelled"})
AT_ONCE = 10
LONGEST_PAUSE = 300
GIVE_UP = 48 * 3600.0
"""Seconds after which a batch is settled by what it has used as far as anybody knows: none runs for longer than a day."""

_CLAIM = text(
    """
    UPDATE batches b SET looks = b.looks + 1,
        due_at = now() + LEAST(:longest, 2 * power(1.5, LEAST(b.looks, 20))) * interval '1 second'
    FROM (
        SELECT account_id, hold_id FROM batches WHERE settled_at IS NULL AND due_at <= now()
        ORDER BY due_at LIMIT :room FOR UPDATE SKIP LOCKED
    ) d
    WHERE b.account_id = d.account_id AND b.hold_id = d.hold_id
    RETURNING b.*, extract(epoch FROM now() - b.created_at)::float8 AS age
    """
)
"""Whoever claims one has as long as until it is due again; two that look at once settle it once."""


class BatchFollower:
    """The worker's side of batches."""

    def __init__(self, engine: AsyncEngine, catalog: Catalog, store: ObjectStore) -> None:
        self._engine = engine
        self._catalog = catalog
        self._store = store
        self._upstreams: Upstreams | None = None

    def start(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams

    async def look(self) -> None:
        """Looks at those that are due. Raises what the database raises."""
        async with self._engine.begin() as connection:
            query = {"room": AT_ONCE, "longest": LONGEST_PAUSE}
            rows = (await connection.execute(_CLAIM, query)).mappings().all()
        for row in rows:
            try:
                await self._look_at(row)
            except (GatewayError, aiohttp.ClientError, OSError) as error:
                log.warning("batch_look_failed", batch=row["batch_id"], error=str(error)[:200])
                if row["age"] > GIVE_UP:
                    await self._settle(row, None, Usage(**row["lines"]["fair"]), estimated=True, error="batch_lost")

    async def _look_at(self, row: RowMapping) -> None:
        place = Pin(row["channel_id"], row["channel_key"])
        batch = await (self._get(row, place) if row["batch_id"] is not None else self._find(row, place))
        if batch is None:  # its maker died before the upstream heard of it
            await self._settle(row, None, None, error="process_died")
            return
        await self._store.see(row["account_id"], batch)
        if batch.get("status") not in FINAL and row["age"] <= GIVE_UP:
            return
        used, estimated = await self._usage_of(row, place, batch)
        await self._settle(row, batch, used, estimated=estimated)

    # -- asking ----------------------------------------------------------------------------------------------------------

    async def _get(self, row: RowMapping, place: Pin) -> dict[str, Any]:
        value = await self._json(place, ObjectPath("batches", row["batch_id"]))
        if value is None:
            return {"id": row["batch_id"], "status": "failed"}  # it is gone, and nobody else has it
        return value

    async def _find(self, row: RowMapping, place: Pin) -> dict[str, Any] | None:
        """One that was made of this file, and that no other row is about: its answer was lost."""
        listed = await self._json(place, ObjectPath("batches"), limit="100")
        items = (listed or {}).get("data")
        found = [item for item in (items if isinstance(items, list) else []) if isinstance(item, dict)]
        async with self._engine.begin() as connection:
            for item in found:
                if item.get("input_file_id") != row["input_file_id"] or not isinstance(item.get("id"), str):
                    continue
                taken = select(batches.c.hold_id).where(batches.c.batch_id == item["id"])
                if (await connection.execute(taken)).first() is not None:
                    continue
                mine = (batches.c.account_id == row["account_id"]) & (batches.c.hold_id == row["hold_id"])
                await connection.execute(update(batches).where(mine).values(batch_id=item["id"]))
                return item
        return None

    async def _json(self, place: Pin, path: ObjectPath, **query: str) -> dict[str, Any] | None:
        """None: the upstream has no such thing."""
        channel = keeper_of(self._catalog.snapshot.channels, "batches", place)
        status, body = await self._upstream.look_up(channel.keys[place.key], url_of(channel, path, list(query.items())))
        value = load_json(body)
        return value if status == 200 and isinstance(value, dict) else None

    @property
    def _upstream(self) -> Upstreams:
        assert self._upstreams is not None, "it isn't started"
        return self._upstreams

    # -- what it has used --------------------------------------------------------------------------------------------------

    async def _usage_of(self, row: RowMapping, place: Pin, batch: Mapping[str, Any]) -> tuple[Usage | None, bool]:
        """By the batch's own report, else by those in its results, else by what went in; and whether that is a guess."""
        done = read_count(read_details(batch, "request_counts"), "completed")
        told = read_responses_usage(batch.get("usage"))
        if told is not None and (told.input_tokens or not done):
            return (told if told.input_tokens or told.output_tokens else None), False
        if done == 0 or (done is None and batch.get("status") != "completed"):
            return None, False
        output = batch.get("output_file_id")
        if isinstance(output, str):
            channel = keeper_of(self._catalog.snapshot.channels, "batches", place)
            url = url_of(channel, ObjectPath("files", output, ("content",)), ())
            counted = await self._count(place, url)
            if counted is not None:
                return counted, False
        lines = row["lines"]
        fair = Usage(**lines["fair"])
        share = 1.0 if done is None else min(1.0, done / max(1, int(lines["requests"])))
        return replace(fair, input_tokens=int(fair.input_tokens * share)), True

    async def _count(self, place: Pin, url: URL) -> Usage | None:
        """The sum of what its results report; None: one of them reports nothing."""
        total: Usage | None = None
        async for line in self._lines(place, url):
            body = read_details(read_details(load_json(line) or {}, "response"), "body")
            report = body.get("usage")
            used = read_usage(report) or read_responses_usage(report) or read_embedded(body)
            if used is None:
                return None
            total = used if total is None else sum_usage(total, used)
        return total

    async def _lines(self, place: Pin, url: URL) -> AsyncIterator[bytes]:
        channel = keeper_of(self._catalog.snapshot.channels, "batches", place)
        async with await self._upstream.send(channel.keys[place.key], "GET", url) as answer:
            if answer.status == 200:
                async for line in answer.content:
                    if line.strip():
                        yield line

    # -- money -------------------------------------------------------------------------------------------------------------

    async def _settle(
        self,
        row: RowMapping,
        batch: Mapping[str, Any] | None,
        used: Usage | None,
        *,
        estimated: bool = False,
        error: str | None = None,
    ) -> None:
        account_id, hold_id = row["account_id"], row["hold_id"]
        async with self._engine.begin() as connection:
            await lock_account(connection, account_id)
            if not await _is_open(connection, account_id, hold_id):
                return
            terms = await terms_of(connection, account_id, hold_id)
            price = await _price_of(connection, terms.price_id)
            done = read_count(read_details(batch or {}, "request_counts"), "completed") or 1
            usage = None if used is None else replace(used, service_tier=TIER)
            settlement = LastingSettlement(
                row["channel_id"],
                terms.price_id,
                charge=0 if usage is None else charge_of(price, usage, done, terms.ratio_ppm, terms.group_ppm),
                usage=usage,
                estimated=estimated,
                latency_ms=_age_ms(row["created_at"], batch),
                error=error or (str(batch.get("status")) if batch and batch.get("status") != "completed" else None),
            )
            await end_row(connection, account_id, hold_id, settlement)
        log.info("batch_settled", batch=row["batch_id"], account_id=account_id, charged=settlement.charge)


def charge_of(price: Price, usage: Usage, requests: int, ratio_ppm: int, group_ppm: int) -> int:
    """Nano-dollars. What depends on how long a request is depends on how long they are on average: a batch tells no more."""
    typical = replace(usage, input_tokens=usage.input_tokens // max(1, requests))
    applied = price.applied_to(typical)
    calls = applied.cost(Usage(), ratio_ppm, group_ppm) * (max(1, requests) - 1)
    return applied.cost(usage, ratio_ppm, group_ppm) + calls


async def _is_open(connection: Any, account_id: int, hold_id: UUID) -> bool:
    query = select(batches.c.settled_at).where(batches.c.account_id == account_id, batches.c.hold_id == hold_id)
    row = (await connection.execute(query)).one_or_none()
    return row is not None and row.settled_at is None


async def _price_of(connection: Any, price_id: int | None) -> Price:
    """The very price that it was held at: rows of prices never change."""
    if price_id is None:
        return FREE
    return read_price((await connection.execute(select(prices.c.body).where(prices.c.id == price_id))).scalar_one())


def _age_ms(created_at: datetime, batch: Mapping[str, Any] | None) -> int:
    ended = None if batch is None else batch.get("completed_at")
    if not isinstance(ended, int) or isinstance(ended, bool):
        return 0
    return max(0, int((ended - created_at.timestamp()) * 1000))
