"""How tasks end: the result brought home, the price worked out, and status, money and callback in one transaction."""

from __future__ import annotations

from dataclasses import replace

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from app.catalog.price_rows import load_price
from app.catalog.prices import Price
from app.catalog.snapshot import Channel
from app.core.media import Measured, Scope, Status
from app.egress.client import EgressError
from app.errors import UpstreamError
from app.logs import get_log
from app.media.queue import Claim, Order, read_order
from app.media.results import Results
from app.media.route import ASSUMED_MILLISECONDS
from app.media.settle import Ending, Prices, end_task
from app.media.storage import Storage, StorageError
from app.media.task import Task
from app.media.view import View
from app.providers.media import Done

log = get_log("relaygate.media")

MAX_REASON = 500
LEAST_OF_KEY = 6
"""Characters of a key that tell something of it."""

TRANSIENT = (UpstreamError, StorageError, EgressError)
"""Why a result can't be brought home for the moment."""

CANCELLED = Ending(Status.FAILURE, fail_reason="Cancelled.", fail_code="task_cancelled")
OVERDUE = Ending(
    Status.FAILURE, fail_reason="It wasn't finished within the time that the model is given.", fail_code="task_timeout"
)
CHANNEL_GONE = Ending(
    Status.FAILURE, fail_reason="The channel that worked on it was removed.", fail_code="channel_removed"
)


class Endings:
    """Ends tasks. Raises database errors: the claim then runs out, and the step is done again."""

    def __init__(self, engine: AsyncEngine, storage: Storage, results: Results, view: View) -> None:
        self._engine = engine
        self._storage = storage
        self._results = results
        self._view = view

    async def order_of(self, claim: Claim) -> Order | None:
        """What is to be made; None: the claim was lost."""
        async with self._engine.connect() as connection:
            return await read_order(connection, claim)

    async def success(self, channel: Channel, order: Order, done: Done) -> Ending:
        """Raises UpstreamError, StorageError while the result can't be had."""
        outputs = await self._results.keep(channel, done.outputs)
        usage = done.measured.over(order.units)
        if order.job.scope is Scope.IMAGES or usage.milliseconds:
            return Ending(Status.SUCCESS, outputs, usage)
        # Nobody says how long it is: the file itself does, or else it is taken for as long as was held for.
        lengths = [await self._results.milliseconds(channel, output) for output in outputs]
        known = sum(length for length in lengths if length is not None)
        guess = known + lengths.count(None) * ASSUMED_MILLISECONDS
        assumed = replace(usage, milliseconds=guess) if None in lengths else None
        return Ending(Status.SUCCESS, outputs, Measured(milliseconds=known).over(usage), assumed=assumed)

    async def end(self, claim: Claim, order: Order, ending: Ending) -> bool:
        """False, and nothing done: the claim was lost."""
        async with self._engine.begin() as connection:
            prices = Prices(await load_price(connection, order.price_id))
            if order.cost_id is not None:
                prices = replace(prices, cost=await load_price(connection, order.cost_id))
            task = await end_task(connection, claim, _assumed(ending, prices.price), prices, self._write)
        if task is None:
            return False
        log.info(
            "task_finished",
            task=task.id,
            account=task.account_id,
            model=task.model,
            status=task.status.value,
            channel=task.channel_id,
            error=ending.fail_code,
        )
        inputs = [item.key for item in (*order.job.images, *order.job.videos) if item.key is not None]
        if inputs:
            try:
                await self._storage.delete(inputs)
            except StorageError as error:
                log.warning("inputs_not_deleted", task=task.id, error=str(error))
        return True

    def _write(self, task: Task) -> str:
        return orjson.dumps(self._view.write(task)).decode()


def _assumed(ending: Ending, price: Price) -> Ending:
    """With a length that nobody knows put in, where the price depends on it: most speech is paid by the character."""
    usage, assumed = ending.usage, ending.assumed
    if usage is None or assumed is None or price.cost(assumed) == price.cost(usage):
        return ending
    return replace(ending, usage=assumed, estimated=True)


def failure(reason: str, code: str, channel: Channel) -> Ending:
    reason = clean(reason, channel) or "The upstream gave no reason."
    return Ending(Status.FAILURE, fail_reason=reason, fail_code=clean(code, channel)[:100])


def clean(text: str, channel: Channel) -> str:
    """An upstream's words as they may be stored and shown: without its key, and without what PostgreSQL can't hold."""
    if channel.secret:
        text = text.replace(channel.secret, "[redacted]")
        # Adapters shorten what upstreams say: an end that the key begins with is the key, cut in half.
        for length in range(min(len(channel.secret), len(text)), LEAST_OF_KEY - 1, -1):
            if text.endswith(channel.secret[:length]):
                text = text[:-length] + "[redacted]"
                break
    return text.encode("utf-8", "replace").decode().replace("\0", "?")[:MAX_REASON]
