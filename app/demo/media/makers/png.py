"""Makes PNG images: a diagonal run of colours (W3C PNG, third edition)."""

import struct
import zlib

from app.demo.media.makers.colours import ring

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DEPTH = 8
TRUECOLOUR = 2
UNFILTERED = b"\0"


def make_png(prompt: str, width: int, height: int) -> bytes:
    """An RGB image of that many pixels; both sides are at least 1."""
    # Each row is the one above, moved on by a pixel: cut from one long run, which is quick and packs well.
    run = b"".join(bytes(colour) for colour in ring(prompt, width + height))
    rows = (UNFILTERED + run[3 * y : 3 * (y + width)] for y in range(height))
    packer = zlib.compressobj(6)
    data = b"".join([packer.compress(row) for row in rows]) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, DEPTH, TRUECOLOUR, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
