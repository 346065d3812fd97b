"""What clients send along is told by its bytes alone, within its bounds, and in little memory."""

from __future__ import annotations

import base64
import random
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import GatewayError
from app.media.inputs import MAX_IMAGE, read_image, read_upload, sniff

PICTURES = sorted((Path(__file__).parents[1] / "core" / "pictures").iterdir())
TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif"}
PNG = b"\x89PNG\r\n\x1a\n"
TEXT = base64.b64encode(PNG + bytes(200)).decode()


def png(size: int) -> bytes:
    return PNG + random.Random(size).randbytes(size - len(PNG))


def refusal(text: str) -> GatewayError:
    with pytest.raises(GatewayError) as refused:
        read_image(text, "images[1]")
    assert (refused.value.status, refused.value.param) == (400, "images[1]")
    assert refused.value.message.startswith("images[1]: ")
    assert len(refused.value.message) < 200, "what was sent isn't repeated"
    return refused.value


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
@pytest.mark.parametrize(
    "prefix",
    ["", "data:image/png;base64,", "DATA:image/jpeg;BASE64,", "data:;base64,", "data:text/html;name=x;base64,"],
)
def test_a_picture_is_what_its_bytes_are(picture: Path, prefix: str) -> None:
    data = picture.read_bytes()
    found = read_image(prefix + base64.b64encode(data).decode(), "images[1]")
    assert (found.data, found.content_type) == (data, TYPES[picture.suffix])
    assert (found.url, found.key) == (None, None)
    assert read_upload(data, "text/plain", "image") == found


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png",
        "HTTP://example.com",
        "https://example.com/a b.png".replace(" ", "%20") + "?x=1,2;base64,#f",
        "http://127.0.0.1:8000/allowed-networks-are-for-others-to-check.png",
        "https://example.com/" + "x" * 1900,
    ],
)
def test_a_url_is_taken_as_it_is(url: str) -> None:
    found = read_image(url, "images[1]")
    assert (found.url, found.data, found.content_type) == (url, None, None)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http:",
        "https://",
        "https://user:password@example.com/",
        "https://example.com/a b.png",
        "https://0x7f.1/",
        "https://example.com/" + "x" * 2100,
        ":" * 10,
    ],
)
def test_what_is_no_url_of_ours_is_refused(url: str) -> None:
    assert refusal(url).code == "invalid_request"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "!!!!",
        "data:image/png;base64,",
        "data:image/png;base64," + TEXT[:-1],
        "data:image/png," + TEXT,
        "data:image/png;base64" + TEXT,
        "data:" + "x" * 300 + ";base64," + TEXT,
        TEXT[:-1],
        TEXT + "=",
        TEXT + "====",
        TEXT[:80] + "=" + TEXT[81:],
        TEXT[:76] + "\n" + TEXT[76:],
        TEXT.replace("/", "_").replace("+", "-") + "_-__",
        TEXT + "ä",
        TEXT[:100] + "\ud800" + TEXT[101:],
        " " + TEXT,
        base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode(),
        base64.b64encode(b"\x00\x00\x00\x18ftypheic" + bytes(100)).decode(),
        base64.b64encode(b"\x00\x00\x00\x18ftypavif" + bytes(100)).decode(),
        base64.b64encode(b"\x00\x00\x00\x18ftypisom" + bytes(100)).decode(),
        base64.b64encode(b"BM" + bytes(100)).decode(),
        base64.b64encode(b"%PDF-1.7" + bytes(100)).decode(),
        base64.b64encode(b"\xff\xd8").decode(),
        base64.b64encode(b"RIFF\x00\x00\x00\x00WAVE" + bytes(100)).decode(),
    ],
)
def test_what_is_no_picture_is_refused(text: str) -> None:
    assert refusal(text).code == "invalid_image"


def test_padding_in_the_middle_is_refused_where_slices_meet() -> None:
    whole = base64.b64encode(png(3 * 1024 * 1024)).decode()
    for place in (1024 * 1024, 2 * 1024 * 1024):
        assert refusal(whole[: place - 2] + "==" + whole[place:]).code == "invalid_image"
    assert read_image(whole, "x").data == png(3 * 1024 * 1024)


@pytest.mark.parametrize(("size", "fits"), [(MAX_IMAGE, True), (MAX_IMAGE + 1, False), (MAX_IMAGE + 4096, False)])
def test_20_mb_are_the_most(size: int, fits: bool) -> None:
    data = png(size)
    text = base64.b64encode(data).decode()
    if fits:
        assert read_image(text, "images[1]").data == data
        assert read_upload(data, None, "image").data == data
        return
    assert refusal(text).code == "image_too_large"
    with pytest.raises(GatewayError) as refused:
        read_upload(data, None, "image")
    assert (refused.value.code, refused.value.param) == ("image_too_large", "image")


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_beside_the_text_only_the_bytes_are_in_memory(prefix: str) -> None:
    text = prefix + base64.b64encode(png(16 * 1024 * 1024)).decode()
    tracemalloc.start()
    try:
        found = read_image(text, "x")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.data is not None
    assert peak < 1.3 * len(found.data)


def test_what_is_far_too_large_or_no_picture_is_not_even_decoded() -> None:
    too_large, no_picture = "A" * 60 * 1024 * 1024, "A" * 24 * 1024 * 1024
    tracemalloc.start()
    try:
        assert refusal(too_large).code == "image_too_large"
        assert refusal(no_picture).code == "invalid_image"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


@pytest.mark.parametrize(
    ("head", "content_type"),
    [
        (b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41", "video/mp4"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00", "video/mp4"),
        (b"\x00\x00\x00\x1cftypM4V \x00\x00\x00\x00", "video/mp4"),
        (b"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00", "video/quicktime"),
        (b"\x00\x00\x00\x08wide\x00\x00\x00\x00mdat", "video/quicktime"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webmB", "video/webm"),
        (b"\x1a\x45\xdf\xa3\xa3B\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x88matroskaB", None),
        (b"\x00\x00\x00\x1cftypM4A \x00\x00\x00\x00", None),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic", None),
        (b"\x00\x00\x00\x18ftyp", None),
        (b"OggS\x00\x02", None),
        (b"", None),
    ],
)
def test_videos_of_forms_are_told_by_their_bytes(head: bytes, content_type: str | None) -> None:
    assert sniff(head) == content_type
    data = head + bytes(100)
    if content_type is not None:
        found = read_upload(data, "application/octet-stream", "input_reference")
        assert (found.data, found.content_type) == (data, content_type)
        return
    for claimed, code in (("video/mp4", "invalid_video"), ("image/png", "invalid_image"), (None, "invalid_image")):
        with pytest.raises(GatewayError) as refused:
            read_upload(data, claimed, "input_reference")
        assert (refused.value.code, refused.value.param) == (code, "input_reference")


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda data: base64.b64encode(data).decode()))
def test_no_text_does_worse_than_a_400(text: str) -> None:
    with suppress(GatewayError):  # which is a 400 throughout: see `refusal`
        found = read_image(text, "images[1]")
        assert (found.url is None) is (found.data is not None)
