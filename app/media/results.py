"""Brings results home: into our storage where an upstream's link expires or needs its key, else the link as it is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, MutableSequence
from contextlib import suppress
from datetime import UTC, datetime

from app.catalog.snapshot import Channel
from app.core.mp4 import read_duration
from app.egress.client import Egress, read_start
from app.errors import UpstreamError, bad_upstream_response
from app.media.caller import Caller, same_origin
from app.media.fetch import MOST_RESULT, download
from app.media.storage import Storage, StorageError, new_output_key
from app.media.task import StoredOutput
from app.providers.media import Call, Output
from app.providers.replies import error_of

PART_TIMEOUT = 20.0
MAX_URL = 4_000
"""Characters of a link that is handed on as it is."""

MOST_OUTPUTS = 100
"""Results of one task: ten can be asked for, and no model makes more than some of its own accord."""


class Results:
    """Copies results into storage, streamed."""

    def __init__(self, storage: Storage, caller: Caller, egress: Egress) -> None:
        self._storage = storage
        self._caller = caller
        self._egress = egress

    async def keep(self, channel: Channel, outputs: tuple[Output, ...]) -> tuple[StoredOutput, ...]:
        """Raises UpstreamError, EgressError, StorageError: to be tried again, so nothing of it is left in storage."""
        if len(outputs) > MOST_OUTPUTS:
            raise bad_upstream_response("The upstream names more results than can be.")
        kept: MutableSequence[StoredOutput] = []
        try:
            for index, output in enumerate(outputs, start=1):
                kept.append(await self._keep(channel, output, index))
        except BaseException:
            with suppress(StorageError):
                await self._storage.delete([output.key for output in kept if output.key is not None])
            raise
        return tuple(kept)

    async def milliseconds(self, channel: Channel, output: StoredOutput) -> int | None:
        """How long a video is, by what the file itself says; None if it doesn't, or doesn't let itself be read in parts.

        Raises UpstreamError, EgressError, StorageError.
        """
        if output.content_type not in ("video/mp4", "video/quicktime"):
            return None

        async def read_stored(offset: int, length: int) -> bytes:
            assert output.key is not None
            return await self._storage.read_block(output.key, offset, length)

        async def read_linked(offset: int, length: int) -> bytes:
            assert output.url is not None
            return await self._read_part(
                channel, output.url, {"range": f"bytes={offset}-{offset + length - 1}"}, length
            )

        return await read_duration(read_linked if output.key is None else read_stored)

    async def _read_part(self, channel: Channel, url: str, headers: Mapping[str, str], length: int) -> bytes:
        """Nothing, where the server doesn't answer with the part that was asked for."""
        if same_origin(channel, url):
            # Streamed, since a server that knows no ranges answers with the whole file.
            try:
                async with (
                    asyncio.timeout(PART_TIMEOUT),
                    self._caller.download(channel, Call("GET", url, headers=headers)) as (head, pieces),
                ):
                    return await _start(pieces, length) if head.status == 206 else b""
            except TimeoutError as error:
                raise bad_upstream_response("The result takes too long.") from error
        async with self._egress.request("GET", url, timeout=PART_TIMEOUT, headers=headers) as response:
            return await read_start(response, length) if response.status == 206 else b""

    async def _keep(self, channel: Channel, output: Output, index: int) -> StoredOutput:
        if output.url is not None and _has_user(output.url):
            raise bad_upstream_response("The upstream's link holds credentials.")
        if output.url is not None and not output.keep and not (channel.secret and channel.secret in output.url):
            if len(output.url) > MAX_URL or not output.url.startswith(("http://", "https://")):
                raise bad_upstream_response("The upstream's result is no link.")
            return StoredOutput(output.content_type, url=output.url)
        key = new_output_key(datetime.now(UTC).date(), index, output.content_type)
        if output.data is not None:
            size = await self._storage.put(key, output.data, output.content_type)
        elif output.call is not None:
            size = await self._copy(channel, output.call, key, output.content_type)
        elif output.url is not None and same_origin(channel, output.url):
            size = await self._copy(channel, Call("GET", output.url), key, output.content_type)
        else:
            assert output.url is not None
            size = await self._storage.put(key, download(self._egress, output.url), output.content_type)
        return StoredOutput(output.content_type, key=key, size=size)

    async def _copy(self, channel: Channel, call: Call, key: str, content_type: str) -> int:
        async with self._caller.download(channel, call) as (head, pieces):
            if head.status >= 300:
                failure = error_of(head)
                # Even a 404 is no verdict here: the upstream has said that it made it.
                raise UpstreamError(failure.kind, "result_unavailable", f"The result can't be fetched ({head.status}).")
            return await self._storage.put(key, _whole(pieces, head.headers.get("content-length")), content_type)


async def _whole(pieces: AsyncIterator[bytes], length: str | None) -> AsyncIterator[bytes]:
    """The pieces; raises UpstreamError where nothing came, less than was announced, or more than can be."""
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > MOST_RESULT:
            raise bad_upstream_response("The result is too large.")
        yield piece
    if not size or (length is not None and length.isdigit() and size != int(length)):
        raise bad_upstream_response("The result broke off.")


async def _start(pieces: AsyncIterator[bytes], length: int) -> bytes:
    found = b""
    async for piece in pieces:
        found += piece
        if len(found) >= length:
            break
    return found[:length]


def _has_user(url: str) -> bool:
    """Whether there is more before the host than the scheme: it would go out beside the channel's own key, or to clients."""
    return "@" in re.split(r"[/?#\\]", url.partition("://")[2], maxsplit=1)[0]
