"""The tile formula against the contract's figures, and sizes read off the first bytes of real, damaged and hostile images."""

from __future__ import annotations

import base64
import math
import random
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.images import (
    LOW,
    MAX_SEGMENTS,
    MOST,
    PREFIX,
    Size,
    data_start,
    image_tokens,
    read_base64,
    read_data_url,
    read_size,
)

PICTURES = sorted((Path(__file__).parent / "pictures").iterdir())
SIZE = Size(37, 21)
NOISE = random.Random(1).randbytes(400_000)

# -- the formula -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("detail", "width", "height", "tokens"),
    [
        ("high", 1024, 1024, 765),
        (None, 1024, 1024, 765),
        ("high", 2048, 4096, 1105),
        ("low", 4096, 8192, 85),
        ("auto", 4096, 8192, 85),
        ("original", 1024, 1024, 765),
        (7, 1024, 1024, 765),
        ("high", 1, 1, 255),
        ("high", 512, 512, 255),
        ("high", 513, 512, 425),
        ("high", 768, 768, 765),
        ("high", 2048, 768, MOST),
        ("high", 4096, 1536, MOST),
        ("high", 1, 10**9, 765),
        ("high", 10**9, 10**9, 765),
        ("high", 2**32, 2**32 - 1, 765),
    ],
)
def test_the_contract_s_figures(detail: object, width: int, height: int, tokens: int) -> None:
    assert image_tokens(detail, Size(width, height)) == tokens
    assert image_tokens(detail, Size(height, width)) == tokens


@pytest.mark.parametrize(("detail", "tokens"), [("high", 1445), (None, 1445), ("low", 85), ("auto", 85)])
def test_an_unknown_size_counts_as_the_dearest(detail: object, tokens: int) -> None:
    assert image_tokens(detail, None) == tokens


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_the_formula_step_by_step(width: int, height: int) -> None:
    scale = min(Fraction(1), Fraction(2048, max(width, height)))
    scale *= min(Fraction(1), Fraction(768) / (min(width, height) * scale))
    tiles = math.ceil(width * scale / 512) * math.ceil(height * scale / 512)

    assert image_tokens("high", Size(width, height)) == 85 + 170 * tiles
    assert LOW < 85 + 170 * tiles <= MOST


# -- sizes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_real_images(picture: Path) -> None:
    data = picture.read_bytes()

    assert read_size(data) == SIZE
    assert read_base64(base64.b64encode(data)) == SIZE
    assert read_data_url(b"data:image/png;base64," + base64.b64encode(data)) == SIZE  # whatever the type claims


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_a_cut_image_has_its_size_or_none(picture: Path) -> None:
    data = picture.read_bytes()

    assert {read_size(data[:end]) for end in range(len(data))} == {SIZE, None}


@pytest.mark.parametrize(
    "spell",
    [
        lambda b: b.replace(b"/", b"\\/"),
        lambda b: b.replace(b"+", b"\\u002B"),
        lambda b: base64.encodebytes(base64.b64decode(b)),
        lambda b: base64.encodebytes(base64.b64decode(b)).replace(b"\n", b"\\r\\n"),
    ],
    ids=["PHP's slashes", ".NET's plus signs", "lines", "lines in JSON"],
)
@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_base64_as_json_writers_spell_it(picture: Path, spell: object) -> None:
    assert callable(spell)
    assert read_base64(spell(base64.b64encode(picture.read_bytes()))) == SIZE


def jpeg(*segments: tuple[int, bytes], frame: int = 0xC0, size: tuple[int, int] = (37, 21)) -> bytes:
    head = b"".join(bytes([0xFF, kind]) + (len(data) + 2).to_bytes(2, "big") + data for kind, data in segments)
    width, height = size
    sof = b"\x00\x11\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return b"\xff\xd8" + head + bytes([0xFF, frame]) + sof


def png(width: int, height: int, chunk: bytes = b"IHDR") -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + chunk + width.to_bytes(4, "big") + height.to_bytes(4, "big")


THUMBNAIL = jpeg(size=(160, 120)) + b"\xff\xda"


