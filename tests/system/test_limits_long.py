"""Two minutes of hammering at a limit of 60 requests a minute, over two processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import aiohttp
import pytest

from tests.demo.process import DemoProcess
from tests.gateway import Gateway, Operator
from tests.system.load import call


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_no_sixty_seconds_see_more_than_sixty_requests(
    gateway: Gateway,
    demo: DemoProcess,
    operator: Operator,
    new_database: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    second = Gateway(gateway.database_url, tmp_path_factory.mktemp("second")).start()
    model = operator.model("demo")
    customer = operator.customer(rpm=60)
    end = time.monotonic() + 125
    statuses: list[int] = []

    async def hammer(session: aiohttp.ClientSession, at: Gateway) -> None:
        while time.monotonic() < end:
            statuses.append((await call(session, at, customer, model)).status)
            await asyncio.sleep(0.02)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(hammer(session, at) for at in (gateway, second) for _ in range(3)))
    assert second.stop() == 0

    passed = statuses.count(200)
    assert set(statuses) == {200, 429}
    moments = sorted(datetime.fromisoformat(entry["created_at"]) for entry in operator.entries(customer, count=passed))
    # The second 60 get in when the first have left the minute, after 61 seconds at the latest.
    assert passed >= 120
    for number, moment in enumerate(moments):
        within = [other for other in moments[number:] if other - moment < timedelta(seconds=60)]
        assert len(within) <= 60
