"""Tells the operator of channels that need somebody: what refuses the gateway's key, and what has failed for long."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Sequence
from contextlib import suppress
from uuid import uuid4

import orjson
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.background import end_task
from app.db.engine import DATABASE_ERRORS
from app.egress.client import Egress, EgressError
from app.logs import get_log
from app.routing.outages import ALL_KEYS
from app.webhooks.sign import sign

log = get_log("relaygate.routing")

INTERVAL = 2.0
TIMEOUT = 10.0
RETRY_PAUSE = 30.0
ANYWHERE = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
"""The address is the operator's own setting: it may well be inside their network."""

# Claimed before it is sent: no lock is held meanwhile, for the gateways write to these rows.
_CLAIM = text(
    """
    UPDATE outages o SET told_at = now() FROM channels c
    WHERE c.id = o.channel_id AND o.told_at IS NULL AND (o.kind = 'refused' OR o.failures >= :long)
    RETURNING o.*, c.name AS channel
    """
)
_UNCLAIM = text(
    "UPDATE outages SET told_at = NULL "
    "WHERE channel_id = :channel_id AND model = :model AND key = :key AND told_at = :told_at"
)

LONG = 5
"""Failures in a row after which a channel that fails is worth telling of: it has been out for half a minute then."""


class Alerts:
    """Posts each such outage once, signed as webhooks are. Any process may; the row says who did."""

    def __init__(self, engine: AsyncEngine, url: str | None, secret: str | None) -> None:
        self._engine = engine
        self._url = url
        self._secrets = [] if secret is None else [secret]
        self._egress = Egress(ANYWHERE)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._url is not None:
            self._egress.start()
            self._task = asyncio.create_task(self._run(self._url))

    async def stop(self) -> None:
        if self._task is not None:
            await end_task(self._task)
            await self._egress.close()

    async def _run(self, url: str) -> None:
        while True:
            untold = 0
            with suppress(*DATABASE_ERRORS):
                async with self._engine.begin() as connection:
                    rows = (await connection.execute(_CLAIM, {"long": LONG})).mappings().all()
                untold = await self._tell_all(url, rows)
            await asyncio.sleep(RETRY_PAUSE if untold else INTERVAL)

    async def _tell_all(self, url: str, rows: Sequence[RowMapping]) -> int:
        """How many weren't delivered. They are given back for another time, by a process that is stopped too."""
        untold = list(rows)
        try:
            for row in rows:
                if await self._tell(url, row):
                    untold.remove(row)
        finally:
            if untold:
                async with self._engine.begin() as connection:
                    await connection.execute(_UNCLAIM, [dict(row) for row in untold])
        return len(untold)

    async def _tell(self, url: str, row: RowMapping) -> bool:
        event = uuid4()
        body = orjson.dumps({"id": str(event), "type": "channel.out", "data": _describe(row)})
        headers = {"Content-Type": "application/json", **sign(self._secrets, event, int(time.time()), body)}
        fault = "the receiver didn't answer with a 2xx"
        try:
            async with self._egress.request("POST", url, timeout=TIMEOUT, headers=headers, body=body) as response:
                if 200 <= response.status < 300:
                    return True
        except EgressError as error:
            fault = str(error)
        log.warning("alert_not_delivered", channel=row["channel"], error=fault)
        return False


def _describe(row: RowMapping) -> dict[str, object]:
    return {
        "channel_id": row["channel_id"],
        "channel": row["channel"],
        "model": row["model"] or None,
        "key": None if row["key"] == ALL_KEYS else row["key"],
        "kind": row["kind"],
        "reason": row["reason"],
        "failures": row["failures"],
        "since": row["since"],
        "until": row["until"],
    }
