"""What all steps of a task need of its upstream: the channel it is at, and answers that may be stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

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


def checked(outcome: T, channel: Channel) -> T:
    """What may be stored. Raises UpstreamError for an id or a memo that PostgreSQL couldn't hold, or shouldn't, and for facts
    that repeat the channel's key: they'd stand on the entry.
    """
    if channel.secret and any(channel.secret.lower() in word.lower() for word in _words(outcome)):
        raise bad_upstream_response("The upstream's answer repeats the channel's key.")
    match outcome:
        case Running(id=id, memo=memo):
            if not 0 < len(id) <= MAX_ID or not _is_storable(id, memo):
                raise bad_upstream_response("The upstream's name of the task can't be used.")
        case Done(outputs=()):
            raise bad_upstream_response("The upstream says that it is done, and has no result.")
    return outcome


def _is_storable(id: str, memo: Mapping[str, Any]) -> bool:
    try:
        text = orjson.dumps([id, dict(memo)]).decode()
    except TypeError:  # half a surrogate pair above all
        return False
    return "\\u0000" not in text and len(text) <= MAX_ID + MAX_MEMO


def percent(progress: int | None) -> int:
    """Below 100 as long as it isn't final: a client that sees 100 % looks for a result."""
    return 0 if progress is None else max(0, min(99, progress))


def _words(outcome: Outcome) -> Iterator[str]:
    """What of an outcome is stored as it came, its links and reasons apart."""
    match outcome:
        case Running(id=id, memo=memo):
            yield id
            yield from (value for value in memo.values() if isinstance(value, str))
        case Done(outputs=outputs, measured=measured):
            yield from measured.traits.values()
            yield from (output.content_type for output in outputs)
