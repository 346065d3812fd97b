"""What a Messages request feeds a model, gathered where usage must be estimated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from app.core.images import PREFIX, image_tokens, read_base64
from app.formats.base import Prompt

TEXTS = ("text", "thinking", "name", "title", "context")


def read_prompt(body: bytes) -> Prompt:
    """The text of system, messages, tool calls, tools and schema, and the tokens of all images.

    PDFs and files are left out: what they come to can't be told without their vendor's tokenizer.
    """
    try:
        value = json.loads(body)
        if not isinstance(value, dict):
            return Prompt("", 0)
        schemas = [json.dumps(schema, ensure_ascii=False) for schema in _schemas(value) if schema]
        found = [*_walk(value.get("system")), *_of_messages(value.get("messages"))]
    except (ValueError, RecursionError):
        return Prompt(body.decode("utf-8", "replace"), 0)
    texts = [text for text, _ in found if text]
    return Prompt("\n".join(texts + schemas), sum(tokens for _, tokens in found))


def _of_messages(messages: object) -> Iterator[tuple[str, int]]:
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict):
            yield from _walk(message.get("content"))


def _walk(content: object) -> Iterator[tuple[str, int]]:
    """Text and image tokens of each block, those inside tool results and documents included."""
    if isinstance(content, str):
        yield content, 0
    for block in content if isinstance(content, list) else []:
        if not isinstance(block, dict):
            continue
        for name in TEXTS:
            if isinstance(block.get(name), str):
                yield block[name], 0
        if isinstance(block.get("input"), dict):
            yield json.dumps(block["input"], ensure_ascii=False), 0
        source = block.get("source")
        if block.get("type") == "image":
            yield "", _image_tokens(source)
        elif isinstance(source, dict):
            yield from _document(source)
        yield from _walk(block.get("content"))


def _document(source: dict[str, Any]) -> Iterator[tuple[str, int]]:
    if source.get("type") == "text" and isinstance(source.get("data"), str):
        yield source["data"], 0
    yield from _walk(source.get("content"))


def _image_tokens(source: object) -> int:
    data = source.get("data") if isinstance(source, dict) else None
    return image_tokens(None, read_base64(data[:PREFIX].encode("utf-8", "replace")) if isinstance(data, str) else None)


def _schemas(request: dict[str, Any]) -> tuple[object, ...]:
    wanted = request.get("output_config")
    return request.get("tools"), wanted.get("format") if isinstance(wanted, dict) else None
