"""The media that the demo makes: real files, of the length and size that was asked for, the same for the same prompt."""

import io
import struct
import wave
import zlib
from collections.abc import Callable

import pytest

from app.demo.media.makers import make_mp3, make_mp4, make_pcm, make_png, make_wav

Tree = dict[str, bytes]
CONTAINERS = {"moov", "trak", "mdia", "minf", "stbl", "dinf"}


def read_boxes(data: bytes, path: str = "") -> Tree:
    """Every box by its path; each has to end where its parent says."""
    boxes: Tree = {}
    at = 0
    while at < len(data):
        (size,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8].decode()
        assert 8 <= size <= len(data) - at, (path, kind, size)
        body = data[at + 8 : at + size]
        boxes[f"{path}{kind}"] = body
        if kind in CONTAINERS:
            boxes |= read_boxes(body, f"{path}{kind}/")
        at += size
    return boxes


def read_numbers(body: bytes, start: int = 4) -> tuple[int, ...]:
    return struct.unpack(f">{(len(body) - start) // 4}I", body[start:])


@pytest.mark.parametrize(
    ("width", "height", "seconds"),
    [(320, 180, 8), (1280, 720, 4), (720, 1280, 7.5), (101, 77, 1), (16, 16, 0.01), (3840, 2160, 0.5), (64, 64, 60)],
)
def test_mp4_adds_up(width: int, height: int, seconds: float) -> None:
    data = make_mp4("a cat", width, height, seconds)
    boxes = read_boxes(data)
    table = {name.rpartition("/")[2]: body for name, body in boxes.items() if "/stbl/" in name}

    assert [name for name in boxes if "/" not in name] == ["ftyp", "moov", "mdat"]  # the index first
    assert struct.unpack_from(">II", boxes["moov/mvhd"], 12) == (1000, round(seconds * 1000))
    assert struct.unpack_from(">II", boxes["moov/trak/mdia/mdhd"], 12) == (1000, round(seconds * 1000))
    assert struct.unpack(">II", boxes["moov/trak/tkhd"][-8:]) == (width // 2 * 2 << 16, height // 2 * 2 << 16)
    runs = read_numbers(table["stts"])[1:]
    sizes = read_numbers(table["stsz"])[2:]
    assert sum(runs[::2]) == len(sizes) == read_numbers(table["stsz"])[1]
    assert sum(count * length for count, length in zip(runs[::2], runs[1::2], strict=True)) == round(seconds * 1000)
    assert read_numbers(table["stsc"]) == (1, 1, len(sizes), 1)
    (start,) = read_numbers(table["stco"])[1:]
    assert data[start - 4 : start] == b"mdat"
    assert sum(sizes) == len(boxes["mdat"])
    check_samples(boxes["mdat"], sizes, read_numbers(table["stss"])[1:])
    assert len(data) < 150_000


def check_samples(data: bytes, sizes: tuple[int, ...], keys: tuple[int, ...]) -> None:
    """Each sample is one NAL unit, of the kind that the table of key frames says, without a start code inside."""
    at = 0
    for number, size in enumerate(sizes, 1):
        unit = data[at + 4 : at + size]
        assert struct.unpack_from(">I", data, at) == (len(unit),)
        assert unit[0] == (0x65 if number in keys else 0x61)
        assert not any(bad in unit for bad in (b"\0\0\0", b"\0\0\1", b"\0\0\2"))
        at += size


def test_mp4_describes_its_coding() -> None:
    entry = read_boxes(make_mp4("a cat", 320, 180, 1))["moov/trak/mdia/minf/stbl/stsd"]

    assert entry[12:16] == b"avc1"
    config = entry[entry.index(b"avcC") + 4 :]
    assert config[:6] == bytes([1, 66, 0b1110_0000, 40, 0xFF, 0xE1])
    (length,) = struct.unpack_from(">H", config, 6)
    sps, rest = config[8 : 8 + length], config[8 + length :]
    assert (sps[0], sps[1:4], rest[0]) == (0x67, config[1:4], 1)
    assert rest[3] == 0x68
    assert len(rest) == 3 + struct.unpack_from(">H", rest, 1)[0]


@pytest.mark.parametrize(("width", "height"), [(512, 512), (1, 1), (300, 20)])
def test_png_is_whole(width: int, height: int) -> None:
    data = make_png("a cat", width, height)
    chunks, at = [], 8
    while at < len(data):
        (size,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", data, at + 8 + size) == (zlib.crc32(kind + body),)
        chunks.append((kind, body))
        at += 12 + size

    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    assert chunks[0][1] == struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.decompress(chunks[1][1])
    assert len(pixels) == height * (1 + 3 * width)
    assert {pixels[row * (1 + 3 * width)] for row in range(height)} == {0}


@pytest.mark.parametrize("seconds", [8, 0.5, 1.234])
def test_wav_is_whole(seconds: float) -> None:
    with wave.open(io.BytesIO(make_wav("a cat", seconds))) as reader:
        frames = reader.readframes(reader.getnframes())
        assert (reader.getnchannels(), reader.getsampwidth(), reader.getframerate()) == (1, 2, 24_000)

    assert len(frames) == 2 * round(24_000 * seconds)
    assert frames == make_pcm("a cat", seconds)
    loudest = max(abs(sample) for sample in struct.unpack(f"<{len(frames) // 2}h", frames))
    assert 3_000 < loudest < 20_000


def test_mp3_has_whole_frames() -> None:
    data = make_mp3("a cat", 2)

    assert len(data) == 84 * 24  # 84 frames of 24 ms are the least that hold two seconds
    assert {data[at : at + 4] for at in range(0, len(data), 24)} == {b"\xff\xf3\x14\xc4"}


@pytest.mark.parametrize(
    "make",
    [
        lambda prompt: make_mp4(prompt, 64, 64, 1),
        lambda prompt: make_png(prompt, 64, 64),
        lambda prompt: make_wav(prompt, 4),
    ],
    ids=["mp4", "png", "wav"],
)
def test_a_prompt_decides(make: Callable[[str], bytes]) -> None:
    assert make("a cat") == make("a cat")
    assert len({make(f"cat {number}") for number in range(8)}) == 8
    assert make("日本\ud800")
