"""What a request feeds a model, for an estimate: all of its text, and its images by the contract's formula."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from app.formats.base import Prompt
from app.formats.openai_chat.prompt import read_prompt

PICTURE = Path(__file__).parents[2] / "core" / "pictures" / "progressive-37x21.jpg"
INLINE = "data:image/jpeg;base64," + base64.b64encode(PICTURE.read_bytes()).decode()


def prompt(*messages: dict[str, Any], **fields: object) -> Prompt:
    return read_prompt(json.dumps({"model": "m", "messages": messages, **fields}).encode())


def user(*parts: object) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def image(url: object, **more: object) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"x": "here"}'}}
CUSTOM = {"id": "call_2", "type": "custom", "custom": {"name": "write", "input": "free"}}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"role": "system", "content": "one"}, "one"),
        (user({"type": "text", "text": "two"}, "three"), "two\nthree"),
        ({"role": "tool", "content": [{"type": "text", "text": "found"}]}, "found"),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, "no"),
        ({"role": "assistant", "content": None, "refusal": "no"}, "no"),
        ({"role": "assistant", "content": "four", "reasoning_content": "since"}, "four\nsince"),
        ({"role": "assistant", "tool_calls": [CALL, CUSTOM]}, 'look\n{"x": "here"}\nwrite\nfree'),
        ({"role": "assistant", "function_call": {"name": "old", "arguments": "{}"}}, "old\n{}"),
        ({"role": "user", "name": "ann", "content": "five"}, "five\nann"),
        ({"role": "user", "content": "cut \ud83d"}, "cut \ud83d"),
    ],
)
def test_text_of_messages(message: dict[str, Any], text: str) -> None:
    assert prompt(message) == Prompt(text, 0)


def test_tools_and_schemas_are_text() -> None:
    tool = {"type": "function", "function": {"name": "suchen", "description": "für alle"}}
    schema = {"name": "answer", "schema": {"type": "object"}}
    got = prompt(
        {"role": "user", "content": "hi"},
        tools=[tool],
        functions=[{"name": "old"}],
        response_format={"type": "json_schema", "json_schema": schema},
    )

    texts = [json.dumps(value, ensure_ascii=False) for value in ([tool], [{"name": "old"}], schema)]
    assert got == Prompt("\n".join(["hi", *texts]), 0)


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        (image(INLINE), 255),
        (image(INLINE, detail="high"), 255),
        (image(INLINE, detail="low"), 85),
        (image("data:image/jpeg;base64,AAAA"), 1445),
        (image("https://example.com/1.png"), 1445),
        (image("https://example.com/1.png", detail="auto"), 85),
        ({"type": "input_image", "image_url": INLINE}, 255),
        ({"type": "input_image", "image_url": "https://example.com/1.png", "detail": "low"}, 85),
        (image(None), 0),
        (image(5), 0),
        ({"type": "file", "file": {"file_data": INLINE}}, 0),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, 0),
    ],
)
def test_images_by_detail_and_size(part: dict[str, Any], tokens: int) -> None:
    assert prompt(user(part)) == Prompt("", tokens)
    assert prompt(user(part, part), {"role": "tool", "content": [part]}) == Prompt("", 3 * tokens)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{",
        b'{"messages":1}',
        b'{"messages":[1,null,[],{"content":{}}]}',
        b'{"messages":[{"tool_calls":1}]}',
        b'{"messages":[{"tool_calls":[1,{"function":2}],"function_call":3}],"response_format":4}',
    ],
    ids=bytes.decode,
)
def test_anything_is_no_error(raw: bytes) -> None:
    got = read_prompt(raw)

    assert (len(got.text) < 20, got.image_tokens) == (True, 0)


def test_what_is_nested_too_deeply_counts_as_text() -> None:
    raw = b'{"tools":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    assert read_prompt(raw) == Prompt(raw.decode(), 0)
