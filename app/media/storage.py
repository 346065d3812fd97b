"""Where media is kept: a folder of this machine or a bucket, written and read in pieces, swept by age."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import shutil
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Collection, Iterator, Mapping
from contextlib import aclosing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from app.errors import Blame, GatewayError, Kind
from app.logs import get_log

if TYPE_CHECKING:
    from obstore import AsyncWritableFile
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

log = get_log("relaygate.media")

PART = 5 * 1024 * 1024
"""Bytes of one part of an upload, the least that S3 takes. Its 10,000 parts make 48 GiB the most for one file."""

PARTS_AT_A_TIME = 2
WRITE_BLOCK = 256 * 1024
"""Bytes that are handed to an upload at a time: each hand-over costs a change of threads."""

READ_BLOCK = 128 * 1024
"""Bytes of a piece that is read. A client that doesn't take what it asked for keeps some three of them in memory."""

PAGE = 1000
ABORT_TIMEOUT = 10.0

AREAS = ("outputs", "inputs")
_KEY = re.compile(r"(?:outputs|inputs)/\d{4}-\d{2}-\d{2}/[A-Za-z0-9_-]{22}/\d{1,4}\.[a-z0-9]{1,5}", re.ASCII)

_QUERY = re.compile(r"\?\S+")

_EXTENSIONS: Mapping[str, str] = MappingProxyType(
    {
        "video/mp4": "mp4",
        "video/webm": "webm",
        "video/quicktime": "mov",
        "image/png": "png",
        "image/jpeg": "jpg",
        "image/webp": "webp",
        "image/gif": "gif",
        "audio/mpeg": "mp3",
        "audio/wav": "wav",
        "audio/ogg": "ogg",
        "audio/opus": "opus",
        "audio/aac": "aac",
        "audio/flac": "flac",
        "audio/mp4": "m4a",
        "audio/pcm": "pcm",
    }
)
_TYPES = MappingProxyType({extension: content_type for content_type, extension in _EXTENSIONS.items()})
_SYNONYMS = MappingProxyType(
    {
        "image/jpg": "image/jpeg",
        "audio/mp3": "audio/mpeg",
        "audio/x-wav": "audio/wav",
        "audio/wave": "audio/wav",
        "audio/vnd.wave": "audio/wav",
        "audio/l16": "audio/pcm",
        "audio/x-flac": "audio/flac",
        "audio/x-m4a": "audio/mp4",
    }
)
UNKNOWN_TYPE = "application/octet-stream"

_STORE_ERRORS = (BaseError, OSError, ValueError, NotImplementedError)
"""What obstore raises: its own, and built-in ones where there is one that fits (obstore.exceptions)."""

_CLIENT: ClientConfig = {
    # The whole answer has to fit into `timeout`, however slowly a client takes it from us; `read_timeout` ends the hung ones.
    "timeout": "12h",
    "read_timeout": "60s",
    "connect_timeout": "5s",
    # Without TLS only where the operator's own endpoint begins with http://, as a MinIO beside the gateway may.
    "allow_http": True,
}
_RETRY: RetryConfig = {"max_retries": 4}


class StorageError(GatewayError):
    """The storage failed or can't be reached: a 503. What it said stands in the log; the message is for anybody."""

    def __init__(self, doing: str) -> None:
        super().__init__(
            Kind.UNAVAILABLE,
            "storage_unavailable",
            f"The gateway's storage can't {doing}.",
            blame=Blame.GATEWAY,
            retry_after=5.0,
        )


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is there. `etag` is a strong validator, quotes included; `size` is in bytes."""

    key: str
    size: int
    etag: str
    last_modified: datetime
    content_type: str


def new_output_key(today: date, index: int, content_type: str) -> str:
    """Where a result goes; `index` counts from 1. The random part can't be guessed (128 bits)."""
    return _new_key("outputs", today, index, content_type)


def new_input_key(today: date, index: int, content_type: str) -> str:
    """Where what a client sent goes."""
    return _new_key("inputs", today, index, content_type)


def _new_key(area: str, today: date, index: int, content_type: str) -> str:
    return f"{area}/{today.isoformat()}/{secrets.token_urlsafe(16)}/{index}.{extension_of(content_type)}"


def extension_of(content_type: str) -> str:
    """The file extension of a media type, parameters or not; `bin` for what isn't known."""
    plain = content_type.partition(";")[0].strip().lower()
    return _EXTENSIONS.get(_SYNONYMS.get(plain, plain), "bin")


