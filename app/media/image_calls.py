"""`/v1/images/…` for models that no channel serves in OpenAI's shape: one task a request, whose pictures are the answer.

So whatever makes pictures (Gemini, fal, Ark, …) answers OpenAI's clients. The task is billed by itself.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.accounts.principals import Principal
from app.catalog.snapshot import Model
from app.core.media import Attachment, Job, Scope, Status
from app.errors import GatewayError, invalid_request
from app.formats.body import decode_json
from app.formats.framing import write_event, write_json
from app.media.chat.words import failure_of
from app.media.inputs import MAX_IMAGE, read_picture, too_large
from app.media.live import LiveTasks
from app.media.rules.generation import MAX_IMAGES, read_generation
from app.media.storage import Storage
from app.media.task import Source, StoredOutput, Task
from app.media.view import View
from app.relay.exchange import Exchange
from app.relay.sending import JSON
from app.relay.stream import EVENT_STREAM
from app.surfaces.base import Surface, SurfaceRequest
from app.surfaces.form import Form

SURFACES = frozenset({"image_generations", "image_edits"})
OURS = frozenset({"stream", "partial_images", "response_format", "user", "image", "images", "size"})
"""Fields that the gateway itself acts on, or that say nothing to whoever makes the picture."""

ALIVE = b": keep-alive\n\n"


class ImageCalls:
    """See `app.relay.surface.TaskDetour`."""

    def __init__(self, tasks: LiveTasks, storage: Storage, view: View) -> None:
        self._tasks = tasks
        self._storage = storage
        self._view = view

    def takes(self, surface: Surface, model: Model) -> bool:
        """Whether this is the only way that the model can answer."""
        channels = [candidate.channel for candidate in model.candidates]
        if surface.name not in SURFACES or any(surface.name in channel.surfaces for channel in channels):
            return False
        return any(c.provider.media is not None and Scope.IMAGES in c.provider.media.scopes for c in channels)

    async def serve(self, exchange: Exchange, principal: Principal, request: SurfaceRequest) -> None:
        """Raises GatewayError: what the desk refuses, and for a task that failed 400, 409, 502 or 504 with its reason."""
        job, as_links = await asyncio.to_thread(_read_job, request)
        task = await self._tasks.submit(exchange, principal, job, source=Source.IMAGES)
        try:
            done = await self._tasks.final(exchange, task)
            if done.status is not Status.SUCCESS:
                raise failure_of(done)
        except GatewayError:
            # Official SDKs would try again by themselves: that were another task, paid for once more.
            exchange.extra_headers.append((b"x-should-retry", b"false"))
            raise
        pictures = await self._pictures(done, as_links)
        if not request.stream:
            body = {"created": int(done.created_at.timestamp()), "data": pictures}
            await self._tasks.answer(exchange, await asyncio.to_thread(write_json, body), JSON)
            return
        kind = "image_edit.completed" if job.images else "image_generation.completed"
        await self._tasks.start(exchange, EVENT_STREAM)
        for picture in pictures:
            event = {"type": kind, "created_at": int(done.created_at.timestamp()), **picture}
            await self._tasks.write(exchange, write_event(event), more=True)
        await self._tasks.write(exchange, b"", more=False)

    async def _pictures(self, task: Task, as_links: bool) -> list[dict[str, Any]]:
        links = self._view.output_urls(task)
        if as_links:
            return [{"url": link} for link in links]
        return [await self._picture(output, link) for output, link in zip(task.outputs, links, strict=True)]

    async def _picture(self, output: StoredOutput, link: str) -> dict[str, Any]:
        """Its bytes where they are ours; where they lie at an upstream, its link."""
        if output.key is None:
            return {"url": link}
        data = await self._storage.read_all(output.key)
        return {"b64_json": (await asyncio.to_thread(base64.b64encode, data)).decode()}


def _read_job(request: SurfaceRequest) -> tuple[Job, bool]:
    """The job, and whether its pictures are wanted as links. Raises GatewayError 400 naming the field."""
    said, shown = (_read_form(request.form), []) if request.form is not None else _read_fields(request)
    wanted = said.get("response_format")
    if wanted not in (None, "b64_json", "url"):
        raise invalid_request("'response_format' must be b64_json or url.", "response_format", "invalid_value")
    if "mask" in said:
        message = "'mask' can't be converted for this model's upstream."
        raise invalid_request(message, "mask", "field_not_supported")
    body = {name: value for name, value in said.items() if name not in OURS}
    if said.get("size") not in (None, "auto"):
        body["size"] = said["size"]
    if request.form is None and shown:
        body["images"] = shown
    job = read_generation(Scope.IMAGES, body).job
    if request.form is not None:
        job = replace(job, count=request.facts.count, images=_read_files(request.form))
    return job, wanted == "url"


def _read_fields(request: SurfaceRequest) -> tuple[dict[str, Any], list[str]]:
    said = {name: decode_json(value) for name, value in request.fields.items()}
    listed = said.get("images") if said.get("images") is not None else said.get("image")
    items = listed if isinstance(listed, list) else [] if listed is None else [listed]
    return said, [_address_of(item, place) for place, item in enumerate(items)]


def _address_of(item: object, place: int) -> str:
    """A picture is an address or a data URI, alone or as `image_url`. Raises GatewayError 400."""
    address = item.get("image_url") if isinstance(item, Mapping) else item
    if not isinstance(address, str):
        message = f"'images[{place}]' must be an image_url: this model's upstream has no files."
        raise invalid_request(message, "images", "field_not_supported")
    return address


def _read_form(form: Form) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for part in form.parts:
        if part.filename is None:
            said[part.name.removesuffix("[]")] = form.text(part.name)
        elif part.name == "mask":
            said["mask"] = True
    said.pop("n", None)  # the surface has read it
    return said


def _read_files(form: Form) -> tuple[Attachment, ...]:
    """Into memory, so what is too much is refused before. Raises GatewayError 400."""
    files = form.files("image")
    if len(files) > MAX_IMAGES:
        raise invalid_request(f"'image' must be {MAX_IMAGES} pictures at most.", "image", "invalid_value")
    for part in files:
        if part.size > MAX_IMAGE:
            raise too_large("image", "image", MAX_IMAGE)
    return tuple(read_picture(part.content(), "image") for part in files)
