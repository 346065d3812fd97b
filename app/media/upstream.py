"""What all steps of a task need of its upstream: the channel it is at, and answers that may be stored."""

from __future__ import annotations

from typing import TypeVar

import orjson

from app.catalog.catalog import Catalog
from app.catalog.snapshot import Channel
from app.errors import bad_upstream_response
from app.media.queue import Claim
from app.providers.media import Done, Outcome, Running

MAX_ID = 2_000
MAX_MEMO = 64_000

T = TypeVar("T", bound=Outcome)


async def channel_of(catalog: Catalog, claim: Claim) -> Channel | None:
    """The claim's channel, disabled or not; asked for anew before it is taken for gone."""
    if claim.channel_id is None:
        return None
    found = catalog.snapshot.channels.get(claim.channel_id)
    return found or (await catalog.reloaded()).channels.get(claim.channel_id)


def checked(outcome: T) -> T:
    """What may be stored. Raises UpstreamError for an id or a memo that PostgreSQL couldn't hold, or shouldn't."""
    match outcome:
        case Running(id=id, memo=memo):
            text = orjson.dumps(dict(memo)).decode()
            if not 0 < len(id) <= MAX_ID or "\0" in id or "\\u0000" in text or len(text) > MAX_MEMO:
                raise bad_upstream_response("The upstream's name of the task can't be used.")
        case Done(outputs=()):
            raise bad_upstream_response("The upstream says that it is done, and has no result.")
    return outcome


def percent(progress: int | None) -> int:
    """Below 100 as long as it isn't final: a client that sees 100 % looks for a result."""
    return 0 if progress is None else max(0, min(99, progress))
