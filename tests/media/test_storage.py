"""Files in a real folder: whole or not there at all, read in any part, and gone when they are old."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import stat
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from app.errors import GatewayError
from app.media.storage import (
    PART,
    READ_BLOCK,
    Storage,
    StorageError,
    extension_of,
    is_key,
    new_input_key,
    new_output_key,
    type_of,
)

TODAY = date(2026, 11, 22)
NOISE = random.Random(4).randbytes(READ_BLOCK * 2 + 1234)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(None, tmp_path / "media")


def new_key(day: date = TODAY, content_type: str = "video/mp4") -> str:
    return new_output_key(day, 1, content_type)


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def pieces_of(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def read(storage: Storage, key: str, start: int = 0, end: int | None = None) -> list[bytes]:
    return [piece async for piece in storage.read(key, start, end)]


# -- writing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [0],
        [1],
        [1] * 500,
        [PART],
        [PART - 1, 2],
        [100_000] * 60,  # some 6 MB: more than one part
        [PART * 2 + 1, 0, 3],
    ],
    ids=str,
)
async def test_a_stream_is_kept_as_it_came_however_it_is_cut(storage: Storage, sizes: list[int]) -> None:
    noise = random.Random(sum(sizes))
    parts = [noise.randbytes(size) for size in sizes]
    key = new_key()

    assert await storage.put(key, pieces_of(parts), "video/mp4") == sum(sizes)

    found = await read(storage, key)
    assert hashlib.sha256(b"".join(found)).digest() == hashlib.sha256(b"".join(parts)).digest()
    assert await storage.read_all(key) == b"".join(parts)


@pytest.mark.parametrize("size", [0, 1, PART + 1])
async def test_bytes_are_kept_and_described(storage: Storage, size: int) -> None:
    data, key = random.Random(1).randbytes(size), new_key(content_type="image/png")
    before = datetime.now(UTC) - timedelta(seconds=2)

    assert await storage.put(key, data, "image/png") == size

    file = await storage.open(key)
    assert (file.key, file.size, file.content_type) == (key, size, "image/png")
    assert file.etag.startswith('"')
    assert file.etag == (await storage.open(key)).etag
    assert before < file.last_modified < datetime.now(UTC) + timedelta(seconds=2)
    assert await storage.read_all(key) == data


async def test_a_file_isn_t_there_before_it_is_whole(storage: Storage, tmp_path: Path) -> None:
    key, begun, go_on = new_key(), asyncio.Event(), asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield bytes(PART * 2)
        begun.set()
        await go_on.wait()
        yield b"end"

    task = asyncio.create_task(storage.put(key, source(), "video/mp4"))
    await begun.wait()
    assert files_in(tmp_path) != [], "it is written as it comes"
    with pytest.raises(GatewayError) as refused:
        await storage.open(key)
    assert (refused.value.code, refused.value.status) == ("file_not_found", 404)
    assert await storage.delete_prefix(f"outputs/{TODAY}") == 0
    go_on.set()

    assert await task == PART * 2 + 3
    assert (await storage.open(key)).size == PART * 2 + 3


@pytest.mark.parametrize("before", [0, 1000, PART * 2], ids=["at once", "early", "late"])
@pytest.mark.parametrize(
    "error", [OSError("source"), TimeoutError(), ValueError("source"), KeyError("source")], ids=repr
)
async def test_a_source_s_error_comes_out_and_nothing_stays(
    storage: Storage, tmp_path: Path, error: Exception, before: int
) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield bytes(before)
        raise error

    with pytest.raises(type(error)) as raised:
        await storage.put(new_key(), source(), "video/mp4")
    assert raised.value is error
    assert files_in(tmp_path) == []


async def test_a_cancelled_upload_leaves_nothing(storage: Storage, tmp_path: Path) -> None:
    begun, closed = asyncio.Event(), asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        try:
            yield bytes(PART * 2)
            begun.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    task = asyncio.create_task(storage.put(new_key(), source(), "video/mp4"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()
    assert files_in(tmp_path) == []


async def test_a_source_runs_in_the_task_that_asked(storage: Storage) -> None:
    """Else time-outs around its pieces would reach somebody else."""
    task = asyncio.current_task()

    async def source() -> AsyncIterator[bytes]:
        assert asyncio.current_task() is task
        async with asyncio.timeout(60):
            yield b"x"

    assert await storage.put(new_key(), source(), "video/mp4") == 1


async def test_a_storage_that_fails_says_so_and_lets_the_source_go(tmp_path: Path) -> None:
    storage, closed = Storage(None, tmp_path / "secret-place"), asyncio.Event()
    (tmp_path / "secret-place" / "outputs").write_text("a file where a folder should be")

    async def source() -> AsyncIterator[bytes]:
        try:
            for _ in range(20):
                yield bytes(PART)
        finally:
            closed.set()

    with pytest.raises(StorageError) as failed:
        await storage.put(new_key(), source(), "video/mp4")
    assert (failed.value.code, failed.value.status, failed.value.retryable) == ("storage_unavailable", 503, False)
    assert "secret-place" not in str(failed.value)
    assert closed.is_set()
    with pytest.raises(StorageError):
        await storage.put(new_key(), b"x", "video/mp4")


# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, None),
        (0, 1),
        (len(NOISE) - 1, None),
        (READ_BLOCK - 1, READ_BLOCK + 1),
        (READ_BLOCK, READ_BLOCK * 2),
        (17, len(NOISE)),
        (5, 5),
    ],
)
async def test_any_part_can_be_read_in_small_pieces(storage: Storage, start: int, end: int | None) -> None:
    key = new_key()
    await storage.put(key, NOISE, "video/mp4")

    found = await read(storage, key, start, end)

    assert b"".join(found) == NOISE[start:end]
    assert all(0 < len(piece) <= READ_BLOCK for piece in found)


@pytest.mark.parametrize(("start", "length"), [(0, 5), (len(NOISE) - 3, 10), (len(NOISE), 10), (len(NOISE) * 2, 1)])
async def test_a_block_ends_where_the_file_does(storage: Storage, start: int, length: int) -> None:
    key = new_key()
    await storage.put(key, NOISE, "video/mp4")

    assert await storage.read_block(key, start, length) == NOISE[start : start + length]


async def test_what_isn_t_there_is_not_found(storage: Storage) -> None:
    key = new_key()
    for call in (storage.open(key), storage.read_all(key), storage.read_block(key, 0, 1), read(storage, key)):
        with pytest.raises(GatewayError) as refused:
            await call
        assert (refused.value.code, refused.value.status) == ("file_not_found", 404)


# -- deleting ----------------------------------------------------------------------------------------------------------


async def test_files_are_deleted_whether_others_are_gone_or_not(storage: Storage, tmp_path: Path) -> None:
    keys = [new_key() for _ in range(5)]
    for key in keys[1:]:
        await storage.put(key, b"x", "video/mp4")

    await storage.delete(keys[:4])
    assert files_in(tmp_path / "media") == [keys[4]]
    await storage.delete([])
    await storage.delete(keys)
    await storage.delete(keys)
    assert list((tmp_path / "media").iterdir()) == [], "no empty folders stay"


async def test_old_folders_are_pruned_whole_and_nothing_else(storage: Storage, tmp_path: Path) -> None:
    media, days = tmp_path / "media", [TODAY - timedelta(days=age) for age in (29, 30, 31, 400)]
    for day in days:
        for key in (new_output_key(day, 1, "video/mp4"), new_input_key(day, 1, "image/png")):
            await storage.put(key, b"x", "video/mp4")
    left_over = media / "outputs" / days[2].isoformat() / "abc"
    left_over.mkdir()
    (left_over / "1.mp4#7").write_bytes(b"what a killed process was writing")
    (media / "outputs" / "2026-13-01").mkdir()
    (media / "outputs" / "2026-13-01" / "mine").write_text("no day")
    (media / "else" / "2020-01-01").mkdir(parents=True)
    (media / "else" / "2020-01-01" / "mine").write_text("no area")

    assert await storage.prune(TODAY - timedelta(days=30)) == 4

    assert {path.split("/")[1] for path in files_in(media)} == {"2026-13-01", "2020-01-01", *map(str, days[:2])}
    assert not (media / "outputs" / days[2].isoformat()).exists()
    assert await storage.prune(TODAY - timedelta(days=30)) == 0


async def test_several_processes_may_prune_at_once_whatever_there_is(tmp_path: Path) -> None:
    storages = [Storage(None, tmp_path) for _ in range(3)]
    for key in [new_key() for _ in range(1_100)]:
        path = tmp_path / key
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")

    counts = await asyncio.gather(*(storage.prune(TODAY + timedelta(days=1)) for storage in storages))

    assert max(counts) <= 1_100
    assert sum(counts) >= 1_100
    assert files_in(tmp_path) == []


async def test_nothing_to_prune_is_fine(storage: Storage) -> None:
    assert await storage.prune(TODAY) == 0


@pytest.mark.parametrize(
    "prefix", ["", "/", "outputs", "outputs/", "inputs", f"else/{TODAY}", "outputs/..", "outputs/x"]
)
async def test_only_folders_of_a_date_are_deleted_whole(storage: Storage, prefix: str) -> None:
    with pytest.raises(ValueError, match="not a folder of a date"):
        await storage.delete_prefix(prefix)


async def test_one_task_s_folder_is_deleted_alone(storage: Storage, tmp_path: Path) -> None:
    mine, other = new_key(), new_key()
    for key in (mine, other):
        await storage.put(key, b"x", "video/mp4")

    assert await storage.delete_prefix(mine.rpartition("/")[0]) == 1
    assert files_in(tmp_path / "media") == [other]


# -- places and names --------------------------------------------------------------------------------------------------


def test_the_folder_is_its_owner_s_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Storage(None, tmp_path / "data" / "media")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "data" / "media").stat().st_mode) == 0o700


async def test_a_folder_may_be_given_as_a_url(tmp_path: Path) -> None:
    storage, key = Storage(f"file://{tmp_path}/a%20folder", tmp_path / "unused"), new_key()
    await storage.put(key, b"x", "video/mp4")
    assert (tmp_path / "a folder" / key).read_bytes() == b"x"
    assert not (tmp_path / "unused").exists()


def test_a_place_that_can_t_be_used_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for url in (f"file://{tmp_path}/file/media", "s3://", "ftp://host/folder", "nonsense"):
        with pytest.raises(StorageError):
            Storage(url, tmp_path)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "outputs",
        "../../etc/passwd",
        "/etc/passwd",
        "outputs/2026-11-22/aaaaaaaaaaaaaaaaaaaaaa",
        "outputs/2026-11-22/aaaaaaaaaaaaaaaaaaaaaa/../1.mp4",
        "outputs/2026-11-22/../aaaaaaaaaaaaaaaaaaaaaa/1.mp4",
        "outputs/2026-11-22/aaaaaaaaaaaaaaaaaaaaa/1.mp4",
        "outputs/2026-11-22/aaaaaaaaaaaaaaaaaaaaaa/1.mp4\n",
        "outputs/2026-11-22/aaaaaaaaaaaaaaaaaaaaaa/1.mp4#1",
        "outputs/2026-11-22/aaaaaaaaaaaaaaaaaaaaaa/x.mp4",
        "else/2026-11-22/aaaaaaaaaaaaaaaaaaaaaa/1.mp4",
        "outputs/2026-11-22/aaaaaaaaaaaaaaaaaaaa%2e/1.mp4",
        "outputs/٢٠٢٦-11-22/aaaaaaaaaaaaaaaaaaaaaa/1.mp4",
    ],
)
async def test_what_is_no_key_of_ours_reaches_no_file(storage: Storage, key: str) -> None:
    assert not is_key(key)
    for call in (storage.open(key), storage.put(key, b"x", "video/mp4"), storage.delete([key]), read(storage, key)):
        with pytest.raises(ValueError, match="not a key"):
            await call


def test_keys_can_t_be_guessed() -> None:
    keys = {new_output_key(TODAY, 1, "video/mp4") for _ in range(100)}
    assert len(keys) == 100
    assert all(is_key(key) and key.startswith("outputs/2026-11-22/") and key.endswith("/1.mp4") for key in keys)
    assert new_input_key(TODAY, 12, "image/png").startswith("inputs/2026-11-22/")
    assert new_input_key(TODAY, 12, "image/png").endswith("/12.png")


@pytest.mark.parametrize(
    ("content_type", "extension", "read_back"),
    [
        ("video/mp4", "mp4", "video/mp4"),
        ("Video/MP4; codecs=avc1", "mp4", "video/mp4"),
        ("image/jpg", "jpg", "image/jpeg"),
        ("image/png", "png", "image/png"),
        ("audio/x-wav", "wav", "audio/wav"),
        ("audio/L16;rate=24000", "pcm", "audio/pcm"),
        ("image/svg+xml", "bin", "application/octet-stream"),
        ("text/html", "bin", "application/octet-stream"),
        ("../../x", "bin", "application/octet-stream"),
        ("", "bin", "application/octet-stream"),
    ],
)
def test_a_name_ends_as_its_type_says(content_type: str, extension: str, read_back: str) -> None:
    key = new_output_key(TODAY, 1, content_type)
    assert (extension_of(content_type), type_of(key)) == (extension, read_back)
    assert is_key(key)
