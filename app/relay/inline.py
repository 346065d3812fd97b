"""Pictures by address put into the request itself, for upstreams that fetch nothing: for them the gateway does it."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec.structs import replace

from app.core.conversation import Ask, Block, Image, Media, Message, ToolResult
from app.core.media import Attachment
from app.errors import invalid_request

NO_IMAGE_URLS = "no_image_urls"
"""The quirk of a provider whose servers fetch nothing (Ollama)."""

HTTPS_IMAGES = "https_images"
"""The quirk of a provider that fetches from `https://` alone (Anthropic)."""

MAX_FETCHED = 20
"""Pictures of one request that are fetched: each may be 20 MB, and all are in memory at once."""

MAX_TOTAL = 64 * 1024 * 1024
"""Bytes of all of them together, in base64."""

AT_A_TIME = 3

FIELD = "image_url"

Fetch = Callable[[str, str], Awaitable[Attachment]]
"""Gives the picture at a URL that a client gave; the other text names the field in errors. Raises GatewayError 400."""

T = TypeVar("T", bound=Block)


async def inline_images(ask: Ask, quirks: frozenset[str], fetch: Fetch) -> Ask:
    """The same request with the bytes of those pictures that a provider of these quirks wouldn't fetch.

    Raises GatewayError 400 for one that can't be had.
    """
    beginning = "" if NO_IMAGE_URLS in quirks else "http://"
    if beginning and HTTPS_IMAGES not in quirks:
        return ask
    urls = dict.fromkeys(
        url
        for message in ask.messages
        for block in message.blocks
        for url in _urls(block)
        if url.lower().startswith(beginning)
    )
    if not urls:
        return ask
    if len(urls) > MAX_FETCHED:
        message = (
            f"At most {MAX_FETCHED} images may be given by their address for this model; send the others as base64."
        )
        raise invalid_request(message, FIELD, "too_many_images")
    found = await _fetch_all(fetch, list(urls))
    return replace(
        ask,
        messages=tuple(
            Message(message.role, tuple(_put(block, found) for block in message.blocks), message.name)
            for message in ask.messages
        ),
    )


async def _fetch_all(fetch: Fetch, urls: list[str]) -> dict[str, Media]:
    """The pictures by their addresses, a few at a time: no more of them is ever in memory than may be."""
    found: dict[str, Media] = {}
    places = asyncio.Semaphore(AT_A_TIME)

    async def fetch_one(url: str) -> None:
        async with places:
            attachment = await fetch(url, FIELD)
            assert attachment.data is not None
            data = (await asyncio.to_thread(b64encode, attachment.data)).decode()
            found[url] = Media(media_type=attachment.content_type, data=data)
            if sum(len(media.data or "") for media in found.values()) > MAX_TOTAL:
                raise invalid_request("The images are too large together.", FIELD, "image_too_large")

    try:
        async with asyncio.TaskGroup() as group:
            for url in urls:
                group.create_task(fetch_one(url))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return found


def _urls(block: Block) -> list[str]:
    match block:
        case Image(Media(url=str(url))):
            return [url]
        case ToolResult(content=content):
            return [url for part in content for url in _urls(part)]
    return []


def _put(block: T, found: dict[str, Media]) -> T:
    match block:
        case Image(Media(url=str(url))) if url in found:
            return replace(block, media=found[url])
        case ToolResult(content=content):
            return replace(block, content=tuple(_put(part, found) for part in content))
    return block
