"""What a request builds on at an upstream: earlier answers and conversations, files and vector stores that it names."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from app.accounts.principals import Principal
from app.formats.base import Request
from app.relay.kept import Ground, Kept, KeptAnswers, no_such_answer
from app.relay.objects.references import references_in_chat
from app.relay.objects.store import KeptObject, ObjectStore, no_such_object
from app.routing.trip import Pin

LARGE = 1024 * 1024
"""Bytes above which a request is looked through in a thread."""


class Grounds:
    """Finds the one place where all of it is kept."""

    def __init__(self, answers: KeptAnswers, objects: ObjectStore) -> None:
        self._answers = answers
        self._objects = objects

    async def find(self, principal: Principal, request: Request) -> Ground | None:
        """None: it builds on nothing. Raises GatewayError 404 for an answer or a conversation that this account never got,
        and for an object that another account has made. Ids of objects that nobody made here pass: they may be the client's
        own words.
        """
        named = await names_in(request.body)
        if not request.builds_on and not named:
            return None
        wanted = dict.fromkeys(request.builds_on)
        answers = {kept.id: kept for kept in await self._answers.find(principal, *wanted)}
        left = [id for id in wanted if id not in answers]
        objects = {kept.id: kept for kept in await self._objects.find(principal.account_id, [*left, *named])}
        for id in left:
            if id not in objects:
                raise no_such_answer(id)
        await self._refuse_others(principal, [id for id in named if id not in objects])
        return _one_place(list(answers.values()), list(objects.values()))

    async def find_named(self, principal: Principal, named: Sequence[str]) -> Pin | None:
        """Where the objects are that a request other than a chat names; None: it names none of the account's. Raises
        GatewayError 404 for another account's.
        """
        if not named:
            return None
        objects = await self._objects.find(principal.account_id, named)
        await self._refuse_others(principal, set(named) - {kept.id for kept in objects})
        ground = _one_place([], objects)
        return None if ground is None else Pin(ground.channel_id, ground.channel_key)

    async def _refuse_others(self, principal: Principal, ids: Collection[str]) -> None:
        others = await self._objects.are_others(principal.account_id, ids)
        if others:
            raise no_such_object(min(others))


async def names_in(body: bytes) -> tuple[str, ...]:
    """The ids of objects in a request. Raises GatewayError 400."""
    return await asyncio.to_thread(references_in_chat, body) if len(body) > LARGE else references_in_chat(body)


def _one_place(answers: list[Kept], objects: list[KeptObject]) -> Ground | None:
    found: list[Kept | KeptObject] = [*answers, *objects]
    if not found:
        return None
    places = {(kept.channel_id, kept.channel_key) for kept in found}
    if len(places) > 1:
        raise no_such_answer(found[-1].id)
    # How much of a file or a conversation a model is fed, nobody tells beforehand.
    counts = [kept.tokens for kept in answers]
    tokens = None if None in counts or objects else max(count for count in counts if count is not None)
    return Ground(*places.pop(), tokens)