def type_of(key: str) -> str:
    """The media type of a key, by its extension alone."""
    return _TYPES.get(key.rpartition(".")[2], UNKNOWN_TYPE)


def is_key(text: str) -> bool:
    """Whether this has the form of a key of ours."""
    return _KEY.fullmatch(text) is not None


class Storage:
    """Files under keys. Every method raises StorageError when the storage fails, and GatewayError 404 `file_not_found` where
    a file that is read isn't there. A file appears whole or not at all.
    """

    def __init__(self, url: str | None, default: Path) -> None:
        """`url` as RELAYGATE_STORAGE_URL; None: the folder `default`. A folder is made if need be, for its owner only."""
        self._folder = _folder_of(url, default)
        with _failing_to("be opened"):
            self._store: ObjectStore = (
                from_url(url or "", client_options=_CLIENT, retry_config=_RETRY)
                if self._folder is None
                else _open_folder(self._folder)
            )

    async def put(self, key: str, chunks: AsyncIterable[bytes] | bytes, content_type: str) -> int:
        """Writes a file; returns its size in bytes. Pieces are passed on as they come, some 15 MB of them at most are kept.

        Whatever `chunks` raises comes out as it is, and nothing is left behind then, as after a cancellation.
        """
        _check(key)
        # Folders know no attributes; there the extension says it all.
        attributes = None if self._folder is not None else {"Content-Type": content_type}
        if isinstance(chunks, bytes):
            with _failing_to("keep the file"):
                await obstore.put_async(
                    self._store,
                    key,
                    chunks,
                    attributes=attributes,
                    chunk_size=PART,
                    max_concurrency=PARTS_AT_A_TIME,
                )
            return len(chunks)
        writer = obstore.open_writer_async(
            self._store, key, attributes=attributes, buffer_size=PART, max_concurrency=PARTS_AT_A_TIME
        )
        # The source is read in this very task, never in one of obstore's: time-outs and cancellation reach it as usual.
        try:
            size = await _copy(chunks, writer)
        except BaseException as error:
            await _abort(writer, error)
            raise
        with _failing_to("keep the file"):
            await writer.close()
        return size

    async def open(self, key: str) -> StoredFile:
        """What is there under the key."""
        _check(key)
        with _failing_to("be read"):
            meta = await obstore.head_async(self._store, key)
        mark = meta["e_tag"] or f"{meta['last_modified'].timestamp()}-{meta['size']}"
        # A store's own tag may be weak, unquoted, or tell of inodes. Keys are written once, so a digest of it is as good.
        etag = f'"{hashlib.blake2s(mark.encode(), digest_size=12).hexdigest()}"'
        return StoredFile(key, meta["size"], etag, meta["last_modified"], type_of(key))

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, in pieces of some 128 KiB, each fetched when it is asked for."""
        _check(key)
        if end is not None and start >= end:
            return
        if self._folder is None:
            async with aclosing(self._read_stream(key, start, end)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        # From a folder obstore streams 8 KiB at a time: read so, it takes a sixteenth of the processor's time.
        end = (await self.open(key)).size if end is None else end
        while start < end:
            piece = await self._read_block(key, start, min(start + READ_BLOCK, end))
            start += len(piece)
            yield piece

    async def read_block(self, key: str, start: int, length: int) -> bytes:
        """At most so many bytes from there on; none beyond the end."""
        _check(key)
        try:
            return await self._read_block(key, start, start + length)
        except StorageError:
            if start < (await self.open(key)).size:
                raise
            return b""

    async def read_all(self, key: str) -> bytes:
        """A whole file, for one that is known to be small."""
        _check(key)
        with _failing_to("be read"):
            return bytes(await (await obstore.get_async(self._store, key)).bytes_async())

    async def delete(self, keys: Collection[str]) -> None:
        """Removes files; those that are gone already don't matter."""
        for key in keys:
            _check(key)
        await self._delete(list(keys))

    async def delete_prefix(self, prefix: str) -> int:
        """Removes all that lies in a folder of a date, or in one below it; returns how many files there were."""
        parts = prefix.strip("/").split("/")
        if parts[0] not in AREAS or len(parts) < 2 or _date(parts[1]) is None or ".." in parts:
            raise ValueError("not a folder of a date")
        count = 0
        with _failing_to("be listed"):
            async for page in obstore.list(self._store, "/".join(parts), chunk_size=PAGE):
                await self._delete([meta["path"] for meta in page])
                count += len(page)
        return count

    async def prune(self, before: date) -> int:
        """Removes what was stored before that day, in pages; returns how many files. Several processes may do it at once."""
        count = 0
        for area in AREAS:
            with _failing_to("be listed"):
                listing = await obstore.list_with_delimiter_async(self._store, area)
            for folder in listing["common_prefixes"]:
                day = _date(folder.rpartition("/")[2])
                if day is not None and day < before:
                    count += await self.delete_prefix(folder)
                    if self._folder is not None:  # what a killed process left half-written is in no listing
                        await asyncio.to_thread(shutil.rmtree, self._folder / folder, ignore_errors=True)
        return count

    async def _read_block(self, key: str, start: int, end: int) -> bytes:
        with _failing_to("be read"):
            piece = bytes(await obstore.get_range_async(self._store, key, start=start, end=end))
        if not piece:
            raise StorageError("be read")
        return piece

    async def _read_stream(self, key: str, start: int, end: int | None) -> AsyncGenerator[bytes, None]:
        with _failing_to("be read"):
            options = {"range": {"offset": start}} if end is None else {"range": (start, end)}
            answer = await obstore.get_async(self._store, key, options=options)  # type: ignore[arg-type]
            stream = answer.stream(min_chunk_size=READ_BLOCK)
        while True:
            with _failing_to("be read"):
                piece = await anext(stream, None)
            if piece is None:
                return
            yield piece

    async def _delete(self, keys: list[str]) -> None:
        if not keys:
            return
        with _failing_to("delete"):
            try:
                await obstore.delete_async(self._store, keys)
                return
            except FileNotFoundError:
                pass  # then of a batch some may still be there
            for key in keys:
                with suppress(FileNotFoundError):
                    await obstore.delete_async(self._store, key)


