"""A process that calls upstreams over the relay's own session and event loop while TLS handshakes break, and counts."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence

import aiohttp
import uvloop

from app.relay.attempt import open_session

ROUNDS = 60
AT_ONCE = 8
"""Calls to each upstream at a time: as many sockets whose numbers are given to others when they are closed."""

SHORT = aiohttp.ClientTimeout(total=None, sock_connect=0.05)
LONG = aiohttp.ClientTimeout(total=10)
LATEST = 0.06
"""Seconds after which a call is given up at the latest, as a request's is whose client hangs up."""


async def call_all(broken: Sequence[str], healthy: str) -> Counter[str]:
    """Of the calls to the healthy upstream: how many were answered, and what became of the others."""
    seen: Counter[str] = Counter()
    async with open_session() as session:
        for _ in range(ROUNDS):
            calls = [call(session, url, SHORT) for url in broken for _ in range(AT_ONCE)]
            calls += [given_up(session, url) for url in (*broken, healthy) for _ in range(AT_ONCE // 2)]
            answers = [call(session, healthy, LONG) for _ in range(AT_ONCE)]
            seen.update((await asyncio.gather(*answers, *calls))[:AT_ONCE])
    return seen


async def call(session: aiohttp.ClientSession, url: str, timeout: aiohttp.ClientTimeout) -> str:
    try:
        async with session.get(f"{url}/models", timeout=timeout) as answer:
            await answer.read()
            return "answered"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return type(error).__name__


async def given_up(session: aiohttp.ClientSession, url: str) -> str:
    calling = asyncio.create_task(call(session, url, SHORT))
    await asyncio.sleep(random.random() * LATEST)
    calling.cancel()
    await asyncio.wait([calling])
    return "given up"


if __name__ == "__main__":
    *bad, good = sys.argv[1:]
    print(json.dumps(uvloop.run(call_all(bad, good))))
