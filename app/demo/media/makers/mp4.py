"""Makes MP4 videos: drifting colours in H.264, in an ISO base media file whose index comes first (ISO/IEC 14496-12, -15)."""

import itertools
import struct

from app.demo.media.makers.h264 import RING, Film, make_film

TIMESCALE = 1_000
FRAME_MS = 40
KEY_EVERY = 5
# A larger picture gets fewer key frames, so that the file stays small: about 4 bytes a tile.
TILES_BUDGET = 32_000
MAX_SECONDS = 600.0
MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
UNDETERMINED = 0x55C4  # the language `und`, packed


def make_mp4(prompt: str, width: int, height: int, seconds: float) -> bytes:
    """A video of that many pixels (even numbers of them) and milliseconds, 25 frames a second, without sound."""
    film = make_film(prompt, max(2, width), max(2, height))
    duration = max(1, round(min(seconds, MAX_SECONDS) * TIMESCALE))
    samples, keys = _film(film, -(-duration // FRAME_MS))
    kind = _box(b"ftyp", b"isom", struct.pack(">I", 512), b"isomiso2avc1mp41")
    # The place of the first sample has a fixed width, so the index is as long wherever it points.
    start = len(kind) + len(_index(film, samples, keys, duration, 0)) + 8
    return kind + _index(film, samples, keys, duration, start) + _box(b"mdat", *samples)


def _film(film: Film, frames: int) -> tuple[list[bytes], list[int]]:
    """The samples, and the numbers of those that stand alone, counted from 1."""
    most_keys = max(1, TILES_BUDGET // (film.across * film.down))
    every = max(KEY_EVERY, -(-frames // most_keys))
    stills = [film.still_frame(since) for since in range(min(every, frames))]
    samples, keys = [], []
    for index in range(frames):
        count, since = divmod(index, every)
        if since == 0:
            keys.append(index + 1)
            unit = film.key_frame(count, index * RING // 250)  # once around in ten seconds
        else:
            unit = stills[since]
        samples.append(struct.pack(">I", len(unit)) + unit)
    return samples, keys


def _index(film: Film, samples: list[bytes], keys: list[int], duration: int, start: int) -> bytes:
    header = struct.pack(">IIIIIHH8x", 0, 0, TIMESCALE, duration, 0x10000, 0x100, 0) + MATRIX + bytes(24)
    return _box(b"moov", _full(b"mvhd", header, struct.pack(">I", 2)), _track(film, samples, keys, duration, start))


def _track(film: Film, samples: list[bytes], keys: list[int], duration: int, start: int) -> bytes:
    header = struct.pack(">IIIII8xHHHH", 0, 0, 1, 0, duration, 0, 0, 0, 0) + MATRIX
    media = struct.pack(">IIIIHH", 0, 0, TIMESCALE, duration, UNDETERMINED, 0)
    handler = struct.pack(">I4s12x", 0, b"vide") + b"VideoHandler\0"
    reference = _full(b"dref", struct.pack(">I", 1), _full(b"url ", flags=1))
    return _box(
        b"trak",
        _full(b"tkhd", header, struct.pack(">II", film.width << 16, film.height << 16), flags=3),
        _box(
            b"mdia",
            _full(b"mdhd", media),
            _full(b"hdlr", handler),
            _box(
                b"minf",
                _full(b"vmhd", bytes(8), flags=1),
                _box(b"dinf", reference),
                _table(film, samples, keys, duration, start),
            ),
        ),
    )


def _table(film: Film, samples: list[bytes], keys: list[int], duration: int, start: int) -> bytes:
    sps, pps = film.sps(), film.pps()
    config = struct.pack(">B3sBBH", 1, sps[1:4], 0xFF, 0xE1, len(sps)) + sps + struct.pack(">BH", 1, len(pps)) + pps
    entry = struct.pack(
        ">6xH16xHHIIIH32sHh", 1, film.width, film.height, 72 << 16, 72 << 16, 0, 1, b"\x0ddemo upstream", 24, -1
    )
    # Every frame takes as long as the next but the last, which takes what is left.
    last = duration - FRAME_MS * (len(samples) - 1)
    runs = [(len(samples) - 1, FRAME_MS), (1, last)] if len(samples) > 1 else [(1, last)]
    return _box(
        b"stbl",
        _full(b"stsd", struct.pack(">I", 1), _box(b"avc1", entry, _box(b"avcC", config))),
        _full(b"stts", _numbers(len(runs), *itertools.chain.from_iterable(runs))),
        _full(b"stss", _numbers(len(keys), *keys)),
        _full(b"stsc", _numbers(1, 1, len(samples), 1)),
        _full(b"stsz", _numbers(0, len(samples), *map(len, samples))),
        _full(b"stco", _numbers(1, start)),
    )


def _numbers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def _full(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", flags), *parts)