async def _copy(chunks: AsyncIterable[bytes], writer: AsyncWritableFile) -> int:
    """Small pieces are put together first. The source is closed when this ends, however it ends."""
    size, kept = 0, 0
    parts: list[bytes] = []
    async with aclosing(chunks) if isinstance(chunks, AsyncGenerator) else nullcontext():
        async for chunk in chunks:
            parts.append(chunk)
            kept += len(chunk)
            if kept >= WRITE_BLOCK:
                await _write(writer, parts)
                size, kept, parts = size + kept, 0, []
    await _write(writer, parts)
    return size + kept


async def _write(writer: AsyncWritableFile, parts: list[bytes]) -> None:
    with _failing_to("keep the file"):
        await writer.write(parts[0] if len(parts) == 1 else b"".join(parts))


async def _abort(writer: AsyncWritableFile, error: BaseException) -> None:
    """Takes back what was uploaded. Parts that a bucket keeps nevertheless are its lifecycle rule's to remove."""
    try:
        async with asyncio.timeout(ABORT_TIMEOUT):
            await writer.__aexit__(type(error), error, error.__traceback__)
    except _STORE_ERRORS as failure:  # TimeoutError is an OSError
        log.warning("upload_not_aborted", error=_shortly(failure))


@contextmanager
def _failing_to(doing: str) -> Iterator[None]:
    """Turns obstore's errors into ours."""
    try:
        yield
    except FileNotFoundError as error:
        if doing != "be read":  # a bucket that isn't there looks like this
            log.error("storage_failed", doing=doing, error=_shortly(error))
            raise StorageError(doing) from error
        raise GatewayError(Kind.NOT_FOUND, "file_not_found", "This file isn't kept any more.") from error
    except _STORE_ERRORS as error:
        log.error("storage_failed", doing=doing, error=_shortly(error))
        raise StorageError(doing) from error


def _shortly(error: Exception) -> str:
    """The first line, since the rest repeats it for debugging; without queries, which may hold a bucket's credentials."""
    line = _QUERY.sub("?…", str(error).partition("\n")[0])
    return f"{type(error).__name__}: {line[:300]}"


def _check(key: str) -> None:
    if not is_key(key):
        raise ValueError("not a key of the storage")


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _folder_of(url: str | None, default: Path) -> Path | None:
    """None: it is a bucket."""
    if url is None:
        return default.absolute()
    parts = urlsplit(url)
    return Path(unquote(parts.path)).absolute() if parts.scheme == "file" else None


def _open_folder(folder: Path) -> LocalStore:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return LocalStore(folder, automatic_cleanup=True)
