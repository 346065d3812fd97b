"""Which images a chat may hold: real ones of each type, and those that are too large, animated, broken or something else."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.inline_media import spelling_of
from app.core.vision import MAX_BLOCKS, MAX_BYTES, check_image, inline_images

PICTURES = {path.name: path.read_bytes() for path in sorted((Path(__file__).parent / "pictures").iterdir())}
PNG, GIF, JPEG = PICTURES["plain-37x21.png"], PICTURES["plain-37x21.gif"], PICTURES["baseline-37x21.jpg"]
WEBP = PICTURES["lossless-37x21.webp"]
TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


# -- GIFs by hand, after the GIF89a specification ----------------------------------------------------------------------

HEAD = b"GIF89a" + bytes([4, 0, 4, 0, 0, 0, 0])
HEAD_WITH_TABLE = b"GIF89a" + bytes([4, 0, 4, 0, 0x81, 0, 0]) + bytes(12)
LOOP = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
CONTROL = b"\x21\xf9\x04\x00\x0a\x00\x00\x00"
COMMENT = b"\x21\xfe\x05\x2c\x2c\x2c\x2c\x2c\x00"
"""With bytes in it that would begin a picture elsewhere."""


def picture(*blocks: bytes, table: bool = False) -> bytes:
    data = b"".join(bytes([len(block)]) + block for block in blocks or (b"\x84\x51",))
    return b"\x2c" + bytes(8) + (b"\x80" + bytes(6) if table else b"\x00") + b"\x02" + data + b"\x00"


@pytest.mark.parametrize(
    ("gif", "reason"),
    [
        pytest.param(GIF, None, id="a real one"),
        pytest.param(HEAD + picture() + b"\x3b", None, id="a picture"),
        pytest.param(HEAD_WITH_TABLE + picture(table=True) + b"\x3b", None, id="with tables of colours"),
        pytest.param(HEAD + LOOP + CONTROL + COMMENT + picture() + COMMENT + b"\x3b", None, id="extensions"),
        pytest.param(HEAD + picture(b"\x2c" * 255, b"\x3b" * 7) + b"\x3b", None, id="such bytes in its data"),
        pytest.param(HEAD + picture() + b"\x3b" + picture(), None, id="something behind its end"),
        pytest.param(HEAD + picture(), None, id="without its end"),
        pytest.param(HEAD, None, id="only a head"),
        pytest.param(b"GIF87a", None, id="not even that"),
        pytest.param(HEAD + picture() + picture() + b"\x3b", "animated", id="two pictures"),
        pytest.param(HEAD + LOOP + CONTROL + picture() + CONTROL + picture() + b"\x3b", "animated", id="an animation"),
        pytest.param(HEAD_WITH_TABLE + picture(table=True) + picture(), "animated", id="two with tables"),
        pytest.param(HEAD + picture() + b"\x2c", "animated", id="the second cut short"),
        pytest.param(HEAD + picture(*[b"x" * 255] * 1000) + picture(), "animated", id="two large ones"),
        pytest.param(HEAD + picture(*[b"x" * 255] * 80_000) + b"\x3b", None, id="20 MB"),
        pytest.param(HEAD + picture(*[b"x"] * (MAX_BLOCKS + 1)) + b"\x3b", "animated", id="as no encoder writes it"),
        pytest.param(HEAD + CONTROL.replace(b"\x04\x00\x0a\x00\x00", b"") * 2_000_000, "animated", id="of nothing"),
    ],
)
@pytest.mark.timeout(10)
def test_gifs(gif: bytes, reason: str | None) -> None:
    found = check_image("image/gif", encoded(gif))
    assert found is None if reason is None else found is not None and reason in found


# -- every type --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PICTURES)
def test_images_of_the_four_types_pass(name: str) -> None:
    text = encoded(PICTURES[name])
    for declared in (TYPES[name.rpartition(".")[2]], TYPES[name.rpartition(".")[2]].upper(), None, ""):
        for spelt in (text, text.encode(), text.replace("/", "\\/"), text.replace("+", "-").replace("/", "_")):
            assert check_image(declared, spelt) is None


@pytest.mark.parametrize(
    ("declared", "text", "reason"),
    [
        ("image/png", encoded(JPEG), "is declared as image/png, but is a JPEG."),
        ("image/jpeg", encoded(WEBP), "is declared as image/jpeg, but is a WEBP."),
        ("application/octet-stream", encoded(PNG), "is declared as application/octet-stream, but is a PNG."),
        ("image/jpg", encoded(JPEG), None),
        ("image/svg+xml", encoded(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "is no PNG, JPEG, WEBP or GIF."),
        ("image/bmp", encoded(b"BM" + bytes(100)), "is no PNG, JPEG, WEBP or GIF."),
        ("image/heic", encoded(b"\0\0\0\x18ftypheic" + bytes(50)), "is no PNG, JPEG, WEBP or GIF."),
        ("image/webp", encoded(b"RIFF\0\0\0\0WAVE" + bytes(50)), "is no PNG, JPEG, WEBP or GIF."),
        ("image/png", encoded(PNG)[:10], "is no PNG, JPEG, WEBP or GIF."),
        ("image/png", "", "is empty."),
        ("image/png", "data:image/png;base64,", "isn't valid base64."),
        ("image/png", "<html>Just a moment</html>", "isn't valid base64."),
        ("image/png", encoded(PNG)[:20] + "*" + encoded(PNG)[20:], "isn't valid base64."),
        ("image/png", "\u732b" * 40, "isn't valid base64."),
        ("image/gif", encoded(HEAD + picture(*[b"x" * 255] * 400))[:99_000] + "*" * 3000, "isn't valid base64."),
    ],
)
def test_what_is_no_image(declared: str | None, text: str, reason: str | None) -> None:
    assert check_image(declared, text) == reason


@pytest.mark.parametrize(("size", "fits"), [(MAX_BYTES, True), (MAX_BYTES + 1, False), (MAX_BYTES + 3, False)])
def test_at_most_20_mb(size: int, fits: bool) -> None:
    text = encoded(PNG + bytes([255]) * (size - len(PNG)))
    for spelt in (text, text.replace("/", "\\/")):
        assert (check_image("image/png", spelt) is None) is fits


def test_animated_webp_and_png_pass() -> None:
    frames = PNG[:33] + b"\0\0\0\x08acTL\0\0\0\x02\0\0\0\0\0\0\0\0" + PNG[33:]
    extended = bytearray(PICTURES["extended-37x21.webp"])
    extended[20] |= 0x02
    assert check_image("image/png", encoded(frames)) is None
    assert check_image("image/webp", encoded(bytes(extended))) is None


@given(st.sampled_from([b"", PNG[:20], GIF[:13], HEAD, HEAD + picture(), JPEG[:9]]), st.binary(max_size=200), st.data())
def test_whatever_comes_is_answered(head: bytes, noise: bytes, data: st.DataObject) -> None:
    text = encoded(head + noise)
    cut = data.draw(st.integers(0, len(text)))
    for piece in (text, text[:cut], text[:cut] + data.draw(st.text(max_size=5)) + text[cut:]):
        reason = check_image(data.draw(st.none() | st.text(max_size=20)), piece)
        assert reason is None or (reason.startswith(("is", "isn't")) and reason.endswith("."))


BLOCKS = st.sampled_from([LOOP, CONTROL, COMMENT, picture(), picture(b"\x2c\x2c", b"\x3b"), picture(table=True)])


@given(st.lists(BLOCKS, max_size=8))
def test_a_gif_is_animated_if_there_are_two_pictures(blocks: list[bytes]) -> None:
    pictures = sum(block.startswith(b"\x2c") for block in blocks)
    found = check_image("image/gif", encoded(HEAD + b"".join(blocks) + b"\x3b"))
    assert found == ("is an animated GIF." if pictures > 1 else None)


# -- the images of a request -------------------------------------------------------------------------------------------

URL = f"data:image/png;base64,{encoded(PNG)}"


def shown(body: object, format: str) -> list[tuple[int, str, str | None, str]]:
    data = json.dumps(body).encode()
    return [
        (image.number, image.field, image.media_type, data[image.start : image.end].decode())
        for image in inline_images(data, spelling_of(format))
    ]


@pytest.mark.parametrize(
    ("format", "parts", "found"),
    [
        (
            "openai_chat",
            [
                {"type": "image_url", "image_url": {"url": "https://e.com/1.png"}},
                {"type": "text", "text": URL},
                {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
                {"type": "image_url", "image_url": URL.replace("png", "JPEG").replace("data", "Data")},
            ],
            [(2, "image_url", "image/png"), (3, "image_url", "image/jpeg")],
        ),
        ("openai_responses", [{"type": "input_image", "image_url": URL}], [(1, "image_url", "image/png")]),
        (
            "anthropic_messages",
            [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": encoded(PNG)}}],
            [(1, "source", "image/png")],
        ),
        (
            "gemini_generate",
            [{"inline_data": {"mime_type": "image/png", "data": encoded(PNG)}}],
            [(1, "inlineData", "image/png")],
        ),
    ],
)
def test_the_images_of_a_request(format: str, parts: list[dict[str, Any]], found: list[tuple[int, str, str]]) -> None:
    assert shown([{"role": "user", "content": parts}], format) == [(*one, encoded(PNG)) for one in found]


def test_a_plain_request_has_none() -> None:
    assert shown([{"role": "user", "content": "data:image/png;base64,AAAA"}], "openai_chat") == []
