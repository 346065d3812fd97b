"""Token bounds from bytes, and token counts of whatever text comes."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest

from app.core.tokens import IMAGE_TOKENS_HIGH, bound_of_request, count_text

PIXELS = base64.b64encode(random.Random(1).randbytes(300_000)).decode()


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


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


@pytest.mark.parametrize(
    "text",
    [
        "The quick brown fox jumps over the lazy dog. " * 50,
        "中文的提示词通常比英文短一些。" * 50,
    ],
    ids=["English", "Chinese"],
)
def test_the_bound_is_above_the_count_of_prose(text: str) -> None:
    assert bound_of_request(request({"type": "text", "text": text})) >= count_text(text)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(request(image(f"data:image/png;base64,{PIXELS}")), id="plain"),
        pytest.param(request(image(f"data:image/png;base64,{PIXELS}")).replace(b"/", b"\\/"), id="slashes escaped"),
        pytest.param(
            request(image(f"data:image/png;charset=x;base64,{PIXELS}")).replace(b'": "', b'":"'), id="parameters"
        ),
        pytest.param(
            request({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PIXELS}"}}), id="a file"
        ),
    ],
)
def test_inline_media_counts_by_the_piece(body: bytes) -> None:
    assert len(body) > 400_000
    assert IMAGE_TOKENS_HIGH <= bound_of_request(body) < IMAGE_TOKENS_HIGH + 200


def test_images_by_address_count_by_the_piece() -> None:
    body = request(image("https://example.com/1.png"), image("https://example.com/2.png"))

    assert 2 * IMAGE_TOKENS_HIGH <= bound_of_request(body) < 2 * IMAGE_TOKENS_HIGH + 200


@pytest.mark.parametrize("lead", ["see ;base64,", "data:image/png;base64,", '"url":"data:image/png;base64,'], ids=repr)
def test_text_that_looks_like_an_image_is_charged_as_text(lead: str) -> None:
    body = request({"type": "text", "text": lead + PIXELS})

    assert bound_of_request(body) > len(PIXELS) // 4
