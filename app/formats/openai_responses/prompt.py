"""What a Responses request feeds a model, gathered where usage must be estimated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from app.core.images import PREFIX, image_tokens, read_data_url
from app.formats.base import Prompt

ITEM_TEXTS = ("name", "arguments", "input")
PART_TEXTS = ("text", "refusal")
PART_LISTS = ("content", "output", "summary")


def read_prompt(body: bytes) -> Prompt:
    """The text of instructions, items, tools and schemas, and the tokens of all images.

    Sound and files are left out: what they come to can't be told without their vendor's tokenizer. So is what the upstream
    keeps of earlier turns: it isn't here to be counted.
    """
    try:
        value = json.loads(body)
        if not isinstance(value, dict):
            return Prompt("", 0)
        wanted = value.get("text")
        schemas = [value.get("tools"), wanted.get("format") if isinstance(wanted, dict) else None]
        texts = [json.dumps(schema, ensure_ascii=False) for schema in schemas if schema]
    except (ValueError, RecursionError):
        return Prompt(body.decode("utf-8", "replace"), 0)
    tokens = 0
    texts = [*_strings(value, ("instructions", "input")), *texts]
    for item in _objects(value.get("input")):
        texts += _strings(item, (*ITEM_TEXTS, *PART_LISTS))
        for part in _parts(item):
            texts += _strings(part, PART_TEXTS)
            tokens += _image_tokens(part)
    return Prompt("\n".join(texts), tokens)


def _parts(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in PART_LISTS:
        yield from _objects(item.get(name))


def _image_tokens(part: dict[str, Any]) -> int:
    """Zero for a part that is no image. One by file id counts as the dearest of its detail, as one by address does."""
    if part.get("type") != "input_image":
        return 0
    url = part.get("image_url")
    size = read_data_url(url[: 2 * PREFIX].encode("utf-8", "replace")) if isinstance(url, str) else None
    return image_tokens(part.get("detail"), size)


def _objects(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _strings(value: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    return [value[name] for name in names if isinstance(value.get(name), str)]
