"""Fetches what URLs lead to that others gave: inputs of clients into memory, results of upstreams as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType

import aiohttp
from yarl import URL

from app.core.media import Attachment
from app.egress.client import Egress, EgressError
from app.errors import GatewayError, invalid_request
from app.media.inputs import LOOK, MAX_IMAGE, Sort, not_media, sniff, too_large

FETCH_TIMEOUT = 60.0
"""Seconds for an input in all, redirects included."""

IDLE_TIMEOUT = 60.0
"""Seconds between two pieces of a result; in all it may take as long as it likes."""

MOST_REDIRECTS = 3
MOST_RESULT = 16 * 1024**3
"""Bytes of one result, so that no upstream can fill the storage."""

MOST_VIDEO = 64 * 1024 * 1024
"""Bytes of a video that goes in, where its upstream wants bytes: all of it is in memory while a submission is made."""

_MOST: Mapping[Sort, int] = MappingProxyType({"image": MAX_IMAGE, "video": MOST_VIDEO})
_PIECE = 256 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_Call = Callable[[str], AbstractAsyncContextManager[aiohttp.ClientResponse]]


async def fetch_input(
    egress: Egress, url: str, *, param: str, sort: Sort | None = None, most: int | None = None
) -> Attachment:
    """The image or video at a client's URL, with its bytes. `sort`: which of the two it has to be, by its first bytes;
    None: either. `most` bytes; None: the contract's 20 MB an image, and as much as memory should hold of a video.

    Raises GatewayError 400 naming `param`: `media_unreachable`, `invalid_image`, `invalid_video`, `image_too_large`,
    `video_too_large`.
    """
    try:
        async with asyncio.timeout(FETCH_TIMEOUT):
            return await _fetch(egress, url, param, sort, most)
    except TimeoutError as error:
        raise _unreachable(param, f"No whole answer within {FETCH_TIMEOUT:g} s.") from error
    except EgressError as error:
        raise _unreachable(param, str(error)) from error


async def download(egress: Egress, url: str, *, most: int = MOST_RESULT) -> AsyncGenerator[bytes, None]:
    """The bytes at a public URL of an upstream's, piece by piece; they arrive no faster than they are taken.

    Raises EgressError, in the middle too, when what came is no whole file; for an empty one as well.
    """
    size = 0
    async with _following(url, lambda text: egress.download(text, idle=IDLE_TIMEOUT)) as response:
        if (response.content_length or 0) > most:
            raise EgressError("The file is too large.")
        while piece := await response.content.read(_PIECE):
            size += len(piece)
            if size > most:
                raise EgressError("The file is too large.")
            yield piece
    if not size:
        raise EgressError("The file is empty.")


async def _fetch(egress: Egress, url: str, param: str, sort: Sort | None, most: int | None) -> Attachment:
    data = bytearray()
    content_type: str | None = None
    async with _following(url, lambda text: egress.request("GET", text, timeout=FETCH_TIMEOUT)) as response:
        while piece := await response.content.read(_PIECE):
            data += piece
            if content_type is None and len(data) >= LOOK:
                content_type = _recognise(data, sort, param)
            if content_type is not None:
                _bound(max(len(data), response.content_length or 0), content_type, most, param)
    return Attachment(url=url, content_type=content_type or _recognise(data, sort, param), data=bytes(data))


def _recognise(head: bytearray, sort: Sort | None, param: str) -> str:
    found = sniff(bytes(head[:LOOK]))
    if found is None or not found.startswith(sort or ""):
        raise not_media(param, sort or "image")
    return found


def _bound(size: int, content_type: str, most: int | None, param: str) -> None:
    sort: Sort = "video" if content_type.startswith("video/") else "image"
    most = _MOST[sort] if most is None else most
    if size > most:
        raise too_large(param, sort, most)


@asynccontextmanager
async def _following(url: str, call: _Call) -> AsyncGenerator[aiohttp.ClientResponse, None]:
    """The 200 that a URL leads to. Each redirect is a call of its own, so that the guard looks at each."""
    for _ in range(MOST_REDIRECTS + 1):
        async with call(url) as response:
            if response.status not in _REDIRECTS:
                if response.status != 200:
                    raise EgressError(f"The server answered {response.status}.")
                if response.headers.get("content-encoding", "identity").lower() != "identity":
                    raise EgressError("The server compresses its answer, which it wasn't asked for.")
                yield response
                return
            url = _next(url, response)
    raise EgressError(f"The URL redirects more than {MOST_REDIRECTS} times.")


def _next(url: str, response: aiohttp.ClientResponse) -> str:
    try:
        return str(URL(url).join(URL(response.headers["location"])))
    except (KeyError, ValueError) as error:
        raise EgressError("The URL redirects to nowhere.") from error


def _unreachable(param: str, why: str) -> GatewayError:
    return invalid_request(f"{param}: can't be fetched. {why}", param, "media_unreachable")
