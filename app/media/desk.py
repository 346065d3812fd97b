"""Where media tasks are asked for: checked, paid for in advance, written down, and answered at once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, MutableSequence, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine

from app.accounts.principals import Principal
from app.catalog.catalog import Catalog
from app.catalog.snapshot import Model
from app.core.media import Attachment, Job, Scope
from app.errors import GatewayError, Kind
from app.ledger.lasting import Refused
from app.ledger.shadow import ShadowRefusals
from app.media import store
from app.media.character_ways import maker_of, refuse_characters
from app.media.characters import pin_for
from app.media.route import find_model, find_ways, most
from app.media.storage import Storage, StorageError, new_input_key
from app.media.store import NewTask
from app.media.task import Source, Task
from app.providers.media import Handle
from app.relay.limits import refusal_error

SECONDS_BY_SCOPE = {Scope.IMAGES: 900.0, Scope.VIDEOS: 3600.0, Scope.AUDIO: 900.0}
"""Until when a task has failed, where its model doesn't say."""


class TaskDesk:
    """Opens, finds, lists, cancels and deletes the tasks of accounts."""

    def __init__(
        self, engine: AsyncEngine, catalog: Catalog, storage: Storage, shadow: ShadowRefusals | None = None
    ) -> None:
        self._engine = engine
        self._catalog = catalog
        self._storage = storage
        self._shadow = shadow

    async def submit(
        self,
        principal: Principal,
        job: Job,
        *,
        source: Source,
        request_id: UUID,
        route: str | None = None,
        notify_hook: str | None = None,
        idempotency_key: str | None = None,
        pinned_to: int | None = None,
    ) -> Task:
        """A task that is written down with its money held: whatever happens to this process, it is done or paid back.

        `route`: the catalogue's name of the model, where the client's own says more than that. `pinned_to`: the only channel
        that may do it. Raises GatewayError: 400 naming a field that no channel can serve, 403, 404, 409 for an idempotency
        key of another request, 429 for limits and quota, 503.
        """
        snapshot = await self._catalog.snapshot_for(route or job.model)
        model = find_model(snapshot, principal, job, route)
        pinned_to = await self._pin(principal, job, pinned_to)
        self._check_characters(principal, model, job)
        ways = find_ways(model, job, pinned_to)
        amount, dearest = most(ways, principal, model, job)
        digest = None if idempotency_key is None else _digest(job, notify_hook)
        stored, keys = await self._store_inputs(job)
        new = NewTask(
            account_id=principal.account_id,
            key_id=principal.key_id,
            request_id=request_id,
            source=source,
            model=model.name,
            platform=ways[0].media.platform,
            job=stored,
            units=dearest.units.counts(),
            amount=amount,
            price_id=dearest.candidate.price_id,
            ratio_ppm=principal.ratio_ppm,
            group_ppm=model.group_ppm,
            tokens=0 if principal.limited else None,
            seconds=model.task_timeout or SECONDS_BY_SCOPE[job.scope],
            notify_hook=notify_hook,
            idempotency_key=idempotency_key,
            digest=digest,
            pinned_to=pinned_to,
        )
        task_id = store.new_task_id(job.model, time.time())
        opened: Task | Refused | None = None
        try:
            async with self._engine.begin() as connection:
                opened = await store.open_task(connection, new, task_id, self._shadow)
        finally:
            if keys and not (isinstance(opened, Task) and opened.id == task_id):
                await self._forget(keys)
        if isinstance(opened, Refused):
            raise refusal_error(opened.refusal, opened.standing, "this task")
        return opened

    async def get(self, principal: Principal, task_id: str, scope: Scope | None = None) -> Task:
        """Raises GatewayError 404 for whatever isn't this account's, the same as for what doesn't exist."""
        async with self._engine.connect() as connection:
            task = await store.find_task(connection, principal.account_id, task_id)
        if task is None or scope not in (None, task.scope):
            raise store.no_such_task(task_id)
        return task

    async def get_many(self, ids: Collection[tuple[int, str]]) -> dict[tuple[int, str], Task]:
        """By account and id, those that there are."""
        async with self._engine.connect() as connection:
            return await store.get_tasks(connection, ids)

    async def list(
        self,
        principal: Principal,
        *,
        scope: Scope | None = None,
        source: Source | None = None,
        status: str | None = None,
        before: Task | None = None,
        limit: int,
        oldest_first: bool = False,
    ) -> Sequence[Task]:
        """The account's tasks, the newest first, beyond the one given."""
        filters = {
            "account_id": principal.account_id,
            "scope": None if scope is None else scope.value,
            "source": None if source is None else source.value,
            "status": status,
        }
        beyond = None if before is None else (before.created_at, before.id)
        async with self._engine.connect() as connection:
            return await store.list_tasks(connection, filters, beyond=beyond, limit=limit, oldest_first=oldest_first)

    async def cancel(self, principal: Principal, task: Task) -> Task:
        """Has it stopped: soon it is a FAILURE, and what was held is given back. Raises GatewayError 409
        `task_not_cancellable` for one that is final, or that its upstream, which works on it already, can't stop.
        """
        async with self._engine.begin() as connection:
            handle = await store.find_handle(connection, principal.account_id, task.id)
            if handle is not None and not self._can_stop(*handle):
                raise _not_cancellable("The upstream works on it and can't stop it any more.")
            asked = await store.ask_to_cancel(connection, principal.account_id, task.id)
        if asked is None:
            raise _not_cancellable("It is finished already.")
        return asked

    def _can_stop(self, channel_id: int, handle: Handle) -> bool:
        channel = self._catalog.snapshot.channels.get(channel_id)
        media = None if channel is None else channel.provider.media
        if channel is None or media is None:
            return True  # there is nobody left to be stopped
        return media.cancels and media.cancel(handle, channel.site) is not None

    async def delete(self, principal: Principal, task: Task) -> None:
        """Forgets a final task and its files. Raises GatewayError 409 for one that isn't final."""
        if not task.status.final:
            raise GatewayError(Kind.CONFLICT, "task_not_finished", f"The task {task.id} isn't finished.")
        async with self._engine.begin() as connection:
            await store.mark_deleted(connection, principal.account_id, task.id)
        await self._forget([output.key for output in task.outputs if output.key is not None])

    def _check_characters(self, principal: Principal, model: Model, job: Job) -> None:
        """Raises GatewayError 400 where no channel of the model has characters, saying which have."""
        providers = [candidate.channel.provider for candidate in model.candidates]
        if job.character_url is not None and providers and not any(maker_of(provider) for provider in providers):
            raise refuse_characters(self._catalog.snapshot, principal, providers[0])

    async def _pin(self, principal: Principal, job: Job, pinned_to: int | None) -> int | None:
        """The channel where what the job refers to lives. Raises GatewayError 400, 404."""
        if "@" not in job.prompt:
            return pinned_to
        async with self._engine.connect() as connection:
            found = await pin_for(connection, principal.account_id, job.prompt)
        if found is not None and pinned_to not in (None, found):
            message = "A character of the prompt lives at another upstream than the video."
            raise GatewayError(Kind.INVALID, "invalid_request", message, param="prompt")
        return pinned_to if found is None else found

    async def _store_inputs(self, job: Job) -> tuple[Job, Sequence[str]]:
        """The job with its bytes in storage, and where they are. Raises StorageError, a 503."""
        keys: MutableSequence[str] = []

        async def place(item: Attachment) -> Attachment:
            if item.data is None:
                return item
            assert item.content_type is not None
            key = new_input_key(datetime.now(UTC).date(), len(keys) + 1, item.content_type)
            await self._storage.put(key, item.data, item.content_type)
            keys.append(key)
            return Attachment(key=key, content_type=item.content_type)

        try:
            images = tuple([await place(item) for item in job.images])
            videos = tuple([await place(item) for item in job.videos])
        except BaseException:  # whoever hangs up meanwhile leaves nothing behind either
            await self._forget(keys)
            raise
        return replace(job, images=images, videos=videos), keys

    async def _forget(self, keys: Collection[str]) -> None:
        """As far as it goes: what stays is swept with the retention."""
        with suppress(StorageError):
            await self._storage.delete(keys)


def _digest(job: Job, notify_hook: str | None) -> str:
    """What makes two requests the same, bytes that were sent included."""
    digest = hashlib.sha256(orjson.dumps([job.write(), notify_hook], option=orjson.OPT_SORT_KEYS))
    for item in (*job.images, *job.videos):
        digest.update(hashlib.sha256(item.data or b"").digest())
    return digest.hexdigest()


def _not_cancellable(why: str) -> GatewayError:
    return GatewayError(Kind.CONFLICT, "task_not_cancellable", f"This task can't be cancelled. {why}")
