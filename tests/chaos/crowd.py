"""A crowd of clients at a steady rate, and what each of its requests got."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from tests.chaos.dialects import MIX, Dialect, Verdict
from tests.gateway import Customer, Gateway

PATIENCE = 20.0
"""Seconds after which a client takes its request for hung: longer than any number of attempts may take."""

WORDS = ("amber", "basalt", "cedar", "delta", "ember", "fjord", "garnet", "heron", "indigo", "juniper")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request: when it began (monotonic), how long it took, and what became of it. `replica`: which gateway."""

    began: float
    seconds: float
    dialect: Dialect
    replica: int
    verdict: Verdict
    detail: str | None
    request_id: str
    attempts: int | None


def open_session() -> aiohttp.ClientSession:
    """As many connections as there are requests at once."""
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout, trust_env=False)


class Crowd:
    """`clients` at once at most, `rate` requests a second in all, spread over gateways, accounts and dialects in turn."""

    def __init__(
        self, gateways: Sequence[Gateway], customers: Sequence[Customer], model: str, *, rate: float, clients: int
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._gateways = gateways
        self._customers = customers
        self._model = model
        self._interval = clients / rate
        self._clients = clients
        self._numbers: Iterator[int] = itertools.count()
        self._ending = False

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """They call for as long as the block takes; then what is under way ends."""
        async with open_session() as session:
            clients = [asyncio.create_task(self._client(session, number)) for number in range(self._clients)]
            try:
                yield
            finally:
                self._ending = True
                await asyncio.gather(*clients)

    async def _client(self, session: aiohttp.ClientSession, place: int) -> None:
        due = time.monotonic() + self._interval * place / self._clients
        while not self._ending:
            await asyncio.sleep(due - time.monotonic())
            if not self._ending:
                self.outcomes.append(await self._call(session, next(self._numbers)))
            due = max(due + self._interval, time.monotonic())

    async def _call(self, session: aiohttp.ClientSession, number: int) -> Outcome:
        replica = number % len(self._gateways)
        customer = self._customers[number % len(self._customers)]
        return await ask(session, self._gateways[replica], customer, self._model, number, replica=replica)


async def ask(
    session: aiohttp.ClientSession, gateway: Gateway, customer: Customer, model: str, number: int, *, replica: int = 0
) -> Outcome:
    """One request, judged; its number decides the dialect and the words."""
    dialect = MIX[number % len(MIX)]
    text = f"{number} " + " ".join(WORDS[(number + step) % len(WORDS)] for step in range(10))
    url = gateway.url + dialect.path.format(model=model)
    began = time.monotonic()
    request_id, attempts = "", None
    try:
        async with session.post(url, json=dialect.body(model, text), headers=customer.headers) as answer:
            request_id = answer.headers["x-request-id"]
            attempts = int(answer.headers.get("x-relaygate-attempts", "0")) or None
            verdict, detail = dialect.judge(answer.status, await answer.read(), text)
    except (aiohttp.ClientError, TimeoutError) as error:
        verdict, detail = Verdict.WRONG, f"{type(error).__name__}: {error}"
    return Outcome(began, time.monotonic() - began, dialect, replica, verdict, detail, request_id, attempts)
