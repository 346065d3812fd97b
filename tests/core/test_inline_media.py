"""Media in the spellings of Claude, Gemini and Responses: held by the piece, and text that looks like it as text."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.images import MOST
from app.core.inline_media import ANY, MAX_TOKENS, Spelling, spelling_of
from app.core.tokens import bound_of_request
from app.formats.anthropic_messages.prompt import read_prompt as read_claude
from app.formats.openai_responses.prompt import read_prompt as read_responses
from tests.core.test_tokens import PIXELS, SQUARE, jpeg

DATA = SQUARE.partition(",")[2]
MESSAGES, RESPONSES, GENERATE = map(spelling_of, ("anthropic_messages", "openai_responses", "gemini_generate"))


def claude(*blocks: dict[str, Any]) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": list(blocks)}]}).encode()


def source(kind: str, **source: Any) -> dict[str, Any]:
    return {"type": kind, "source": source}


def picture(data: str = DATA) -> dict[str, Any]:
    return source("image", type="base64", media_type="image/jpeg", data=data)


def result(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "t", "content": list(blocks)}


def gemini(*parts: dict[str, Any]) -> bytes:
    return json.dumps({"contents": [{"role": "user", "parts": list(parts)}]}).encode()


def blob(mime_type: str, data: str = DATA) -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime_type, "data": data}}


def responses(*parts: dict[str, Any]) -> bytes:
    return json.dumps({"model": "m", "input": [{"role": "user", "content": list(parts)}]}).encode()


def shown(**fields: Any) -> dict[str, Any]:
    return {"type": "input_image", **fields}


PDF = "data:application/pdf;base64," + PIXELS
WIDE = base64.urlsafe_b64encode(base64.b64decode(jpeg(2048, 4096)[23:]))


@pytest.mark.parametrize(
    ("spelling", "body", "tokens"),
    [
        pytest.param(MESSAGES, claude(picture()), 765, id="Claude, an image"),
        pytest.param(MESSAGES, claude(picture(), picture(PIXELS)), 765 + MOST, id="Claude, two"),
        pytest.param(MESSAGES, claude(result(picture())), 765, id="Claude, in a tool's result"),
        pytest.param(
            MESSAGES,
            claude(source("document", type="base64", media_type="application/pdf", data=PIXELS)),
            MOST,
            id="Claude, a document",
        ),
        pytest.param(MESSAGES, claude(picture()).replace(b"/", b"\\/"), 765, id="Claude, slashes escaped"),
        pytest.param(MESSAGES, claude(picture()).replace(b'": "', b'"\n:\t"'), 765, id="Claude, blanks"),
        pytest.param(
            MESSAGES,
            claude({"type": "tool_use", "id": "t", "name": "n", "input": {"a": "}"}}, result(picture())),
            765,
            id="Claude, behind a tool's arguments",
        ),
        pytest.param(
            MESSAGES,
            claude({"type": "document", "source": {"type": "content", "content": [picture()]}}),
            765 + MOST,
            id="Claude, in a document",
        ),
        pytest.param(GENERATE, gemini(blob("image/jpeg")), 765, id="Gemini, an image"),
        pytest.param(
            GENERATE, gemini({"inline_data": {"mime_type": "image/jpeg", "data": DATA}}), 765, id="Gemini, snake"
        ),
        pytest.param(
            GENERATE, gemini({"inlineData": {"data": DATA, "mimeType": "image/jpeg"}}), 765, id="Gemini, turned"
        ),
        pytest.param(GENERATE, gemini(blob("IMAGE/JPEG")), 765, id="Gemini, capitals"),
        pytest.param(GENERATE, gemini(blob("image/jpeg", WIDE.decode())), 1105, id="Gemini, the other alphabet"),
        pytest.param(GENERATE, gemini(blob("audio/wav", PIXELS)), MOST, id="Gemini, sound"),
        pytest.param(GENERATE, gemini(blob("application/pdf", PIXELS)), MOST, id="Gemini, a document"),
        pytest.param(RESPONSES, responses(shown(image_url=SQUARE)), 765, id="Responses, an image"),
        pytest.param(RESPONSES, responses(shown(image_url=SQUARE, detail="low")), 85, id="Responses, low"),
        pytest.param(
            RESPONSES,
            responses({"detail": "low", "type": "input_image", "image_url": SQUARE}),
            85,
            id="Responses, low first",
        ),
        pytest.param(RESPONSES, responses(shown(image_url=SQUARE, detail="high")), 765, id="Responses, high"),
        pytest.param(
            RESPONSES,
            responses({"type": "input_file", "filename": "a", "file_data": PDF}),
            MOST,
            id="Responses, a file",
        ),
    ],
)
def test_inline_media_counts_by_the_piece_in_every_format(spelling: Spelling, body: bytes, tokens: int) -> None:
    assert len(body) > 400_000
    for known in (spelling, ANY):
        assert tokens <= bound_of_request(body, spelling=known) < tokens + 400


@pytest.mark.parametrize(
    ("spelling", "body", "tokens"),
    [
        pytest.param(
            MESSAGES, claude(source("image", type="url", url="https://e.com/1.png")), MOST, id="Claude, an image"
        ),
        pytest.param(MESSAGES, claude(source("document", type="file", file_id="file_1")), MOST, id="Claude, a file"),
        pytest.param(
            MESSAGES, claude(source("document", type="text", media_type="text/plain", data="a")), 0, id="text"
        ),
        pytest.param(
            MESSAGES, claude({"type": "search_result", "source": "https://e.com", "content": []}), 0, id="a hit"
        ),
        pytest.param(GENERATE, gemini({"fileData": {"fileUri": "https://e.com/1.png"}}), MOST, id="Gemini, a file"),
        pytest.param(GENERATE, gemini({"file_data": {"file_uri": "https://e.com/1"}}), MOST, id="Gemini, snake"),
        pytest.param(RESPONSES, responses(shown(image_url="https://e.com/1", detail="low")), 85, id="Responses, low"),
        pytest.param(RESPONSES, responses(shown(file_id="file_1")), MOST, id="Responses, an image by id"),
        pytest.param(
            RESPONSES, responses(shown(image_url=None, file_id="f"), shown(image_url="u")), 2 * MOST, id="two"
        ),
        pytest.param(RESPONSES, responses({"type": "input_file", "file_url": "https://e.com/1"}), MOST, id="a file"),
    ],
)
def test_media_by_address_counts_by_the_piece_in_every_format(spelling: Spelling, body: bytes, tokens: int) -> None:
    for known in (spelling, ANY):
        assert tokens <= bound_of_request(body, spelling=known) < tokens + 150


ARGUMENTS = {"source": {"type": "base64", "media_type": "image/jpeg", "data": DATA}, "of": {"a": '"}'}}


@pytest.mark.parametrize(
    ("spelling", "body"),
    [
        pytest.param(MESSAGES, claude({"type": "text", "text": json.dumps(picture())}), id="Claude, in a string"),
        pytest.param(
            MESSAGES, claude(source("document", type="text", media_type="text/plain", data=DATA)), id="of text"
        ),
        pytest.param(
            MESSAGES, claude(source("document", type="base64", media_type="text/plain", data=DATA)), id="text in base64"
        ),
        pytest.param(
            MESSAGES,
            claude({"type": "tool_use", "id": "t", "name": "n", "input": ARGUMENTS}),
            id="Claude, in arguments",
        ),
        pytest.param(
            MESSAGES,
            claude({"type": "tool_use", "id": "t", "name": "n", "input": {"a": [[]] * MAX_TOKENS, **ARGUMENTS}}),
            id="Claude, deep in arguments",
        ),
        pytest.param(GENERATE, gemini(blob("text/plain")), id="Gemini, text in base64"),
        pytest.param(GENERATE, gemini({"inlineData": {"data": DATA}}), id="Gemini, of no type"),
        pytest.param(
            GENERATE, gemini({"functionCall": {"name": "n", "args": blob("image/jpeg")}}), id="Gemini, in arguments"
        ),
        pytest.param(
            GENERATE,
            gemini({"functionResponse": {"name": "n", "response": blob("image/jpeg")}}),
            id="Gemini, in a result",
        ),
        pytest.param(
            RESPONSES,
            responses({"type": "input_text", "text": json.dumps(shown(image_url=SQUARE))}),
            id="Responses, in a string",
        ),
    ],
)
def test_what_upstreams_read_as_text_is_held_as_text(spelling: Spelling, body: bytes) -> None:
    for known in (spelling, ANY):
        assert bound_of_request(body, spelling=known) > len(DATA) // 2


@pytest.mark.parametrize(
    "hide",
    [
        lambda body: body.replace(b'"inlineData"', b'"inline\\u0044ata"'),
        lambda body: body.replace(b'"args"', b'"\\u0061rgs"'),
        lambda body: body.replace(b'"mimeType"', b'"mime\\u0054ype"'),
    ],
    ids=["the field", "arguments", "the type"],
)
def test_escapes_hide_nothing_in_other_formats_either(hide: Callable[[bytes], bytes]) -> None:
    plain = gemini(blob("image/jpeg"), {"functionCall": {"name": "n", "args": {"text": "x"}}}, {"text": "x"})
    asked = gemini({"functionCall": {"name": "n", "args": blob("image/jpeg")}})

    assert 765 <= bound_of_request(hide(plain), spelling=GENERATE) < 1200
    assert bound_of_request(hide(asked), spelling=GENERATE) > len(DATA) // 2


@pytest.mark.timeout(5)
@pytest.mark.parametrize("inside", [b"{}," * 300_000, b'"a":"b",' * 300_000, b'"source":{"type":"base64"},' * 100_000])
def test_arguments_of_any_length_are_walked_over_in_a_moment(inside: bytes) -> None:
    calls = b'{"type":"tool_use","input":{"a":[%s0]}}' % inside.replace(b'"a":"b",', b'{"a":"b"},')
    body = b'{"messages":[{"content":[%s,%s]}]}' % (calls, json.dumps(picture()).encode())

    assert bound_of_request(body, spelling=MESSAGES) > 0


BLOCKS = st.sampled_from(
    [
        picture(),
        picture(DATA[:300]),
        source("image", type="url", url="u"),
        source("image", type="file", file_id="f"),
        {"type": "text", "text": '"type":"image","source":{"type":"base64"'},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"source": {"type": "url"}}},
    ]
)
CLAUDE = st.lists(BLOCKS | st.lists(BLOCKS, max_size=3).map(lambda blocks: result(*blocks)), max_size=5)


@given(CLAUDE, st.booleans(), st.booleans())
def test_no_hold_is_below_what_claude_s_estimate_charges_for_images(
    blocks: list[dict[str, Any]], compact: bool, known: bool
) -> None:
    fields = {"model": "m", "messages": [{"role": "user", "content": blocks}]}
    body = json.dumps(fields, separators=(",", ":") if compact else (" ,\n", " :\t")).encode()

    assert bound_of_request(body, spelling=MESSAGES if known else ANY) >= read_claude(body).image_tokens


SHOWN = st.fixed_dictionaries(
    {"type": st.just("input_image")},
    optional={
        "detail": st.sampled_from(["low", "auto", "high", None]),
        "image_url": st.sampled_from([SQUARE[:300], "https://e.com/1.png", 'a"b', None]),
        "file_id": st.just("f"),
    },
)


@given(st.lists(SHOWN, max_size=6), st.booleans(), st.booleans(), st.randoms())
def test_no_hold_is_below_what_the_estimate_of_responses_charges_for_images(
    parts: list[dict[str, Any]], compact: bool, known: bool, chance: random.Random
) -> None:
    turned = [dict(chance.sample(list(part.items()), len(part))) for part in parts]
    fields = {"model": "m", "input": [{"role": "user", "content": turned}]}
    body = json.dumps(fields, separators=(",", ":") if compact else (" ,\n", " :\t")).encode()

    assert bound_of_request(body, spelling=RESPONSES if known else ANY) >= read_responses(body).image_tokens
