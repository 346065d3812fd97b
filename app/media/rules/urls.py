"""Looks up the URLs that a client gave: what leads to an address that the gateway must not call is refused at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from app.core.media import Job
from app.egress.client import Egress
from app.egress.guard import UrlRefused
from app.errors import invalid_request


async def check_urls(egress: Egress, job: Job, notify_hook: str | None = None, *, pictures: str = "images[{}]") -> None:
    """Raises GatewayError 400 naming the field of the first URL that is refused. `pictures`: the client's name for the
    images, with a place for the index.

    It resolves names: hold no connection of the pool meanwhile. Where a URL leads may change at any time, so each is
    checked again when it is called.
    """
    named = list(_urls_of(job, notify_hook, pictures))
    results = await asyncio.gather(*(egress.check(url) for _, url in named), return_exceptions=True)
    for (param, _), result in zip(named, results, strict=True):
        if isinstance(result, UrlRefused):
            raise invalid_request(f"{param}: {result}.", param) from result
        if result is not None:
            raise result


def _urls_of(job: Job, notify_hook: str | None, pictures: str) -> Iterator[tuple[str, str]]:
    for name, items in ((pictures, job.images), ("videos[{}]", job.videos)):
        for index, item in enumerate(items):
            if item.url is not None:
                yield name.format(index), item.url
    if job.character_url is not None:
        yield "character_url", job.character_url
    if notify_hook is not None:
        yield "notify_hook", notify_hook
