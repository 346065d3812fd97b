"""The length of a video off its boxes: of well-formed ones exactly, of hostile ones nothing, in bounded reads."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.mp4 import MAX_MS, duration_in, read_duration


def box(kind: bytes, content: bytes = b"", *, size: int | None = None, wide: bool = False) -> bytes:
    """`size`: what the header says, where that isn't the truth; `wide`: in 64 bits."""
    if wide:
        return struct.pack(">I4sQ", 1, kind, 16 + len(content) if size is None else size) + content
    return struct.pack(">I4s", 8 + len(content) if size is None else size, kind) + content


def mvhd(scale: int, duration: int, version: int = 0) -> bytes:
    form = ">B3xIIII" if version == 0 else ">B3xQQIQ"
    return box(b"mvhd", struct.pack(form, version, 1, 2, scale, duration) + bytes(80))


def movie(*content: bytes, wide: bool = False) -> bytes:
    return box(b"moov", b"".join(content), wide=wide)


FTYP = box(b"ftyp", b"isom\x00\x00\x02\x00isomiso2")
TEN_SECONDS = mvhd(600, 6000)


class File:
    """Counts what is read of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads: list[tuple[int, int]] = []

    async def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return self.data[offset : offset + length]


@pytest.mark.parametrize(
    ("data", "milliseconds"),
    [
        (FTYP + movie(TEN_SECONDS), 10_000),
        (FTYP + movie(mvhd(1000, 8042)), 8_042),
        (FTYP + movie(mvhd(90_000, 90_000 * 3600, version=1)), 3_600_000),
        (FTYP + movie(mvhd(24, 100)), 4_167),
        (FTYP + movie(mvhd(10_000, 5)), 1),
        (FTYP + box(b"mdat", bytes(10_000)) + movie(TEN_SECONDS), 10_000),
        (FTYP + box(b"mdat", bytes(10_000), wide=True) + movie(TEN_SECONDS, wide=True), 10_000),
        (FTYP + movie(box(b"udta", bytes(30)), TEN_SECONDS), 10_000),
        (FTYP + box(b"moov", TEN_SECONDS, size=0), 10_000),
        (box(b"wide") + box(b"mdat", bytes(9)) + movie(TEN_SECONDS), 10_000),
        (movie(mvhd(600, 0), box(b"mvex", box(b"mehd", struct.pack(">B3xI", 0, 3000)))), 5_000),
        (movie(mvhd(600, 0xFFFFFFFF), box(b"mvex", box(b"mehd", struct.pack(">B3xQ", 1, 3000)))), 5_000),
        (movie(mvhd(1, MAX_MS // 1000)), MAX_MS),
    ],
)
async def test_a_movie_s_header_says_how_long_it_is(data: bytes, milliseconds: int) -> None:
    assert await duration_in(data) == milliseconds
    for size in (0, len(data)):
        assert await read_duration(File(data).read, size) == milliseconds


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x00\x00",
        b"<html>not found</html>",
        FTYP,
        FTYP + box(b"mdat", bytes(100)),
        FTYP + movie(),
        FTYP + movie(box(b"trak", mvhd(600, 6000))),
        FTYP + movie(TEN_SECONDS)[:34],
        FTYP + movie(mvhd(0, 6000)),
        FTYP + movie(mvhd(600, 0)),
        FTYP + movie(mvhd(600, 0xFFFFFFFF)),
        FTYP + movie(mvhd(600, 2**64 - 1, version=1)),
        FTYP + movie(mvhd(1, MAX_MS // 1000 + 1)),
        FTYP + movie(mvhd(10**9, 1)),
        FTYP + movie(mvhd(600, 6000).replace(b"mvhd\x00", b"mvhd\x02")),
        FTYP + movie(box(b"mvhd", bytes(8))),
        FTYP + movie(box(b"mvhd", mvhd(600, 6000)[8:], size=4)),
        FTYP + movie(box(b"mvhd", mvhd(600, 6000)[8:], size=5000)) + bytes(9000),
        FTYP + movie(box(b"free", size=0), TEN_SECONDS),
        FTYP + box(b"free", size=0) + movie(TEN_SECONDS),
        FTYP + box(b"free", size=7) + movie(TEN_SECONDS),
        FTYP + box(b"free", size=2**31) + movie(TEN_SECONDS),
        FTYP + box(b"free", size=15, wide=True) + movie(TEN_SECONDS),
        FTYP + box(b"free", size=0, wide=True) + movie(TEN_SECONDS),
        FTYP + box(b"free", size=2**64 - 1, wide=True) + movie(TEN_SECONDS),
        FTYP + box(b"free") * 1000 + movie(TEN_SECONDS),
        FTYP + movie(box(b"free") * 1000 + TEN_SECONDS),
        movie(mvhd(600, 0), box(b"mvex", box(b"mehd"))),
        movie(mvhd(600, 0), box(b"mvex")),
    ],
)
async def test_what_doesn_t_say_or_lies_is_not_believed(data: bytes) -> None:
    file = File(data)
    assert await duration_in(data) is None
    assert await read_duration(file.read, len(data)) is None
    assert len(file.reads) <= 200


async def test_a_large_file_is_stepped_over_not_read() -> None:
    """`mdat` of 8 GB before the header, as cameras write it: what is asked for is only headers."""
    before, behind = FTYP + box(b"mdat", size=8 * 1024**3, wide=True), movie(TEN_SECONDS)
    at = len(FTYP) + 8 * 1024**3
    reads: list[tuple[int, int]] = []

    async def read(offset: int, length: int) -> bytes:
        reads.append((offset, length))
        return behind[offset - at : offset - at + length] if offset >= at else before[offset : offset + length]

    assert await read_duration(read, at + len(behind)) == 10_000
    assert len(reads) == 5
    assert all(length <= 32 and offset + length <= at + len(behind) for offset, length in reads)


WORDS = (b"moov", b"mvhd", b"mvex", b"mehd", bytes(4), b"\0\0\0\1", b"\xff" * 4, b"\0\0\0\x18", b"\0\0\0\x40")


@given(st.lists(st.sampled_from(WORDS), max_size=60))
async def test_no_bytes_make_it_raise_or_read_on_for_ever(words: list[bytes]) -> None:
    data = b"".join(words)
    file = File(data)
    found = await read_duration(file.read)
    assert found is None or 0 < found <= MAX_MS
    assert len(file.reads) <= 200
    assert all(length <= 32 for _, length in file.reads)