@pytest.mark.parametrize(
    ("data", "size"),
    [
        pytest.param(jpeg((0xE1, b"Exif\0\0" + THUMBNAIL)), SIZE, id="a thumbnail is not the image"),
        pytest.param(jpeg((0xE1, NOISE[:65_533]), (0xE2, NOISE[:20_000])), SIZE, id="much before the frame"),
        pytest.param(jpeg((0xC4, b"x"), (0xCC, b"x"), (0xC8, b"x"), frame=0xCF), SIZE, id="C4, C8, CC are no frames"),
        pytest.param(b"\xff\xd8\xff\xff" + jpeg()[2:], SIZE, id="filling"),
        pytest.param(jpeg(*[(0xE2, NOISE[:65_533])] * 2), None, id="too much before the frame"),
        pytest.param(jpeg(*[(0xE2, b"")] * MAX_SEGMENTS), None, id="too many segments"),
        pytest.param(b"\xff\xd8" + b"\xff" * 100_000, None, id="nothing but filling"),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x00" + jpeg(), None, id="a segment of no length"),
        pytest.param(b"\xff\xd8\xff\xe0\xff\xff" + jpeg(), None, id="a segment longer than the file"),
        pytest.param(b"\xff\xd8\xff\xda" + jpeg()[2:], None, id="data before any frame"),
        pytest.param(jpeg(size=(0, 21)), None, id="a JPEG without width"),
        pytest.param(jpeg(size=(37, 0)), None, id="a JPEG without height"),
        pytest.param(png(0, 21), None, id="a PNG without width"),
        pytest.param(png(37, 0), None, id="a PNG without height"),
        pytest.param(png(37, 21, b"IDAT"), None, id="a PNG without header"),
        pytest.param(png(2**32 - 1, 2**32 - 1), Size(2**32 - 1, 2**32 - 1), id="a PNG of billions"),
        pytest.param(b"GIF89a\0\0\x15\0", None, id="a GIF without width"),
        pytest.param(b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 20, None, id="a WEBP without start code"),
        pytest.param(b"RIFF\0\0\0\0WEBPVP8L" + b"\0" * 20, None, id="a lossless WEBP without signature"),
        pytest.param(b"RIFF\0\0\0\0WEBPALPH" + b"\0" * 20, None, id="a WEBP of another kind"),
        pytest.param(b"BM" + NOISE[:60], None, id="a BMP"),
        pytest.param(b"<svg width='9' height='9'/>", None, id="an SVG"),
        pytest.param(b"", None, id="nothing"),
    ],
)
def test_headers(data: bytes, size: Size | None) -> None:
    assert read_base64(base64.b64encode(data)[:PREFIX]) == size


@pytest.mark.parametrize(
    ("url", "start"),
    [
        (b"data:image/png;base64,AAAA", 22),
        (b"DATA:image/png;charset=x;BASE64,AAAA", 32),
        (b"data:;base64,AAAA", 13),
        (b"data:image/png,AAAA", None),
        (b"data:image/png;base64", None),
        (b"data:image/png;" + b"x" * 300 + b";base64,AAAA", None),
        (b"https://example.com/;base64,AAAA", None),
        (b"", None),
    ],
)
def test_where_a_data_url_s_base64_begins(url: bytes, start: int | None) -> None:
    assert data_start(url, 0, len(url)) == start


def test_a_comma_behind_the_url_is_not_its_own() -> None:
    body = b'"data:image/png;base64", "x,;base64,"'

    assert data_start(body, 1, 22) is None


@pytest.mark.parametrize("text", [b"====", b"iVBORw0KGgo*", b"\xff\xfe", b"iVBO Rw0K", b"A", "中文".encode()], ids=repr)
def test_what_is_no_base64_has_no_size(text: bytes) -> None:
    assert read_base64(text) is None


HEADS = st.sampled_from(
    [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF0000WEBPVP8", b"RIFF0000WEBPVP8L"]
)


@given(HEADS, st.binary(max_size=200))
def test_arbitrary_bytes_never_raise(head: bytes, rest: bytes) -> None:
    data = head + rest

    for size in (read_size(data), read_base64(base64.b64encode(data)), read_base64(data), read_data_url(data)):
        assert size is None or (size.width > 0 and size.height > 0)
        assert LOW < image_tokens(None, size) <= MOST
