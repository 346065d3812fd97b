"""Token bounds from bytes, and token counts of whatever text comes."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.images import MOST
from app.core.inline_media import MAX_LOOKS
from app.core.tokens import bound_of_request, count_text
from app.formats.openai_chat.prompt import read_prompt

PIXELS = base64.b64encode(random.Random(1).randbytes(300_000)).decode()


def image(url: str | None, **more: object) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file(data: str) -> dict[str, Any]:
    return {"type": "file", "file": {"filename": "a.pdf", "file_data": data}}


def request(*parts: dict[str, Any]) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": list(parts)}]}).encode()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("hello world", 2), ("<|endoftext|>", 7), ("汉字", 3), ("\ud83d", 1), ("x\ude00y", 3)],
    ids=["empty", "words", "a special token's spelling", "Chinese", "a lone surrogate", "a lone surrogate in text"],
)
def test_count(text: str, tokens: int) -> None:
    assert count_text(text) == tokens


@pytest.mark.parametrize("text", ["a" * 200_000, " " * 200_000, "\n" * 200_000, "!" * 200_000], ids=repr)
@pytest.mark.timeout(10)
def test_counting_a_text_without_any_break_ends_soon(text: str) -> None:
    assert 0 < count_text(text) < len(text)


# -- the bound of text -------------------------------------------------------------------------------------------------

DICE = random.Random(7)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": n, "share": DICE.random(), "ok": True, "tags": ["x", "y"]} for n in range(count)]


@pytest.mark.parametrize(
    ("text", "least"),
    [
        pytest.param("The quick brown fox jumps over the lazy dog. " * 50, 1, id="English"),
        pytest.param("中文的提示词通常比英文短一些，但是每个字可能要两个词元。" * 50, 1, id="Chinese"),
        pytest.param("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 50, 1, id="Japanese"),
        pytest.param("오늘은 날씨가 매우 좋습니다. 우리는 공원에 가서 산책을 했습니다." * 50, 1, id="Korean"),
        pytest.param("يولد جميع الناس أحرارا متساوين في الكرامة والحقوق." * 50, 1, id="Arabic"),
        pytest.param(Path(__file__).read_text(), 1, id="code"),
        pytest.param(json.dumps(rows(100), separators=(",", ":")), 1, id="minified JSON"),
        pytest.param("".join(DICE.choices("0123456789", k=5000)), 1, id="digits"),
        # Below what a tokenizer may find, and how far: a hold for the worst would refuse well-funded calls.
        pytest.param(PIXELS[:20_000], 0.7, id="base64"),
        pytest.param("".join(chr(DICE.randrange(0x1F300, 0x1F600)) for _ in range(1000)), 0.85, id="emoji"),
        pytest.param("".join(chr(DICE.randrange(0x4E00, 0x9FA5)) for _ in range(1000)), 0.8, id="rare characters"),
        pytest.param(" ".join(DICE.choices("0123456789", k=5000)), 0.5, id="single digits"),
    ],
)
def test_the_bound_against_the_count(text: str, least: float) -> None:
    assert bound_of_request(json.dumps(text, ensure_ascii=False).encode()) >= least * count_text(text)
    assert bound_of_request(json.dumps(text).encode()) >= least * count_text(text)


@given(st.text(max_size=300), st.integers(1, 300))
def test_a_sample_tells_what_the_whole_would(text: str, times: int) -> None:
    body = (text * times).encode("utf-8", "surrogatepass")
    whole = (len(body) + len(body.translate(None, b"abcdefghijklmnopqrstuvwxyz "))) // 3 + 1

    assert abs(bound_of_request(body) - whole) <= len(body) // 3


# -- images and files --------------------------------------------------------------------------------------------------


def jpeg(width: int, height: int) -> str:
    sides = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    data = (
        b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(10) + b"\xff\xc0\x00\x11\x08" + sides + b"\x03"
    )  # whole groups of three
    return "data:image/jpeg;base64," + base64.b64encode(data).decode() + PIXELS


SQUARE = jpeg(1024, 1024)


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        pytest.param(request(image(f"data:image/png;base64,{PIXELS}")), MOST, id="of unknown size"),
        pytest.param(request(image(SQUARE)), 765, id="1024 × 1024"),
        pytest.param(request(image(jpeg(2048, 4096))), 1105, id="2048 × 4096"),
        pytest.param(request(image(SQUARE, detail="high")), 765, id="high"),
        pytest.param(request(image(SQUARE, detail="low")), 85, id="low"),
        pytest.param(request(image(SQUARE, detail="auto")), 85, id="auto"),
        pytest.param(request(image(SQUARE, detail=None)), 765, id="null"),
        pytest.param(request({"image_url": {"detail": "low", "url": SQUARE}}), 85, id="the detail first"),
        pytest.param(request({"type": "image_url", "image_url": SQUARE}), 765, id="no object"),
        pytest.param(request(image(SQUARE)).replace(b"/", b"\\/"), 765, id="slashes escaped"),
        pytest.param(request(image(SQUARE)).replace(b'": "', b'"\n:\t"'), 765, id="blanks"),
        pytest.param(request(image(SQUARE), image(SQUARE, detail="low"), image(SQUARE)), 1615, id="three"),
        pytest.param(request(*[image(SQUARE)] * 20), 765 * 20, id="twenty"),
        pytest.param(request(file(f"data:application/pdf;base64,{PIXELS}")), MOST, id="a file"),
        pytest.param(
            request({"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{PIXELS}"}}), MOST, id="a video"
        ),
    ],
)
def test_inline_media_counts_by_the_piece(body: bytes, tokens: int) -> None:
    assert len(body) > 400_000
    assert tokens <= bound_of_request(body) < tokens + 100 + 70 * body.count(b"base64")


@pytest.mark.parametrize(
    ("parts", "tokens"),
    [
        ([image("https://example.com/1.png")], MOST),
        ([image("https://example.com/1.png", detail="low")], 85),
        ([image("https://example.com/1.png", detail="auto"), image("https://example.com/2.png")], 85 + MOST),
        ([image("u", detail={"of": 1})], MOST),
        ([image("u", detail="lower")], MOST),
        ([image('u"', detail="low")], MOST),
        ([image(None)], 0),
        ([{"type": "image_url"}], 0),
    ],
    ids=["one", "low", "two", "an object as detail", "another detail", "a quote", "null", "nothing"],
)
def test_images_by_address_count_by_the_piece(parts: list[dict[str, Any]], tokens: int) -> None:
    assert tokens <= bound_of_request(request(*parts)) < tokens + 250


def test_a_crowd_of_images_counts_as_the_dearest() -> None:
    body = request(*[image("u", detail="low")] * (MAX_LOOKS + 1000))

    assert bound_of_request(body) > 85 * MAX_LOOKS // 2 + MOST * 1000


@pytest.mark.parametrize("lead", ["see ;base64,", "data:image/png;base64,", '"url":"data:image/png;base64,'], ids=repr)
def test_text_that_looks_like_an_image_is_charged_as_text(lead: str) -> None:
    body = request({"type": "text", "text": lead + PIXELS})

    assert bound_of_request(body) > len(PIXELS) // 4


def test_an_image_outside_the_conversation_is_text() -> None:
    schema = {"default": image(SQUARE)}
    fields = {"messages": [{"role": "user", "content": [image(SQUARE)]}], "tools": [{"parameters": schema}]}
    body = json.dumps(fields).encode()
    conversation = msgspec.Raw(json.dumps(fields["messages"]).encode())

    assert bound_of_request(body) < 2000
    assert bound_of_request(body, conversation) > len(SQUARE) // 3


@pytest.mark.parametrize(
    "hide",
    [
        lambda body: body.replace(b'"image_url"', b'"image\\u005furl"'),
        lambda body: body.replace(b'"image_url"', b'"\\u0069mage_url"'),
        lambda body: body.replace(b'"url"', b'"\\u0075rl"'),
        lambda body: body.replace(b'"low"', b'"\\u006Cow"'),
        lambda body: body.replace(b'"detail"', b'"detai\\u006c"'),
    ],
    ids=["a key", "its first letter", "the address", "the detail's value", "the detail"],
)
def test_an_image_cannot_be_hidden_by_escapes(hide: Callable[[bytes], bytes]) -> None:
    plain = request(image("https://e.com/1.png", detail="low"), image("https://e.com/2.png"))

    assert hide(plain) != plain
    assert json.loads(hide(plain)) == json.loads(plain)
    assert bound_of_request(hide(plain)) >= 85 + MOST


ADDRESSES = st.sampled_from([SQUARE[:300], "https://e.com/1.png", "data:image/gif;base64,R0lGODlh", 'a"b', "", None, 5])
DETAILS = st.sampled_from(["low", "auto", "high", None, "x", 5, {"a": "}"}, ["low"]])
IMAGES = st.fixed_dictionaries({"url": ADDRESSES}, optional={"detail": DETAILS, "other": DETAILS})
PARTS = st.fixed_dictionaries(
    {"image_url": IMAGES | ADDRESSES}, optional={"detail": DETAILS, "type": st.just("image_url")}
)


@given(st.lists(PARTS | st.just({"type": "text", "text": '"image_url":{"url":"'}), max_size=6), st.booleans())
def test_no_hold_is_below_what_an_estimate_charges_for_images(parts: list[dict[str, Any]], compact: bool) -> None:
    body = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": parts}]},
        separators=(",", ":") if compact else (" ,\n", " :\t"),
    ).encode()

    assert bound_of_request(body) >= read_prompt(body).image_tokens


@given(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from(
            [
                b'"image_url"',
                b'"source"',
                b'"inlineData"',
                b'"data"',
                b'"input"',
                b":",
                b"{",
                b"}",
                b'"',
                b'"url"',
                b"data:;base64,",
            ]
        )
    ),
)
def test_whatever_comes_has_a_bound(noise: bytes, pieces: list[bytes]) -> None:
    assert bound_of_request(noise.join(pieces)) > 0
