"""`/v2/files/…`: stored media to whoever holds a signed link, whole or in ranges, in flat memory however large."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from app.api.context import ServicesDep
from app.errors import GatewayError
from app.logs import get_log
from app.media.storage import UNKNOWN_TYPE, StoredFile

log = get_log("relaygate.api")

router = APIRouter(prefix="/v2/files", tags=["media"])

_INLINE = re.compile(r"video/.+|audio/.+|image/(?:png|jpeg|webp|gif)")
"""What browsers show without running anything of it."""

_SAFETY: Mapping[str, str] = MappingProxyType(
    {
        # The bytes are an upstream's, and stand on our origin: nothing in them may act there, whatever they turn out to be.
        "content-security-policy": "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
)
_RANGE = re.compile(r"\s*bytes\s*=\s*(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))\s*", re.ASCII | re.IGNORECASE)

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
    206: {"description": "The range that was asked for."},
    304: {"description": "The caller's copy is still right."},
    403: {"description": "The link has expired or was altered."},
    404: {"description": "The file isn't kept any more."},
    416: {"description": "The file has no such range."},
    503: {"description": "The storage can't be reached."},
}


class FileResponse(StreamingResponse):
    """Pieces of a file, the next fetched when the one before is on its way. One that can't be finished is broken off."""

    def __init__(
        self, pieces: AsyncIterator[bytes], status: int, headers: Mapping[str, str], *, write_timeout: float
    ) -> None:
        super().__init__(pieces, status, headers)
        self._write_timeout = write_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self._write_timeout):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        except (GatewayError, ClientDisconnect, TimeoutError) as error:
            # Returning without an end makes the server close the connection: the client sees a broken transfer.
            log.warning("file_cut", error=type(error).__name__)


@router.head("/{key:path}", include_in_schema=False)
@router.get("/{key:path}", summary="Fetch a result", responses=_RESPONSES, response_class=Response)
async def get_file(
    key: str, request: Request, services: ServicesDep, expires: str = "", signature: str = ""
) -> Response:
    """A stored file, by a link as a finished task has it: the signature is the permission, no API key is needed.

    Takes single ranges (`Range: bytes=0-1023`) and conditional requests.
    """
    left = services.links.check(key, expires, signature)
    file = await services.storage.open(key)
    headers = _headers(file, left)
    if _is_known(request, file):
        return Response(status_code=304, headers=headers)
    start, end, status = 0, file.size, 200
    if request.method == "GET" and _wants_range(request, file):
        found = _read_range(request.headers["range"], file.size)
        if found is not None:
            (start, end), status = found, 206
            if start >= end:
                return Response(status_code=416, headers=headers | {"content-range": f"bytes */{file.size}"})
            headers["content-range"] = f"bytes {start}-{end - 1}/{file.size}"
    headers |= {"content-type": _type(file), "content-length": str(end - start)}
    headers["content-disposition"] = _disposition(file)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    pieces = services.storage.read(key, start, end)
    return FileResponse(pieces, status, headers, write_timeout=services.settings.write_timeout)


def _headers(file: StoredFile, left: int) -> dict[str, str]:
    """What stands on every answer. `left`: seconds until the link expires."""
    return {
        "etag": file.etag,
        "last-modified": format_datetime(file.last_modified.astimezone(UTC), usegmt=True),
        "cache-control": f"private, max-age={left}",
        "accept-ranges": "bytes",
        **_SAFETY,
    }


def _type(file: StoredFile) -> str:
    return file.content_type if _INLINE.fullmatch(file.content_type) else UNKNOWN_TYPE


def _disposition(file: StoredFile) -> str:
    """A name that tells results apart once they are saved: the beginning of the random part, and the last."""
    _, _, random, name = file.key.split("/")
    kind = "inline" if _INLINE.fullmatch(file.content_type) else "attachment"
    return f'{kind}; filename="{random[:8]}-{name}"'


def _is_known(request: Request, file: StoredFile) -> bool:
    """Whether the caller has it already (RFC 9110, 13.1.2, 13.1.3, 13.2.2: the tag goes before the date)."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return file.etag in known or tags.strip() == "*"
    since = _read_date(request.headers.get("if-modified-since"))
    return since is not None and file.last_modified.replace(microsecond=0) <= since


def _wants_range(request: Request, file: StoredFile) -> bool:
    """Whether there is a range to look at (RFC 9110, 13.1.5: only of the very file that the caller has a part of)."""
    if "range" not in request.headers:
        return False
    condition = request.headers.get("if-range")
    if condition is None:
        return True
    return condition.strip() == file.etag or _read_date(condition) == file.last_modified.replace(microsecond=0)


def _read_range(text: str, size: int) -> tuple[int, int] | None:
    """Start and end of the one range, the end no greater than the start where the file has no such part. None: to be ignored,
    as may be done with several ranges and has to be with what isn't understood (RFC 9110, 14.1.2, 14.2).
    """
    match = _RANGE.fullmatch(text)
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size
    else:
        start, end = int(first), size if last is None else min(int(last) + 1, size)
        if last is not None and int(last) < start:
            return None
    return start, end


def _read_date(text: str | None) -> datetime | None:
    try:
        found = None if text is None else parsedate_to_datetime(text)
    except ValueError:
        return None
    return None if found is None else found.replace(tzinfo=found.tzinfo or UTC)
