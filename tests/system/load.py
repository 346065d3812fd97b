"""Many requests at once against gateways, with what each of them got."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from tests.gateway import Customer, Gateway

BODY = {"messages": [{"role": "user", "content": "Hello"}]}


@dataclass(frozen=True)
class Outcome:
    """One request: its status (0: torn connection), the error's code, and whether a stream came to its end."""

    status: int
    code: str | None
    complete: bool = False


async def call(
    session: aiohttp.ClientSession, gateway: Gateway, customer: Customer, model: str, *, stream: bool = False
) -> Outcome:
    """One chat call, read to its end."""
    body = {"model": model, "stream": stream, **BODY}
    try:
        async with session.post(f"{gateway.base_url}/chat/completions", json=body, headers=customer.headers) as answer:
            if answer.status != 200:
                return Outcome(answer.status, (await answer.json())["error"]["code"])
            data = await answer.read()
            return Outcome(200, None, not stream or data.endswith(b"data: [DONE]\n\n"))
    except aiohttp.ClientError:
        return Outcome(0, None)


async def call_many(
    gateways: Sequence[Gateway], customer: Customer, model: str, count: int, *, stream: bool = False
) -> list[Outcome]:
    """`count` calls at once, spread over the gateways."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        calls = [
            call(session, gateways[index % len(gateways)], customer, model, stream=stream) for index in range(count)
        ]
        return list(await asyncio.gather(*calls))


def tally(outcomes: Sequence[Outcome]) -> Counter[tuple[int, str | None]]:
    """How many got which status and code."""
    return Counter((outcome.status, outcome.code) for outcome in outcomes)
